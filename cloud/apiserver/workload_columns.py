"""Printer columns of Deployments, ReplicaSets and DaemonSets, as kube-apiserver prints them (pkg/printers/internalversion)."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from cloud.apiserver import label_selectors
from cloud.apiserver.table import AGE, NAME, Column

Object = dict[str, Any]


def _number(name: str, part: str = "status") -> Callable[[Object, datetime], int]:
    return lambda obj, now: (obj.get(part) or {}).get(name) or 0


def _integer(title: str, name: str, part: str = "status") -> Column:
    return Column(title, _number(name, part), type="integer")


def _ready(obj: Object, now: datetime) -> str:
    return f"{_number('readyReplicas')(obj, now)}/{_number('replicas', 'spec')(obj, now)}"


def _of_containers(field: str) -> Callable[[Object, datetime], str]:
    def cell(obj: Object, now: datetime) -> str:
        spec = ((obj.get("spec") or {}).get("template") or {}).get("spec") or {}
        return ",".join(str(container.get(field) or "") for container in spec.get("containers") or ())

    return cell


def _selector(obj: Object, now: datetime) -> str:
    return label_selectors.text((obj.get("spec") or {}).get("selector") or {}) or "<none>"


def _node_selector(obj: Object, now: datetime) -> str:
    spec = ((obj.get("spec") or {}).get("template") or {}).get("spec") or {}
    return label_selectors.text({"matchLabels": spec.get("nodeSelector") or {}}) or "<none>"


_WIDE = (
    Column("Containers", _of_containers("name"), priority=1),
    Column("Images", _of_containers("image"), priority=1),
    Column("Selector", _selector, priority=1),
)
DEPLOYMENTS = (
    NAME,
    Column("Ready", _ready, description="Number of the pod with ready state"),
    _integer("Up-to-date", "updatedReplicas"),
    _integer("Available", "availableReplicas"),
    AGE,
    *_WIDE,
)
REPLICA_SETS = (
    NAME,
    _integer("Desired", "replicas", "spec"),
    _integer("Current", "replicas"),
    _integer("Ready", "readyReplicas"),
    AGE,
    *_WIDE,
)
DAEMON_SETS = (
    NAME,
    _integer("Desired", "desiredNumberScheduled"),
    _integer("Current", "currentNumberScheduled"),
    _integer("Ready", "numberReady"),
    _integer("Up-to-date", "updatedNumberScheduled"),
    _integer("Available", "numberAvailable"),
    Column("Node Selector", _node_selector),
    AGE,
    *_WIDE,
)
