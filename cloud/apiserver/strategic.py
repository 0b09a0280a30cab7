"""Strategic merge patch of built-in kinds: lists of objects are merged by a key instead of replaced.

Which lists, and by which key, stands in KEYS (from the `patchStrategy` and `patchMergeKey` tags of k8s.io/api/core/v1);
directives are those that kubectl writes: `$patch`, `$retainKeys`, `$setElementOrder/x`, `$deleteFromPrimitiveList/x`.
"""

from typing import Any

from cloud.apiserver.status import bad_request

_METADATA = {"metadata.ownerReferences": "uid", "metadata.finalizers": ""}
_CONTAINER = {
    "ports": "containerPort",
    "env": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
}
_CONTAINER_LISTS = ("containers", "initContainers", "ephemeralContainers")
_POD = {
    "spec.volumes": "name",
    "spec.imagePullSecrets": "name",
    "spec.hostAliases": "ip",
    "spec.topologySpreadConstraints": "topologyKey",
    "spec.schedulingGates": "name",
    "spec.resourceClaims": "name",
    "status.conditions": "type",
    "status.podIPs": "ip",
    "status.hostIPs": "ip",
    **{f"spec.{name}": "name" for name in _CONTAINER_LISTS},
    **{f"spec.{name}.{sub}": key for name in _CONTAINER_LISTS for sub, key in _CONTAINER.items()},
}

WORKLOADS = ("Deployment", "ReplicaSet", "DaemonSet")
"""Kinds with a template of pods."""
TEMPLATE = "spec.template."
_TEMPLATE = {TEMPLATE + path: key for path, key in _POD.items() if path.startswith("spec.")}
KEYS: dict[str, dict[str, str]] = {
    "Pod": _POD,
    "Node": {"status.conditions": "type", "status.addresses": "type", "spec.podCIDRs": ""},
    "Namespace": {"status.conditions": "type"},
    **{kind: {**_TEMPLATE, "status.conditions": "type"} for kind in WORKLOADS},
    "ServiceAccount": {"secrets": "name", "imagePullSecrets": "name"},
}
"""Kind -> path of a list -> the key its items merge by; "" for a list of primitives that merges as a set."""

_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"
_PATCH = "$patch"
_RETAIN = "$retainKeys"


def merge(document: dict[str, Any], patch: dict[str, Any], kind: str) -> dict[str, Any]:
    """The document with the patch laid over it. Raises ApiError 400 for a directive that cannot be followed."""
    return _merge_object(document, patch, "", _METADATA | KEYS.get(kind, {}))


def _merge_object(document: dict[str, Any], patch: dict[str, Any], path: str, keys: dict[str, str]) -> dict[str, Any]:
    directive = patch.get(_PATCH)
    if directive == "replace":
        return {name: value for name, value in patch.items() if name != _PATCH}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"unknown patch type: {directive}")
    merged = dict(document)
    if _RETAIN in patch:
        kept = patch[_RETAIN]
        merged = {name: value for name, value in merged.items() if name in kept}
    for name, value in patch.items():
        if name.startswith(_DELETE):
            field = name.removeprefix(_DELETE)
            merged[field] = [item for item in merged.get(field) or [] if item not in value]
    for name, value in patch.items():
        if not name.startswith("$"):
            _merge_field(merged, name, value, patch.get(_ORDER + name), f"{path}.{name}".lstrip("."), keys)
    for name, order in patch.items():
        field = name.removeprefix(_ORDER)
        if name.startswith(_ORDER) and field not in patch and isinstance(merged.get(field), list):
            merged[field] = _ordered(merged[field], order, keys.get(f"{path}.{field}".lstrip("."), ""))
    return merged


def _merge_field(
    merged: dict[str, Any], name: str, value: Any, order: list[Any] | None, path: str, keys: dict[str, str]
) -> None:
    before = merged.get(name)
    if value is None:
        merged.pop(name, None)
    elif isinstance(value, dict):
        merged[name] = _merge_object(before if isinstance(before, dict) else {}, value, path, keys)
    elif isinstance(value, list) and path in keys:
        merged[name] = _merge_list(before if isinstance(before, list) else [], value, order, path, keys)
    else:
        merged[name] = value


def _merge_list(
    before: list[Any], patch: list[Any], order: list[Any] | None, path: str, keys: dict[str, str]
) -> list[Any]:
    key = keys[path]
    if not key:
        merged = before + [item for item in patch if item not in before]
        return _ordered(merged, order, key)
    if any(isinstance(item, dict) and item.get(_PATCH) == "replace" and len(item) == 1 for item in patch):
        return [item for item in patch if item.get(_PATCH) != "replace"]
    merged = list(before)
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        at = next((n for n, old in enumerate(merged) if isinstance(old, dict) and old.get(key) == item[key]), None)
        if item.get(_PATCH) == "delete":
            merged = [old for old in merged if not (isinstance(old, dict) and old.get(key) == item[key])]
        elif at is None:
            merged.append(_merge_object({}, item, path, keys))
        else:
            merged[at] = _merge_object(merged[at], item, path, keys)
    return _ordered(merged, order, key)


def _ordered(items: list[Any], order: list[Any] | None, key: str) -> list[Any]:
    """The items in the order asked for; those it does not name keep their place behind the one they followed."""
    if not order:
        return items
    wanted = [item.get(key) if key and isinstance(item, dict) else item for item in order]
    rank = {repr(value): n for n, value in enumerate(wanted)}
    placed: list[tuple[int, int, Any]] = []
    last = -1
    for n, item in enumerate(items):
        value = item.get(key) if key and isinstance(item, dict) else item
        last = rank.get(repr(value), last)
        placed.append((last, n, item))
    return [item for _, _, item in sorted(placed, key=lambda entry: entry[:2])]
