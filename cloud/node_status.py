"""A Node as Kubernetes knows it and as its edge reports it: what to create, and what to patch. No I/O."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from edgewire import node as nodes
from edgewire.message import UNREADABLE
from edgewire.node import EDGE_LABEL, Condition, NodeReport, Status

READY = "Ready"
TRUE: Literal["True"] = "True"
UNKNOWN: Literal["Unknown"] = "Unknown"

METRICS_ANNOTATION = "metrics.k8s.io/resource-metrics-path"
"""Where metrics-server finds what a node uses, at the address of its kubelet (metrics-server 0.7 and newer)."""


class KubeletEndpoint(Struct, frozen=True):
    """Where the API server finds what it would ask a kubelet: cloudcore, for all nodes."""

    address: str
    port: int


class _Metadata(Struct, rename="camel"):
    name: str
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)


class _Status(Struct, rename="camel"):
    conditions: list[dict[str, Any]] = []
    addresses: list[dict[str, Any]] = []
    daemon_endpoints: dict[str, Any] = field(default_factory=dict)
    capacity: dict[str, Any] = field(default_factory=dict)
    allocatable: dict[str, Any] = field(default_factory=dict)
    node_info: dict[str, Any] = field(default_factory=dict)
    images: list[dict[str, Any]] = []


class NodeObject(Struct):
    """A Node resource, as far as it concerns cloudcore."""

    metadata: _Metadata
    status: _Status = field(default_factory=_Status)

    @property
    def is_edge(self) -> bool:
        """Whether it is one of ours."""
        return EDGE_LABEL in self.metadata.labels

    @property
    def ready(self) -> str:
        """The status of its Ready condition, or empty."""
        return str(next((c.get("status", "") for c in self.status.conditions if c.get("type") == READY), ""))


_TOLD_BY_NODES = ("InternalIP", "ExternalIP", "Hostname")
"""Of the addresses' types. A name of its own would come before cloudcore's, and kube-apiserver would ask there."""
_node = msgspec.json.Decoder(NodeObject)
_encoder = msgspec.json.Encoder()


def parse(raw: bytes) -> NodeObject | None:
    """A Node from its JSON, or None when it is none."""
    try:
        return _node.decode(raw)
    except UNREADABLE:
        return None


def new_node(name: str, report: NodeReport | None) -> bytes:
    """The Node to create."""
    labels = {EDGE_LABEL: "", **nodes.labels_of(name, report)}
    return _encoder.encode({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}})


def metadata_patch(node: NodeObject, report: NodeReport | None, kubelet: KubeletEndpoint | None = None) -> bytes | None:
    """The merge patch that gives a Node its labels and annotations, or None when it has them."""
    wanted = {"labels": nodes.labels_of(node.metadata.name, report)}
    if kubelet is not None:
        wanted["annotations"] = {METRICS_ANNOTATION: f"/nodes/{node.metadata.name}/metrics/resource"}
    present = {"labels": node.metadata.labels, "annotations": node.metadata.annotations}
    missing = {
        part: {name: value for name, value in entries.items() if present[part].get(name) != value}
        for part, entries in wanted.items()
    }
    missing = {part: entries for part, entries in missing.items() if entries}
    return _encoder.encode({"metadata": missing}) if missing else None


def status_patch(
    node: NodeObject,
    ready: tuple[Status, str, str] | None,
    report: NodeReport | None,
    conditions: Sequence[Condition],
    now: str,
    kubelet: KubeletEndpoint | None = None,
) -> bytes | None:
    """The merge patch of a Node's status, or None when it says all that already.

    `ready` is the Ready condition's status, reason and message, None to leave it; `conditions` are what the others should
    be, of the report nothing but these when it is None; `now` is RFC 3339. `kubelet` stands among the addresses as `InternalDNS`:
    the others are where the machine is.
    """
    changes: dict[str, Any] = {}
    wanted = [condition for condition in conditions if condition.type != READY]
    if ready is not None and ready[0] != node.ready:
        wanted.append(Condition(READY, *ready))
    if report is not None:
        info = nodes.node_info(report)
        addresses = [address for address in nodes.addresses(report) if address["type"] in _TOLD_BY_NODES]
        if kubelet is not None:
            addresses.append({"type": "InternalDNS", "address": kubelet.address})
        if any(node.status.node_info.get(name) != value for name, value in info.items()):
            changes["nodeInfo"] = info
        capacity, allocatable = nodes.capacity(report), nodes.allocatable(report)
        if any(node.status.capacity.get(name) != value for name, value in capacity.items()):
            changes["capacity"] = capacity
        if any(node.status.allocatable.get(name) != value for name, value in allocatable.items()):
            changes["allocatable"] = allocatable
        if addresses and addresses != node.status.addresses:
            changes["addresses"] = addresses
        if (images := nodes.images(report)) != node.status.images:
            changes["images"] = images
        endpoint = {"kubeletEndpoint": {"Port": kubelet.port}} if kubelet is not None else {}
        if endpoint and endpoint != node.status.daemon_endpoints:
            changes["daemonEndpoints"] = endpoint
    merged = _conditions(node.status.conditions, wanted, now)
    if merged != node.status.conditions:
        changes["conditions"] = merged
    return _encoder.encode({"status": changes}) if changes else None


def _conditions(present: list[dict[str, Any]], wanted: list[Condition], now: str) -> list[dict[str, Any]]:
    """The conditions with those that are wanted: a new status has a new time, the rest stays as it is."""
    conditions = {str(condition.get("type")): condition for condition in present}
    for new in wanted:
        old = conditions.get(new.type, {})
        fields = {"type": new.type, "status": new.status, "reason": new.reason, "message": new.message}
        if any(old.get(name) != value for name, value in fields.items()):
            since = old.get("lastTransitionTime") if old.get("status") == new.status else None
            conditions[new.type] = {**fields, "lastHeartbeatTime": now, "lastTransitionTime": since or now}
    return list(conditions.values())
