"""Pods that have to leave: those that do not bear a NoExecute taint of their node, at once or when their patience ends
(`tolerationSeconds`), and those on a node that is no more: those that are being deleted, which nobody else would finish, and the
others when the node has not come back.

The first is Kubernetes' taint eviction controller, the second a part of its pod garbage collector. The patience is counted from
when this process saw the taint, or that there is no node.
"""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from cloud.apiserver import event_records, pod_actions, pod_facts
from cloud.apiserver.deletion import DeleteOptions, Preconditions
from cloud.apiserver.event_records import NORMAL, Note
from cloud.apiserver.formats import parse_time
from cloud.apiserver.objects import Objects
from cloud.apiserver.placement import NO_EXECUTE, tolerates
from cloud.apiserver.pod_facts import Pod, Taint
from cloud.apiserver.resources import Resource
from cloud.apiserver.state import Change, Stored, Transaction
from cloud.apiserver.status import ApiError
from cloud.apiserver.writes import Written

log = logging.getLogger(__name__)

NODES, PODS = "nodes", "pods"
BATCH = 16
RETRY_AFTER = timedelta(seconds=0.5)
NODELESS_S = 40.0
"""What a pod may stay without its node (pod garbage collector's quarantine)."""
PATIENCE_LIMIT_S = 10 * 365 * 86_400.0
"""Patience beyond is without end."""


class Key(NamedTuple):
    """Which pod."""

    namespace: str
    name: str


def patience(pod: Pod, taints: Iterable[Taint]) -> float | None:
    """Seconds that a pod may stay on a node with these taints; None for ever."""
    shortest: float | None = None
    for taint in taints:
        if taint.effect != NO_EXECUTE:
            continue
        bearing = [toleration for toleration in pod.spec.tolerations if tolerates(toleration, taint)]
        if not bearing:
            return 0.0
        for toleration in bearing:
            if toleration.toleration_seconds is not None:
                seconds = max(float(toleration.toleration_seconds), 0.0)
                shortest = seconds if shortest is None else min(shortest, seconds)
    return shortest if shortest is None or shortest < PATIENCE_LIMIT_S else None


class Evictor:
    """Evicts in one server. It is a `controllers.Controller`."""

    name = "evictor"

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._taints: dict[str, tuple[Taint, ...]] = {}
        """Node name -> its NoExecute taints; a node without any has an entry too."""
        self._pods: dict[Key, Pod] = {}
        """Pods on nodes."""
        self._leaving: dict[Key, datetime] = {}

    def load(self) -> None:
        """Start from the committed state."""
        self._taints.clear()
        self._pods.clear()
        self._leaving.clear()
        state = self._objects.state
        self._taints.update((stored.name, _taints(stored)) for stored in state.current_all(NODES))
        for stored in state.current_all(PODS):
            self._pod_is(Key(stored.namespace, stored.name), stored)

    def observe(self, change: Change) -> None:
        """A change is committed."""
        after = change.after
        if after.storage == NODES:
            taints = None if change.removed else _taints(after)
            if taints != self._taints.get(after.name):
                self._node_has(after.name, taints)
        elif after.storage == PODS:
            key = Key(after.namespace, after.name)
            if change.removed:
                self._pods.pop(key, None)
                self._leaving.pop(key, None)
            else:
                self._pod_is(key, after)

    def due(self) -> datetime | None:
        """When there is something to do; None when there is nothing."""
        return min(self._leaving.values(), default=None)

    def work(self) -> Transaction | None:
        """Remove some of the pods whose time has come; None when nothing was to be written."""
        now = self._objects.now()
        done = Transaction()
        for key in [key for key, at in self._leaving.items() if at <= now][:BATCH]:
            try:
                done.changes += self._remove(key)
                self._leaving.pop(key, None)
            except ApiError as error:
                if error.code == 404:
                    self._leaving.pop(key, None)
                else:
                    log.debug("= refused pod=%s/%s error=%s", key.namespace, key.name, error)
                    self._leaving[key] = now + RETRY_AFTER
        return done if done.changes else None

    def failed(self, transaction: Transaction) -> None:
        """The store could not keep what `work` returned."""
        self.load()

    def _node_has(self, name: str, taints: tuple[Taint, ...] | None) -> None:
        if taints is None:
            self._taints.pop(name, None)
        else:
            self._taints[name] = taints
        for key, pod in self._pods.items():
            if pod.spec.node_name == name:
                self._judge(key, pod)

    def _pod_is(self, key: Key, stored: Stored) -> None:
        pod = pod_facts.read_pod(stored)
        if pod is None or not pod.spec.node_name:
            return
        before = self._pods.get(key)
        self._pods[key] = pod
        if before is None or (before.spec, before.metadata) != (pod.spec, pod.metadata):
            self._judge(key, pod)

    def _judge(self, key: Key, pod: Pod) -> None:
        """When a pod has to leave, if it has to."""
        taints = self._taints.get(pod.spec.node_name)
        ends = parse_time(pod.metadata.deletion_timestamp or "")
        if ends is not None:
            # Its node ends it, at its leisure; but a node that is no more does not.
            if taints is None:
                self._leaving[key] = ends
            else:
                self._leaving.pop(key, None)
            return
        seconds: float | None = NODELESS_S
        if taints is not None:
            seconds = None if pod.ended else patience(pod, taints)
        if seconds is None:
            self._leaving.pop(key, None)
        else:
            at = self._objects.now() + timedelta(seconds=seconds)
            self._leaving[key] = min(at, self._leaving.get(key, at))

    def _remove(self, key: Key) -> list[Change]:
        stored = self._objects.state.current(PODS, *key)
        pod = self._pods.get(key)
        if stored is None or pod is None:
            return []
        nodeless = pod.spec.node_name not in self._taints
        if pod.metadata.deletion_timestamp or nodeless:
            log.info("> removed pod=%s/%s reason=node-gone node=%s", key.namespace, key.name, pod.spec.node_name)
            options = DeleteOptions(grace_period_seconds=0, preconditions=Preconditions(uid=pod.metadata.uid))
            return _changes(self._objects.delete(self._resource(), key.namespace, key.name, options))
        log.info("> evicted pod=%s/%s reason=taint node=%s", key.namespace, key.name, pod.spec.node_name)
        options = DeleteOptions(preconditions=Preconditions(uid=pod.metadata.uid))
        why = "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"
        written = pod_actions.remove(self._objects, self._resource(), *key, options, *why)
        message = f"Marking for deletion Pod {key.namespace}/{key.name}"
        note = Note(NORMAL, "TaintManagerEviction", "Evicting", message, "taint-eviction-controller")
        return [*_changes(written), *event_records.record(self._objects, stored, note)]

    def _resource(self) -> Resource:
        resource = self._objects.registry.stored_as(PODS)
        assert resource is not None
        return resource


def _taints(stored: Stored) -> tuple[Taint, ...]:
    node = pod_facts.read_node(stored)
    return () if node is None else tuple(taint for taint in node.spec.taints if taint.effect == NO_EXECUTE)


def _changes(written: Written) -> list[Change]:
    return written.transaction.changes if written.transaction is not None else []
