"""Values seen through their types: which fields they have, what differs between two, one laid over the other, fields taken out.

These are the four operations that server-side apply is made of. Where a type says that a list or a map is one value, nothing here
looks into it. Values are never changed in place; what is returned shares parts with the arguments.
"""

from dataclasses import dataclass, field
from typing import Any

from cloud.apiserver import field_sets
from cloud.apiserver.field_sets import FieldSet, Path, insert, is_member
from cloud.apiserver.field_types import FieldType

ABSENT: Any = object()
"""No value, where None is one."""


class TypedError(ValueError):
    """A value that its type has no place for; the text begins with where it is."""


def fields_of(value: dict[str, Any], type: FieldType, *, strict: bool = False) -> FieldSet:
    """The fields that a value has, as whoever applies it owns them.

    Raises TypedError, when `strict`, for fields that the schema does not declare, and for lists whose items cannot be told apart.
    """
    return _fields_of_map(value, type, (), strict)


def _fields_of_map(value: dict[str, Any], type: FieldType, path: Path, strict: bool) -> FieldSet:
    found: FieldSet = {}
    for name, sub in value.items():
        below = (*path, f"f:{name}")
        if strict and not type.declares(name):
            raise TypedError(f"{field_sets.text(below)}: field not declared in schema")
        node = _fields_of(sub, type.of(name), below, strict)
        found[below[-1]] = node if type.names(name) or is_member(node) else {field_sets.SELF: {}, **node}
    return found


def _fields_of(value: Any, type: FieldType, path: Path, strict: bool) -> FieldSet:
    """The node of a value: empty for one that is owned as a whole."""
    if type.is_map(value):
        return _fields_of_map(value, type, path, strict)
    if type.is_list(value):
        items = _items(value, type)
        if strict:
            _check_items(value, items, type, path)
        if items is None:
            return {}
        found: FieldSet = {}
        for element, item in items.items():
            node = _fields_of(item, type.of_item(), (*path, element), strict)
            found[element] = node if is_member(node) else {field_sets.SELF: {}, **node}
        return found
    return {}


def _items(value: list[Any], type: FieldType) -> dict[str, Any] | None:
    """Path element -> item, in order; several of one key stand as a tuple, which is one value. None when an item has no key."""
    found: dict[str, Any] = {}
    for item in value:
        element = type.element_of(item)
        if element is None:
            return None
        if element not in found:
            found[element] = item
        else:
            before = found[element]
            found[element] = (*before, item) if before.__class__ is tuple else (before, item)
    return found


def _check_items(value: list[Any], items: dict[str, Any] | None, type: FieldType, path: Path) -> None:
    where = field_sets.text(path)
    if items is None:
        names = " or ".join(f'"{name}"' for name in type.keys)
        raise TypedError(f"{where}: associative list with keys has an element that omits key field {names}")
    for element, item in items.items():
        if item.__class__ is tuple:
            raise TypedError(f"{where}: duplicate entries for key {field_sets.text((element,))}")


@dataclass(slots=True)
class Comparison:
    """What differs between two values."""

    added: FieldSet = field(default_factory=dict)
    modified: FieldSet = field(default_factory=dict)
    removed: FieldSet = field(default_factory=dict)


def compare(before: dict[str, Any], after: dict[str, Any], type: FieldType) -> Comparison:
    """The fields that were added, changed or removed."""
    found = Comparison()
    _compare_maps(before, after, type, (), found)
    return found


def _compare(before: Any, after: Any, type: FieldType, path: Path, found: Comparison) -> None:
    """Compare two values that differ."""
    if type.is_map(before) or type.is_map(after):
        maps = all(side is ABSENT or side is None or side.__class__ is dict for side in (before, after))
        if maps and (before or after):
            _compare_maps(_dict(before), _dict(after), type, path, found)
            _compare_presence(before, after, path, found)
            return
    elif type.is_list(before) or type.is_list(after):
        lists = all(side is ABSENT or side is None or side.__class__ is list for side in (before, after))
        if lists and _compare_lists(_list(before), _list(after), type, path, found):
            _compare_presence(before, after, path, found)
            return
    if before is not ABSENT and after is not ABSENT:
        insert(found.modified, path)
    _compare_presence(before, after, path, found)


def _compare_presence(before: Any, after: Any, path: Path, found: Comparison) -> None:
    if before is ABSENT:
        insert(found.added, path)
    elif after is ABSENT:
        insert(found.removed, path)


def _dict(value: Any) -> dict[str, Any]:
    return value if value.__class__ is dict else {}


def _list(value: Any) -> list[Any]:
    return value if value.__class__ is list else []


