"""The changes of one request as they are made: encoded, numbered and pending in the state."""

import sys
from typing import Any

import msgspec

from cloud.apiserver import managed_fields, status
from cloud.apiserver.field_sets import FieldSetError
from cloud.apiserver.managed_fields import NOBODY, Managed
from cloud.apiserver.resources import Resource
from cloud.apiserver.state import NO_LABELS, Change, State, Stored, Transaction

Object = dict[str, Any]
OBJECT_LIMIT = 3 << 20
"""Bytes of an object that a client writes: no more than it can send at once, so that none grows without end by patches."""
_IDENTITY = ("apiVersion", "kind", "metadata")


class Draft:
    """Changes on their way into one transaction."""

    def __init__(self, state: State, dry_run: bool = False) -> None:
        """A dry run leaves no trace: what is put is only encoded."""
        self._state = state
        self._dry_run = dry_run
        self._transaction = Transaction()

    @property
    def transaction(self) -> Transaction | None:
        """The changes so far; None of a dry run."""
        return None if self._dry_run else self._transaction

    def put(self, resource: Resource, obj: Object, before: Stored | None, managed: Managed | None = None) -> Stored:
        """Take an object as new or changed; sets its resourceVersion. Fields stay managed as they were unless said otherwise."""
        return self._add(resource, obj, before, managed, removed=False)

    def write(self, resource: Resource, obj: Object, before: Stored | None, managed: Managed) -> Stored:
        """The same of what a client wrote. Raises ApiError 413 when that is too large."""
        return self._add(resource, obj, before, managed, removed=False, limit=OBJECT_LIMIT)

    def remove(self, resource: Resource, obj: Object, before: Stored) -> Stored:
        """Take an object as gone; `obj` is its last state."""
        return self._add(resource, obj, before, None, removed=True)

    def _add(
        self,
        resource: Resource,
        obj: Object,
        before: Stored | None,
        managed: Managed | None,
        removed: bool,
        limit: int | None = None,
    ) -> Stored:
        if self._dry_run:
            revision = 0 if before is None else before.revision
        else:
            revision = self._state.next_revision()
        if revision:
            obj["metadata"]["resourceVersion"] = str(revision)
        if managed is None:
            managed = NOBODY if before is None else before.managed
        after = _stored(resource, obj, revision, managed)
        if limit is not None and len(after.body) > limit:
            raise status.too_large(f"the object would have {len(after.body)} bytes, limit is {limit}")
        if not self._dry_run:
            change = Change(revision, before, after, removed)
            self._state.put(change)
            self._transaction.changes.append(change)
        return after


def _stored(resource: Resource, obj: Object, revision: int, managed: Managed) -> Stored:
    """An object encoded, in two parts so that the end of its metadata is known."""
    meta = obj["metadata"]
    meta.pop("managedFields", None)
    identity = msgspec.json.encode({name: obj[name] for name in _IDENTITY})
    rest = {name: value for name, value in obj.items() if name not in _IDENTITY}
    body = identity[:-1] + b"," + msgspec.json.encode(rest)[1:] if rest else identity
    stored = Stored(
        resource.storage,
        sys.intern(meta.get("namespace", "")),
        meta["name"],
        revision,
        body,
        schema=resource.schema,
        managed=managed,
        split=len(identity) - 2,
    )
    index(resource, stored, obj)
    return stored


def restored(resource: Resource, revision: int, data: bytes) -> Stored:
    """An object as the store has it."""
    obj: Object = msgspec.json.decode(data)
    try:
        managed = managed_fields.decode(obj["metadata"].get("managedFields") or [])
    except FieldSetError:
        managed = NOBODY  # better an object that nobody owns than none
    stored = _stored(resource, obj, revision, managed)
    stored.schema = None
    return stored


def index(resource: Resource, stored: Stored, obj: Object) -> None:
    """Note the labels and fields that selectors may ask for."""
    stored.labels = obj["metadata"].get("labels") or NO_LABELS
    if resource.fields:
        stored.fields = {name: sys.intern(_text(find(obj))) for name, find in resource.fields.items()}


def _text(values: list[Any]) -> str:
    if not values or values[0] is None:
        return ""
    value = values[0]
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
