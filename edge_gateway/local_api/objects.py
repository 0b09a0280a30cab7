"""Objects as the local API serves them: what the cloud last sent, with what the gateway itself knows better.

A pod has the status that Edged last told; a Device the desired values that count here and now, also where an application on the
site set them, and its twins and state as they are; of both the cloud's own status is left out. A core.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from edge_gateway.edge_core import EdgeCore
from edge_gateway.local_api.nodes import node_object
from edge_gateway.local_api.versions import Versions
from edge_gateway.meta_manager import FOR_ALL
from edge_gateway.twin_record import DeviceRecord, DeviceTwinRecord, PropertyTwin, rfc3339
from edgewire import resource
from edgewire.resource import Resource

Object = dict[str, Any]

NODE = "node"
KEPT = FOR_ALL
"""What comes from the cloud."""
TYPES = (*KEPT, NODE, resource.EVENT)


class Objects:
    """The objects of one node, with their versions."""

    def __init__(self, core: EdgeCore, versions: Versions, started_ms: int) -> None:
        self._core = core
        self._versions = versions
        self._started = rfc3339(started_ms)
        self._makers: Mapping[str, Callable[[Resource], Object | None]] = {
            resource.POD: self._pod,
            resource.DEVICE: self._device,
            NODE: self._node,
            resource.EVENT: self._event,
        }

    def names(self, type: str) -> Iterable[Resource]:
        """Every object of a type."""
        if type == NODE:
            return [Resource(resource.NO_NAMESPACE, NODE, self._core.node)]
        if type == resource.EVENT:
            return [name for name, _ in self._core.pods.events()]
        return self._core.names_of(type)

    def has(self, name: Resource) -> bool:
        """Whether there is such an object now."""
        if name.type == resource.EVENT:
            return self._core.pods.event(name) is not None
        return name.type == NODE or self._core.content_of(name) is not None

    def get(self, name: Resource) -> Object | None:
        """An object with its version, or None."""
        found = self._makers.get(name.type, self._as_it_came)(name)
        if found is not None:
            found["metadata"]["resourceVersion"] = str(self._versions.of(name))
        return found

    def _as_it_came(self, name: Resource) -> Object | None:
        content = self._core.content_of(name)
        if content is None:
            return None
        found: Object = msgspec.json.decode(content, type=dict[str, Any])
        found["metadata"].pop("managedFields", None)
        return found

    def _pod(self, name: Resource) -> Object | None:
        found, told = self._as_it_came(name), self._core.pods.status_of(name)
        if found is not None and told is not None and told["uid"] == found["metadata"].get("uid", ""):
            found["status"] = told["status"]
            # A static pod came to be when it was started here.
            found["metadata"].setdefault("creationTimestamp", told["status"].get("startTime", self._started))
        elif found is not None:
            found.setdefault("status", {"phase": "Pending"})
        return found

    def _node(self, name: Resource) -> Object | None:
        if name.name != self._core.node:
            return None
        return node_object(name.name, dict(self._core.machine), self._started)

    def _event(self, name: Resource) -> Object | None:
        event = self._core.pods.event(name)
        if event is None:
            return None
        metadata = {
            "name": name.name,
            "namespace": name.namespace,
            "creationTimestamp": event["firstTimestamp"],
        }
        source = {"component": "edged", "host": self._core.node}
        return {"apiVersion": "v1", "kind": "Event", "metadata": metadata, "source": source, **event}

    def _device(self, name: Resource) -> Object | None:
        found = self._as_it_came(name)
        record = self._core.twins_of(name.id)
        if found is not None:
            found.pop("status", None)
            if record is not None:
                _put_wishes(found.setdefault("spec", {}), record)
                found["status"] = _device_status(record)
        return found


def _put_wishes(spec: Object, record: DeviceTwinRecord) -> None:
    """Have the spec say what is desired of each property here and now."""
    properties: list[Object] = spec.setdefault("properties", [])
    present = {prop.get("name"): prop for prop in properties}
    for name, twin in record.properties.items():
        desired = twin.record.desired
        if name not in present and desired is not None:
            present[name] = {"name": name}
            properties.append(present[name])
        if name in present and desired is not None:
            present[name].setdefault("desired", {})["value"] = desired


def _device_status(record: DeviceTwinRecord) -> Object:
    status: Object = {
        "twins": [_twin(prop) for prop in record.properties.values() if prop.twin_or_none() is not None],
        "conditions": _conditions(record),
    }
    if record.record.state:
        status["state"] = record.record.state
    if record.record.last_online_at:
        status["lastOnlineTime"] = rfc3339(record.record.last_online_at)
    return status


def _twin(prop: PropertyTwin) -> Object:
    made: Object = {"propertyName": prop.name}
    r = prop.record
    if r.reported is not None:
        made["reported"] = {
            "value": r.reported,
            "metadata": {"timestamp": str(r.reported_at), "type": prop.wire_type.type},
        }
    if r.desired is not None:
        made["observedDesired"] = {"value": r.desired, "metadata": {"timestamp": str(r.desired_at)}}
    return made


def _conditions(record: DeviceTwinRecord) -> list[Object]:
    accepted = record.model is not None
    why = "" if accepted else f"the gateway has no DeviceModel {record.device.model_id}"
    reason = "Accepted" if accepted else "ModelNotFound"
    found = [{"type": "Accepted", "status": str(accepted), "reason": reason, "message": why}]
    said: DeviceRecord = record.record
    if said.state:
        well = said.state in ("online", "ok") and not said.reason
        status = "Unknown" if said.state == "unknown" else str(well)
        reason = said.reason or said.state.capitalize()
        found.append({"type": "Healthy", "status": status, "reason": reason, "message": said.message})
    if said.refused:
        message = "; ".join(f"{name}: {why}" for name, why in said.refused.items())
        found.append({"type": "Applied", "status": "False", "reason": "Refused", "message": message})
    return found
