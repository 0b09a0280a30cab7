"""Carries out what planners say of Deployments, ReplicaSets and DaemonSets: one controller for each planner.

It knows which objects an owner owns, asks the planner whenever one of them changes, and writes what the plan says through the
same gate as every client. What is refused is told in an Event and tried again after a while.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec

from cloud.apiserver import event_records, patches
from cloud.apiserver.deletion import DeleteOptions, Preconditions
from cloud.apiserver.event_records import NORMAL, WARNING, Note
from cloud.apiserver.metadata import OwnerReference
from cloud.apiserver.objects import Objects
from cloud.apiserver.propagation import BACKGROUND
from cloud.apiserver.resources import Resource
from cloud.apiserver.state import Change, Stored, Transaction
from cloud.apiserver.status import ApiError
from cloud.apiserver.workloads import Object, Plan
from cloud.apiserver.writes import WriteOptions, Written

log = logging.getLogger(__name__)

MANAGER = "kube-controller-manager"
"""Who owns what it writes."""
BATCH = 8
"""Owners that are looked after in one go."""
RETRY_AFTER = timedelta(seconds=0.2)
"""After a write was refused because somebody else changed the object."""
REFUSED_AFTER = timedelta(seconds=10)
"""After what an owner asks for was refused."""
MANY, COALESCED_AFTER = 50, timedelta(seconds=0.5)
"""An owner of more than that is not looked after at each change of one of them, but when that has passed."""
_C = TypeVar("_C")


class Key(NamedTuple):
    """Which owner."""

    namespace: str
    name: str


class Planner(Protocol[_C]):
    """Knows what is to be done for owners of a kind; `_C` is how it sees what they own."""

    @property
    def name(self) -> str:
        """Who does it, in Events and managed fields."""
        ...

    @property
    def storage(self) -> str:
        """The storage name of the owners."""
        ...

    @property
    def children(self) -> str:
        """The storage name of what they own."""
        ...

    def load(self) -> None:
        """Forget what else was known."""
        ...

    def concerns_all(self, change: Change) -> bool:
        """Whether a change of something else means that all owners are to be looked at."""
        ...

    def read(self, stored: Stored) -> _C | None:
        """An owned object, or None for one that cannot be understood."""
        ...

    def gone(self, uid: str) -> None:
        """An owner is no more."""
        ...

    def plan(self, owner: Object, children: Sequence[_C], now: datetime) -> Plan:
        """What is to be done for an owner."""
        ...


class _Meta(msgspec.Struct, rename="camel"):
    uid: str = ""
    owner_references: list[OwnerReference] = []


class _Owned(msgspec.Struct):
    metadata: _Meta


_owned = msgspec.json.Decoder(_Owned)


class WorkloadController(Generic[_C]):
    """The controller of one kind. It is a `controllers.Controller`."""

    def __init__(self, objects: Objects, planner: Planner[_C]) -> None:
        self.name = planner.name
        self._objects = objects
        self._planner = planner
        self._owners: dict[str, Key] = {}
        """Uid -> where it is."""
        self._children: dict[str, dict[Key, _C]] = {}
        """Owner's uid -> what it owns."""
        self._owner_of: dict[Key, str] = {}
        self._due: dict[Key, datetime] = {}

    def load(self) -> None:
        """Start from the committed state."""
        for known in (self._owners, self._children, self._owner_of, self._due):
            known.clear()
        self._planner.load()
        for stored in self._objects.state.current_all(self._planner.children):
            self._child_is(stored)
        for stored in self._objects.state.current_all(self._planner.storage):
            self._owner_is(stored)

    def observe(self, change: Change) -> None:
        """A change is committed."""
        after = change.after
        if after.storage == self._planner.storage:
            if change.removed:
                self._owner_gone(after)
            else:
                self._owner_is(after)
        elif after.storage == self._planner.children:
            if change.removed:
                self._child_gone(Key(after.namespace, after.name))
            else:
                self._child_is(after)
        if self._planner.concerns_all(change):
            for key in self._owners.values():
                self._mark(key)

    def due(self) -> datetime | None:
        """When there is something to do; None when there is nothing."""
        return min(self._due.values(), default=None)

    def work(self) -> Transaction | None:
        """Look after some of the owners whose turn it is; None when nothing was to be written."""
        now = self._objects.now()
        done = Transaction()
        for key in [key for key, at in self._due.items() if at <= now][:BATCH]:
            del self._due[key]
            done.changes += self._look_after(key, now)
        return done if done.changes else None

    def failed(self, transaction: Transaction) -> None:
        """The store could not keep what `work` returned."""
        self.load()

    # What there is

    def _mark(self, key: Key, at: datetime | None = None) -> None:
        at = self._objects.now() if at is None else at
        self._due[key] = min(at, self._due.get(key, at))

    def _owner_is(self, stored: Stored) -> None:
        key = Key(stored.namespace, stored.name)
        self._owners[_owned.decode(stored.body).metadata.uid] = key
        self._mark(key)

    def _owner_gone(self, stored: Stored) -> None:
        uid = _owned.decode(stored.body).metadata.uid
        self._owners.pop(uid, None)
        self._due.pop(Key(stored.namespace, stored.name), None)
        self._planner.gone(uid)

    def _child_is(self, stored: Stored) -> None:
        key = Key(stored.namespace, stored.name)
        uid = _controller_of(stored)
        read = self._planner.read(stored) if uid else None
        if read is None or self._owner_of.get(key, uid) != uid:
            self._child_gone(key)
        if read is None:
            return
        self._owner_of[key] = uid
        self._children.setdefault(uid, {})[key] = read
        self._mark_owner(uid)

    def _child_gone(self, key: Key) -> None:
        uid = self._owner_of.pop(key, None)
        if uid is None:
            return
        children = self._children[uid]
        del children[key]
        if not children:
            del self._children[uid]
        self._mark_owner(uid)

    def _mark_owner(self, uid: str) -> None:
        if uid in self._owners:
            many = len(self._children.get(uid, ())) > MANY
            self._mark(self._owners[uid], self._objects.now() + COALESCED_AFTER if many else None)

    # What is done

    def _look_after(self, key: Key, now: datetime) -> list[Change]:
        stored = self._objects.state.current(self._planner.storage, *key)
        if stored is None:
            return []
        owner: Object = msgspec.json.decode(stored.body)
        children = self._children.get(owner["metadata"]["uid"], {})
        plan = self._planner.plan(owner, list(children.values()), now)
        if plan.again is not None:
            self._mark(key, plan.again)
        changes: list[Change] = []
        try:
            self._carry_out(stored, owner, plan, changes)
        except ApiError as error:
            if error.code in (404, 409):
                log.debug("= refused owner=%s/%s error=%s", *key, error)
                self._mark(key, now + RETRY_AFTER)
            else:
                log.warning("= refused owner=%s/%s controller=%s error=%s", *key, self.name, error)
                self._mark(key, now + REFUSED_AFTER)
                note = Note(WARNING, "FailedCreate", "Create", f"Error creating: {error}"[:1024], self.name)
                changes += event_records.record(self._objects, stored, note)
        return changes

    def _carry_out(self, stored: Stored, owner: Object, plan: Plan, changes: list[Change]) -> None:
        """Write what a plan says, and note what was written. Raises ApiError."""
        kind = self._resource(self._planner.children)
        options = WriteOptions(field_manager=MANAGER)
        for change in plan.change:
            patch = patches.MERGE, msgspec.json.encode(change.patch)
            changes += _changes(self._objects.patch(kind, stored.namespace, change.name, patch, options))
        for deletion in plan.delete:
            asked = DeleteOptions(preconditions=Preconditions(uid=deletion.uid), propagation_policy=BACKGROUND)
            changes += _changes(self._objects.delete(kind, stored.namespace, deletion.name, asked))
            self._tell(stored, kind, "SuccessfulDelete", f"Deleted {kind.singular}: {deletion.name}", changes)
        for wanted in plan.create:
            made = self._objects.create(kind, stored.namespace, wanted, options)
            changes += _changes(made)
            self._tell(stored, kind, "SuccessfulCreate", f"Created {kind.singular}: {made.stored.name}", changes)
        for note in plan.notes:
            changes += event_records.record(self._objects, stored, note)
        if plan.own:
            patch = patches.MERGE, msgspec.json.encode(plan.own)
            changes += _changes(self._objects.patch(self._owners_kind, stored.namespace, stored.name, patch, options))
        present = owner.get("status") or {}
        if plan.status is not None and any(present.get(name) != value for name, value in plan.status.items()):
            patch = patches.MERGE, msgspec.json.encode({"status": plan.status})
            written = self._objects.patch(self._owners_kind, stored.namespace, stored.name, patch, options, "status")
            changes += _changes(written)

    def _tell(self, stored: Stored, kind: Resource, reason: str, message: str, changes: list[Change]) -> None:
        if kind.storage == "pods":
            note = Note(NORMAL, reason, reason.removeprefix("Successful"), message, self.name)
            changes += event_records.record(self._objects, stored, note)

    @property
    def _owners_kind(self) -> Resource:
        return self._resource(self._planner.storage)

    def _resource(self, storage: str) -> Resource:
        resource = self._objects.registry.stored_as(storage)
        assert resource is not None
        return resource


def _controller_of(stored: Stored) -> str:
    """The uid of the controller that owns an object; empty when none does."""
    if b'"ownerReferences"' not in stored.body:
        return ""
    references = _owned.decode(stored.body).metadata.owner_references
    return next((reference.uid for reference in references if reference.controller), "")


def _changes(written: Written) -> list[Change]:
    return written.transaction.changes if written.transaction is not None else []
