"""Where a pod may be for the sake of other pods: required affinity and anti-affinity between pods, and spread over a topology.

As kube-scheduler's plugins InterPodAffinity and PodTopologySpread have it, as far as they say no; what they would rather is not
asked. A selector of namespaces that is not empty selects none here, but for the names that stand beside it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from cloud.apiserver.placement import matches, selected
from cloud.apiserver.pod_facts import LabelSelector, Node, Pod, PodTerm

AFFINITY = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
OTHERS = "node(s) didn't satisfy existing pods anti-affinity rules"
SPREAD = "node(s) didn't match pod topology spread constraints"
Domain = tuple[str, str]
"""A label of nodes, and its value."""


def asks(pod: Pod) -> bool:
    """Whether a pod's place depends on where others are."""
    affinity = pod.spec.affinity
    terms = affinity.pod_affinity.required or affinity.pod_anti_affinity.required
    return bool(terms) or any(c.when_unsatisfiable != "ScheduleAnyway" for c in pod.spec.topology_spread_constraints)


def keeps_off(pod: Pod) -> bool:
    """Whether a pod has something against others."""
    return bool(pod.spec.affinity.pod_anti_affinity.required)


class Neighbours:
    """The other pods, as one that is to be placed sees them."""

    def __init__(self, pod: Pod, placed: Iterable[Pod], nodes: Mapping[str, Node]) -> None:
        """`placed` are the pods on nodes."""
        self._pod = pod
        there = [(other, nodes[other.spec.node_name]) for other in placed if other.spec.node_name in nodes]
        affinity = pod.spec.affinity
        self._kept_off: set[Domain] = set()
        for other, node in there:
            for term in other.spec.affinity.pod_anti_affinity.required:
                if _selects(term, other, pod):
                    self._kept_off |= _domain(term.topology_key, node)
        self._avoided: set[Domain] = set()
        for term in affinity.pod_anti_affinity.required:
            for other, node in there:
                if _selects(term, pod, other):
                    self._avoided |= _domain(term.topology_key, node)
        self._sought: list[tuple[PodTerm, set[Domain]]] = []
        for term in affinity.pod_affinity.required:
            found = [_domain(term.topology_key, node) for other, node in there if _selects(term, pod, other)]
            self._sought.append((term, set().union(*found)))
        # The first of pods that want to be together has nobody to join.
        self._first = not any(domains for _, domains in self._sought) and all(
            _selects(term, pod, pod) for term, _ in self._sought
        )
        self._spread = [
            self._counted(index, there, nodes) for index in range(len(pod.spec.topology_spread_constraints))
        ]

    def _counted(self, index: int, there: list[tuple[Pod, Node]], nodes: Mapping[str, Node]) -> Counter[str]:
        """Value of a constraint's label -> how many pods that it counts are there, of nodes that the pod could be on."""
        asked = self._pod.spec.topology_spread_constraints[index]
        key, selector = asked.topology_key, asked.label_selector
        counts: Counter[str] = Counter()
        for node in nodes.values():
            if key in node.metadata.labels and selected(self._pod, node):
                counts[node.metadata.labels[key]] += 0
        for other, node in there:
            value = node.metadata.labels.get(key)
            same = other.metadata.namespace == self._pod.metadata.namespace and not other.metadata.deletion_timestamp
            if value is not None and value in counts and same and matches(selector, other.metadata.labels):
                counts[value] += 1
        return counts

    def obstacle(self, node: Node) -> str | None:
        """Why the pod cannot be on a node for the others' sake; None when it can."""
        labels = node.metadata.labels
        for asked, counts in zip(self._pod.spec.topology_spread_constraints, self._spread, strict=True):
            if asked.when_unsatisfiable == "ScheduleAnyway":
                continue
            value = labels.get(asked.topology_key)
            if value is None:
                return SPREAD
            own = matches(asked.label_selector, self._pod.metadata.labels)
            if counts[value] + own - min(counts.values(), default=0) > max(1, asked.max_skew):
                return SPREAD
        for term, domains in self._sought:
            here = _domain(term.topology_key, node)
            if not here or not (here <= domains or self._first):
                return AFFINITY
        if any(labels.get(key) == value for key, value in self._avoided):
            return ANTI_AFFINITY
        if any(labels.get(key) == value for key, value in self._kept_off):
            return OTHERS
        return None


def _domain(key: str, node: Node) -> set[Domain]:
    """The domain of a node by a label; none where it has no such label."""
    value = node.metadata.labels.get(key)
    return set() if value is None else {(key, value)}


def _selects(term: PodTerm, whose: Pod, other: Pod) -> bool:
    """Whether a term of one pod means another."""
    if term.namespace_selector is None and not term.namespaces:
        fits = other.metadata.namespace == whose.metadata.namespace
    else:
        fits = term.namespace_selector == LabelSelector() or other.metadata.namespace in term.namespaces
    return fits and matches(term.label_selector, other.metadata.labels)
