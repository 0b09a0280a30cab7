"""The cores together on a desk: nodes, controllers and a stand-in for Kubernetes, moved by hand, with a clock of its own."""

from collections.abc import Callable
from typing import Any

import msgspec

from cloud.device_controller import DeviceController
from cloud.edge_controller import EdgeController
from cloud.event_controller import EventController
from cloud.firmware_controller import FirmwareController
from cloud.objects import Added, Deleted, Event, Modified, Synced, parse
from cloud.pod_controller import PodController
from cloud.sessions import Session, Sessions
from cloud.writes import NO_ANSWER, Answer, Request, Writer, Writes
from edgewire import link as links
from edgewire import message as wire
from edgewire import resource, twin
from edgewire.link import Link
from edgewire.message import Message

FIRMWARES = "/apis/devices.hedgerow.dev/v1alpha1/namespaces/default/devicefirmwares"


def device(
    name: str, *, node: str = "edge1", model: str = "m", desired: str | None = None, **more: Any
) -> dict[str, Any]:
    """A Device with one property, `temp`."""
    p: dict[str, Any] = {"name": "temp"}
    if desired is not None:
        p["desired"] = {"value": desired}
    spec = {"nodeName": node, "deviceModelRef": {"name": model}, "properties": [p]}
    return {"kind": "Device", "metadata": {"name": name, "namespace": "default"}, "spec": {**spec, **more}}


def model(name: str = "m", *properties: str) -> dict[str, Any]:
    """A DeviceModel whose properties are INT and writable."""
    declared = [{"name": p, "type": "INT", "accessMode": "ReadWrite"} for p in properties or ("temp",)]
    return {"kind": "DeviceModel", "metadata": {"name": name, "namespace": "default"}, "spec": {"properties": declared}}


