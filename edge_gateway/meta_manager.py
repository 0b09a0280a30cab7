"""MetaManager: the last known objects of this node as the cloud sent them, kept for the time without a cloud.

A core. It stores any object; of Devices and DeviceModels it knows what is in them, and which belongs to which. Pods, ConfigMaps
and Secrets it keeps for Edged as they came. Secrets are stored sealed with the node's key, and not at all where there is none.
"""

import logging
from collections.abc import Collection, Iterable, Iterator

import msgspec
from msgspec import Struct

from edge_gateway.sealing import Seal, SealError
from edge_gateway.store import Change
from edgewire import resource, twin
from edgewire.device import Device, DeviceError, DeviceModel, parse_device, parse_model
from edgewire.message import UNREADABLE
from edgewire.resource import Resource, ResourceError

log = logging.getLogger(__name__)


class _Head(Struct):
    metadata: resource.ObjectMeta


_head = msgspec.json.Decoder(_Head)


FOR_PODS = (resource.POD, resource.CONFIGMAP, resource.SECRET)
"""The types whose objects are kept as they came."""
FOR_ALL = (*FOR_PODS, resource.DEVICE, resource.DEVICE_MODEL)
"""Likewise, where the local API shows them."""


class MetaError(Exception):
    """An object from the cloud that cannot be used; the text says why."""


class MetaManager:
    """Objects by `<namespace>/<type>/<name>`."""

    def __init__(self, seal: Seal | None = None, kept: Collection[str] = FOR_PODS) -> None:
        """`kept`: the types whose objects can be asked for as they came; of Devices and models that takes memory."""
        self._seal = seal
        self._kept = kept
        self._versions: dict[str, str] = {}
        self._contents: dict[str, bytes] = {}
        self._devices: dict[str, Device] = {}
        self._models: dict[str, DeviceModel] = {}

    def restore(self, objects: Iterable[tuple[str, bytes]]) -> Iterator[Change]:
        """Take back what the store kept (table `object`).

        Yields the removal of what cannot be used: it is missing in the inventory then, and the cloud sends it again.
        """
        for key, content in objects:
            try:
                name = resource.parse(key)
                self._keep(name, self._opened(name, content))
            except (MetaError, ResourceError, SealError) as error:
                log.error("stored row is unreadable and dropped table=object key=%r error=%s", key, error)
                yield ("object", key, None)

    def put(self, name: Resource, content: bytes) -> Change:
        """An object came or changed: what to write. Raises MetaError for an object that cannot be used."""
        self._keep(name, content)
        if name.type != resource.SECRET:
            return ("object", str(name), content)
        return ("object", str(name), self._seal.seal(str(name), content) if self._seal is not None else None)

    def remove(self, name: Resource) -> Change:
        """An object is gone: what to write."""
        self._versions.pop(str(name), None)
        self._contents.pop(str(name), None)
        if name.type == resource.DEVICE:
            self._devices.pop(name.id, None)
        elif name.type == resource.DEVICE_MODEL:
            self._models.pop(name.id, None)
        return ("object", str(name), None)

    def inventory(self) -> dict[str, str]:
        """Object -> version as `resource.version` says it, for the cloud to send the difference."""
        return dict(self._versions)

    def content(self, name: Resource) -> bytes | None:
        """An object of a type that is kept as it came, or None."""
        return self._contents.get(str(name))

    def names(self, type: str) -> list[Resource]:
        """Every object of a type that is kept as it came."""
        return [name for name in map(resource.parse, self._contents) if name.type == type]

    def devices(self) -> Iterator[Device]:
        """Every device of the node."""
        yield from self._devices.values()

    def device(self, id: str) -> Device | None:
        """The device `<namespace>/<name>`, or None."""
        return self._devices.get(id)

    def model_of(self, device: Device) -> DeviceModel | None:
        """A device's model, or None while it is missing."""
        return self._models.get(device.model_id)

    def devices_of(self, model_id: str) -> list[Device]:
        """The devices that name a model."""
        return [device for device in self._devices.values() if device.model_id == model_id]

    def _keep(self, name: Resource, content: bytes) -> None:
        try:
            version = resource.version(_head.decode(content).metadata, name.type)
            if name.type == resource.DEVICE:
                self._devices[name.id] = _check_device(parse_device(content), name)
            elif name.type == resource.DEVICE_MODEL:
                self._models[name.id] = _check_model(parse_model(content), name)
        except (*UNREADABLE, DeviceError) as error:
            raise MetaError(f"{name}: {error}") from error
        self._versions[str(name)] = version
        if name.type in self._kept:
            self._contents[str(name)] = content

    def _opened(self, name: Resource, content: bytes) -> bytes:
        if name.type != resource.SECRET:
            return content
        if self._seal is None:
            raise SealError(f"there is no key to open {name}")
        return self._seal.open(str(name), content)


def _check_device(device: Device, name: Resource) -> Device:
    if device.id != name.id:
        raise MetaError(f"{name}: its metadata says {device.id}")
    protocol = device.spec.protocol.protocol_name
    if set(protocol) & set("/+#\0"):
        raise MetaError(f"{name}: spec.protocol.protocolName {protocol!r} contains what no MQTT topic level can")
    return device


def _check_model(model: DeviceModel, name: Resource) -> DeviceModel:
    if model.id != name.id:
        raise MetaError(f"{name}: its metadata says {model.id}")
    for number, declared in enumerate(model.spec.properties):
        if (why := twin.name_problem(declared.name)) is not None:
            raise MetaError(f"{name}: spec.properties[{number}]: {why}")
    return model
