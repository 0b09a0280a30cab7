"""What a list-watch has told so far, so that it can go on after a gap. No I/O."""

from collections.abc import Iterable, Iterator

from cloud.objects import Added, Deleted, Event, Modified, Object

ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"
"""The words of the API."""


class Reflection:
    """The objects of one type, each with its uid and version; not the objects themselves."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, str]] = {}
        self._seen: set[str] | None = None
        self.version = ""
        """The resourceVersion to watch from; empty when there must be a list first."""

    def begin_list(self) -> None:
        """All objects come anew."""
        self.version = ""
        self._seen = set()

    def listed(self, objects: Iterable[Object]) -> Iterator[Event]:
        """Some of the objects that exist: what is new or different."""
        for object in objects:
            if self._seen is not None:
                self._seen.add(object.id)
            yield from self._exists(object)

    def end_list(self, version: str) -> Iterator[Event]:
        """That was all, at this version: what is gone."""
        seen, self._seen = self._seen or set(), None
        for id in [id for id in self._known if id not in seen]:
            yield from self._gone(id)
        self.version = version

    def watched(self, kind: str, object: Object) -> Iterator[Event]:
        """An event of the watch, in the API's words; one that was told before, or of an unknown kind, is none."""
        self.version = object.version
        if kind == DELETED:
            yield from self._gone(object.id)
        elif kind in (ADDED, MODIFIED):
            yield from self._exists(object)

    def _exists(self, object: Object) -> Iterator[Event]:
        known = self._known.get(object.id)
        if known == (object.uid, object.version):
            return
        if known is not None and known[0] != object.uid:
            yield from self._gone(object.id)
            known = None
        self._known[object.id] = (object.uid, object.version)
        yield Added(object) if known is None else Modified(object)

    def _gone(self, id: str) -> Iterator[Event]:
        known = self._known.pop(id, None)
        if known is not None:
            namespace, _, name = id.rpartition("/")
            yield Deleted(Object(namespace, name, *known, 0, b""))
