"""What the command line does with Kubernetes: apply manifests, watch devices and nodes, set a desired value."""

import asyncio
import builtins
import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec
import yaml
from msgspec import Struct, field

from cloud import objects
from cloud.kube import Kube
from cloud.objects import Deleted, Object, ResourceType, Synced
from cloud.writes import JSON, MERGE_PATCH, Answer, Request
from edgewire.device import Device, DeviceModel, Metadata, desired_problem, same_value

log = logging.getLogger(__name__)

T = TypeVar("T")

JSON_PATCH = "application/json-patch+json"

_TYPES = {"Device": objects.DEVICES, "DeviceModel": objects.DEVICE_MODELS}


class ClusterError(Exception):
    """Kubernetes did not do what it was asked; the text says what and why."""


class Reported(Struct):
    """A value in a Device's status."""

    value: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


class TwinStatus(Struct, rename="camel"):
    """One property in a Device's status."""

    property_name: str
    reported: Reported | None = None
    observed_desired: Reported | None = None


class Condition(Struct):
    """One condition of a Device or Node."""

    type: str
    status: str
    reason: str = ""
    message: str = ""


class DeviceStatus(Struct, rename="camel"):
    """A Device's status."""

    twins: list[TwinStatus] = field(default_factory=list)
    state: str = ""
    last_online_time: str = ""
    conditions: list[Condition] = field(default_factory=list)


class LabelledMetadata(Metadata, frozen=True, omit_defaults=True):
    """An object's metadata with its labels, which no gateway reads."""

    labels: dict[str, str] = field(default_factory=dict)


class DeviceView(Device, frozen=True):
    """A Device with its status."""

    metadata: LabelledMetadata
    status: DeviceStatus = field(default_factory=DeviceStatus)

    def reported(self, property: str) -> Reported | None:
        """What the property last reported, or None."""
        found = next((t for t in self.status.twins if t.property_name == property), None)
        return found.reported if found is not None else None

    def desired(self, property: str) -> str | None:
        """What is desired of the property, or None."""
        found = next((p for p in self.spec.properties if p.name == property), None)
        return found.desired.value if found is not None and found.desired is not None else None

    def condition(self, type: str) -> Condition | None:
        """The condition of that type, or None."""
        return next((c for c in self.status.conditions if c.type == type), None)


class _NodeMetadata(Struct):
    name: str


class _NodeStatus(Struct):
    conditions: list[Condition] = field(default_factory=list)


class NodeView(Struct):
    """A Node, as far as it concerns a gateway."""

    metadata: _NodeMetadata
    status: _NodeStatus = field(default_factory=_NodeStatus)

    @property
    def ready(self) -> bool:
        """Whether its Ready condition is True."""
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions)


class _Devices(Struct):
    items: list[DeviceView]


class _Models(Struct):
    items: list[DeviceModel]


