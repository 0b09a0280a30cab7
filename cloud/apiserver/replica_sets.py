"""ReplicaSets: as many pods as are wanted, no more and no fewer (pkg/controller/replicaset).

Pods that failed for good are replaced, the first after a second, the next after twice as long as the one before. Pods without an
owner are not taken over, whatever their labels are.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cloud.apiserver.label_selectors import matches
from cloud.apiserver.state import Change as Committed
from cloud.apiserver.state import Stored
from cloud.apiserver.workloads import BackOff, Deletion, Plan, Pod, is_available, number, pod_of, read_pod

Object = dict[str, Any]
BURST = 32
"""Pods that are made or deleted in one go."""


class ReplicaSets:
    """A `workload_controller.Planner`."""

    name = "replicaset-controller"
    storage = "replicasets.apps"
    children = "pods"

    def __init__(self) -> None:
        self._failed = BackOff()

    def load(self) -> None:
        """Nothing."""

    def concerns_all(self, change: Committed) -> bool:
        """Nothing does."""
        return False

    def read(self, stored: Stored) -> Pod | None:
        """A pod."""
        return read_pod(stored)

    def gone(self, uid: str) -> None:
        """An owner is no more."""
        self._failed.forget(uid)

    def plan(self, owner: Object, pods: Sequence[Pod], now: datetime) -> Plan:
        """What is to be done for a ReplicaSet."""
        plan = Plan()
        active = [pod for pod in pods if pod.active]
        if not owner["metadata"].get("deletionTimestamp"):
            wanted = number(owner["spec"], "replicas", 1)
            kept = self._replace_ended(owner, pods, now, plan)
            missing = wanted - len(active) - kept
            plan.create = [pod_of(owner, {}) for _ in range(min(BURST, missing))]
            surplus = sorted(active, key=_worth)[: max(0, min(BURST, len(active) - wanted))]
            plan.delete += [Deletion(pod.metadata.name, pod.metadata.uid) for pod in surplus]
        plan.status = self._status(owner, pods, active, now, plan)
        return plan

    def _replace_ended(self, owner: Object, pods: Sequence[Pod], now: datetime, plan: Plan) -> int:
        """Delete those that have ended, when it is time: how many are to stay for now in the place of new ones."""
        ended = [pod for pod in pods if pod.ended and not pod.going]
        if not ended:
            return 0
        at = self._failed.waits(owner["metadata"]["uid"], "", now)
        if at is not None:
            plan.look_at(at)
            return len(ended)
        plan.delete += [Deletion(pod.metadata.name, pod.metadata.uid) for pod in ended]
        return 0

    def _status(self, owner: Object, pods: Sequence[Pod], active: list[Pod], now: datetime, plan: Plan) -> Object:
        spec = owner["spec"]
        labels = {"matchLabels": ((spec["template"].get("metadata") or {}).get("labels")) or {}}
        least = number(spec, "minReadySeconds")
        ready = [pod for pod in active if pod.ready]
        return {
            "replicas": len(active),
            "fullyLabeledReplicas": sum(matches(labels, pod.metadata.labels) for pod in active) or None,
            "readyReplicas": len(ready) or None,
            "availableReplicas": sum(is_available(pod, least, now, plan) for pod in ready) or None,
            "terminatingReplicas": sum(pod.going and not pod.ended for pod in pods) or None,
            "observedGeneration": owner["metadata"].get("generation", 1),
        }


def _worth(pod: Pod) -> tuple[bool, bool, bool, tuple[int, ...], str]:
    """Those that are missed least come first: on no node, not running, not ready, the newest."""
    newest_first = tuple(-ord(letter) for letter in pod.created)
    running = pod.status.phase == "Running"
    return bool(pod.spec.node_name), running, pod.ready, newest_first, pod.metadata.name
