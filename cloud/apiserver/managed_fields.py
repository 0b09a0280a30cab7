"""Who manages which fields of an object: `metadata.managedFields` through creates, updates and patches, and server-side apply.

Every entry belongs to a manager: a name, the operation (Apply or Update), the apiVersion and the subresource it writes to.
Whoever changes a field takes it from all others; whoever applies a configuration owns just the fields in it, shares those that
already have the value, and gets a conflict for those that somebody else owns with another value, unless it insists.

Entries are immutable and keep their fields encoded (`field_sets.encode`), so that an object costs little more than the bytes it
is answered with, and a write that changes no ownership, such as most reports of a device, decodes nothing but what a cache has.

After kubernetes.io/docs/reference/using-api/server-side-apply and sigs.k8s.io/structured-merge-diff (merge).
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from cloud.apiserver import field_sets, typed_values
from cloud.apiserver.field_sets import FieldSet, FieldSetError, difference, intersection, union
from cloud.apiserver.field_types import FieldType

Object = dict[str, Any]
APPLY, UPDATE = "Apply", "Update"
UPDATERS_LIMIT = 10
"""Entries of updates; the oldest beyond are put together under one name, as kube-apiserver does."""
ANCIENT = "ancient-changes"
_SYSTEM = field_sets.of(
    ("f:apiVersion",),
    ("f:kind",),
    *(
        ("f:metadata", f"f:{name}")
        for name in (
            "name",
            "namespace",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "selfLink",
            "uid",
            "generation",
            "managedFields",
            "resourceVersion",
        )
    ),
)
"""Fields that the server or the URL sets: nobody owns them."""
_METADATA = field_sets.of(("f:metadata",))


class Manager(msgspec.Struct, frozen=True):
    """Who writes, and how."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What makes two entries one: applies are the same in any version."""
        version = "" if self.operation == APPLY else self.api_version
        return self.name, self.operation, version, self.subresource


class Entry(msgspec.Struct, frozen=True, gc=False):
    """The fields of one manager."""

    manager: Manager
    fields: bytes
    """As `field_sets.encode` gives them."""
    time: str
    """Of the last change of the fields, or by the manager; RFC 3339, seconds."""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """That of its manager."""
        return self.manager.identity


Managed = tuple[Entry, ...]
NOBODY: Managed = ()


class Conflicts(Exception):
    """An apply would take fields from others: (entry, path) of each."""

    def __init__(self, found: Sequence[tuple[Entry, field_sets.Path]]) -> None:
        super().__init__("; ".join(f"{entry.manager.name}: {field_sets.text(path)}" for entry, path in found))
        self.found = found


class _Written(msgspec.Struct, rename="camel", omit_defaults=True):
    """An entry as it stands in an object."""

    manager: str = ""
    operation: str = ""
    api_version: str = ""
    time: str | None = None
    fields_type: str = ""
    fields_v1: Any = msgspec.field(default=None, name="fieldsV1")
    subresource: str = ""


def encode(managed: Managed) -> bytes:
    """The JSON of `metadata.managedFields`."""
    return b"[" + b",".join([_encode_entry(entry) for entry in managed]) + b"]"


def _encode_entry(entry: Entry) -> bytes:
    head, tail = _around(entry.manager)
    time = b',"time":' + msgspec.json.encode(entry.time) if entry.time else b""
    return b"".join((head, time, b',"fieldsType":"FieldsV1","fieldsV1":', entry.fields, tail))


@lru_cache(256)
def _around(manager: Manager) -> tuple[bytes, bytes]:
    """What of an entry stands before the time, and what behind the fields."""
    head = {"manager": manager.name, "operation": manager.operation, "apiVersion": manager.api_version}
    tail = b',"subresource":' + msgspec.json.encode(manager.subresource) if manager.subresource else b""
    return msgspec.json.encode(head)[:-1], tail + b"}"


def decode(written: Any) -> Managed:
    """The entries in `metadata.managedFields`. Raises FieldSetError when they are not of that form."""
    try:
        found = msgspec.convert(written, list[_Written])
    except msgspec.ValidationError as error:
        raise FieldSetError(str(error)) from error
    managed: dict[tuple[str, str, str, str], Entry] = {}
    for one in found:
        if one.operation not in (APPLY, UPDATE) or one.fields_type != "FieldsV1":
            raise FieldSetError("operation must be Apply or Update, and fieldsType FieldsV1")
        manager = Manager(one.manager, one.operation, one.api_version, one.subresource)
        entry = Entry(manager, field_sets.encode(field_sets.parse(one.fields_v1 or {})), one.time or "")
        managed[entry.identity] = entry
    return _ordered(managed.values())


def is_reset(written: Any) -> bool:
    """Whether a client asks for the ownership of all fields to be forgotten."""
    return written == [] or (isinstance(written, list) and len(written) == 1 and written[0] == {})


def same(one: Managed, other: Managed) -> bool:
    """Whether the same managers own the same fields, at whatever time."""
    if one is other:
        return True
    return [(e.manager, e.fields) for e in one] == [(e.manager, e.fields) for e in other]


