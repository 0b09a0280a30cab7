"""Printer columns of the built-in kinds, as kube-apiserver prints them (pkg/printers/internalversion)."""

from datetime import datetime
from typing import Any

from cloud.apiserver import pod_columns
from cloud.apiserver.table import AGE, CREATED_AT, NAME, Column, age

Object = dict[str, Any]
_NONE = "<none>"


def _at(obj: Object, *path: str) -> Any:
    value: Any = obj
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _condition(obj: Object, type: str) -> Object | None:
    return next((c for c in _at(obj, "status", "conditions") or () if c.get("type") == type), None)


def _node_status(obj: Object, now: datetime) -> str:
    ready = _condition(obj, "Ready")
    if ready is None:
        state = "Unknown"
    else:
        state = "Ready" if ready.get("status") == "True" else "NotReady"
    return f"{state},SchedulingDisabled" if _at(obj, "spec", "unschedulable") else state


def _node_roles(obj: Object, now: datetime) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = obj["metadata"].get("labels") or {}
    roles = [name.removeprefix(prefix) for name in labels if name.startswith(prefix) and name != prefix]
    roles += [value for name, value in labels.items() if name == "kubernetes.io/role" and value]
    return ",".join(sorted(set(roles))) or _NONE


def _node_address(type: str) -> Any:
    def cell(obj: Object, now: datetime) -> str:
        found: Object = next((a for a in _at(obj, "status", "addresses") or () if a.get("type") == type), {})
        return str(found.get("address") or _NONE)

    return cell


def _node_info(name: str, missing: str = "<unknown>") -> Any:
    return lambda obj, now: _at(obj, "status", "nodeInfo", name) or missing


NODES = (
    NAME,
    Column("Status", _node_status, description="The status of the node"),
    Column("Roles", _node_roles, description="The roles of the node"),
    AGE,
    Column("Version", _node_info("kubeletVersion", ""), description="Kubelet Version reported by the node."),
    Column("Internal-IP", _node_address("InternalIP"), priority=1),
    Column("External-IP", _node_address("ExternalIP"), priority=1),
    Column("OS-Image", _node_info("osImage"), priority=1),
    Column("Kernel-Version", _node_info("kernelVersion"), priority=1),
    Column("Container-Runtime", _node_info("containerRuntimeVersion"), priority=1),
)


def _statuses(obj: Object) -> list[Object]:
    return _at(obj, "status", "containerStatuses") or []


def _pod_ready(obj: Object, now: datetime) -> str:
    ready = sum(bool(status.get("ready")) for status in _statuses(obj))
    return f"{ready}/{len(_at(obj, 'spec', 'containers') or ())}"


def _pod_gates(obj: Object, now: datetime) -> str:
    gates = _at(obj, "spec", "readinessGates") or ()
    if not gates:
        return _NONE
    met = sum((_condition(obj, gate.get("conditionType")) or {}).get("status") == "True" for gate in gates)
    return f"{met}/{len(gates)}"


def _restarts(obj: Object, now: datetime) -> str:
    return str(sum(status.get("restartCount") or 0 for status in _statuses(obj)))


PODS = (
    NAME,
    Column("Ready", _pod_ready, description="The aggregate readiness state of this pod for accepting traffic."),
    Column(
        "Status",
        lambda obj, now: pod_columns.state(obj),
        description="The aggregate status of the containers in this pod.",
    ),
    Column("Restarts", _restarts, description="The number of times the containers in this pod have been restarted."),
    AGE,
    Column("IP", lambda obj, now: _at(obj, "status", "podIP") or _NONE, priority=1),
    Column("Node", lambda obj, now: _at(obj, "spec", "nodeName") or _NONE, priority=1),
    Column("Nominated Node", lambda obj, now: _at(obj, "status", "nominatedNodeName") or _NONE, priority=1),
    Column("Readiness Gates", _pod_gates, priority=1),
)

_PHASE = Column("Status", lambda obj, now: _at(obj, "status", "phase") or "", description="The status of the namespace")
NAMESPACES = (NAME, _PHASE, AGE)


def _data_count(obj: Object, now: datetime) -> int:
    return len(obj.get("data") or ()) + len(obj.get("binaryData") or ())


_DATA = Column("Data", _data_count, type="integer", description="The number of entries.")
CONFIG_MAPS = (NAME, _DATA, AGE)
SECRETS = (NAME, Column("Type", lambda obj, now: obj.get("type") or ""), _DATA, AGE)
SERVICE_ACCOUNTS = (NAME, Column("Secrets", lambda obj, now: len(obj.get("secrets") or ()), type="integer"), AGE)
LEASES = (NAME, Column("Holder", lambda obj, now: _at(obj, "spec", "holderIdentity") or ""), AGE)
DEFINITIONS = (NAME, CREATED_AT)


def _event_last_seen(obj: Object, now: datetime) -> str:
    series = _at(obj, "series", "lastObservedTime")
    return age(
        series or obj.get("lastTimestamp") or obj.get("eventTime") or obj["metadata"].get("creationTimestamp"), now
    )


def _event_object(obj: Object, now: datetime) -> str:
    about = obj.get("involvedObject") or obj.get("regarding") or {}
    return f"{(about.get('kind') or '').lower()}/{about.get('name') or ''}"


def _event_source(obj: Object, now: datetime) -> str:
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    component = source.get("component") or obj.get("reportingComponent") or obj.get("reportingController") or ""
    return ", ".join(part for part in (component, source.get("host")) if part)


def _event_first_seen(obj: Object, now: datetime) -> str:
    return age(obj.get("firstTimestamp") or obj.get("eventTime") or obj["metadata"].get("creationTimestamp"), now)


EVENTS = (
    Column("Last Seen", _event_last_seen),
    Column("Type", lambda obj, now: obj.get("type") or ""),
    Column("Reason", lambda obj, now: obj.get("reason") or ""),
    Column("Object", _event_object),
    Column("Subobject", lambda obj, now: _at(obj, "involvedObject", "fieldPath") or "", priority=1),
    Column("Source", _event_source, priority=1),
    Column("Message", lambda obj, now: (obj.get("message") or obj.get("note") or "").strip()),
    Column("First Seen", _event_first_seen, priority=1),
    Column("Count", lambda obj, now: _at(obj, "series", "count") or obj.get("count") or 1, type="integer", priority=1),
    Column("Name", lambda obj, now: obj["metadata"]["name"], format="name", priority=1),
)
