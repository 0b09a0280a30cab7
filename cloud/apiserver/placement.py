"""Which nodes a pod may run on, and which of them is best. Pure functions in the words of kube-scheduler's plugins.

A node is asked by NodeUnschedulable, TaintToleration, NodeAffinity, NodePorts and NodeResourcesFit, in that order, and the first
that refuses says why. Of the nodes that are left, the best has the fewest taints that would rather keep the pod away, then
the most of the preferred affinity, then the most room.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from cloud.apiserver import pod_facts
from cloud.apiserver.pod_facts import LabelSelector, Node, Pod, Requirement, Resources, Taint, Term, Toleration

NO_SCHEDULE, PREFER_NO_SCHEDULE, NO_EXECUTE = "NoSchedule", "PreferNoSchedule", "NoExecute"
UNSCHEDULABLE = Taint("node.kubernetes.io/unschedulable", "", NO_SCHEDULE)
"""The taint that a cordoned node counts as having."""
NO_NODES = "no nodes available to schedule pods"


@dataclass(slots=True)
class Room:
    """A node, and what the pods on it take."""

    node: Node
    allocatable: Resources = field(default_factory=dict)
    used: Resources = field(default_factory=dict)
    ports: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    pods: int = 0

    def take(self, pod: Pod, sign: int = 1) -> None:
        """Count a pod in, or, with sign -1, out."""
        for name, amount in pod_facts.requests_of(pod).items():
            self.used[name] = self.used.get(name, Decimal(0)) + sign * amount
        for port in pod_facts.ports_of(pod):
            self.ports[port] += sign
        self.pods += sign


def room_of(node: Node, pods: Iterable[Pod]) -> Room:
    """A node with these pods on it."""
    status = node.status
    written = status.capacity if status.allocatable is None else status.allocatable
    room = Room(node, pod_facts.amounts(written))
    for pod in pods:
        room.take(pod)
    return room


def obstacles(pod: Pod, room: Room) -> list[str]:
    """Why a pod cannot run on a node; nothing when it can."""
    node, tolerations = room.node, pod.spec.tolerations
    if node.spec.unschedulable and not tolerated(UNSCHEDULABLE, tolerations):
        return ["node(s) were unschedulable"]
    for taint in node.spec.taints:
        if taint.effect in (NO_SCHEDULE, NO_EXECUTE) and not tolerated(taint, tolerations):
            return [f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"]
    if not selected(pod, node):
        return ["node(s) didn't match Pod's node affinity/selector"]
    if _conflicts(pod_facts.ports_of(pod), room.ports):
        return ["node(s) didn't have free ports for the requested pod ports"]
    return _shortages(pod, room)


def best(pod: Pod, rooms: Iterable[Room]) -> Room | None:
    """The best of the nodes that a pod can run on."""

    def rank(room: Room) -> tuple[int, int, Decimal, int, str]:
        kept_away = sum(
            taint.effect == PREFER_NO_SCHEDULE and not tolerated(taint, pod.spec.tolerations)
            for taint in room.node.spec.taints
        )
        return kept_away, -_preference(pod, room.node), _load(pod, room), room.pods, room.node.name

    return min(rooms, key=rank, default=None)


def explanation(refused: list[list[str]]) -> str:
    """The message of a pod that fits on none of the nodes; one list of obstacles a node."""
    if not refused:
        return NO_NODES
    counts = Counter(obstacle for node in refused for obstacle in node)
    listed = ", ".join(sorted(f"{number} {obstacle}" for obstacle, number in counts.items()))
    return f"0/{len(refused)} nodes are available: {listed}."


def tolerated(taint: Taint, tolerations: Iterable[Toleration]) -> bool:
    """Whether one of the tolerations bears a taint."""
    return any(tolerates(toleration, taint) for toleration in tolerations)


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Whether a toleration bears a taint."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return toleration.operator in ("", "Equal") and bool(toleration.key) and toleration.value == taint.value


def selected(pod: Pod, node: Node) -> bool:
    """Whether a node is one that the pod's selector and required affinity ask for."""
    labels = node.metadata.labels
    if any(labels.get(name) != value for name, value in pod.spec.node_selector.items()):
        return False
    required = pod.spec.affinity.node_affinity.required
    return required is None or any(_matches(term, node) for term in required.node_selector_terms)


def _matches(term: Term, node: Node) -> bool:
    if not term.match_expressions and not term.match_fields:
        return False
    own = {"metadata.name": node.name}
    return all(holds(r, node.metadata.labels) for r in term.match_expressions) and all(
        holds(r, own) for r in term.match_fields
    )


def matches(selector: LabelSelector | None, labels: Mapping[str, str]) -> bool:
    """Whether labels are selected; nothing is by no selector."""
    if selector is None or any(labels.get(name) != value for name, value in selector.match_labels.items()):
        return False
    return all(holds(requirement, labels) for requirement in selector.match_expressions)


def holds(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    """Whether labels, or fields, are as required."""
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value in requirement.values
        case "NotIn":
            return value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" if value is not None and len(requirement.values) == 1:
            return _compares(value, requirement.operator, requirement.values[0])
    return False


def _compares(value: str, operator: str, limit: str) -> bool:
    try:
        return int(value) > int(limit) if operator == "Gt" else int(value) < int(limit)
    except ValueError:
        return False


def _preference(pod: Pod, node: Node) -> int:
    preferred = pod.spec.affinity.node_affinity.preferred
    return sum(wish.weight for wish in preferred if _matches(wish.preference, node))


def _conflicts(wanted: set[tuple[str, str, int]], taken: Counter[tuple[str, str, int]]) -> bool:
    """Whether a port is taken at the same address, or at any address where one of both is for all."""
    for address, protocol, port in wanted:
        for (other, other_protocol, other_port), number in taken.items():
            same = (protocol, port) == (other_protocol, other_port) and number > 0
            if same and (address == other or "0.0.0.0" in (address, other)):
                return True
    return False


def _shortages(pod: Pod, room: Room) -> list[str]:
    found = []
    if room.pods + 1 > room.allocatable.get("pods", 0):
        found.append("Too many pods")
    for name, amount in pod_facts.requests_of(pod).items():
        free = room.allocatable.get(name, Decimal(0)) - room.used.get(name, Decimal(0))
        if amount > 0 and amount > free:
            found.append(f"Insufficient {name}")
    return found


def _load(pod: Pod, room: Room) -> Decimal:
    """How full cpu and memory of a node would be with the pod: 0 to 1, the mean of both."""
    needs = pod_facts.requests_of(pod)
    load = Decimal(0)
    for name in ("cpu", "memory"):
        whole = room.allocatable.get(name, Decimal(0))
        if whole > 0:
            load += (room.used.get(name, Decimal(0)) + needs.get(name, Decimal(0))) / whole
    return load / 2
