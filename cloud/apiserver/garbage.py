"""Garbage collection: who owns whom, and what to do about owners that are going or gone. A core that only decides.

It follows Kubernetes' garbage collector (pkg/controller/garbagecollector): an object whose owners are all absent is deleted;
one that still has an owner loses its references to the absent ones; an object with the finalizer `foregroundDeletion`
waits for the dependents that block it, one with `orphan` lets its dependents go. An owner is absent when no object of that
kind and name has that uid, in the dependent's namespace or outside any; an owner of a kind that is not served may be anywhere,
so it counts as there.

`observe` takes each committed change, `take` gives what to do now, decided from the committed state. Nothing is remembered that
the objects do not say themselves, so a restart goes on where the last process stopped. Memory grows with the number of owned
objects only.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from cloud.apiserver.metadata import OwnerReference
from cloud.apiserver.propagation import BACKGROUND, FOREGROUND, ORPHAN, ORPHANS_DEPENDENTS, WAITS_FOR_DEPENDENTS
from cloud.apiserver.resources import DEFINITIONS, Registry, Resource
from cloud.apiserver.state import Change, State, Stored

log = logging.getLogger(__name__)

ABSENT_LIMIT = 512
"""Uids of removed objects that are remembered, for owners whose kind went with them."""


class Key(NamedTuple):
    """Which object."""

    storage: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Action:
    """Something to do to one object, if it is still at this uid and revision."""

    key: Key
    uid: str
    revision: int


@dataclass(frozen=True, slots=True)
class Delete(Action):
    """Delete it."""

    policy: str = BACKGROUND


@dataclass(frozen=True, slots=True)
class SetOwners(Action):
    """Give it these owners and no others."""

    owners: tuple[OwnerReference, ...] = ()


@dataclass(frozen=True, slots=True)
class SetFinalizers(Action):
    """Give it these finalizers and no others."""

    finalizers: tuple[str, ...] = ()


class _Meta(msgspec.Struct, rename="camel"):
    uid: str = ""
    deletion_timestamp: str | None = None
    finalizers: list[str] = []
    owner_references: list[OwnerReference] = []

    @property
    def waits(self) -> bool:
        """Whether it is being deleted after its dependents."""
        return self.deletion_timestamp is not None and WAITS_FOR_DEPENDENTS in self.finalizers

    @property
    def orphans(self) -> bool:
        """Whether it is being deleted without its dependents."""
        return self.deletion_timestamp is not None and ORPHANS_DEPENDENTS in self.finalizers


class _Object(msgspec.Struct):
    metadata: _Meta


_object = msgspec.json.Decoder(_Object)
_NOTHING = _Meta()


class Garbage:
    """The owners and dependents among all objects of one server."""

    def __init__(self, registry: Registry, state: State) -> None:
        self._registry = registry
        self._state = state
        self._owners: dict[Key, tuple[OwnerReference, ...]] = {}
        self._dependents: dict[str, dict[Key, None]] = {}
        self._going: dict[str, Key] = {}
        """Uid of an object that is deleted in the foreground or with orphans -> where it is."""
        self._unknown: set[Key] = set()
        """Dependents with an owner of a kind that is not served."""
        self._absent: OrderedDict[str, str] = OrderedDict()
        """Uid of a removed object -> the namespace it was in."""
        self._queue: OrderedDict[Key, None] = OrderedDict()

    def load(self) -> None:
        """Start from the committed state."""
        for storage in self._registry.storages():
            for stored in self._state.current_all(storage):
                self._is(Key(storage, stored.namespace, stored.name), stored)

    @property
    def waiting(self) -> int:
        """How many objects are to be looked at."""
        return len(self._queue)

    def again(self, key: Key) -> None:
        """Look at an object once more: what was decided could not be done."""
        self._queue[key] = None

    def observe(self, change: Change) -> None:
        """A change is committed."""
        after = change.after
        key = Key(after.storage, after.namespace, after.name)
        if change.removed:
            self._gone(key, after)
        else:
            self._is(key, after)
        if after.storage == DEFINITIONS:
            self._look_at(self._unknown)

    def take(self, limit: int) -> list[Action]:
        """What to do about the objects that wait, as far as they come to about `limit` actions."""
        actions: list[Action] = []
        while self._queue and len(actions) < limit:
            key, _ = self._queue.popitem(last=False)
            actions += self._decide(key)
        return actions

    def _is(self, key: Key, stored: Stored) -> None:
        concerned = b'"ownerReferences"' in stored.body or b'"deletionTimestamp"' in stored.body
        meta = _read(stored) if concerned else _NOTHING
        owners = tuple(meta.owner_references)
        if owners != self._owners.get(key, ()):
            self._set_owners(key, owners)
            if owners:
                self._queue[key] = None
        if meta.waits or meta.orphans:
            self._queue[key] = None
            if meta.uid not in self._going:
                self._going[meta.uid] = key
                self._look_at(self._dependents.get(meta.uid, ()))

    def _gone(self, key: Key, last: Stored) -> None:
        self._set_owners(key, ())
        self._queue.pop(key, None)
        uid = _read(last).uid
        self._going.pop(uid, None)
        dependents = self._dependents.get(uid)
        if dependents:
            self._absent[uid] = key.namespace
            if len(self._absent) > ABSENT_LIMIT:
                self._absent.popitem(last=False)
            self._look_at(dependents)

    def _set_owners(self, key: Key, owners: tuple[OwnerReference, ...]) -> None:
        self._unknown.discard(key)
        for owner in self._owners.pop(key, ()):
            dependents = self._dependents.get(owner.uid, {})
            dependents.pop(key, None)
            if not dependents:
                self._dependents.pop(owner.uid, None)
            if owner.uid in self._going:
                self._queue[self._going[owner.uid]] = None
        if owners:
            self._owners[key] = owners
            for owner in owners:
                self._dependents.setdefault(owner.uid, {})[key] = None

    def _look_at(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._queue[key] = None

    def _decide(self, key: Key) -> list[Action]:
        stored = self._state.current(*key)
        if stored is None:
            return []
        meta = _read(stored)
        if meta.orphans:
            return self._let_go(key, stored, meta)
        if meta.waits:
            blockers = self._blockers(key, meta.uid)
            if blockers and not self._waits_for_itself(key, blockers):
                return []
            return [_without(key, stored, meta, WAITS_FOR_DEPENDENTS)]
        if meta.deletion_timestamp is not None or not meta.owner_references:
            return []
        return self._judge(key, stored, meta)

    def _dependents_of(self, key: Key, uid: str) -> list[Key]:
        # An object that owns itself neither blocks nor frees itself.
        return [dependent for dependent in self._dependents.get(uid, ()) if dependent != key]

    def _blockers(self, key: Key, uid: str) -> list[Key]:
        """The dependents that an object in foreground deletion waits for."""
        return [
            dependent
            for dependent in self._dependents_of(key, uid)
            if any(owner.uid == uid and owner.block_owner_deletion for owner in self._owners[dependent])
        ]

    def _waits_for_itself(self, key: Key, blockers: list[Key]) -> bool:
        """Whether an object waits for nothing but others that wait too, itself among them: nobody else would end that.

        Kubernetes leaves such a circle as it is, when each of it was deleted in the foreground.
        """
        seen: set[Key] = set()
        todo = list(blockers)
        while todo:
            blocker = todo.pop()
            stored = self._state.current(*blocker)
            if blocker in seen or stored is None:
                continue
            seen.add(blocker)
            meta = _read(stored)
            if not meta.waits:
                return False
            todo += self._blockers(blocker, meta.uid)
        return key in seen

    def _any_waits(self, keys: list[Key]) -> bool:
        """Whether one of these waits for its own dependents: a circle, where they are the dependents of its dependent."""
        found = (self._state.current(*key) for key in keys)
        return any(_read(stored).waits for stored in found if stored is not None)

    def _let_go(self, key: Key, stored: Stored, meta: _Meta) -> list[Action]:
        """Take an owner out of its dependents; when it is in none, it may go."""
        actions: list[Action] = []
        for dependent in self._dependents_of(key, meta.uid):
            found = self._state.current(*dependent)
            if found is not None:
                actions.append(_owned_by(dependent, found, lambda owner: owner.uid != meta.uid))
        return actions or [_without(key, stored, meta, ORPHANS_DEPENDENTS)]

    def _judge(self, key: Key, stored: Stored, meta: _Meta) -> list[Action]:
        """Whether an owned object stays."""
        solid: set[str] = set()
        waits = False
        for reference in meta.owner_references:
            owner = self._owner(key, reference)
            if owner is None:
                return []
            if owner.waits:
                waits = True
            elif owner.uid:
                solid.add(reference.uid)
        if solid:
            if all(reference.uid in solid for reference in meta.owner_references):
                return []
            return [_owned_by(key, stored, lambda owner: owner.uid in solid)]
        policy = BACKGROUND
        dependents = self._dependents_of(key, meta.uid)
        if waits and dependents:
            policy = FOREGROUND
            if self._any_waits(dependents) and any(owner.block_owner_deletion for owner in meta.owner_references):
                return [_unblocked(key, stored, meta)]
        elif ORPHANS_DEPENDENTS in meta.finalizers:
            policy = ORPHAN
        elif WAITS_FOR_DEPENDENTS in meta.finalizers:
            policy = FOREGROUND
        return [Delete(key, meta.uid, stored.revision, policy)]

    def _owner(self, key: Key, reference: OwnerReference) -> _Meta | None:
        """The owner's metadata; without a uid when it is absent, None when that cannot be known."""
        if self._absent.get(reference.uid) in ("", key.namespace or None):
            return _NOTHING
        resource = self._kind(reference)
        if resource is None:
            self._unknown.add(key)
            return None
        if resource.namespaced and not key.namespace:
            log.warning(
                "= owner ignored, it is in a namespace and its dependent is not kind=%s name=%s owner=%s/%s",
                key.storage, key.name, reference.kind, reference.name,
            )  # fmt: skip
            return None
        stored = self._state.current(resource.storage, key.namespace if resource.namespaced else "", reference.name)
        if stored is None:
            return _NOTHING
        meta = _read(stored)
        return meta if meta.uid == reference.uid else _NOTHING

    def _kind(self, reference: OwnerReference) -> Resource | None:
        for resource in self._registry:
            if resource.kind == reference.kind and resource.api_version == reference.api_version:
                return resource
        return None


def _read(stored: Stored) -> _Meta:
    return _object.decode(stored.body).metadata


def _without(key: Key, stored: Stored, meta: _Meta, finalizer: str) -> Action:
    kept = tuple(name for name in meta.finalizers if name != finalizer)
    return SetFinalizers(key, meta.uid, stored.revision, kept)


def _owned_by(key: Key, stored: Stored, stays: Callable[[OwnerReference], bool]) -> Action:
    meta = _read(stored)
    kept = tuple(owner for owner in meta.owner_references if stays(owner))
    return SetOwners(key, meta.uid, stored.revision, kept)


def _unblocked(key: Key, stored: Stored, meta: _Meta) -> Action:
    owners = (msgspec.structs.replace(owner, block_owner_deletion=False) for owner in meta.owner_references)
    return SetOwners(key, meta.uid, stored.revision, tuple(owners))