class Cluster:
    """A Kubernetes API and what it is known to hold: `devices`, `models` and `nodes` follow while `watch` tasks run."""

    def __init__(self, kubeconfig: Path) -> None:
        self._kube = Kube(kubeconfig)
        self.devices: dict[str, DeviceView] = {}
        self.models: dict[str, DeviceModel] = {}
        self.nodes: dict[str, NodeView] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._kube.close()

    async def serves_devices(self) -> bool:
        """Whether the API has the Device and DeviceModel definitions."""
        for type in (objects.DEVICES, objects.DEVICE_MODELS):
            if not (await self._kube.get(type.path())).ok:
                return False
        return True

    async def apply(self, manifests: Iterable[dict[str, Any]]) -> None:
        """Create Devices and DeviceModels, or bring their `spec` up to date; desired values that a manifest does not name stay.

        Raises ClusterError.
        """
        for manifest in manifests:
            kind, metadata = manifest["kind"], manifest["metadata"]
            namespace = metadata.get("namespace", "default")
            body = json.dumps(manifest).encode()
            answer = await self._kube.send(Request("POST", _TYPES[kind].path(namespace), body, JSON))
            if answer.status == 409:
                spec = manifest["spec"]
                if kind == "Device":
                    spec = _with_wishes(spec, await self.device(f"{namespace}/{metadata['name']}"))
                path = _TYPES[kind].path(namespace, metadata["name"])
                answer = await self._kube.send(Request("PATCH", path, json.dumps({"spec": spec}).encode(), MERGE_PATCH))
            _check(answer, f"cannot apply {kind} {namespace}/{metadata['name']}")

    async def delete(self, type: ResourceType, id: str) -> None:
        """Delete an object. Raises ClusterError."""
        namespace, _, name = id.partition("/")
        _check(await self._kube.send(Request("DELETE", type.path(namespace, name), b"", "")), f"cannot delete {id}")

    async def device(self, id: str) -> DeviceView:
        """A Device as it is now. Raises ClusterError."""
        namespace, _, name = id.partition("/")
        answer = await self._kube.get(objects.DEVICES.path(namespace, name))
        _check(answer, f"cannot read device {id}")
        return _decoded(answer.body, DeviceView, f"device {id}")

    async def list_devices(self) -> list[DeviceView]:
        """Every Device as it is now. Raises ClusterError."""
        return (await self._list(objects.DEVICES, _Devices)).items

    async def list_models(self) -> list[DeviceModel]:
        """Every DeviceModel as it is now. Raises ClusterError."""
        return (await self._list(objects.DEVICE_MODELS, _Models)).items

    async def wait_reported(self, id: str, property: str, value: str, deadline_s: float) -> None:
        """Wait until a device reports a value. Raises ClusterError after the deadline, saying what it reports instead."""
        _, model = await self._device_and_model(id)
        of_model = model.property(property) if model is not None else None
        type = of_model.type if of_model is not None else "STRING"
        changed = asyncio.Event()
        watching = asyncio.create_task(self.watch_devices(changed.set))
        found: Reported | None = None
        try:
            async with asyncio.timeout(deadline_s):
                while found is None or not same_value(found.value, value, type):
                    changed.clear()
                    await changed.wait()
                    found = self.devices[id].reported(property) if id in self.devices else None
        except TimeoutError as error:
            seen = found.value if found is not None else "nothing"
            raise ClusterError(f"{id}/{property} reports {seen} after {deadline_s:g} s, not {value}") from error
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def set_desired(self, id: str, property: str, value: str) -> None:
        """Set the desired value of one property, without touching the others.

        Raises ClusterError, also for what the device's model does not allow; while there is no model, everything is allowed.
        """
        device, model = await self._device_and_model(id)
        if model is not None:
            of_model = model.property(property)
            if of_model is None:
                known = ", ".join(p.name for p in model.spec.properties) or "none"
                raise ClusterError(f"device {id} has no property {property}; it has {known}")
            if problem := desired_problem(value, of_model):
                raise ClusterError(f"cannot set {property} of {id} to {value!r}: {problem}")
        if (at := _index(device, property)) is None:
            wanted = {"name": property, "desired": {"value": value}}
            patch: list[dict[str, Any]] = [{"op": "add", "path": "/spec/properties/-", "value": wanted}]
            if not device.spec.properties:
                patch[0].update(path="/spec/properties", value=[wanted])
        else:
            desired = {"op": "add", "path": f"/spec/properties/{at}/desired", "value": {"value": value}}
            patch = [_still(at, property), desired]
        await self._patch(id, patch, f"cannot set {property} of {id}")

    async def forget_desired(self, id: str, property: str) -> None:
        """Desire nothing of a property any more. Raises ClusterError."""
        device = await self.device(id)
        at = _index(device, property)
        if at is not None and device.desired(property) is not None:
            gone = {"op": "remove", "path": f"/spec/properties/{at}/desired"}
            await self._patch(id, [_still(at, property), gone], f"cannot forget what is desired of {id}/{property}")

    async def watch_devices(self, changed: Callable[[], None]) -> None:
        """Keep `devices` up to date and call `changed` after each change, until cancelled."""
        await self._watch(objects.DEVICES, self.devices, DeviceView, changed)

    async def watch_models(self, changed: Callable[[], None]) -> None:
        """Keep `models` up to date likewise."""
        await self._watch(objects.DEVICE_MODELS, self.models, DeviceModel, changed)

    async def watch_nodes(self, changed: Callable[[], None]) -> None:
        """Keep `nodes` up to date likewise."""
        await self._watch(objects.NODES, self.nodes, NodeView, changed)

    async def _device_and_model(self, id: str) -> tuple[DeviceView, DeviceModel | None]:
        device = await self.device(id)
        return device, next((model for model in await self.list_models() if model.id == device.model_id), None)

    async def _patch(self, id: str, patch: list[dict[str, Any]], what: str) -> None:
        namespace, _, name = id.partition("/")
        path = objects.DEVICES.path(namespace, name)
        _check(await self._kube.send(Request("PATCH", path, json.dumps(patch).encode(), JSON_PATCH)), what)

    async def _watch(
        self, type: ResourceType, known: dict[str, Any], view: builtins.type, changed: Callable[[], None]
    ) -> None:
        async for event in self._kube.follow(type):
            if not isinstance(event, Synced):
                object: Object = event.object
                if isinstance(event, Deleted):
                    known.pop(object.id, None)
                else:
                    try:
                        known[object.id] = _decoded(object.raw, view, f"{type.plural} {object.id}")
                    except ClusterError as error:
                        log.warning("= object ignored reason=%s", error)
            changed()

    async def _list(self, type: ResourceType, items: builtins.type[T]) -> T:
        answer = await self._kube.get(type.path())
        _check(answer, f"cannot list {type.plural}")
        return _decoded(answer.body, items, f"the list of {type.plural}")


def check_kubeconfig(files: Iterable[Path]) -> None:
    """Raise ClusterError, naming the file, for what is no kubeconfig at all; files that do not exist are left out."""
    for file in files:
        try:
            found = yaml.safe_load(file.read_bytes()) if file.exists() else {}
        except (OSError, yaml.YAMLError) as error:
            raise ClusterError(f"cannot read kubeconfig {file}: {error}") from error
        if not isinstance(found, dict):
            raise ClusterError(f"{file} is no kubeconfig: {str(found)[:40]!r} instead of clusters, users and contexts")


def _decoded(body: bytes, type: builtins.type[T], what: str) -> T:
    try:
        return msgspec.json.decode(body, type=type)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ClusterError(f"cannot make sense of {what}: {error}") from error


def _index(device: Device, property: str) -> int | None:
    return next((at for at, p in enumerate(device.spec.properties) if p.name == property), None)


def _still(at: int, property: str) -> dict[str, Any]:
    """A patch applies only while the property is where it was."""
    return {"op": "test", "path": f"/spec/properties/{at}/name", "value": property}


def _with_wishes(spec: dict[str, Any], present: DeviceView) -> dict[str, Any]:
    """A manifest's spec with the desired values that the Device has."""
    properties = []
    for p in spec.get("properties", []):
        wish = present.desired(p["name"])
        properties.append(p if wish is None or "desired" in p else {**p, "desired": {"value": wish}})
    return {**spec, "properties": properties}


def _check(answer: Answer, what: str) -> None:
    if not answer.ok:
        raise ClusterError(f"{what}: {answer.reason or answer.status}")
