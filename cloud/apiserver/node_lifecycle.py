"""The taints that follow from what a node says of itself, as Kubernetes' node lifecycle controller sets them.

A node that is not ready, not reachable, cordoned or short of something takes no new pods (NoSchedule). The other half of that
controller is left out on purpose: it would also evict the pods of a node that is away (NoExecute), and an edge node that
is away keeps running its pods.
"""

import logging
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Any

import msgspec

from cloud.apiserver import conditions, patches
from cloud.apiserver.objects import Objects
from cloud.apiserver.placement import NO_SCHEDULE
from cloud.apiserver.state import Change, Stored, Transaction
from cloud.apiserver.status import ApiError
from cloud.apiserver.writes import WriteOptions

log = logging.getLogger(__name__)

Object = dict[str, Any]
NODES = "nodes"
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
CORDONED = "node.kubernetes.io/unschedulable"
_PRESSURES = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_OURS = frozenset({NOT_READY, UNREACHABLE, CORDONED, *_PRESSURES.values()})
MANAGER = "kube-controller-manager"
"""Who owns what it changes."""
BATCH = 16
"""Nodes that are looked at in one go."""
RETRY_AFTER = timedelta(seconds=0.2)


def taints(node: Object) -> list[Object] | None:
    """The taints that a node should have, others' among them; None when it has them."""
    spec = node.get("spec") or {}
    present = [taint for taint in spec.get("taints") or () if isinstance(taint, dict)]
    wanted = _keys(node)
    kept = [t for t in present if not _is_ours(t) or t["key"] in wanted]
    missing = wanted.difference(t["key"] for t in kept if _is_ours(t))
    if not missing and len(kept) == len(present):
        return None
    return [*kept, *({"key": key, "effect": NO_SCHEDULE} for key in sorted(missing))]


def _keys(node: Object) -> set[str]:
    found = {key for type, key in _PRESSURES.items() if (conditions.find(node, type) or {}).get("status") == "True"}
    if (node.get("spec") or {}).get("unschedulable"):
        found.add(CORDONED)
    ready = (conditions.find(node, "Ready") or {"status": "False"}).get("status")
    if ready == "Unknown":
        found.add(UNREACHABLE)
    elif ready != "True":
        found.add(NOT_READY)
    return found


def _is_ours(taint: Object) -> bool:
    return taint.get("effect") == NO_SCHEDULE and taint.get("key") in _OURS


class NodeLifecycle:
    """Taints the nodes of one server. It is a `controllers.Controller`."""

    name = "node lifecycle"

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._queue: OrderedDict[str, None] = OrderedDict()
        self._retry_at: datetime | None = None

    def load(self) -> None:
        """Start from the committed state."""
        self._queue.clear()
        self._retry_at = None
        for stored in self._objects.state.current_all(NODES):
            self._look_at(stored)

    def observe(self, change: Change) -> None:
        """A change is committed."""
        if change.after.storage == NODES and not change.removed:
            self._look_at(change.after)

    def due(self) -> datetime | None:
        """When there is something to do; None when there is nothing."""
        if self._retry_at is not None:
            return self._retry_at
        return self._objects.now() if self._queue else None

    def work(self) -> Transaction | None:
        """Taint some of the nodes that changed; None when nothing was to be written."""
        self._retry_at = None
        done = Transaction()
        for _ in range(min(BATCH, len(self._queue))):
            name, _none = self._queue.popitem(last=False)
            try:
                done.changes += self._taint(name)
            except ApiError as error:
                if error.code != 404:
                    log.debug("= refused node=%s error=%s", name, error)
                    self._queue[name] = None
                    self._retry_at = self._objects.now() + RETRY_AFTER
        return done if done.changes else None

    def failed(self, transaction: Transaction) -> None:
        """The store could not keep what `work` returned."""
        self.load()

    def _look_at(self, stored: Stored) -> None:
        if taints(msgspec.json.decode(stored.body)) is not None:
            self._queue[stored.name] = None

    def _taint(self, name: str) -> list[Change]:
        stored = self._objects.state.current(NODES, "", name)
        resource = self._objects.registry.stored_as(NODES)
        if stored is None or resource is None:
            return []
        wanted = taints(msgspec.json.decode(stored.body))
        if wanted is None:
            return []
        change = {"metadata": {"resourceVersion": str(stored.revision)}, "spec": {"taints": wanted or None}}
        patch = patches.MERGE, msgspec.json.encode(change)
        written = self._objects.patch(resource, "", name, patch, WriteOptions(field_manager=MANAGER))
        log.info("> tainted node=%s taints=%s", name, ",".join(str(taint.get("key")) for taint in wanted) or "-")
        return written.transaction.changes if written.transaction is not None else []
