"""DaemonSets: one pod on each node that can have one (pkg/controller/daemon).

A node gets one when the pod's selector and affinity fit and it bears the node's taints; besides those of its template a daemon's
pod bears those of a node that is away, cordoned or short of something. Pods are placed by the scheduler: each asks for its node
by name. Updates are RollingUpdate, old pods deleted a few at a time, or OnDelete. There are no ControllerRevisions:
`kubectl rollout undo` has nothing to go back to.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from cloud.apiserver import placement, pod_facts, workload_rules
from cloud.apiserver.placement import NO_EXECUTE, NO_SCHEDULE, tolerated
from cloud.apiserver.pod_facts import Node
from cloud.apiserver.state import Change as Committed
from cloud.apiserver.state import Stored
from cloud.apiserver.workloads import (
    BackOff,
    Deletion,
    Plan,
    Pod,
    is_available,
    number,
    pod_of,
    read_pod,
    share,
    template_hash,
)

Object = dict[str, Any]
HASH, GENERATION = "controller-revision-hash", "pod-template-generation"
BURST = 32
"""Pods that are made in one go."""
_PREFIX = "node.kubernetes.io/"
_BORNE = (
    (f"{_PREFIX}not-ready", NO_EXECUTE),
    (f"{_PREFIX}unreachable", NO_EXECUTE),
    (f"{_PREFIX}disk-pressure", NO_SCHEDULE),
    (f"{_PREFIX}memory-pressure", NO_SCHEDULE),
    (f"{_PREFIX}pid-pressure", NO_SCHEDULE),
    (f"{_PREFIX}unschedulable", NO_SCHEDULE),
)
_NO_NETWORK = (f"{_PREFIX}network-unavailable", NO_SCHEDULE)


class DaemonSets:
    """A `workload_controller.Planner`."""

    name = "daemonset-controller"
    storage = "daemonsets.apps"
    children = "pods"

    def __init__(self, nodes: Callable[[], Iterable[Stored]]) -> None:
        """`nodes` gives the nodes that there are."""
        self._stored_nodes = nodes
        self._nodes: dict[str, Node] = {}
        self._failed = BackOff()

    def load(self) -> None:
        """Know the nodes."""
        self._nodes = {}
        for stored in self._stored_nodes():
            self._take(stored)

    def _take(self, stored: Stored) -> bool:
        """Whether anything that counts is new of a node."""
        node = pod_facts.read_node(stored)
        before = self._nodes.get(stored.name)
        if node is None:
            return self._nodes.pop(stored.name, None) is not None
        self._nodes[stored.name] = node
        return before is None or (before.spec, before.metadata) != (node.spec, node.metadata)

    def concerns_all(self, change: Committed) -> bool:
        """Nodes that come, go, or are marked otherwise do."""
        if change.after.storage != "nodes":
            return False
        if change.removed:
            return self._nodes.pop(change.after.name, None) is not None
        return self._take(change.after)

    def read(self, stored: Stored) -> Pod | None:
        """A pod."""
        return read_pod(stored)

    def gone(self, uid: str) -> None:
        """An owner is no more."""
        self._failed.forget(uid)

    def plan(self, owner: Object, pods: Sequence[Pod], now: datetime) -> Plan:
        """What is to be done for a DaemonSet."""
        plan = Plan()
        on: dict[str, list[Pod]] = defaultdict(list)
        for pod in pods:
            on[_node_of(pod)].append(pod)
        daemon = _daemon(owner)
        bearing = pod_facts.pod_of(daemon)
        wanted = {
            name for name, node in self._nodes.items() if bearing is not None and _fits(bearing, node, hold=False)
        }
        if not owner["metadata"].get("deletionTimestamp"):
            for name, mine in on.items():
                node = self._nodes.get(name)
                stays = node is not None and bearing is not None and _fits(bearing, node, hold=True)
                self._tidy(owner, name, mine, stays, now, plan)
            missing = sorted(name for name in wanted if not on.get(name))
            plan.create = [_on_node(daemon, name) for name in missing[:BURST]]
            self._update(owner, on, wanted, now, plan)
        plan.status = _status(owner, on, wanted, now, plan)
        return plan

    def _tidy(self, owner: Object, node: str, mine: list[Pod], stays: bool, now: datetime, plan: Plan) -> None:
        """What of a node's pods has to go."""
        here = [pod for pod in mine if not pod.going]
        if not stays:
            # The pods on a node that is no more are removed with it, by the evictor.
            if node in self._nodes or not any(pod.spec.node_name for pod in here):
                plan.delete += map(_deletion, here)
            return
        ended = [pod for pod in here if pod.ended]
        if ended:
            at = self._failed.waits(owner["metadata"]["uid"], node, now)
            if at is None:
                plan.delete += map(_deletion, ended)
            else:
                plan.look_at(at)
        running = sorted((pod for pod in here if not pod.ended), key=lambda pod: (not pod.spec.node_name, pod.created))
        plan.delete += map(_deletion, running[1:])

    def _update(self, owner: Object, on: dict[str, list[Pod]], wanted: set[str], now: datetime, plan: Plan) -> None:
        """Let old pods go, as many as may be missed at once."""
        strategy = owner["spec"]["updateStrategy"]
        if strategy.get("type") != workload_rules.ROLLING:
            return
        rolling = strategy.get("rollingUpdate") or {}
        may_miss = max(1, share(rolling.get("maxUnavailable"), len(wanted), up=True))
        least, hash = number(owner["spec"], "minReadySeconds"), _hash(owner)
        going = {deletion.uid for deletion in plan.delete}
        useful: list[Pod] = []
        for name in sorted(wanted):
            mine = [pod for pod in on.get(name, ()) if pod.active and pod.metadata.uid not in going]
            if not any(is_available(pod, least, now, plan) for pod in mine):
                may_miss -= 1
                plan.delete += [_deletion(pod) for pod in mine if pod.metadata.labels.get(HASH) != hash]
            else:
                useful += [pod for pod in mine if pod.metadata.labels.get(HASH) != hash]
        plan.delete += map(_deletion, useful[: max(0, may_miss)])


