"""A small scheduler: pods that ask for `default-scheduler` and have no node get one, or are told why there is none.

It knows what `placement` knows. A pod that fits nowhere is tried again when a node changes in a way that matters, or when a pod
makes room; nothing is pre-empted. Everything is decided from the committed state, with what was bound since counted in.
"""

import logging
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from cloud.apiserver import conditions, event_records, neighbours, patches, placement, pod_actions, pod_facts
from cloud.apiserver.event_records import NORMAL, WARNING, Note
from cloud.apiserver.neighbours import Neighbours
from cloud.apiserver.objects import Objects
from cloud.apiserver.placement import Room
from cloud.apiserver.pod_facts import Node, Pod
from cloud.apiserver.resources import Resource
from cloud.apiserver.state import Change, Stored, Transaction
from cloud.apiserver.status import ApiError
from cloud.apiserver.writes import WriteOptions

log = logging.getLogger(__name__)

NAME = "default-scheduler"
"""What `spec.schedulerName` says of the pods that are placed here."""
MANAGER = "kube-scheduler"
"""Who owns what it changes."""
NODES, PODS = "nodes", "pods"
BATCH = 16
"""Pods that are tried in one go."""
RETRY_AFTER = timedelta(seconds=0.2)
"""How long pods are left alone after a write to one was refused: somebody else changes it."""


class Key(NamedTuple):
    """Which pod."""

    namespace: str
    name: str


