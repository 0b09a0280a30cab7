"""Sets of field paths, in the form in which the API writes them into managedFields (FieldsV1).

A set is a tree of dicts, just as its JSON: a name is a path element (`f:spec`, `k:{"name":"a"}` for an item of a list by its key,
`v:"x"` for an item of a set), an empty dict says that the path that ends there is in the set, and where both a path and some
paths below it are, the name "." stands for the former. So `{"f:a": {".": {}, "f:b": {}}}` holds `.a` and `.a.b`. Sets are never
changed once made, except by `insert`; what is returned may share parts with the arguments.

Written after the documentation of server-side apply and of sigs.k8s.io/structured-merge-diff (fieldpath).
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

FieldSet: TypeAlias = dict[str, "FieldSet"]
Path = tuple[str, ...]

SELF = "."
_ITSELF: FieldSet = {SELF: {}}
_DECODED = 64
"""Decoded sets that are kept: one for a kind of device, or so, is enough to patch many statuses without decoding."""
_SHARED = 512
"""Encoded sets that take the place of equal ones, so that objects made from one template keep one set together."""


class FieldSetError(ValueError):
    """What should be FieldsV1 is something else."""


def insert(fields: FieldSet, path: Path) -> None:
    """Add a path, in place."""
    node = fields
    for element in path[:-1]:
        below = node.get(element)
        if below is None:
            below = node[element] = {}
        elif not below:
            below[SELF] = {}
        node = below
    found = node.get(path[-1])
    if found is None:
        node[path[-1]] = {}
    elif found:
        found[SELF] = {}


def is_member(node: FieldSet) -> bool:
    """Whether the path that leads to this node of a set is in the set."""
    return not node or SELF in node


def union(one: FieldSet, other: FieldSet) -> FieldSet:
    """The paths in either."""
    merged = dict(one)
    for element, node in other.items():
        found = one.get(element)
        merged[element] = node if found is None or found is node else _canonical(_join(found, node))
    return merged


def _join(one: FieldSet, other: FieldSet) -> FieldSet:
    return union(one or _ITSELF, other or _ITSELF)


def difference(one: FieldSet, other: FieldSet) -> FieldSet:
    """The paths in the one and not in the other."""
    left: FieldSet = {}
    for element, node in one.items():
        found = other.get(element)
        if found is None:
            left[element] = node
        elif element != SELF and (rest := difference(node or _ITSELF, found or _ITSELF)):
            left[element] = _canonical(rest)
    return left


def difference_below(one: FieldSet, other: FieldSet) -> FieldSet:
    """The paths in the one that neither are in the other nor lie below one that is."""
    left: FieldSet = {}
    for element, node in one.items():
        found = other.get(element)
        if found is None:
            left[element] = node
        elif not is_member(found) and (rest := difference_below(node or _ITSELF, found)):
            left[element] = _canonical(rest)
    return left


def intersection(one: FieldSet, other: FieldSet) -> FieldSet:
    """The paths in both."""
    shared: FieldSet = {}
    for element, node in one.items():
        found = other.get(element)
        if found is None:
            continue
        if element == SELF:
            shared[SELF] = {}
        elif both := intersection(node or _ITSELF, found or _ITSELF):
            shared[element] = _canonical(both)
    return shared


def includes(one: FieldSet, other: FieldSet) -> bool:
    """Whether all paths of the other are in the one."""
    for element, node in other.items():
        found = one.get(element)
        if found is None:
            return False
        if element != SELF and found is not node and not includes(found or _ITSELF, node or _ITSELF):
            return False
    return True


def disjoint(one: FieldSet, other: FieldSet) -> bool:
    """Whether no path is in both."""
    for element, node in other.items():
        found = one.get(element)
        if found is not None and (element == SELF or not disjoint(found or _ITSELF, node or _ITSELF)):
            return False
    return True


def _canonical(node: FieldSet) -> FieldSet:
    """A node that holds nothing but itself is an empty dict."""
    return {} if len(node) == 1 and SELF in node else node


def paths(fields: FieldSet, before: Path = ()) -> Iterator[Path]:
    """Every path in the set, a path before those below it."""
    for element, node in sorted(fields.items()):
        path = before if element == SELF else (*before, element)
        if not node:
            yield path
        else:
            yield from paths(node, path)


def of(*found: Path) -> FieldSet:
    """The set of some paths."""
    fields: FieldSet = {}
    for path in found:
        insert(fields, path)
    return fields


def text(path: Path) -> str:
    """A path as messages show it: `.spec.containers[name="a"].image`."""
    return "".join(_element_text(element) for element in path)


def _element_text(element: str) -> str:
    form, _, rest = element.partition(":")
    if form == "f":
        return f".{rest}"
    if form == "k":
        keys = msgspec.json.decode(rest)
        return "[" + ",".join(f"{name}={msgspec.json.encode(keys[name]).decode()}" for name in sorted(keys)) + "]"
    return f"[={rest}]" if form == "v" else f"[{rest}]"


def encode(fields: FieldSet) -> bytes:
    """The set as JSON: equal sets give equal bytes, and where they can be found, the same ones."""
    return shared(msgspec.json.encode(fields, order="deterministic"))


@lru_cache(_SHARED)
def shared(encoded: bytes) -> bytes:
    """Equal bytes for bytes, the same for many."""
    return encoded


@lru_cache(_DECODED)
def decode(encoded: bytes) -> FieldSet:
    """The set from `encode`; not to be changed."""
    fields: FieldSet = msgspec.json.decode(encoded)
    return fields


def parse(value: Any) -> FieldSet:
    """A set as a client sends it. Raises FieldSetError."""
    if not isinstance(value, dict):
        raise FieldSetError("fieldsV1 must be an object")
    return {element: _parse_node(element, node) for element, node in value.items() if element != SELF}


def _parse_node(element: str, node: Any) -> FieldSet:
    form, colon, rest = element.partition(":")
    if not isinstance(node, dict) or (element != SELF and (not colon or form not in ("f", "k", "v", "i"))):
        raise FieldSetError(f"not a path element: {element!r}")
    try:
        if form in ("k", "v") and not isinstance(msgspec.json.decode(rest), dict if form == "k" else object):
            raise FieldSetError(f"not a key: {element!r}")
    except msgspec.DecodeError as error:
        raise FieldSetError(f"not JSON in a path element: {element!r}") from error
    return _canonical({name: _parse_node(name, below) for name, below in node.items()})
