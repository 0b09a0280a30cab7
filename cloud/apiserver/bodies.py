"""Whole objects as they come from clients and as they are stored: checked, put together, compared."""

import random
import re
from typing import Any

import msgspec
import yaml

from cloud.apiserver import metadata, status
from cloud.apiserver.metadata import ObjectMeta
from cloud.apiserver.resources import Resource

Object = dict[str, Any]
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_IDENTITY = ("apiVersion", "kind", "metadata")
YAML_LIMIT = 128 << 10
"""Bytes of a body in YAML, which keeps everybody waiting a quarter of a second; JSON may be longer."""


def decode(body: bytes, what: str = "object") -> Any:
    """The JSON value of a body. Raises ApiError 400."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise status.bad_request(f"the {what} provided cannot be read as JSON: {error}") from error


def decode_configuration(body: bytes) -> Any:
    """The value of a body that is YAML, or JSON, which most clients send. Raises ApiError 400 or 413."""
    if body.lstrip()[:1] == b"{":
        return decode(body, "configuration")
    if len(body) > YAML_LIMIT:
        raise status.too_large_body(YAML_LIMIT)
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(body, _Yaml)):
            raise yaml.YAMLError("aliases are not accepted")  # a few of them can stand for more than any memory holds
        return msgspec.json.decode(msgspec.json.encode(yaml.load(body, _Yaml)))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, TypeError) as error:
        raise status.bad_request(f"error decoding YAML: {error}") from error


class _Yaml(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as Kubernetes reads it: what JSON has, and neither dates nor yes and no."""

    yaml_implicit_resolvers = {
        letter: [(tag, pattern) for tag, pattern in found if not tag.endswith((":timestamp", ":bool"))]
        for letter, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def check_kind(resource: Resource, obj: Any) -> None:
    """Raise ApiError 400 unless this is an object of the resource's kind and version; what is left out is filled in."""
    if not isinstance(obj, dict):
        raise status.bad_request("the object provided is not a JSON object")
    version = obj.setdefault("apiVersion", resource.api_version)
    kind = obj.setdefault("kind", resource.kind)
    if version != resource.api_version:
        message = (
            f"the API version in the data ({version}) does not match the expected API version ({resource.api_version})"
        )
        raise status.bad_request(message)
    if kind != resource.kind:
        raise status.bad_request(f"the kind in the data ({kind}) does not match the expected kind ({resource.kind})")
    if not isinstance(obj.get("metadata", {}), dict):
        raise status.bad_request("error decoding metadata: metadata must be an object")


def check_place(meta: ObjectMeta, namespace: str) -> None:
    """Raise ApiError 400 unless the object belongs where the URL says; fills in the namespace."""
    if meta.namespace and meta.namespace != namespace:
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    meta.namespace = namespace


def random_suffix() -> str:
    """Five characters behind a generateName."""
    return "".join(random.choices(_SUFFIX, k=5))


def assembled(resource: Resource, obj: Object, meta: ObjectMeta) -> Object:
    """The object in its stored version, identity first."""
    stored = {"apiVersion": resource.stored_as, "kind": resource.kind, "metadata": metadata.encode(meta)}
    if resource.translate is not None:
        obj = resource.translate.to_stored(obj)
    stored.update((name, value) for name, value in obj.items() if name not in _IDENTITY)
    return stored


def as_version(resource: Resource, obj: Object) -> Object:
    """A stored object in the version of a resource."""
    if resource.translate is not None:
        obj = resource.translate.from_stored(obj)
    if obj.get("apiVersion") != resource.api_version:
        obj = obj | {"apiVersion": resource.api_version}
    return obj


def with_status(obj: Object, old: Object, resource: Resource, subresource: str) -> Object:
    """What an update may change: everything but the status, or, by way of a subresource, nothing but the part it is about."""
    if subresource == "binding":  # a node for the pod, and the condition that says so
        return obj
    if subresource == "finalize":
        finalizers = (obj.get("spec") or {}).get("finalizers") or []
        return old | {"metadata": obj["metadata"], "spec": (old.get("spec") or {}) | {"finalizers": finalizers}}
    if subresource == "status":
        kept = {name: value for name, value in old.items() if name not in ("status", "metadata")}
        merged = {name: kept[name] for name in kept if name in _IDENTITY}
        merged["metadata"] = obj["metadata"]
        merged.update(kept)
        if "status" in obj:
            merged["status"] = obj["status"]
        return merged
    if "status" in resource.subresources:
        obj.pop("status", None)
        if "status" in old:
            obj["status"] = old["status"]
    return obj


def equal(one: Object, other: Object) -> bool:
    """Whether two objects are the same JSON, in whatever order."""
    if one != other:
        return False
    # Python takes True for 1 and 1.0 for 1; JSON does not.
    return msgspec.json.encode(one, order="deterministic") == msgspec.json.encode(other, order="deterministic")


def spec_changed(resource: Resource, obj: Object, old: Object) -> bool:
    """Whether a change counts as a new generation: anything beside metadata and the status of a status subresource."""
    apart = {"metadata", "status"} if "status" in resource.subresources else {"metadata"}
    return any(obj.get(name) != old.get(name) for name in (obj.keys() | old.keys()) - apart)