def _deletion(pod: Pod) -> Deletion:
    return Deletion(pod.metadata.name, pod.metadata.uid)


def _status(owner: Object, on: dict[str, list[Pod]], wanted: set[str], now: datetime, plan: Plan) -> Object:
    least, hash = number(owner["spec"], "minReadySeconds"), _hash(owner)
    here = {
        name: next((p for p in sorted(mine, key=lambda p: p.created) if p.active), None) for name, mine in on.items()
    }
    daemons = [pod for name in wanted if (pod := here.get(name)) is not None]
    available = sum(is_available(pod, least, now, plan) for pod in daemons)
    misplaced = sum(bool(name) and name not in wanted for name, pod in here.items() if pod is not None)
    return {
        "currentNumberScheduled": len(daemons),
        "numberMisscheduled": misplaced,
        "desiredNumberScheduled": len(wanted),
        "numberReady": sum(pod.ready for pod in daemons),
        "updatedNumberScheduled": sum(pod.metadata.labels.get(HASH) == hash for pod in daemons) or None,
        "numberAvailable": available or None,
        "numberUnavailable": len(wanted) - available or None,
        "observedGeneration": owner["metadata"].get("generation", 1),
    }


def _hash(owner: Object) -> str:
    return template_hash(owner["spec"]["template"])


def _daemon(owner: Object) -> Object:
    """The pod of a DaemonSet, on no node yet."""
    generation = str(owner["metadata"].get("generation", 1))
    pod = pod_of(owner, {HASH: _hash(owner), GENERATION: generation})
    spec = pod["spec"]
    borne = [*_BORNE, *([_NO_NETWORK] if spec.get("hostNetwork") else [])]
    tolerations = [t for t in spec.get("tolerations") or () if isinstance(t, dict)]
    known = {(t.get("key"), t.get("effect")) for t in tolerations}
    more = [{"key": key, "operator": "Exists", "effect": effect} for key, effect in borne if (key, effect) not in known]
    spec["tolerations"] = [*tolerations, *more]
    return pod


def _on_node(daemon: Object, node: str) -> Object:
    """The same for one node: all that its template says of nodes is known to hold, and gives way to the name."""
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    affinity = {**(daemon["spec"].get("affinity") or {})}
    affinity["nodeAffinity"] = {
        **(affinity.get("nodeAffinity") or {}),
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]},
    }
    return {**daemon, "spec": {**daemon["spec"], "affinity": affinity}}


def _node_of(pod: Pod) -> str:
    """The node that a pod is on, or is for."""
    if pod.spec.node_name:
        return pod.spec.node_name
    try:
        wanted = (pod.spec.affinity or {})["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        return str(wanted["nodeSelectorTerms"][0]["matchFields"][0]["values"][0])
    except (KeyError, IndexError, TypeError):
        return ""


def _fits(pod: pod_facts.Pod, node: Node, *, hold: bool) -> bool:
    """Whether a node is to have a daemon; with `hold`, whether it may keep the one it has."""
    if pod.spec.node_name and pod.spec.node_name != node.name:
        return False
    if not placement.selected(pod, node):
        return False
    effects = (NO_EXECUTE,) if hold else (NO_EXECUTE, NO_SCHEDULE)
    return all(tolerated(t, pod.spec.tolerations) for t in node.spec.taints if t.effect in effects)
