"""What a client wants changed: a patch becomes an object, and the object the desired values that differ.

Desired values are all that can be set here; whatever else differs is refused by name, for it is the cloud's to change. A core.
"""

from typing import Any

import msgspec

from edge_gateway.local_api.refusals import Refusal
from edgewire.message import UNREADABLE

Object = dict[str, Any]

MERGE, STRATEGIC, JSON = (
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/json-patch+json",
)
_NOT_OURS = ("resourceVersion", "managedFields", "generation")
_KUBECTLS_OWN = "kubectl.kubernetes.io/last-applied-configuration"
"""What `kubectl apply` notes for itself; the gateway does without."""


def decoded(body: bytes) -> Any:
    """A body's JSON. Raises Refusal."""
    try:
        return msgspec.json.decode(body)
    except UNREADABLE as error:
        raise Refusal(400, f"the body is no JSON: {error}") from error


def patched(obj: Object, content_type: str, body: bytes) -> Object:
    """The object with a patch applied. Raises Refusal.

    A merge patch merges properties by their name, a strategic one likewise: one that lists some only would otherwise
    take the others away, which can never be meant here.
    """
    patch = decoded(body)
    if content_type == JSON:
        return _json_patched(obj, patch)
    if content_type not in (MERGE, STRATEGIC):
        raise Refusal(415, f"content type {content_type!r} is none of {MERGE}, {STRATEGIC}, {JSON}")
    if not isinstance(patch, dict):
        raise Refusal(400, "the patch is no JSON object")
    merged = _merged(obj, _with_other_properties(obj, patch))
    assert isinstance(merged, dict)
    return merged


def _merged(value: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(value) if isinstance(value, dict) else {}
    for name, change in patch.items():
        if change is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), change)
    return merged


def _with_other_properties(obj: Object, patch: Object) -> Object:
    """A patch with the properties that it does not name; one that it names with no more than a desired value is kept besides."""
    spec = patch.get("spec")
    named = spec.get("properties") if isinstance(spec, dict) else None
    if not isinstance(named, list) or not all(isinstance(prop, dict) for prop in named):
        return patch
    left = {str(prop.get("name")): prop for prop in named}
    merged = []
    for prop in obj["spec"].get("properties", []):
        change = left.pop(prop["name"], {})
        merged.append(_merged(prop, change) if change.keys() <= {"name", "desired"} else change)
    return {**patch, "spec": {**patch["spec"], "properties": [*merged, *left.values()]}}


def _json_patched(obj: Object, patch: Any) -> Object:
    """RFC 6902, of its operations those that set a value."""
    copy: Object = msgspec.json.decode(msgspec.json.encode(obj))
    if not isinstance(patch, list):
        raise Refusal(400, "a JSON patch is a list of operations")
    for step in patch:
        try:
            parts = [part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]]
            where: Any = copy
            for part in parts[:-1]:
                where = where[int(part)] if isinstance(where, list) else where[part]
            _step(where, parts[-1], step["op"], step["value"])
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise Refusal(422, f"JSON patch: {str(step)[:200]} cannot be applied") from error
    return copy


def _step(where: Any, last: str, op: str, value: Any) -> None:
    if op == "add" and last == "-":
        where.append(value)
        return
    key: Any = int(last) if isinstance(where, list) else last
    if op == "test":
        if where[key] != value:
            raise Refusal(409, f"JSON patch: the value at {last!r} is {where[key]!r}, not {value!r}")
    elif op == "replace" or (op == "add" and isinstance(where, dict)):
        where[key] = value
    elif op == "add":
        where.insert(key, value)
    else:
        raise Refusal(422, f"JSON patch: {op!r} is none of add, replace, test")


def wishes(before: Object, after: Any) -> dict[str, str]:
    """Property -> desired value, of those that differ. Raises Refusal when anything else does, or it is a conflict."""
    if not isinstance(after, dict) or not isinstance(after.get("metadata"), dict):
        raise Refusal(400, "the body is no Device")
    version = after["metadata"].get("resourceVersion") or before["metadata"]["resourceVersion"]
    if version != before["metadata"]["resourceVersion"]:
        name = before["metadata"]["name"]
        raise Refusal(409, f'Operation cannot be fulfilled on devices "{name}": the object has been modified')
    old, new = _desired(before), _desired(after)
    if (other := _difference(_without_wishes(before), _without_wishes(after))) is not None:
        raise Refusal(
            422, f"{other}: the gateway takes spec.properties[].desired.value only; change the rest in the cloud"
        )
    withdrawn = sorted(old.keys() - new.keys())
    if withdrawn:
        raise Refusal(422, f"a desired value cannot be withdrawn on the gateway, only in the cloud: {withdrawn[0]}")
    return {name: value for name, value in new.items() if old.get(name) != value}


def _desired(obj: Object) -> dict[str, str]:
    spec = obj.get("spec")
    properties = spec.get("properties") if isinstance(spec, dict) else None
    if properties is not None and not isinstance(properties, list):
        raise Refusal(422, "spec.properties is no list")
    found = {}
    for prop in properties or ():
        if not isinstance(prop, dict) or not isinstance(prop.get("name"), str):
            raise Refusal(422, "spec.properties: every property has a name")
        if prop["name"] in found:
            raise Refusal(422, f"spec.properties: {prop['name']} is there twice")
        desired = prop.get("desired") or {}
        value = desired.get("value") if isinstance(desired, dict) else desired
        if value is not None and not isinstance(value, str):
            raise Refusal(422, f"spec.properties: the desired value of {prop['name']} is no string, as on MQTT")
        found[prop["name"]] = value
    return {name: value for name, value in found.items() if value is not None}


def _without_wishes(obj: Object) -> Object:
    """What has to be as it was. Properties that only say what is desired are not there without that."""
    spec = obj.get("spec") if isinstance(obj.get("spec"), dict) else {}
    assert isinstance(spec, dict)
    properties = ({k: v for k, v in prop.items() if k != "desired"} for prop in spec.get("properties") or ())
    kept = {prop["name"]: prop for prop in properties if prop.keys() != {"name"}}
    metadata = {k: v for k, v in obj["metadata"].items() if k not in _NOT_OURS}
    annotations = {k: v for k, v in (metadata.pop("annotations", None) or {}).items() if k != _KUBECTLS_OWN}
    if annotations:
        metadata["annotations"] = annotations
    rest = {k: v for k, v in obj.items() if k not in ("status", "metadata", "spec")}
    return {**rest, "metadata": metadata, "spec": {**spec, "properties": kept}}


def _difference(before: Any, after: Any, path: str = "") -> str | None:
    """The path of the first thing that differs, or None."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in (*before, *(name for name in after if name not in before)):
            if name not in before or name not in after:
                return f"{path}.{name}".lstrip(".")
            if (found := _difference(before[name], after[name], f"{path}.{name}")) is not None:
                return found
        return None
    return None if before == after else path.lstrip(".")
