"""The scale subresource: autoscaling/v1 Scale: read from and written to where a definition, or a built-in kind, has its numbers.

As k8s.io/apiextensions-apiserver/pkg/registry/customresource/etcd.go has it.
"""

from typing import Any

import msgspec

from cloud.apiserver import bodies, fields, label_selectors, patches, status
from cloud.apiserver.objects import Objects
from cloud.apiserver.resources import Resource
from cloud.apiserver.scale_paths import Names, ScalePaths
from cloud.apiserver.state import Stored
from cloud.apiserver.writes import WriteOptions, Written

Object = dict[str, Any]


def read(resource: Resource, stored: Stored) -> Object:
    """The Scale of an object. Raises ApiError 500 when the object has no number of replicas to scale."""
    scale = _scale(resource, stored)
    if "replicas" not in scale["spec"]:
        path = "." + ".".join(_paths(resource).spec_replicas)
        raise status.internal(f'the spec replicas field "{path}" does not exist')
    return scale


def replace(
    objects: Objects, resource: Resource, namespace: str, name: str, scale: Any, options: WriteOptions
) -> Written:
    """Write the number of replicas that a Scale asks for. Raises ApiError 400, 404, 409 or 422."""
    if not isinstance(scale, dict) or scale.get("kind") not in (None, "", "Scale"):
        raise status.bad_request("not a Scale object")
    meta, spec = scale.get("metadata") or {}, scale.get("spec") or {}
    if not isinstance(meta, dict) or not isinstance(spec, dict):
        raise status.bad_request("error decoding Scale: metadata and spec must be objects")
    if meta.get("name") not in (None, "", name):
        raise status.bad_request(f"the name of the object ({meta['name']}) does not match the name on the URL ({name})")
    change = _at_its_path(resource, name, spec.get("replicas", 0))
    known = {key: meta[key] for key in ("uid", "resourceVersion") if meta.get(key)}
    patch = patches.MERGE, msgspec.json.encode(change | {"metadata": known})
    return objects.patch(resource, namespace, name, patch, options, "scale")


def patch(
    objects: Objects,
    resource: Resource,
    namespace: str,
    name: str,
    document: tuple[str, bytes],
    options: WriteOptions,
) -> Written:
    """Lay a patch, (media type, document), over the Scale of an object, or apply one to it.

    Raises ApiError 400, 404, 409, 415 or 422.
    """
    media_type, body = document
    patches.check(media_type, built_in=False)
    stored = objects.state.newest(resource.storage, namespace, name)
    if stored is None:
        raise status.not_found(resource.plural, resource.group, name)
    if media_type == patches.APPLY:
        return _apply(objects, resource, namespace, name, body, options)
    asked = patches.apply(media_type, _scale(resource, stored), bodies.decode(body, "patch"), "Scale")
    return replace(objects, resource, namespace, name, asked, options)


def _apply(
    objects: Objects, resource: Resource, namespace: str, name: str, body: bytes, options: WriteOptions
) -> Written:
    """Apply a Scale: what is applied to the object is the number of replicas, if it has one, and nothing else."""
    given = bodies.decode_configuration(body)
    if not isinstance(given, dict) or (given.get("apiVersion"), given.get("kind")) != ("autoscaling/v1", "Scale"):
        raise status.bad_request("not a Scale of autoscaling/v1")
    meta, spec = given.get("metadata") or {}, given.get("spec") or {}
    if not isinstance(meta, dict) or not isinstance(spec, dict):
        raise status.bad_request("error decoding Scale: metadata and spec must be objects")
    config = {} if spec.get("replicas") is None else _at_its_path(resource, name, spec["replicas"])
    known = {key: meta[key] for key in ("name", "namespace", "uid", "resourceVersion") if meta.get(key)}
    config |= {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": known}
    return objects.patch(resource, namespace, name, (patches.APPLY, msgspec.json.encode(config)), options, "scale")


def _at_its_path(resource: Resource, name: str, replicas: Any) -> Object:
    """An object that has nothing but the number of replicas. Raises ApiError 400 or 422 when it is none."""
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise status.bad_request("error decoding Scale: spec.replicas must be a whole number")
    if replicas < 0:
        cause = fields.invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise status.invalid("Scale", "autoscaling", name, [cause])
    change: Any = replicas
    for part in reversed(_paths(resource).spec_replicas):
        change = {part: change}
    found: Object = change
    return found


def _scale(resource: Resource, stored: Stored) -> Object:
    obj: Object = msgspec.json.decode(stored.body)
    paths = _paths(resource)
    meta = {
        key: obj["metadata"][key]
        for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        if key in obj["metadata"]
    }
    scale: Object = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta, "spec": {}}
    wanted, there = _at(obj, paths.spec_replicas), _at(obj, paths.status_replicas)
    if isinstance(wanted, int):
        scale["spec"] = {"replicas": wanted}
    scale["status"] = {"replicas": there if isinstance(there, int) else 0}
    selector = _at(obj, paths.selector) if paths.selector else None
    if isinstance(selector, dict):
        selector = label_selectors.text(selector)
    if isinstance(selector, str) and selector:
        scale["status"]["selector"] = selector
    return scale


def _paths(resource: Resource) -> ScalePaths:
    assert resource.scale is not None
    return resource.scale


def _at(obj: Object, names: Names) -> Any:
    value: Any = obj
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value