class Scheduler:
    """Schedules in one server. It is a `controllers.Controller`."""

    name = "scheduler"

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._reset()

    def _reset(self) -> None:
        self._rooms: dict[str, Room] = {}
        self._placed: dict[Key, Pod] = {}
        self._keeping_off: dict[Key, Pod] = {}
        """Of these, those that have something against others."""
        self._unplaced: dict[Key, Pod] = {}
        self._queue: OrderedDict[Key, None] = OrderedDict()
        self._retry_at: datetime | None = None

    def load(self) -> None:
        """Start from the committed state."""
        self._reset()
        for stored in self._objects.state.current_all(PODS):
            self._pod_is(Key(stored.namespace, stored.name), stored)
        for stored in self._objects.state.current_all(NODES):
            self._node_is(stored)

    def observe(self, change: Change) -> None:
        """A change is committed."""
        after = change.after
        if after.storage == NODES:
            if change.removed:
                self._rooms.pop(after.name, None)
            else:
                self._node_is(after)
        elif after.storage == PODS:
            key = Key(after.namespace, after.name)
            if change.removed:
                self._forget(key)
            else:
                self._pod_is(key, after)

    def due(self) -> datetime | None:
        """When there is something to do; None when there is nothing."""
        if self._retry_at is not None:
            return self._retry_at
        return self._objects.now() if self._queue else None

    def work(self) -> Transaction | None:
        """Place some of the pods that wait; None when nothing was to be written."""
        self._retry_at = None
        done = Transaction()
        for _ in range(min(BATCH, len(self._queue))):
            key, _none = self._queue.popitem(last=False)
            pod = self._unplaced.get(key)
            stored = self._objects.state.current(PODS, *key)
            if pod is None or stored is None:
                continue
            try:
                done.changes += self._place(key, pod, stored)
            except ApiError as error:
                if error.code != 404:
                    log.debug("= refused pod=%s/%s error=%s", key.namespace, key.name, error)
                    self._queue[key] = None
                    self._retry_at = self._objects.now() + RETRY_AFTER
        return done if done.changes else None

    def failed(self, transaction: Transaction) -> None:
        """The store could not keep what `work` returned."""
        self.load()

    def _node_is(self, stored: Stored) -> None:
        node = pod_facts.read_node(stored)
        if node is None:
            self._rooms.pop(stored.name, None)
            return
        known = self._rooms.get(stored.name)
        if known is not None and known.node == node:
            return
        on_it = (pod for pod in self._placed.values() if pod.spec.node_name == node.name)
        self._rooms[node.name] = placement.room_of(node, on_it)
        self._try_all()

    def _pod_is(self, key: Key, stored: Stored) -> None:
        pod = pod_facts.read_pod(stored)
        if pod is None or pod.ended:
            self._forget(key)
        elif pod.spec.node_name:
            self._put(key, pod)
        elif pod.spec.scheduler_name == NAME and not pod.metadata.deletion_timestamp and not pod.spec.scheduling_gates:
            known = self._unplaced.get(key)
            self._unplaced[key] = pod
            if known is None or (known.spec, known.metadata) != (pod.spec, pod.metadata):
                self._queue[key] = None
        else:
            self._forget(key)

    def _put(self, key: Key, pod: Pod) -> None:
        """A pod is on its node."""
        self._unplaced.pop(key, None)
        before = self._placed.get(key)
        if before is not None and before.spec == pod.spec:
            if before.metadata.labels != pod.metadata.labels:
                self._note(key, pod)
            return
        self._forget(key)
        self._note(key, pod)
        room = self._rooms.get(pod.spec.node_name)
        if room is not None:
            room.take(pod)

    def _forget(self, key: Key) -> None:
        """A pod is gone, or takes no room any more."""
        self._unplaced.pop(key, None)
        self._keeping_off.pop(key, None)
        pod = self._placed.pop(key, None)
        if pod is None:
            return
        room = self._rooms.get(pod.spec.node_name)
        if room is not None:
            room.take(pod, -1)
        self._try_all()

    def _note(self, key: Key, pod: Pod) -> None:
        """A pod has a place, or other labels there: those that wait for one beside it may have theirs."""
        self._placed[key] = pod
        if neighbours.keeps_off(pod):
            self._keeping_off[key] = pod
        for waiting, other in self._unplaced.items():
            if neighbours.asks(other):
                self._queue[waiting] = None

    def _try_all(self) -> None:
        for key in self._unplaced:
            self._queue[key] = None

    def _place(self, key: Key, pod: Pod, stored: Stored) -> list[Change]:
        refused: list[list[str]] = []
        fitting: list[Room] = []
        others = self._neighbours(pod)
        for room in self._rooms.values():
            found = placement.obstacles(pod, room)
            if not found and others is not None and (why := others.obstacle(room.node)) is not None:
                found = [why]
            if found:
                refused.append(found)
            else:
                fitting.append(room)
        chosen = placement.best(pod, fitting)
        if chosen is None:
            return self._refuse(key, stored, placement.explanation(refused))
        return self._bind(key, pod, stored, chosen.node)

    def _neighbours(self, pod: Pod) -> Neighbours | None:
        """The other pods, where they matter."""
        placed = self._placed if neighbours.asks(pod) else self._keeping_off
        if not placed and not neighbours.asks(pod):
            return None
        return Neighbours(pod, placed.values(), {name: room.node for name, room in self._rooms.items()})

    def _bind(self, key: Key, pod: Pod, stored: Stored, node: Node) -> list[Change]:
        binding = {
            "metadata": {"name": key.name, "uid": pod.metadata.uid},
            "target": {"kind": "Node", "name": node.name},
        }
        written = pod_actions.bind(
            self._objects, self._resource(), key.namespace, key.name, binding, WriteOptions(field_manager=MANAGER)
        )
        self._put(key, msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, node_name=node.name)))
        log.info("> bound pod=%s/%s node=%s", key.namespace, key.name, node.name)
        message = f"Successfully assigned {key.namespace}/{key.name} to {node.name}"
        event = event_records.record(self._objects, stored, Note(NORMAL, "Scheduled", "Binding", message, NAME))
        return [*(written.transaction.changes if written.transaction is not None else ()), *event]

    def _refuse(self, key: Key, stored: Stored, message: str) -> list[Change]:
        pod = msgspec.json.decode(stored.body)
        now = self._objects.now()
        wanted = conditions.with_condition(pod, now, "PodScheduled", "False", "Unschedulable", message)
        if wanted is None:
            return []
        meta = {"resourceVersion": str(stored.revision)}
        patch = patches.MERGE, msgspec.json.encode({"metadata": meta, "status": {"conditions": wanted}})
        written = self._objects.patch(self._resource(), *key, patch, WriteOptions(field_manager=MANAGER), "status")
        note = Note(WARNING, "FailedScheduling", "Scheduling", message, NAME)
        event = event_records.record(self._objects, stored, note)
        return [*(written.transaction.changes if written.transaction is not None else ()), *event]

    def _resource(self) -> Resource:
        resource = self._objects.registry.stored_as(PODS)
        assert resource is not None
        return resource
