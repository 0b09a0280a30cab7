"""A Node as Kubernetes knows it and as its edge reports it: what to create, and what to patch. No I/O."""

import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from edgewire.message import UNREADABLE

EDGE_LABEL = "node-role.kubernetes.io/edge"
"""Marks the nodes that are cloudcore's; others are not touched."""
OWN_LABELS = "hedgerow.dev/"
"""What the names of labels begin with that an edge may set of its own; others could attract what is not meant for it."""
HOSTNAME_LABEL, ARCH_LABEL, OS_LABEL = "kubernetes.io/hostname", "kubernetes.io/arch", "kubernetes.io/os"

Status = Literal["True", "False", "Unknown"]
READY = "Ready"
TRUE: Literal["True"] = "True"
UNKNOWN: Literal["Unknown"] = "Unknown"

_IMAGES, _IMAGE_NAMES, _IMAGE_NAME = 50, 5, 512
"""Of a Node's status at most: images, names of one (both kubelet's), letters of a name."""
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
# uname's words to Go's, which Kubernetes uses.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "i686": "386"}


class Address(Struct, frozen=True):
    """Where a node is reached; `type` is Kubernetes' word."""

    address: str
    type: str = "InternalIP"


class Condition(Struct, frozen=True):
    """One condition of a node, without its times."""

    type: str
    status: Status
    reason: str = ""
    message: str = ""


class Image(Struct, frozen=True):
    """An image that a node has."""

    names: list[str]
    """With digests and tags."""
    size_bytes: int = 0


class NodeReport(Struct, frozen=True):
    """What an edge says of its node; everything may be missing."""

    hostname: str = ""
    arch: str = ""
    os: str = ""
    kernel: str = ""
    os_image: str = ""
    edgecore_version: str = ""
    machine_id: str = ""
    boot_id: str = ""
    system_uuid: str = ""
    runtime: str = ""
    """What runs its pods, with a version: `process://0.1.0`. Empty where nothing does."""
    cpus: int = 0
    memory_bytes: int = 0
    reserved_memory_bytes: int = 0
    """Of that, what pods cannot ask for."""
    storage_bytes: int = 0
    pods: int = 0
    """How many pods it takes."""
    addresses: list[str | Address] = []
    labels: dict[str, str] = {}
    conditions: list[Condition] = []
    images: list[Image] = []


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
    labels = {EDGE_LABEL: "", HOSTNAME_LABEL: name, **labels_of(report)}
    return _encoder.encode({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}})


def labels_of(report: NodeReport | None) -> dict[str, str]:
    """The labels that follow from a report."""
    if report is None:
        return {}
    labels = {
        **{name: value for name, value in report.labels.items() if name.startswith(OWN_LABELS)},
        HOSTNAME_LABEL: report.hostname,
        ARCH_LABEL: _ARCHITECTURES.get(report.arch, report.arch),
        OS_LABEL: report.os.lower(),
    }
    return {name: value for name, value in labels.items() if _LABEL.fullmatch(value)}


def metadata_patch(node: NodeObject, report: NodeReport | None, kubelet: KubeletEndpoint | None = None) -> bytes | None:
    """The merge patch that gives a Node its labels and annotations, or None when it has them."""
    wanted = {"labels": labels_of(report)}
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
        info, addresses = _node_info(report), _addresses(report, kubelet)
        if any(node.status.node_info.get(name) != value for name, value in info.items()):
            changes["nodeInfo"] = info
        capacity, allocatable = _capacity(report), _allocatable(report)
        if any(node.status.capacity.get(name) != value for name, value in capacity.items()):
            changes["capacity"] = capacity
        if any(node.status.allocatable.get(name) != value for name, value in allocatable.items()):
            changes["allocatable"] = allocatable
        if addresses and addresses != node.status.addresses:
            changes["addresses"] = addresses
        if (images := _images(report)) != node.status.images:
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


def _node_info(report: NodeReport) -> dict[str, str]:
    # The API requires every one of these; cloudcore knows nothing of the empty ones.
    return {
        "architecture": _ARCHITECTURES.get(report.arch, report.arch),
        "bootID": report.boot_id,
        "containerRuntimeVersion": report.runtime,
        "kernelVersion": report.kernel,
        "kubeProxyVersion": "",
        "kubeletVersion": report.edgecore_version,
        "machineID": report.machine_id,
        "operatingSystem": report.os.lower(),
        "osImage": report.os_image,
        "systemUUID": report.system_uuid,
    }


def _capacity(report: NodeReport) -> dict[str, str]:
    capacity = {"pods": str(report.pods)}  # none are scheduled to a node that runs no pods
    if report.cpus > 0:
        capacity["cpu"] = str(report.cpus)
    if report.memory_bytes > 0:
        capacity["memory"] = f"{report.memory_bytes // 1024}Ki"
    if report.storage_bytes > 0:
        capacity["ephemeral-storage"] = f"{report.storage_bytes // 1024}Ki"
    return capacity


def _allocatable(report: NodeReport) -> dict[str, str]:
    """What pods may ask for: not the last tenth of the disk, at which the node is short of it."""
    allocatable = _capacity(report)
    if "memory" in allocatable:
        allocatable["memory"] = f"{max(0, report.memory_bytes - report.reserved_memory_bytes) // 1024}Ki"
    if "ephemeral-storage" in allocatable:
        allocatable["ephemeral-storage"] = f"{report.storage_bytes * 9 // 10 // 1024}Ki"
    return allocatable


def _images(report: NodeReport) -> list[dict[str, Any]]:
    named = (
        (image, [name for name in image.names if len(name) <= _IMAGE_NAME][:_IMAGE_NAMES]) for image in report.images
    )
    return [{"names": names, "sizeBytes": max(0, image.size_bytes)} for image, names in named if names][:_IMAGES]


def _addresses(report: NodeReport, kubelet: KubeletEndpoint | None) -> list[dict[str, str]]:
    found = [Address(a) if isinstance(a, str) else a for a in report.addresses]
    if report.hostname:
        found.append(Address(report.hostname, "Hostname"))
    if kubelet is not None:
        found.append(Address(kubelet.address, "InternalDNS"))
    return [{"type": a.type, "address": a.address} for a in found]
