"""Tables (meta.k8s.io/v1): what `kubectl get` prints. Columns as in the cloud. A core."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from edge_gateway.local_api.objects import NODE
from edgewire import resource

Object = dict[str, Any]
_NONE = "<none>"


class _Column(NamedTuple):
    name: str
    cell: Callable[[Object, float], Any]
    wide: bool = False


def table(type: str, objects: list[Object], metadata: Object, include: str, now_ms: int, *, titles: bool) -> Object:
    """A Table; `include` is the parameter includeObject (Metadata, None, Object). Without `titles` it continues a watch."""
    columns = _COLUMNS[type]
    definitions = [
        {
            "name": c.name,
            "type": "string",
            "format": "name" if c.name == "Name" else "",
            "description": "",
            "priority": int(c.wide),
        }
        for c in columns
    ]
    rows = []
    for obj in objects:
        row: Object = {"cells": [c.cell(obj, now_ms / 1000) for c in columns]}
        if include == "Object":
            row["object"] = obj
        elif include != "None":
            partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}
            row["object"] = partial
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions if titles else [],
        "rows": rows,
    }


def _at(obj: Object, *path: str) -> Any:
    value: Any = obj
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _field(*path: str, missing: str = "") -> Callable[[Object, float], Any]:
    return lambda obj, now: _at(obj, *path) or missing


def _age_of(*path: str) -> Callable[[Object, float], str]:
    return lambda obj, now: age(_at(obj, *path) or "", now)


def age(since: str, now_s: float) -> str:
    """The time since a moment (RFC 3339) as kubectl writes it: 45s, 5m30s, 3h, 12d."""
    try:
        then = datetime.fromisoformat(since.replace("Z", "+00:00"))
    except ValueError:
        return "<unknown>"
    seconds = max(0, int(now_s - then.replace(tzinfo=then.tzinfo or UTC).timestamp()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    return f"{days}d" if days < 730 else f"{days // 365}y"


def _condition(obj: Object, type: str) -> str:
    found = (c.get("status", "") for c in _at(obj, "status", "conditions") or () if c.get("type") == type)
    return str(next(found, ""))


def _node_state(obj: Object, now: float) -> str:
    return "Ready" if _condition(obj, "Ready") == "True" else "NotReady"


def _node_roles(obj: Object, now: float) -> str:
    prefix = "node-role.kubernetes.io/"
    roles = [name.removeprefix(prefix) for name in obj["metadata"]["labels"] if name.startswith(prefix)]
    return ",".join(sorted(roles)) or _NONE


def _address(obj: Object, now: float) -> str:
    found = (a["address"] for a in _at(obj, "status", "addresses") or () if a["type"] == "InternalIP")
    return str(next(found, _NONE))


def _ready(obj: Object, now: float) -> str:
    ready = sum(bool(s.get("ready")) for s in _at(obj, "status", "containerStatuses") or ())
    return f"{ready}/{len(_at(obj, 'spec', 'containers') or ())}"


def _restarts(obj: Object, now: float) -> str:
    return str(sum(s.get("restartCount") or 0 for s in _at(obj, "status", "containerStatuses") or ()))


def _pod_state(obj: Object, now: float) -> str:
    """The phase, or what the containers or the pod's deletion say more exactly."""
    phase = str(_at(obj, "status", "reason") or _at(obj, "status", "phase") or "Unknown")
    if obj["metadata"].get("deletionTimestamp") and phase not in ("Succeeded", "Failed"):
        return "Terminating"
    for prefix, key in (("Init:", "initContainerStatuses"), ("", "containerStatuses")):
        for status in _at(obj, "status", key) or ():
            waits, ended = _at(status, "state", "waiting"), _at(status, "state", "terminated")
            if waits and waits.get("reason") not in (None, "", "PodInitializing"):
                return f"{prefix}{waits['reason']}"
            if ended and (not prefix or ended.get("exitCode")):
                return f"{prefix}{ended.get('reason') or 'ExitCode:' + str(ended.get('exitCode', 0))}"
    return phase


def _count(obj: Object, now: float) -> str:
    return str(len(obj.get("data") or ()) + len(obj.get("binaryData") or ()))


def _about(obj: Object, now: float) -> str:
    return f"{str(_at(obj, 'involvedObject', 'kind')).lower()}/{_at(obj, 'involvedObject', 'name')}"


_NAME = _Column("Name", _field("metadata", "name"))
_AGE = _Column("Age", _age_of("metadata", "creationTimestamp"))

_COLUMNS: dict[str, tuple[_Column, ...]] = {
    resource.POD: (
        _NAME,
        _Column("Ready", _ready),
        _Column("Status", _pod_state),
        _Column("Restarts", _restarts),
        _AGE,
        _Column("IP", _field("status", "podIP", missing=_NONE), True),
        _Column("Node", _field("spec", "nodeName", missing=_NONE), True),
    ),
    resource.CONFIGMAP: (_NAME, _Column("Data", _count), _AGE),
    resource.SECRET: (_NAME, _Column("Type", _field("type")), _Column("Data", _count), _AGE),
    resource.DEVICE: (
        _NAME,
        _Column("Node", _field("spec", "nodeName")),
        _Column("Model", _field("spec", "deviceModelRef", "name")),
        _Column("Protocol", _field("spec", "protocol", "protocolName"), True),
        _Column("State", _field("status", "state")),
        _Column("Accepted", lambda obj, now: _condition(obj, "Accepted")),
        _AGE,
    ),
    resource.DEVICE_MODEL: (_NAME, _Column("Protocol", _field("spec", "protocol")), _AGE),
    NODE: (
        _NAME,
        _Column("Status", _node_state),
        _Column("Roles", _node_roles),
        _AGE,
        _Column("Version", _field("status", "nodeInfo", "kubeletVersion")),
        _Column("Internal-IP", _address, True),
        _Column("OS-Image", _field("status", "nodeInfo", "osImage", missing="<unknown>"), True),
        _Column("Kernel-Version", _field("status", "nodeInfo", "kernelVersion", missing="<unknown>"), True),
        _Column("Container-Runtime", _field("status", "nodeInfo", "containerRuntimeVersion", missing=_NONE), True),
    ),
    resource.EVENT: (
        _Column("Last Seen", _age_of("lastTimestamp")),
        _Column("Type", _field("type")),
        _Column("Reason", _field("reason")),
        _Column("Object", _about),
        _Column("Message", _field("message")),
        _NAME._replace(wide=True),
    ),
}