def _compare_maps(
    before: dict[str, Any], after: dict[str, Any], type: FieldType, path: Path, found: Comparison
) -> None:
    for name, value in after.items():
        was = before.get(name, ABSENT)
        if was != value or was.__class__ is not value.__class__:
            _compare(was, value, type.of(name), (*path, f"f:{name}"), found)
    for name, was in before.items():
        if name not in after:
            _compare(was, ABSENT, type.of(name), (*path, f"f:{name}"), found)


def _compare_lists(before: list[Any], after: list[Any], type: FieldType, path: Path, found: Comparison) -> bool:
    """Compare item by item; False when both are empty, or some items cannot be told apart."""
    if len(before) == len(after):
        # The usual change of a long list: one item of it, in its place.
        changed = [(was, now) for was, now in zip(before, after, strict=True) if was != now]
        if changed and all(type.same_key(was, now) for was, now in changed):
            for was, now in changed:
                _compare(was, now, type.of_item(), (*path, type.element_of(now) or ""), found)
            return True
    old, new = _items(before, type), _items(after, type)
    if old is None or new is None or not (old or new):
        return False
    for element, item in new.items():
        was = old.get(element, ABSENT)
        if was != item:
            _compare(was, item, type.of_item(), (*path, element), found)
    for element, item in old.items():
        if element not in new:
            _compare(item, ABSENT, type.of_item(), (*path, element), found)
    return True


def merge(value: Any, applied: Any, type: FieldType) -> Any:
    """A value with another laid over it: maps and lists that are not one value keep what the other does not name."""
    if type.is_map(value) and type.is_map(applied):
        merged = dict(value)
        for name, sub in applied.items():
            merged[name] = merge(value[name], sub, type.of(name)) if name in value else sub
        return merged
    if type.is_list(value) and type.is_list(applied):
        old, new = _items(value, type), _items(applied, type)
        if old is not None and new is not None:
            return _merge_items(old, new, type)
    return applied


def _merge_items(old: dict[str, Any], new: dict[str, Any], type: FieldType) -> list[Any]:
    """Items of both: in the order applied, those that were not applied behind the item they followed."""
    merged: list[Any] = []
    before, now = list(old), list(new)
    while before or now:
        if before and before[0] not in new:
            merged += _several(old[before.pop(0)])
        elif now and now[0] not in old:
            merged += _several(new[now.pop(0)])
        else:
            before.pop(0)
            element = now.pop(0)
            merged.append(merge(old[element], new[element], type.of_item()))
    return merged


def _several(item: Any) -> list[Any]:
    return list(item) if item.__class__ is tuple else [item]


def remove(value: Any, fields: FieldSet, type: FieldType) -> Any:
    """A value without some fields and what is below them."""
    if type.is_map(value):
        kept = {}
        for name, sub in value.items():
            left = _remove_one(sub, fields.get(f"f:{name}"), type.of(name))
            if left is not ABSENT:
                kept[name] = left
        return kept
    items = _items(value, type) if type.is_list(value) else None
    if items is None:
        return value
    rest: list[Any] = []
    for element, item in items.items():
        left = _remove_one(item, fields.get(element), type.of_item())
        if left is not ABSENT:
            rest += _several(left)
    return rest


def _remove_one(value: Any, node: FieldSet | None, type: FieldType) -> Any:
    if node is None:
        return value
    return ABSENT if is_member(node) else remove(value, node, type)


def with_named(fields: FieldSet, type: FieldType) -> FieldSet:
    """The set with every named field in it that something below is in: they are owned without being written down."""
    made: FieldSet = {}
    for element, node in fields.items():
        if not node:
            made[element] = node
            continue
        form, _, name = element.partition(":")
        below = with_named(node, type.of(name) if form == "f" else type.of_item())
        if form == "f" and type.names(name):
            below[field_sets.SELF] = {}
        made[element] = below
    return made


def fitted(fields: FieldSet, value: Any, type: FieldType) -> FieldSet:
    """The set under the type of today: what has become one value since it was made is owned as one."""
    made: FieldSet = {}
    for element, node in fields.items():
        if not node:
            made[element] = node
            continue
        form, _, name = element.partition(":")
        sub_type = type.of(name) if form == "f" else type.of_item()
        sub = _at(value, element, type)
        whole = sub is not ABSENT and not (sub_type.is_map(sub) or sub_type.is_list(sub))
        made[element] = {} if whole else fitted(node, sub, sub_type)
    return made


def _at(value: Any, element: str, type: FieldType) -> Any:
    if element.startswith("f:"):
        return _dict(value).get(element[2:], ABSENT)
    return (_items(_list(value), type) or {}).get(element, ABSENT)
