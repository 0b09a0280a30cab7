"""What the managed fields of an object become with each write, as errors and options of the API have it.

`managed_fields` knows how ownership changes hands; here stands what is special to Kubernetes: which part of an object a write can
change at all, what a new object is compared with, how conflicts read, and how objects that `kubectl apply` kept so far pass over
to `kubectl apply --server-side`.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from cloud.apiserver import bodies, field_sets, managed_fields, metadata, status, typed_values
from cloud.apiserver.field_sets import FieldSet, FieldSetError
from cloud.apiserver.managed_fields import APPLY, NOBODY, UPDATE, Conflicts, Entry, Managed, Manager
from cloud.apiserver.resources import Resource
from cloud.apiserver.status import Cause
from cloud.apiserver.typed_values import TypedError

Object = dict[str, Any]
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
MANAGERS_LIMIT = 256
"""Entries of an object. Those of updates are put together, those of applies are not, and anybody may take any name."""
_KUBECTL = "kubectl"
_BEFORE = "before-first-apply"
_NEW: Mapping[str, Object] = {
    "Pod": {"spec": {"containers": None}, "status": {}},
    "Node": {"spec": {}, "status": {}},
    "Namespace": {"spec": {}, "status": {}},
    "Lease": {"spec": {}},
    "Event": {"involvedObject": {}, "source": {}},
    "Deployment": {"spec": {"strategy": {}, "template": {"metadata": {}, "spec": {}}}, "status": {}},
    "ReplicaSet": {"spec": {"template": {"metadata": {}, "spec": {}}}, "status": {}},
    "DaemonSet": {"spec": {"updateStrategy": {}, "template": {"metadata": {}, "spec": {}}}, "status": {}},
    "CustomResourceDefinition": {"spec": {"names": {}, "versions": None}, "status": {}},
}
"""Kind -> what a new object of it has before anybody sets a field: parts that are never absent are never added either."""


def _blank(resource: Resource) -> Object:
    return {"metadata": {}, **({} if resource.custom else _NEW.get(resource.kind, {}))}


def _ignored(resource: Resource, subresource: str) -> tuple[str, ...]:
    """Top-level fields that a write here cannot change."""
    if subresource == "status":
        return ("spec", "metadata") if resource.custom else ("spec",)
    if resource.kind == "Namespace" and not resource.custom:
        return ("spec", "status")
    return ("status",) if "status" in resource.subresources else ()


def created(resource: Resource, obj: Object, written: Any, manager: str, time: str) -> Managed:
    """The entries of a new object; `written` are the managed fields it came with, if any."""
    before = _given(written, NOBODY)
    by = Manager(manager, UPDATE, resource.api_version)
    blank = _blank(resource)
    return managed_fields.updated(before, by, blank, obj, resource.types, time, _ignored(resource, ""))


def updated(
    resource: Resource,
    managed: Managed,
    old: Object,
    obj: Object,
    written: Any,
    manager: str,
    time: str,
    subresource: str = "",
) -> Managed:
    """The entries after `obj` took the place of `old`; `written` are the managed fields in the request, if any.

    A client may change the entries themselves, and take all of them away by an empty list; what is not of their form, or comes by
    way of a subresource, counts for nothing.
    """
    if not subresource:
        managed = _given(written, managed)
    by = Manager(manager, UPDATE, resource.api_version, subresource)
    before = {**_blank(resource), **old}
    return managed_fields.updated(managed, by, before, obj, resource.types, time, _ignored(resource, subresource))


def _given(written: Any, otherwise: Managed) -> Managed:
    if written is None:
        return otherwise
    if managed_fields.is_reset(written):
        return NOBODY
    try:
        return managed_fields.decode(written) or otherwise
    except FieldSetError:
        return otherwise


def applied(
    resource: Resource,
    managed: Managed,
    live: Object,
    config: Object,
    manager: str,
    time: str,
    *,
    subresource: str = "",
    force: bool = False,
) -> tuple[Object, Managed]:
    """A live object, {} where there is none yet, with a configuration applied to it, and its entries.

    Raises ApiError: 409 with the conflicts, 400 for fields that the schema does not declare, 413 for too many managers.
    """
    by = Manager(manager, APPLY, resource.api_version, subresource)
    ignored = _ignored(resource, subresource)
    # What is empty in metadata is not kept, so nobody can own it.
    meta = config.get("metadata") or {}
    config = {**config, "metadata": {name: value for name, value in meta.items() if value not in (None, {}, [])}}
    if live and not managed:
        # Whoever wrote it before anybody applied to it keeps it, if only by a name that stands for all of them.
        before = Manager(_BEFORE, UPDATE, resource.api_version, subresource)
        managed = managed_fields.updated(NOBODY, before, _blank(resource), live, resource.types, time, ignored)

    def apply(force: bool) -> tuple[Object, Managed]:
        return managed_fields.applied(managed, by, live, config, resource.types, time, ignored=ignored, force=force)

    try:
        merged, made = apply(force)
    except Conflicts as conflicts:
        # What kubectl itself applied from the client's side, and nobody changed since, it may take over.
        yielding: FieldSet = _applied_by_client(resource, live) if manager == _KUBECTL else {}
        found = [
            (entry, path) for entry, path in conflicts.found if not field_sets.includes(yielding, field_sets.of(path))
        ]
        if found:
            raise _conflict(found) from conflicts
        merged, made = apply(force=True)
    except TypedError as error:
        raise status.bad_request(
            f"failed to create typed patch object ({_named(resource, config)}): {error}"
        ) from error
    if len(made) > MANAGERS_LIMIT:
        raise status.too_large(f"{len(made)} managers would own fields of the object, limit is {MANAGERS_LIMIT}")
    if manager == _KUBECTL:
        merged = _with_last_applied(merged, config)
    return merged, made


def check_config(resource: Resource, config: Any) -> None:
    """Raise ApiError 400 unless this is a configuration that can be applied to the resource."""
    if not isinstance(config, dict):
        raise status.bad_request("the configuration to apply is not an object")
    version = config.get("apiVersion", "")
    if version != resource.api_version:
        why = f"Specified patch version: {version}, expected: {resource.api_version}"
        raise status.bad_request(f"Incorrect version specified in apply patch. {why}")
    bodies.check_kind(resource, config)
    if (config.get("metadata") or {}).get("managedFields") is not None:
        raise status.bad_request("metadata.managedFields must be nil")


def _named(resource: Resource, config: Object) -> str:
    meta = config.get("metadata") or {}
    where = f"{meta.get('namespace', '')}/{meta.get('name', '')}"
    return f"{where}; {resource.group}/{resource.version}, Kind={resource.kind}"


def _conflict(found: list[tuple[Entry, field_sets.Path]]) -> status.ApiError:
    causes = [
        Cause("FieldManagerConflict", f"conflict with {_shown(entry)}", field_sets.text(path)) for entry, path in found
    ]
    if len(causes) == 1:
        message = f"Apply failed with 1 conflict: {causes[0].message}: {causes[0].field}"
    else:
        listed: dict[str, list[str]] = {}
        for entry, path in found:
            listed.setdefault(_shown(entry), []).append(f"- {field_sets.text(path)}")
        lines = [line for shown in sorted(listed) for line in (f"conflicts with {shown}:", *listed[shown])]
        message = f"Apply failed with {len(causes)} conflicts: " + "\n".join(lines)
    return status.apply_conflict(message, causes)


def _shown(entry: Entry) -> str:
    """A manager as messages of conflicts name it."""
    manager = entry.manager
    shown = msgspec.json.encode(manager.name).decode()
    if manager.subresource:
        shown += f' with subresource "{manager.subresource}"'
    return f"{shown} using {manager.api_version}" if manager.operation == UPDATE else shown


def _applied_by_client(resource: Resource, live: Object) -> FieldSet:
    """The fields that still are as the annotation of client-side apply has them."""
    written = ((live.get("metadata") or {}).get("annotations") or {}).get(LAST_APPLIED)
    if not written:
        return {}
    try:
        last = msgspec.json.decode(written)
        fields = typed_values.fields_of(last, resource.types)
        change = typed_values.compare(last, live, resource.types)
    except (msgspec.DecodeError, AttributeError):
        return {}
    for differing in (change.modified, change.added, change.removed):
        fields = field_sets.difference(fields, differing)
    return fields


def _with_last_applied(merged: Object, config: Object) -> Object:
    """The object with its annotation of client-side apply, where it has one, kept at what was applied last."""
    meta = merged.get("metadata") or {}
    annotations = meta.get("annotations") or {}
    if LAST_APPLIED not in annotations:
        return merged
    own = config.get("metadata") or {}
    others = {name: value for name, value in (own.get("annotations") or {}).items() if name != LAST_APPLIED}
    last = {**config, "metadata": {**own, "annotations": others} if "annotations" in own else own}
    kept = {**annotations, LAST_APPLIED: msgspec.json.encode(last).decode() + "\n"}
    if len(kept[LAST_APPLIED]) > metadata.ANNOTATIONS_LIMIT:
        del kept[LAST_APPLIED]
    return {**merged, "metadata": {**meta, "annotations": kept}}
