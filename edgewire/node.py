"""A node, as its gateway reports it and as Kubernetes has it: one place for both, cloudcore and the gateway's own API."""

import re
from typing import Any, Literal

from msgspec import Struct

EDGE_LABEL = "node-role.kubernetes.io/edge"
"""Marks the nodes that are cloudcore's; others are not touched."""
OWN_LABELS = "hedgerow.dev/"
"""What the names of labels begin with that an edge may set of its own; others could attract what is not meant for it."""
HOSTNAME_LABEL, ARCH_LABEL, OS_LABEL = "kubernetes.io/hostname", "kubernetes.io/arch", "kubernetes.io/os"


Status = Literal["True", "False", "Unknown"]
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


def labels_of(name: str, report: NodeReport | None) -> dict[str, str]:
    """The labels of a Node, as far as they follow from its name and its report.

    The host name is the node's, as with a kubelet's `--hostname-override`: machines may be alike in theirs, and pods are kept
    apart by this label.
    """
    report = report or NodeReport()
    labels = {
        **{name: value for name, value in report.labels.items() if name.startswith(OWN_LABELS)},
        HOSTNAME_LABEL: name,
        ARCH_LABEL: _ARCHITECTURES.get(report.arch, report.arch),
        OS_LABEL: report.os.lower(),
    }
    return {name: value for name, value in labels.items() if _LABEL.fullmatch(value)}


def node_info(report: NodeReport) -> dict[str, str]:
    """`status.nodeInfo`."""
    # The API requires every one of these; nothing is known of the empty ones.
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


def capacity(report: NodeReport) -> dict[str, str]:
    """What the machine has, as far as that is known."""
    found = {"pods": str(report.pods)}  # none are scheduled to a node that runs no pods
    if report.cpus > 0:
        found["cpu"] = str(report.cpus)
    if report.memory_bytes > 0:
        found["memory"] = f"{report.memory_bytes // 1024}Ki"
    if report.storage_bytes > 0:
        found["ephemeral-storage"] = f"{report.storage_bytes // 1024}Ki"
    return found


def allocatable(report: NodeReport) -> dict[str, str]:
    """What pods may ask for: not the last tenth of the disk, at which the node is short of it."""
    found = capacity(report)
    if "memory" in found:
        found["memory"] = f"{max(0, report.memory_bytes - report.reserved_memory_bytes) // 1024}Ki"
    if "ephemeral-storage" in found:
        found["ephemeral-storage"] = f"{report.storage_bytes * 9 // 10 // 1024}Ki"
    return found


def images(report: NodeReport) -> list[dict[str, Any]]:
    """`status.images`."""
    named = (
        (image, [name for name in image.names if len(name) <= _IMAGE_NAME][:_IMAGE_NAMES]) for image in report.images
    )
    return [{"names": names, "sizeBytes": max(0, image.size_bytes)} for image, names in named if names][:_IMAGES]


def addresses(report: NodeReport) -> list[dict[str, str]]:
    """`status.addresses`."""
    found = [Address(a) if isinstance(a, str) else a for a in report.addresses]
    if report.hostname:
        found.append(Address(report.hostname, "Hostname"))
    return [{"type": a.type, "address": a.address} for a in found]
