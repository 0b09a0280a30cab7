"""The Node object of this gateway, from what the machine says of itself (`machine.describe`, `machine_watch`). A core.

In the cloud it is cloudcore that makes it (`cloud/node_status.py`), and may add what is not known here: taints, leases.
"""

from typing import Any

from msgspec import convert, to_builtins

from edgewire import node
from edgewire.node import EDGE_LABEL, NodeReport

_READY = {"type": "Ready", "status": "True", "reason": "EdgeCoreRuns", "message": "edgecore answers on this machine"}


def node_object(name: str, machine: Any, started: str) -> dict[str, Any]:
    """The Node; `started` is when this process did, RFC 3339."""
    report = convert(machine, NodeReport)
    labels = {EDGE_LABEL: "", **node.labels_of(name, report)}
    conditions = [*map(to_builtins, report.conditions), _READY]
    status = {
        "capacity": node.capacity(report),
        "allocatable": node.allocatable(report),
        "conditions": [{**condition, "lastTransitionTime": started} for condition in conditions],
        "addresses": node.addresses(report),
        "nodeInfo": node.node_info(report),
        "images": node.images(report),
    }
    metadata = {"name": name, "labels": labels, "creationTimestamp": started}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {}, "status": status}
