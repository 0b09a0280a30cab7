"""The Node object of this gateway, from what the machine says of itself (`machine.describe`, `machine_watch`). A core.

In the cloud it is cloudcore that makes it (`cloud/node_status.py`), and may add what is not known here: taints, leases.
"""

from typing import Any

from msgspec import Struct, convert

EDGE_LABEL = "node-role.kubernetes.io/edge"


class _Machine(Struct):
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
    cpus: int = 0
    memory_bytes: int = 0
    reserved_memory_bytes: int = 0
    storage_bytes: int = 0
    pods: int = 0
    addresses: list[str] = []
    labels: dict[str, str] = {}
    conditions: list[dict[str, str]] = []


def node_object(name: str, machine: Any, started: str) -> dict[str, Any]:
    """The Node; `started` is when this process did, RFC 3339."""
    facts = convert(machine, _Machine)
    labels = {
        EDGE_LABEL: "",
        **facts.labels,
        "kubernetes.io/hostname": facts.hostname,
        "kubernetes.io/arch": facts.arch,
        "kubernetes.io/os": facts.os,
    }
    capacity = {
        "cpu": str(facts.cpus),
        "memory": f"{facts.memory_bytes // 1024}Ki",
        "ephemeral-storage": f"{facts.storage_bytes // 1024}Ki",
        "pods": str(facts.pods),
    }
    allocatable = {
        **capacity,
        "memory": f"{max(0, facts.memory_bytes - facts.reserved_memory_bytes) // 1024}Ki",
        "ephemeral-storage": f"{facts.storage_bytes * 9 // 10 // 1024}Ki",
    }
    addresses = [{"type": "InternalIP", "address": address} for address in facts.addresses]
    ready = {"type": "Ready", "status": "True", "reason": "EdgeCoreRuns", "message": "edgecore answers on this machine"}
    status = {
        "capacity": capacity,
        "allocatable": allocatable,
        "conditions": [{**c, "lastTransitionTime": started} for c in (*facts.conditions, ready)],
        "addresses": [*addresses, {"type": "Hostname", "address": facts.hostname}],
        "nodeInfo": {
            "architecture": facts.arch,
            "bootID": facts.boot_id,
            "containerRuntimeVersion": facts.runtime,
            "kernelVersion": facts.kernel,
            "kubeProxyVersion": "",
            "kubeletVersion": facts.edgecore_version,
            "machineID": facts.machine_id,
            "operatingSystem": facts.os,
            "osImage": facts.os_image,
            "systemUUID": facts.system_uuid,
        },
    }
    metadata = {"name": name, "labels": labels, "creationTimestamp": started}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {}, "status": status}
