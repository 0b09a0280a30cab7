"""Pods and nodes as far as their placement is concerned: typed, and read from their JSON."""

import logging
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, field

from cloud.apiserver import quantities
from cloud.apiserver.state import Stored

log = logging.getLogger(__name__)

Resources = dict[str, Decimal]
"""Resource name -> amount in its base unit."""
_ENDED = frozenset({"Succeeded", "Failed"})


class Toleration(Struct, rename="camel", frozen=True):
    """A taint that a pod bears."""

    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


class Taint(Struct, rename="camel", frozen=True):
    """What keeps pods off a node."""

    key: str = ""
    value: str = ""
    effect: str = ""


class Requirement(Struct, frozen=True):
    """One test of a label or a field."""

    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class Term(Struct, rename="camel", frozen=True):
    """Requirements that must all hold; a term without any holds nowhere."""

    match_expressions: tuple[Requirement, ...] = ()
    match_fields: tuple[Requirement, ...] = ()


class Terms(Struct, rename="camel", frozen=True):
    """Terms of which one must hold."""

    node_selector_terms: tuple[Term, ...] = ()


class Preference(Struct, frozen=True):
    """A term that counts for a node."""

    weight: int = 0
    preference: Term = Term()


class NodeAffinity(Struct, frozen=True):
    """Which nodes a pod must and would like to run on."""

    required: Terms | None = field(default=None, name="requiredDuringSchedulingIgnoredDuringExecution")
    preferred: tuple[Preference, ...] = field(default=(), name="preferredDuringSchedulingIgnoredDuringExecution")


class LabelSelector(Struct, rename="camel", frozen=True):
    """Which labels objects must have; all that have none asked of them."""

    match_labels: dict[str, str] = {}
    match_expressions: tuple[Requirement, ...] = ()


class PodTerm(Struct, rename="camel", frozen=True):
    """Pods to be with, or not with, in one domain of a topology."""

    topology_key: str = ""
    label_selector: LabelSelector | None = None
    namespaces: tuple[str, ...] = ()
    namespace_selector: LabelSelector | None = None


class PodAffinity(Struct, rename="camel", frozen=True):
    """Which pods a pod must be with, or, of anti-affinity, not with."""

    required: tuple[PodTerm, ...] = field(default=(), name="requiredDuringSchedulingIgnoredDuringExecution")


class Spread(Struct, rename="camel", frozen=True):
    """How evenly pods shall be spread over the domains of a topology."""

    topology_key: str = ""
    max_skew: int = 1
    when_unsatisfiable: str = "DoNotSchedule"
    label_selector: LabelSelector | None = None


class _Affinity(Struct, rename="camel", frozen=True):
    node_affinity: NodeAffinity = NodeAffinity()
    pod_affinity: PodAffinity = PodAffinity()
    pod_anti_affinity: PodAffinity = PodAffinity()


class _Port(Struct, rename="camel", frozen=True):
    host_port: int = 0
    host_ip: str = field(default="", name="hostIP")
    protocol: str = "TCP"


class _Amounts(Struct, frozen=True):
    requests: dict[str, str | int | float] = {}
    limits: dict[str, str | int | float] = {}


class _Container(Struct, rename="camel", frozen=True):
    resources: _Amounts = _Amounts()
    ports: tuple[_Port, ...] = ()
    restart_policy: str = ""


class _Spec(Struct, rename="camel", frozen=True):
    node_name: str = ""
    scheduler_name: str = ""
    node_selector: dict[str, str] = {}
    affinity: _Affinity = _Affinity()
    tolerations: tuple[Toleration, ...] = ()
    containers: tuple[_Container, ...] = ()
    init_containers: tuple[_Container, ...] = ()
    overhead: dict[str, str | int | float] = {}
    scheduling_gates: tuple[Any, ...] = ()
    topology_spread_constraints: tuple[Spread, ...] = ()


class _Meta(Struct, rename="camel", frozen=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    deletion_timestamp: str | None = None


class _PodStatus(Struct, frozen=True):
    phase: str = ""


class Pod(Struct, frozen=True):
    """A pod."""

    metadata: _Meta
    spec: _Spec = _Spec()
    status: _PodStatus = _PodStatus()

    @property
    def ended(self) -> bool:
        """Whether its containers have stopped for good: it takes no room any more."""
        return self.status.phase in _ENDED


class _NodeSpec(Struct, frozen=True):
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()


class _NodeStatus(Struct, frozen=True):
    allocatable: dict[str, str | int | float] | None = None
    capacity: dict[str, str | int | float] = {}


class Node(Struct, frozen=True):
    """A node."""

    metadata: _Meta
    spec: _NodeSpec = _NodeSpec()
    status: _NodeStatus = _NodeStatus()

    @property
    def name(self) -> str:
        """Its name."""
        return self.metadata.name


_Kind = TypeVar("_Kind", Pod, Node)


def read_pod(stored: Stored) -> Pod | None:
    """A pod, or None for one that is written in a way nobody understands."""
    return _read(stored, Pod)


def pod_of(obj: Any) -> Pod | None:
    """A pod that nobody has stored yet, or None for one that is written in a way nobody understands."""
    try:
        return msgspec.convert(_without_nulls(obj), Pod)
    except msgspec.ValidationError:
        return None


def read_node(stored: Stored) -> Node | None:
    """A node, or None for one that is written in a way nobody understands."""
    return _read(stored, Node)


def _read(stored: Stored, kind: type[_Kind]) -> _Kind | None:
    try:
        return msgspec.convert(_without_nulls(msgspec.json.decode(stored.body)), kind)
    except msgspec.ValidationError as error:
        log.warning(
            "= ignored kind=%s namespace=%s name=%s error=%s", stored.storage, stored.namespace, stored.name, error
        )
        return None


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value if item is not None]
    return value


def amounts(written: dict[str, str | int | float]) -> Resources:
    """Quantities as numbers; what is no quantity counts for nothing."""
    found: Resources = {}
    for name, value in written.items():
        try:
            found[name] = quantities.parse(value)
        except quantities.QuantityError:
            continue
    return found


def requests_of(pod: Pod) -> Resources:
    """What a pod needs: its containers together, or its largest init container where that is more, and its overhead.

    Init containers that go on running (restartPolicy Always) count beside the containers and beside the later ones.
    """
    total: Resources = {}
    for container in pod.spec.containers:
        _add(total, _requested(container))
    running: Resources = {}
    most: Resources = {}
    for container in pod.spec.init_containers:
        needs = _requested(container)
        if container.restart_policy == "Always":
            _add(total, needs)
            _add(running, needs)
            needs = dict(running)
        else:
            _add(needs, running)
        for name, amount in needs.items():
            most[name] = max(amount, most.get(name, amount))
    for name, amount in most.items():
        total[name] = max(amount, total.get(name, amount))
    _add(total, amounts(pod.spec.overhead))
    return total


def ports_of(pod: Pod) -> set[tuple[str, str, int]]:
    """The ports of its node that a pod takes: (address, protocol, port)."""
    containers = [*pod.spec.containers, *(c for c in pod.spec.init_containers if c.restart_policy == "Always")]
    return {
        (port.host_ip or "0.0.0.0", port.protocol or "TCP", port.host_port)
        for container in containers
        for port in container.ports
        if port.host_port
    }


def _requested(container: _Container) -> Resources:
    return amounts({**container.resources.limits, **container.resources.requests})


def _add(total: Resources, more: Resources) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, Decimal(0)) + amount
