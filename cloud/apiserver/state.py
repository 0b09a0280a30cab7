"""The objects in memory: what is committed, which readers see, and what is written but not yet on disk, which only later
writes build on.

Objects are kept as encoded JSON: a tenth of the memory of dicts, and answers and watch events are spliced from it without
encoding again. Every change is first pending; when the store has it on disk, `commit` makes it visible in order. A revision
is one number for the whole server: the resourceVersion of the object changed by it.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

from cloud.apiserver import managed_fields
from cloud.apiserver.managed_fields import NOBODY, Managed

Name = tuple[str, str]
"""(namespace, name); the namespace is "" for objects outside any."""

NO_LABELS: Mapping[str, str] = MappingProxyType({})


class Stored:
    """One version of one object; never changed."""

    __slots__ = ("_split", "body", "fields", "labels", "managed", "name", "namespace", "revision", "schema", "storage")

    def __init__(
        self,
        storage: str,
        namespace: str,
        name: str,
        revision: int,
        body: bytes,
        labels: Mapping[str, str] = NO_LABELS,
        fields: Mapping[str, str] = NO_LABELS,
        schema: object = None,
        managed: Managed = NOBODY,
        split: int = 0,
    ) -> None:
        """`split` is where in the body, at the end of the metadata, the managed fields have their place."""
        self.storage = storage
        self.namespace = namespace
        self.name = name
        self.revision = revision
        self.body = body
        """The object without its managed fields, which hardly anything here needs and which are as large as all the rest."""
        self.labels = labels
        self.fields = fields
        self.schema = schema
        """The schema it was admitted under, where it was in this process."""
        self.managed = managed
        self._split = split

    @property
    def data(self) -> bytes:
        """The whole object as clients and the disk get it."""
        if not self.managed:
            return self.body
        head, tail = self.body[: self._split], self.body[self._split :]
        return b"".join((head, b',"managedFields":', managed_fields.encode(self.managed), tail))


@dataclass(slots=True)
class Change:
    """One object before and after a revision."""

    revision: int
    before: Stored | None
    after: Stored
    removed: bool = False
    """Whether the object is gone; `after` is then its last state, with the revision of its removal."""


@dataclass(slots=True)
class Transaction:
    """The changes of one request: all of them reach the disk, or none."""

    changes: list[Change] = field(default_factory=list)


class State:
    """Every object, and the revision it all stands at."""

    def __init__(self) -> None:
        self.assigned = 1
        """The newest revision given to a change."""
        self.revision = 1
        """The newest revision on disk."""
        self._committed: dict[str, dict[Name, Stored]] = {}
        self._pending: dict[str, dict[Name, Change]] = {}
        self._order: dict[str, list[Name]] = {}
        self._undo: list[tuple[str, Name, Change | None]] = []
        self._attempting = False

    def load(self, objects: Iterable[Stored], revision: int) -> None:
        """Start from what the store has."""
        for stored in objects:
            self._committed.setdefault(stored.storage, {})[stored.namespace, stored.name] = stored
        self.revision = self.assigned = max(revision, 1)

    def current(self, storage: str, namespace: str, name: str) -> Stored | None:
        """The object as readers see it."""
        return self._committed.get(storage, {}).get((namespace, name))

    def current_all(self, storage: str, namespace: str = "") -> list[Stored]:
        """Every object of a kind as readers see it, in order of namespace and name."""
        found = self._committed.get(storage, {})
        ordered = self._order.get(storage)
        if ordered is None:
            ordered = self._order[storage] = sorted(found)
        return [found[name] for name in ordered if not namespace or name[0] == namespace]

    def newest(self, storage: str, namespace: str, name: str) -> Stored | None:
        """The object as the next write finds it."""
        pending = self._pending.get(storage, {}).get((namespace, name))
        if pending is not None:
            return None if pending.removed else pending.after
        return self.current(storage, namespace, name)

    def newest_all(self, storage: str, namespace: str = "") -> Iterator[Stored]:
        """Every object of a kind as the next write finds it."""
        pending = self._pending.get(storage, {})
        names = dict.fromkeys([*self._committed.get(storage, {}), *pending])
        for name in names:
            if not namespace or name[0] == namespace:
                found = self.newest(storage, *name)
                if found is not None:
                    yield found

    def is_pending(self, stored: Stored) -> bool:
        """Whether this version of an object waits for the disk."""
        return stored.revision > self.revision

    def pending_after(self, revision: int) -> Transaction:
        """What was put after a revision and waits for the disk, in order; of an object only its newest change."""
        found = [c for changes in self._pending.values() for c in changes.values() if c.revision > revision]
        return Transaction(sorted(found, key=lambda change: change.revision))

    def next_revision(self) -> int:
        """A revision for a change that is about to be `put`."""
        self.assigned += 1
        return self.assigned

    def put(self, change: Change) -> None:
        """Take a change as pending."""
        after = change.after
        name = (after.namespace, after.name)
        pending = self._pending.setdefault(after.storage, {})
        if self._attempting:
            self._undo.append((after.storage, name, pending.get(name)))
        pending[name] = change

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """What is put within is pending as a whole, or, when it ends in an error, not at all.

        Otherwise every later write would find what no reader ever sees, and conflict with it. Nothing may be waited for within.
        """
        self._attempting = True
        try:
            yield
        except BaseException:
            for storage, name, before in reversed(self._undo):
                if before is None:
                    self._pending[storage].pop(name, None)
                else:
                    self._pending[storage][name] = before
            raise
        finally:
            self._attempting = False
            self._undo.clear()

    def commit(self, transaction: Transaction) -> None:
        """Make the changes of a transaction visible; transactions come in the order they were put."""
        for change in transaction.changes:
            after = change.after
            name = (after.namespace, after.name)
            objects = self._committed.setdefault(after.storage, {})
            if change.removed:
                objects.pop(name, None)
            else:
                objects[name] = after
            if change.removed or change.before is None:
                self._order.pop(after.storage, None)
            self.revision = change.revision
            pending = self._pending.get(after.storage, {})
            if pending.get(name) is change:
                del pending[name]

    def rollback(self) -> None:
        """Forget everything pending: the store could not keep it. Revisions given to it are not given again in this process.

        Readers stay at the newest revision on disk: one that is not there would be given to another change after a restart.
        """
        self._pending.clear()

    def counts(self) -> dict[str, int]:
        """Storage name -> number of objects."""
        return {storage: len(objects) for storage, objects in self._committed.items()}
