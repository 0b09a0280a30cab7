"""Objects, lists and watch events as the bytes a client asked for: whole objects, Tables, or their metadata only."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from cloud.apiserver import table
from cloud.apiserver.bodies import as_version
from cloud.apiserver.listing import Page
from cloud.apiserver.resources import Resource
from cloud.apiserver.state import Stored
from cloud.apiserver.watch import DELETED, Delivery

OBJECT, TABLE, PARTIAL = "object", "Table", "PartialObjectMetadata"
PIECE_BYTES = 64 << 10
"""Bytes of a list that are put together at once, and what a single object needs beyond."""


class Form(NamedTuple):
    """What an object looks like to one client; equal forms share encodings."""

    api_version: str
    shape: str = OBJECT
    include: str = "Metadata"
    """What a Table row carries beside its cells: None, Metadata or Object."""


class Renderer:
    """Encodes for one resource and one form."""

    def __init__(self, resource: Resource, form: Form, now: Callable[[], datetime]) -> None:
        self._resource = resource
        self._form = form
        self._now = now
        self._as_stored = (
            form.shape == OBJECT and resource.api_version == resource.stored_as and resource.translate is None
        )
        self._columns_sent = False

    def one(self, stored: Stored) -> bytes:
        """A single object."""
        if self._as_stored:
            return stored.data
        return self._encode(self._decode(stored), str(stored.revision), with_columns=True)

    def many(self, page: Page) -> Iterator[bytes]:
        """A list, in pieces: a long one is never in memory as a whole."""
        meta = page.metadata
        if self._form.shape == TABLE:
            columns, now = self._resource.columns, self._now()
            rows = [table.row(columns, self._decode(s), now, self._form.include) for s in page.items]
            yield msgspec.json.encode(table.table(columns, rows, dict(meta)))
            return
        if self._form.shape == PARTIAL:
            kind, version = "PartialObjectMetadataList", "meta.k8s.io/v1"
        else:
            kind, version = self._resource.list_kind, self._resource.api_version
        head = msgspec.json.encode({"kind": kind, "apiVersion": version, "metadata": meta, "items": []})
        parts, size = [head[:-2]], 0
        for at, stored in enumerate(page.items):
            parts.append(b"," + self.one(stored) if at else self.one(stored))
            size += len(parts[-1])
            if size > PIECE_BYTES:
                yield b"".join(parts)
                parts, size = [], 0
        yield b"".join((*parts, b"]}"))

    def event(self, delivery: Delivery) -> bytes:
        """One line of a watch."""
        event = delivery.event
        with_columns = self._form.shape == TABLE and not self._columns_sent
        self._columns_sent = True
        key = (self._form, delivery.type, with_columns)

        def encode() -> bytes:
            if delivery.type == DELETED and not event.removed and event.before is not None:
                # It left the selection: the watch gets the object it knew, at the revision of the change.
                obj = self._decode(event.before)
                obj["metadata"]["resourceVersion"] = str(event.revision)
                return line(delivery.type, self._encode(obj, str(event.revision), with_columns))
            if self._as_stored:
                return line(delivery.type, event.stored.data)
            return line(delivery.type, self._encode(self._decode(event.stored), str(event.revision), with_columns))

        return event.encoded(key, encode)

    def initial(self, stored: Stored) -> bytes:
        """One line of a watch that begins with what is there."""
        with_columns = self._form.shape == TABLE and not self._columns_sent
        self._columns_sent = True
        if self._as_stored:
            return line("ADDED", stored.data)
        return line("ADDED", self._encode(self._decode(stored), str(stored.revision), with_columns))

    def bookmark(self, revision: int, initial_events_end: bool = False) -> bytes:
        """A line that says how far the watch has come."""
        meta: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial_events_end:
            meta["annotations"] = {"k8s.io/initial-events-end": "true"}
        if self._form.shape == TABLE:
            body = table.table((), [], {"resourceVersion": str(revision)})
        elif self._form.shape == PARTIAL:
            body = {"kind": PARTIAL, "apiVersion": "meta.k8s.io/v1", "metadata": meta}
        else:
            body = {"kind": self._resource.kind, "apiVersion": self._resource.api_version, "metadata": meta}
        return line("BOOKMARK", msgspec.json.encode(body))

    def _decode(self, stored: Stored) -> dict[str, Any]:
        return as_version(self._resource, msgspec.json.decode(stored.data))

    def _encode(self, obj: dict[str, Any], revision: str, with_columns: bool) -> bytes:
        if self._form.shape == TABLE:
            columns = self._resource.columns
            rows = [table.row(columns, obj, self._now(), self._form.include)]
            shown = columns if with_columns else ()
            return msgspec.json.encode(table.table(shown, rows, {"resourceVersion": revision}))
        if self._form.shape == PARTIAL:
            return msgspec.json.encode(table.partial(obj))
        return msgspec.json.encode(obj)


def line(type: str, body: bytes) -> bytes:
    """A watch event, spliced around an encoded object."""
    return b'{"type":"' + type.encode() + b'","object":' + body + b"}\n"
