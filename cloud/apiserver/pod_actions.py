"""What is done to a pod by a subresource: it is bound to a node, or evicted (pkg/registry/core/pod/storage)."""

from typing import Any

import msgspec

from cloud.apiserver import conditions, fields, patches, status
from cloud.apiserver.deletion import DeleteOptions
from cloud.apiserver.objects import Objects
from cloud.apiserver.resources import Resource
from cloud.apiserver.state import Transaction
from cloud.apiserver.writes import WriteOptions, Written

Object = dict[str, Any]


def bind(objects: Objects, pods: Resource, namespace: str, name: str, binding: Any, options: WriteOptions) -> Written:
    """Give a pod to the node that a Binding names. Raises ApiError 400, 404, 409 or 422."""
    meta = _check(binding, name, "Binding")
    target = binding.get("target") or {}
    if not isinstance(target, dict):
        raise status.bad_request("error decoding Binding: target must be an object")
    causes = []
    if target.get("kind") not in (None, "", "Node"):
        causes.append(fields.not_supported("target.kind", target["kind"], ["Node", "<empty>"]))
    if not target.get("name"):
        causes.append(fields.required("target.name"))
    if causes:
        raise status.invalid("Binding", "", name, causes)
    pod = _newest(objects, pods, namespace, name)
    if why := _cannot_be_bound(pod, name):
        raise status.conflict("pods/binding", "", name, why)
    known = {key: meta[key] for key in ("uid", "resourceVersion", "annotations") if meta.get(key)}
    scheduled = conditions.with_condition(pod, objects.now(), "PodScheduled", "True")
    change = {"metadata": known, "spec": {"nodeName": target["name"]}, "status": {"conditions": scheduled}}
    patch = patches.MERGE, msgspec.json.encode(change)
    return objects.patch(pods, namespace, name, patch, options, "binding")


def _cannot_be_bound(pod: Object, name: str) -> str:
    spec = pod.get("spec") or {}
    if pod["metadata"].get("deletionTimestamp"):
        return f"pod {name} is being deleted, cannot be assigned to a host"
    if spec.get("nodeName"):
        return f'pod {name} is already assigned to node "{spec["nodeName"]}"'
    if spec.get("schedulingGates"):
        return f"pod {name} has non-empty .spec.schedulingGates"
    return ""


def evict(objects: Objects, pods: Resource, namespace: str, name: str, eviction: Any, options: WriteOptions) -> Written:
    """Delete a pod on behalf of somebody who empties its node. Raises ApiError 400, 404 or 409.

    There are no PodDisruptionBudgets here, so nothing forbids it.
    """
    _check(eviction, name, "Eviction")
    try:
        asked = msgspec.convert(eviction.get("deleteOptions") or {}, DeleteOptions)
    except msgspec.ValidationError as error:
        raise status.bad_request(f"error decoding Eviction: {error}") from error
    if options.dry_run:
        asked.dry_run = ["All"]
    return remove(objects, pods, namespace, name, asked, "EvictionByEvictionAPI", "Eviction API: evicting")


def remove(
    objects: Objects, pods: Resource, namespace: str, name: str, options: DeleteOptions, reason: str, message: str
) -> Written:
    """Delete a pod that says in its status why it had to go. Raises ApiError 404 or 409."""
    pod = _newest(objects, pods, namespace, name)
    stored = objects.state.newest(pods.storage, namespace, name)
    assert stored is not None
    options.check(pods, stored)
    changes = []
    disrupted = conditions.with_condition(pod, objects.now(), "DisruptionTarget", "True", reason, message)
    if not options.dry_run and disrupted is not None and not pod["metadata"].get("deletionTimestamp"):
        patch = patches.MERGE, msgspec.json.encode({"status": {"conditions": disrupted}})
        marked = objects.patch(pods, namespace, name, patch, WriteOptions(), "status")
        changes += marked.transaction.changes if marked.transaction is not None else []
        options.preconditions = None
    written = objects.delete(pods, namespace, name, options)
    if written.transaction is not None:
        written.transaction = Transaction([*changes, *written.transaction.changes])
    return written


def _newest(objects: Objects, pods: Resource, namespace: str, name: str) -> Object:
    stored = objects.state.newest(pods.storage, namespace, name)
    if stored is None:
        raise status.not_found(pods.plural, pods.group, name)
    pod: Object = msgspec.json.decode(stored.body)
    return pod


def _check(body: Any, name: str, kind: str) -> Object:
    """The metadata of a body of this kind. Raises ApiError 400."""
    if not isinstance(body, dict) or body.get("kind") not in (None, "", kind):
        raise status.bad_request(f"not a {kind} object")
    meta = body.get("metadata") or {}
    if not isinstance(meta, dict):
        raise status.bad_request("error decoding metadata: metadata must be an object")
    if meta.get("name") and meta["name"] != name:
        raise status.bad_request(f"name in URL does not match name in {kind} object")
    return meta