def pod(name: str, *, node: str = "edge1", env: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    """A Pod with one container."""
    container = {"name": "c", "image": "none", "command": ["true"], "env": env or []}
    spec = {"nodeName": node, "containers": [container], **more}
    return {"kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def file(kind: str, name: str, **data: str) -> dict[str, Any]:
    """A ConfigMap or Secret."""
    return {"kind": kind, "metadata": {"name": name, "namespace": "default"}, "data": data}


class _Head(msgspec.Struct):
    metadata: resource.ObjectMeta


def version_of(message: Message) -> str:
    """The version of an object as edgecore's inventory says it."""
    metadata = msgspec.json.decode(message.content, type=_Head).metadata
    return resource.version(metadata, resource.parse(message.resource).type)


class Edge:
    """A node's end of a link: stores what it is offered, as edgecore does, and counts."""

    def __init__(self, desk: "Desk", node: str) -> None:
        self.link = Link(source="edgehub", now=desk.now)
        self.wakes = 0
        self.session: Session = desk.sessions.open(node, desk.now, self._woken)
        self.objects: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, str] = {}
        self.messages: list[Message] = []
        self.delivered: list[str] = []
        self.refused: dict[str, tuple[int, str]] = {}
        self.refuse: Callable[[Message], str | None] = lambda message: None
        self.answers = True

    def _woken(self) -> None:
        self.wakes += 1

    def tell_inventory(self, objects: dict[str, str] | None = None) -> None:
        content = {"objects": self.versions if objects is None else objects}
        self.send(wire.GET, resource.INVENTORY, content)

    def send(self, operation: str, about: str, content: Any, key: str = "") -> Message:
        message = wire.build(operation, about, content, source="edgehub")
        self.link.offer(key or message.id, lambda: message)
        return message

    def report(self, id: str, at: int = 0, **values: str) -> Message:
        twins: dict[str, twin.Twin | None] = {
            p: twin.Twin(reported=twin.Value(v, twin.Stamp(at))) for p, v in values.items()
        }
        return self.report_twins(id, twins)

    def report_twins(self, id: str, twins: dict[str, twin.Twin | None]) -> Message:
        about = resource.device_report(id, resource.TWIN_UPDATED)
        return self.send(wire.UPDATE, about, twin.updated_content("", 5, twins))

    def report_state(self, id: str, state: str) -> Message:
        about = resource.device_report(id, resource.STATE_UPDATED)
        content = twin.state_content("", 5, twin.DeviceState(id, state, "2026-01-01T00:00:00Z"))
        return self.send(wire.UPDATE, about, content)

    def take(self, frame: bytes, now: float) -> None:
        for event in self.link.receive(frame, now):
            match event:
                case links.Received(message):
                    self.messages.append(message)
                    if message.resource != resource.MEMBERSHIP and message.group != "stream" and self.answers:
                        self._store(message)
                case links.Delivered(_, message):
                    self.delivered.append(message.id)
                case links.Refused(_, message, code, reason):
                    self.refused[message.id] = (code, reason)

    def _store(self, message: Message) -> None:
        if (why := self.refuse(message)) is not None:
            self.link.refuse(message, 400, why)
            return
        if message.operation == wire.DELETE:
            self.objects.pop(message.resource, None)
            self.versions.pop(message.resource, None)
        else:
            self.objects[message.resource] = msgspec.json.decode(message.content)
            self.versions[message.resource] = version_of(message)
        self.link.acknowledge(message)

    def told(self, about: str = "") -> list[str]:
        """Operation and object of each message so far, and forget them."""
        told = [f"{m.operation} {m.resource}" for m in self.messages if about in m.resource]
        self.messages.clear()
        return told


class Desk:
    """Kubernetes, cloudcore's cores and its nodes."""

    def __init__(self, *, qps: float = 1000.0, burst: int = 1000, synced: bool = True) -> None:
        self.now = 100.0
        self.wall = 1_700_000_000.0
        self.sessions = Sessions()
        self.device_writes = Writes(qps=qps, burst=burst, now=self.now)
        self.node_writes = Writes(qps=qps, burst=burst, now=self.now)
        self.devices = DeviceController(self.sessions, self.device_writes, lambda: self.wall)
        self.nodes = EdgeController(self.node_writes, self.now, lambda: self.wall)
        self.firmware_writes = Writes(qps=qps, burst=burst, now=self.now)
        self.firmware = FirmwareController(self.sessions, self.firmware_writes, lambda: self.wall)
        self.pod_writes = Writes(qps=qps, burst=burst, now=self.now)
        self.event_writes = Writes(qps=qps, burst=burst, now=self.now)
        self.pod_reads = Writes(qps=qps, burst=burst, now=self.now)
        self.pods = PodController(self.sessions, self.pod_writes, self.pod_reads, self.nodes.owner)
        self.events = EventController(self.event_writes, self.pods.node_of)
        self.sessions.attach(
            [self.nodes, self.devices, self.firmware, self.pods, self.events],
            [self.devices, self.firmware, self.pods],
        )
        self.edges: list[Edge] = []
        self.stored: dict[str, dict[str, Any]] = {}
        self.requests: list[Request] = []
        self.version = 10
        self.away = False
        self.reject: Callable[[Request], Answer | None] = lambda request: None
        if synced:
            self.sync()

    def sync(self) -> None:
        self.nodes.node_event(Synced())
        self.devices.model_event(Synced())
        self.devices.device_event(Synced())
        self.pods.config_map_event(Synced())
        self.pods.secret_event(Synced())
        self.pods.pod_event(Synced())
        for take in (self.firmware.firmware_event, self.firmware.part_event, self.firmware.device_event):
            take(Synced())

    def restarted(self) -> "Desk":
        """Another cloudcore on the same Kubernetes."""
        fresh = Desk(synced=False)
        fresh.version, fresh.stored = self.version, self.stored
        for object in self.stored.values():
            fresh._tell(Added(parse(msgspec.json.encode(object))), object["kind"])
        fresh.sync()
        return fresh

    # Kubernetes

    def put(self, object: dict[str, Any]) -> None:
        """Create an object, or change its spec."""
        path = _path(object)
        old = self.stored.get(path)
        metadata = {"uid": f"uid-{self.version}", **(old or object)["metadata"], **object["metadata"]}
        if object["kind"] not in _WITHOUT_GENERATION and (old is None or old.get("spec") != object.get("spec")):
            metadata["generation"] = metadata.get("generation", 0) + 1
        status = (old or object).get("status", {})
        self._write(path, {**object, "metadata": metadata, "status": status}, Added if old is None else Modified)

    def delete(self, object: dict[str, Any]) -> None:
        self.version += 1
        self._tell(Deleted(parse(msgspec.json.encode(self.stored.pop(_path(object))))), object["kind"])

    def _write(self, path: str, object: dict[str, Any], event: type[Added] | type[Modified]) -> bytes:
        self.version += 1
        object["metadata"]["resourceVersion"] = str(self.version)
        self.stored[path] = object
        raw = msgspec.json.encode(object)
        self._tell(event(parse(raw)), object["kind"])
        return raw

    def _tell(self, event: Event, kind: str) -> None:
        controllers: dict[str, list[Callable[[Event], None]]] = {
            "Device": [self.devices.device_event, self.firmware.device_event],
            "DeviceModel": [self.devices.model_event],
            "Node": [self.nodes.node_event],
            "DeviceFirmware": [self.firmware.firmware_event],
            "ConfigMap": [self.firmware.part_event, self.pods.config_map_event],
            "Pod": [self.pods.pod_event],
            "Secret": [self.pods.secret_event],
        }
        for take in controllers.get(kind, ()):
            take(event)

    def answer(self, request: Request) -> Answer:
        """What Kubernetes says to a request."""
        if self.away:
            return Answer(NO_ANSWER, "away")
        if (rejected := self.reject(request)) is not None:
            return rejected
        if request.method == "GET":
            found = self.stored.get(request.path)
            return Answer(404, "not found") if found is None else Answer(200, "", msgspec.json.encode(found))
        body = msgspec.json.decode(request.body)
        if request.method == "POST":
            path = f"{request.path}/{body['metadata']['name']}"
            if request.path.endswith("/leases") and "/api/v1/namespaces/kube-node-lease" not in self.stored:
                return Answer(404, "no namespace")
            if path in self.stored:
                return Answer(409, "exists")
            body["metadata"]["uid"] = f"uid-{self.version}"
            return Answer(201, "", self._write(path, body, Added))
        path = request.path.removesuffix("/status")
        if path not in self.stored:
            return Answer(404, "not found")
        if request.method == "DELETE":
            self.delete(self.stored[path])
            return Answer(200)
        return Answer(200, "", self._write(path, _merged(self.stored[path], body), Modified))

    # Time and traffic

    def connect(self, node: str = "edge1", inventory: dict[str, str] | None = None) -> Edge:
        edge = Edge(self, node)
        self.edges.append(edge)
        edge.tell_inventory(inventory or {})
        self.settle()
        return edge

    def disconnect(self, edge: Edge) -> None:
        self.edges.remove(edge)
        self.sessions.close(edge.session)
        self.settle()

    def settle(self) -> None:
        """Let everything happen that happens without time."""
        while (
            self._exchange()
            + self._make_requests(self.device_writes, self.devices)
            + self._make_requests(self.node_writes, self.nodes)
            + self._make_requests(self.pod_writes, self.pods)
            + self._make_requests(self.pod_reads, self.pods.files)
            + self._make_requests(self.event_writes, self.events)
            + self._make_requests(self.firmware_writes, self.firmware)
        ):
            pass

    def wait(self, seconds: float) -> None:
        """Let time pass, in steps of a tenth of a second."""
        for _ in range(round(seconds * 10)):
            self.now += 0.1
            self.wall += 0.1
            self.nodes.tick(self.now)
            self.firmware.tick(self.now)
            self.settle()

    def _exchange(self) -> int:
        moved = 0
        for edge in self.edges:
            for frame in edge.link.frames(self.now):
                moved += 1
                self.sessions.receive(edge.session, frame, self.now)
            for frame in edge.session.link.frames(self.now):
                moved += 1
                edge.take(frame, self.now)
        return moved

    def _make_requests(self, writes: Writes, writer: Writer) -> int:
        keys = writes.due(self.now)
        for key in keys:
            request = writer.request(key)
            if request is None:
                writes.idle(key)
            else:
                self.requests.append(request)
                answer = self.answer(request)
                writes.finished(key, answer, writer.answered(key, answer), self.now)
        return len(keys)

    # What a test asks

    def status(self, name: str) -> dict[str, Any]:
        path = f"/apis/devices.kubeedge.io/v1beta1/namespaces/default/devices/{name}"
        status: dict[str, Any] = self.stored[path].get("status", {})
        return status

    def reported(self, name: str, of: str = "temp") -> str | None:
        twins = {t["propertyName"]: t for t in self.status(name).get("twins", [])}
        value: str | None = twins.get(of, {}).get("reported", {}).get("value")
        return value

    def accepted(self, name: str) -> tuple[str, str]:
        [condition] = self.status(name)["conditions"]
        return condition["status"], condition["reason"]

    def patches(self) -> int:
        """Patches of devices so far, and forget them."""
        count = sum("/devices/" in request.path for request in self.requests)
        self.requests.clear()
        return count


_CORE = {"Pod": "pods", "ConfigMap": "configmaps", "Secret": "secrets"}
_WITHOUT_GENERATION = frozenset(_CORE)


def _path(object: dict[str, Any]) -> str:
    plurals = {"Device": "devices", "DeviceModel": "devicemodels", **_CORE}
    if object["kind"] == "Node":
        return f"/api/v1/nodes/{object['metadata']['name']}"
    if object["kind"] == "DeviceFirmware":
        return f"{FIRMWARES}/{object['metadata']['name']}"
    core = object["kind"] in _CORE
    prefix = "/api/v1/namespaces/default" if core else "/apis/devices.kubeedge.io/v1beta1/namespaces/default"
    return f"{prefix}/{plurals[object['kind']]}/{object['metadata']['name']}"


def _merged(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged
