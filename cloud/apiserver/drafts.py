"""The changes of one request as they are made: encoded, numbered and pending in the state."""

from typing import Any

import msgspec

from cloud.apiserver.resources import Resource
from cloud.apiserver.state import NO_LABELS, Change, State, Stored, Transaction

Object = dict[str, Any]


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

    def put(self, resource: Resource, obj: Object, before: Stored | None) -> Stored:
        """Take an object as new or changed; sets its resourceVersion."""
        return self._add(resource, obj, before, removed=False)

    def remove(self, resource: Resource, obj: Object, before: Stored) -> Stored:
        """Take an object as gone; `obj` is its last state."""
        return self._add(resource, obj, before, removed=True)

    def _add(self, resource: Resource, obj: Object, before: Stored | None, removed: bool) -> Stored:
        if self._dry_run:
            revision = 0 if before is None else before.revision
        else:
            revision = self._state.next_revision()
        meta = obj["metadata"]
        if revision:
            meta["resourceVersion"] = str(revision)
        after = Stored(
            resource.storage,
            meta.get("namespace", ""),
            meta["name"],
            revision,
            msgspec.json.encode(obj),
            schema=resource.schema,
        )
        index(resource, after, obj)
        if not self._dry_run:
            change = Change(revision, before, after, removed)
            self._state.put(change)
            self._transaction.changes.append(change)
        return after


def index(resource: Resource, stored: Stored, obj: Object) -> None:
    """Note the labels and fields that selectors may ask for."""
    stored.labels = obj["metadata"].get("labels") or NO_LABELS
    if resource.fields:
        stored.fields = {name: _text(find(obj)) for name, find in resource.fields.items()}


def _text(values: list[Any]) -> str:
    if not values or values[0] is None:
        return ""
    value = values[0]
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
