"""The garbage collector at work: what `garbage` decides goes through the same gate as every client's writes."""

import logging
from datetime import datetime, timedelta

import msgspec

from cloud.apiserver import patches
from cloud.apiserver.deletion import DeleteOptions, Preconditions
from cloud.apiserver.garbage import Action, Delete, Garbage, Key, SetFinalizers, SetOwners
from cloud.apiserver.objects import Objects
from cloud.apiserver.state import Change, Transaction
from cloud.apiserver.status import ApiError
from cloud.apiserver.writes import WriteOptions, Written

log = logging.getLogger(__name__)

BATCH = 64
"""Writes that share a transaction; the server answers requests between two of them."""
MANAGER = "kube-controller-manager"
"""Who owns what it changes."""
RETRY_AFTER = timedelta(seconds=0.2)
"""How long an object is left alone after a write to it was refused: somebody else changes it."""


class Collector:
    """Collects in one server. It is a `controllers.Controller`."""

    name = "garbage collector"

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._reset()

    def _reset(self) -> None:
        self._garbage = Garbage(self._objects.registry, self._objects.state)
        self._refused: set[Key] = set()
        self._retry_at: datetime | None = None

    def load(self) -> None:
        """Start from the committed state."""
        self._reset()
        self._garbage.load()

    def observe(self, change: Change) -> None:
        """A change is committed."""
        self._garbage.observe(change)

    def due(self) -> datetime | None:
        """When there is something to do; None when there is nothing."""
        return self._objects.now() if self._garbage.waiting else self._retry_at

    def work(self) -> Transaction | None:
        """Do some of what is due; None when nothing was to be written."""
        self._take_up_refused()
        done = Transaction()
        for action in self._garbage.take(BATCH):
            try:
                written = self._do(action)
            except ApiError as error:
                if error.code != 404:
                    log.debug("= refused key=%s error=%s", "/".join(action.key), error)
                    self._refuse(action.key)
                continue
            if written is not None and written.transaction is not None:
                done.changes += written.transaction.changes
        return done if done.changes else None

    def failed(self, transaction: Transaction) -> None:
        """The store could not keep what `work` returned."""
        for change in transaction.changes:
            self._refuse(Key(change.after.storage, change.after.namespace, change.after.name))

    def _take_up_refused(self) -> None:
        if self._retry_at is not None and self._retry_at <= self._objects.now():
            for key in self._refused:
                self._garbage.again(key)
            self._refused.clear()
            self._retry_at = None

    def _refuse(self, key: Key) -> None:
        self._refused.add(key)
        if self._retry_at is None:
            self._retry_at = self._objects.now() + RETRY_AFTER

    def _do(self, action: Action) -> Written | None:
        storage, namespace, name = action.key
        resource = self._objects.registry.stored_as(storage)
        if resource is None:
            return None
        match action:
            case Delete(policy=policy):
                log.info("> delete kind=%s namespace=%s name=%s policy=%s", storage, namespace, name, policy)
                preconditions = Preconditions(action.uid, str(action.revision))
                options = DeleteOptions(preconditions=preconditions, propagation_policy=policy)
                return self._objects.delete(resource, namespace, name, options)
            case SetOwners(owners=owners):
                change = {"ownerReferences": msgspec.to_builtins(owners) or None}
            case SetFinalizers(finalizers=finalizers):
                change = {"finalizers": list(finalizers) or None}
        meta = {"uid": action.uid, "resourceVersion": str(action.revision), **change}
        patch = patches.MERGE, msgspec.json.encode({"metadata": meta})
        return self._objects.patch(resource, namespace, name, patch, WriteOptions(field_manager=MANAGER))
