"""Label and field selectors, as in Kubernetes: `app=boiler,tier in (a, b),!old` and `metadata.name=boiler,spec.nodeName!=x`."""

import re
from collections.abc import Callable
from typing import Any

from edge_gateway.local_api.refusals import Refusal

Object = dict[str, Any]
Selector = Callable[[Object], bool]

LONGEST = 4096
_FIELDS = ("metadata.name", "metadata.namespace", "spec.nodeName", "status.phase")
_EVENT_FIELDS = tuple(f"involvedObject.{name}" for name in ("kind", "name", "namespace", "uid", "fieldPath"))
_SET = re.compile(r"\s*(?P<key>[\w./-]+)\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)\s*")
_EQUAL = re.compile(r"\s*(?P<key>[\w./-]+)\s*(?P<op>==|=|!=)\s*(?P<value>[\w./: {}-]*?)\s*")
_THERE = re.compile(r"\s*(?P<not>!?)\s*(?P<key>[\w./-]+)\s*")
_COMMA = re.compile(r",(?![^()]*\))")


def by_labels(text: str) -> Selector:
    """The selector of a `labelSelector` parameter. Raises Refusal."""
    wanted = [_of_label(part) for part in _parts(text)]

    def matches(obj: Object) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return all(one(labels) for one in wanted)

    return matches


def by_fields(text: str) -> Selector:
    """The selector of a `fieldSelector` parameter. Raises Refusal, for fields that cannot be selected by too."""
    wanted: list[tuple[list[str], str, bool]] = []
    for part in _parts(text):
        found = _EQUAL.fullmatch(part)
        if found is None or found["key"] not in _FIELDS + _EVENT_FIELDS:
            raise Refusal(400, f"fieldSelector {part!r} is not understood; fields are {', '.join(_FIELDS)}")
        wanted.append((found["key"].split("."), found["value"], found["op"] != "!="))
    return lambda obj: all((_at(obj, path) == value) is same for path, value, same in wanted)


def _parts(text: str) -> list[str]:
    if len(text) > LONGEST:
        raise Refusal(400, f"a selector of {len(text)} characters is too long")
    return [part for part in _COMMA.split(text) if part.strip()]


def _of_label(part: str) -> Callable[[dict[str, str]], bool]:
    if (found := _SET.fullmatch(part)) is not None:
        key, inside = found["key"], found["op"] == "in"
        values = {value.strip() for value in found["values"].split(",")}
        return lambda labels: (labels.get(key) in values) is inside
    if (found := _THERE.fullmatch(part)) is not None:
        key, there = found["key"], not found["not"]
        return lambda labels: (key in labels) is there
    if (found := _EQUAL.fullmatch(part)) is not None:
        key, value, same = found["key"], found["value"], found["op"] != "!="
        return lambda labels: (labels.get(key) == value) is same
    raise Refusal(400, f"labelSelector {part!r} is not understood")


def _at(obj: Object, path: list[str]) -> str:
    value: Any = obj
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return "" if value is None else str(value)