def updated(
    managed: Managed,
    manager: Manager,
    before: Object,
    after: Object,
    type: FieldType,
    time: str,
    ignored: Iterable[str] = (),
) -> Managed:
    """The entries after a manager has put one object in the place of another.

    `ignored` are top-level fields whose change is nobody's: the manager wrote to the other side of the status subresource.
    """
    change = typed_values.compare(_without(before, ignored), _without(after, ignored), type)
    taken = _owned(union(change.added, change.modified), ())
    gone = change.removed
    if not taken and not gone:
        return managed
    made: dict[tuple[str, str, str, str], Entry] = {}
    for entry in managed:
        if entry.identity == manager.identity:
            made[entry.identity] = entry
        elif (kept := _less(entry, taken, gone)) is not None:
            made[entry.identity] = kept
    mine = made.get(manager.identity)
    if mine is not None and (kept := _less(mine, {}, gone)) is not mine:
        mine = kept
        if mine is None:
            del made[manager.identity]
        else:
            made[manager.identity] = mine
    if taken:
        fields = b""
        if mine is not None:
            held = field_sets.decode(mine.fields)
            fields = mine.fields if field_sets.includes(held, taken) else field_sets.encode(union(held, taken))
        made[manager.identity] = Entry(manager, fields or field_sets.encode(taken), time)
    return _ordered(_capped(made.values()))


def _without(obj: Object, ignored: Iterable[str]) -> Object:
    return {name: value for name, value in obj.items() if name not in ignored}


def _owned(fields: FieldSet, ignored: Iterable[str]) -> FieldSet:
    """The set without what nobody owns."""
    if not fields:
        return fields
    owned = field_sets.difference(field_sets.difference_below(fields, _SYSTEM), _METADATA)
    return {element: node for element, node in owned.items() if element.removeprefix("f:") not in ignored}


def _less(entry: Entry, taken: FieldSet, gone: FieldSet) -> Entry | None:
    """An entry without fields that others took, and those that are gone; None when nothing is left."""
    fields = field_sets.decode(entry.fields)
    if field_sets.disjoint(fields, taken) and field_sets.disjoint(fields, gone):
        return entry
    left = difference(difference(fields, taken), gone)
    return Entry(entry.manager, field_sets.encode(left), entry.time) if left else None


def applied(
    managed: Managed,
    manager: Manager,
    live: Object,
    config: Object,
    type: FieldType,
    time: str,
    *,
    ignored: Iterable[str] = (),
    force: bool = False,
) -> tuple[Object, Managed]:
    """The object after a manager has applied a configuration to it, and the entries.

    Fields that the manager applied before, and no longer does, are gone unless somebody else owns them. Raises Conflicts unless
    `force`d, and TypedError for a configuration that the type has no place for.
    """
    mine = _owned(typed_values.fields_of(config, type, strict=True), ignored)
    owned = {entry.identity: typed_values.fitted(field_sets.decode(entry.fields), live, type) for entry in managed}
    before = owned.get(manager.identity)
    owned[manager.identity] = mine
    merged = typed_values.merge(live, config, type)
    if before:
        merged = _pruned(merged, before, owned.values(), type)
    change = typed_values.compare(_without(live, ignored), _without(merged, ignored), type)
    changed = union(change.added, change.modified)
    others = [entry for entry in managed if entry.identity != manager.identity]
    if not force:
        _refuse_conflicts(others, owned, changed)
    made: list[Entry] = []
    for entry in others:
        left = difference(difference(owned[entry.identity], changed), change.removed)
        if left:
            made.append(Entry(entry.manager, field_sets.encode(left), entry.time))
    if mine:
        made.append(Entry(manager, field_sets.encode(mine), time))
    return merged, _ordered(made)


def _pruned(merged: Object, before: FieldSet, owned: Iterable[FieldSet], type: FieldType) -> Object:
    """The object without what the manager applied before, except for what is owned now."""

    def named(fields: FieldSet) -> FieldSet:
        return typed_values.with_named(fields, type)

    def taken_out(fields: FieldSet) -> Object:
        left: Object = typed_values.remove(merged, fields, type)
        return left

    everything = named(typed_values.fields_of(merged, type))
    applied_before = named(before)
    kept: FieldSet = named(typed_values.fields_of(taken_out(applied_before), type))
    for fields in owned:
        kept = union(kept, named(fields))
    left = named(typed_values.fields_of(taken_out(difference(everything, kept)), type))
    # What is nobody's but was not applied before either, such as a default below a field that goes, stays.
    return taken_out(intersection(difference(everything, left), applied_before))


def _refuse_conflicts(
    others: Iterable[Entry], owned: Mapping[tuple[str, str, str, str], FieldSet], changed: FieldSet
) -> None:
    found = [
        (entry, path) for entry in others for path in field_sets.paths(intersection(owned[entry.identity], changed))
    ]
    if found:
        raise Conflicts(found)


def _capped(entries: Iterable[Entry]) -> list[Entry]:
    """At most so many entries of updates: the oldest share one for each version."""
    kept = list(entries)
    updates = sorted((e for e in kept if e.manager.operation == UPDATE), key=lambda e: (e.time, e.identity))
    if len(updates) <= UPDATERS_LIMIT:
        return kept
    ancient: dict[str, Entry] = {e.manager.api_version: e for e in updates if e.manager.name == ANCIENT}
    for entry in [e for e in updates if e.manager.name != ANCIENT]:
        if len([e for e in kept if e.manager.operation == UPDATE]) <= UPDATERS_LIMIT:
            break
        kept.remove(entry)
        version = entry.manager.api_version
        fields, bucket = entry.fields, ancient.get(version)
        if bucket is not None:
            kept.remove(bucket)
            fields = field_sets.encode(union(field_sets.decode(bucket.fields), field_sets.decode(fields)))
        ancient[version] = Entry(Manager(ANCIENT, UPDATE, version), fields, entry.time)
        kept.append(ancient[version])
    return kept


def _ordered(entries: Iterable[Entry]) -> Managed:
    """Applies first, then by time and name."""
    return tuple(sorted(entries, key=lambda e: (e.manager.operation, e.time, e.manager.name, e.identity)))
