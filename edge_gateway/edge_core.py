"""EdgeCore's core: takes what the broker and the cloud say to MetaManager and DeviceTwin, and tells mappers their devices.

Pure: every event gives `Effects`, which EventBus carries out. Mappers learn of devices by retained messages, one an
object and an index per protocol (`topics.mapper_device`, `topics.mapper_index`).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import msgspec
from msgspec import Raw

from edge_gateway import firmware_updates
from edge_gateway.device_twin import DeviceTwin
from edge_gateway.effects import Effects, Publish
from edge_gateway.firmware_updates import FirmwareUpdates
from edge_gateway.meta_manager import FOR_PODS, MetaError, MetaManager
from edge_gateway.pod_reports import PodReports, is_key
from edge_gateway.sealing import Seal
from edge_gateway.store import Store
from edge_gateway.twin_record import DeviceTwinRecord
from edge_gateway.unserved import Unserved
from edgewire import message as wire
from edgewire import resource, topics, twin
from edgewire.device import Device, MapperDevice, encode_mapper_device
from edgewire.message import Message
from edgewire.resource import Resource
from edgewire.twin import Membership, TwinError

_PUTS = (wire.INSERT, wire.UPDATE)

_encoder = msgspec.json.Encoder()


class EdgeCore:
    """The state of one node."""

    def __init__(
        self,
        node: str,
        *,
        wanted: Callable[[str], bool],
        machine: Mapping[str, object],
        seal: Seal | None = None,
        kept: Collection[str] = FOR_PODS,
    ) -> None:
        """`wanted` says whether anyone listens to a topic; `machine` is what the Node object shall say of this machine; `seal`
        is for Secrets on disk, which are not stored without; `kept` are the types that `content_of` knows."""
        self.node = node
        self.pods = PodReports()
        self.static_pods: dict[Resource, bytes] = {}
        """Pods of files of this node; they stand before what the cloud shows of them."""
        self._machine = machine
        self._metas = MetaManager(seal, kept)
        self._twins = DeviceTwin(wanted)
        self._firmware = FirmwareUpdates(self._twins)
        self._takers = {
            topics.UPDATE: self._twins.report,
            topics.GET: self._twins.get,
            topics.STATE: self._twins.state,
        }
        self._defined: dict[str, str] = {}
        """Device -> protocol whose mapper knows it."""
        self._wanted = wanted
        self._unserved = Unserved()

    def restore(self, store: Store, now_ms: int) -> Effects:
        """Come back as the store says."""
        effects = Effects()
        effects.changes += self._metas.restore(store.read("object"))
        effects.changes += self._twins.restore(store.read("device"), store.read("twin"))
        for device in self._metas.devices():
            effects.add(self._twins.device_changed(device, self._metas.model_of(device), now_ms))
        unusable = self._firmware.restore(store.read("object"), store.read("rollout"))
        effects.changes += map(self._metas.remove, unusable)
        effects.add(self._firmware.look_at_all())
        return effects

    # From the broker

    def from_broker(self, topic: str, payload: bytes | None, size: int, now_ms: int) -> Effects:
        """A client published on one of `topics.GATEWAY_FILTERS`; `payload` is None when its `size` is too large."""
        found = topics.device_topic(topic)
        if found is None:
            return (
                self._members(payload, size, now_ms) if topics.node_of_membership_get(topic) == self.node else Effects()
            )
        id, kind = found
        take = self._takers.get(kind)
        if kind == topics.OTA_GET:
            return self._firmware.get(id, payload)
        if take is None:
            return Effects()
        if payload is None:
            return self._twins.refuse(id, kind, _too_large(size), now_ms)
        if not self._firmware.concerns(id):
            return take(id, payload, now_ms)
        was_online = self._twins.is_online(id)
        effects = take(id, payload, now_ms)
        came = self._twins.is_online(id) and (kind == topics.STATE or not was_online)
        effects.add(self._firmware.came_online(id) if came else self._firmware.changed(id))
        return effects

    def _members(self, payload: bytes | None, size: int, now_ms: int) -> Effects:
        effects = Effects()
        try:
            if payload is None:
                raise _too_large(size)
            answer = twin.members(twin.parse_request(payload), now_ms, self._twins.members())
        except TwinError as error:
            effects.refusals.append((self.node, error))
            answer = twin.result(error.event_id, now_ms, {}, error)
        effects.publishes.append(Publish(topics.membership_result(self.node), answer))
        return effects

    # From the cloud

    def from_cloud(self, message: Message, now_ms: int) -> Effects:
        """The cloud sent an object. Raises MetaError, MessageError or ResourceError for one that cannot be taken."""
        name = resource.parse(message.resource)
        if message.operation in _PUTS:
            return self._put(name, bytes(message.read(Raw)), now_ms)
        if message.operation == wire.DELETE:
            return self._remove(name, now_ms)
        raise MetaError(f"operation {message.operation!r} on {name} is none of insert, update, delete")

    def _put(self, name: Resource, content: bytes, now_ms: int) -> Effects:
        effects = Effects()
        before = self._metas.device(name.id) if name.type == resource.DEVICE else None
        if name.type in firmware_updates.TYPES:
            effects.add(self._firmware.put(name, content))
        effects.changes.append(self._metas.put(name, content))
        if name.type in FOR_PODS:
            effects.objects.append(name)
        if name.type == resource.DEVICE and (device := self._metas.device(name.id)) is not None:
            effects.add(self._twins.device_changed(device, self._metas.model_of(device), now_ms))
            effects.add(self._firmware.changed(device.id))
            self._define([device], effects)
            if before is None:
                self._announce(now_ms, effects, added=device)
        elif name.type == resource.DEVICE_MODEL:
            self._model_changed(name.id, now_ms, effects)
        return effects

    def _model_changed(self, id: str, now_ms: int, effects: Effects) -> None:
        devices = self._metas.devices_of(id)
        for device in devices:
            effects.add(self._twins.device_changed(device, self._metas.model_of(device), now_ms))
            effects.add(self._firmware.changed(device.id))
        self._define(devices, effects)

    def _remove(self, name: Resource, now_ms: int) -> Effects:
        effects = Effects()
        device = self._metas.device(name.id) if name.type == resource.DEVICE else None
        effects.changes.append(self._metas.remove(name))
        if name.type in FOR_PODS:
            effects.objects.append(name)
        if device is not None:
            effects.add(self._twins.device_removed(device.id))
            effects.add(self._firmware.changed(device.id))
            effects.publishes += self._indexes(self._serve(device.id, "", effects))
            self._announce(now_ms, effects, removed=device)
        elif name.type == resource.DEVICE_MODEL:
            self._model_changed(name.id, now_ms, effects)
        elif name.type in firmware_updates.TYPES:
            effects.add(self._firmware.remove(name))
        return effects

    def _announce(
        self, now_ms: int, effects: Effects, added: Device | None = None, removed: Device | None = None
    ) -> None:
        membership = Membership(wire.new_id(), now_ms, _as_members(added), _as_members(removed))
        topic = topics.membership_updated(self.node)
        effects.publishes.append(Publish(topic, twin.encode_membership(membership)))

    # To Edged and the local API

    def content_of(self, name: Resource) -> bytes | None:
        """A pod, ConfigMap or Secret, or another object that is kept, as the cloud last sent it; None when there is none."""
        return self.static_pods.get(name) or self._metas.content(name)

    def names_of(self, type: str) -> list[Resource]:
        """Every pod, ConfigMap or Secret of this node, or every object of another type that is kept."""
        own = self.static_pods if type == resource.POD else ()
        return [*dict.fromkeys((*own, *self._metas.names(type)))]

    def twins_of(self, id: str) -> DeviceTwinRecord | None:
        """What is known of a device, to be read only; None when it is not here."""
        return self._twins.record(id)

    def desire(self, id: str, values: Mapping[str, str], now_ms: int) -> Effects:
        """An application on the site desires values of a device: all of them, or TwinError."""
        return self._twins.desire(id, values, now_ms)

    @property
    def machine(self) -> Mapping[str, object]:
        """What the Node object shall say of this machine."""
        return self._machine

    # To mappers

    def definitions(self, retained: Iterable[str]) -> Iterator[Publish]:
        """Everything mappers have to know, and the removal of what the broker still retains below it but should not."""
        effects = Effects()
        self._define(list(self._metas.devices()), effects)
        current = {publish.topic: publish for publish in effects.publishes}
        current |= {publish.topic: publish for publish in self._indexes(set(self._defined.values()))}
        yield from current.values()
        for topic in retained:
            if topic not in current:
                yield Publish(topic, b"", 1, True)

    def _define(self, devices: Iterable[Device], effects: Effects) -> None:
        """Tell mappers of devices that came or changed; one whose model is missing is not served."""
        changed: set[str] = set()
        for device in devices:
            model = self._metas.model_of(device)
            protocol = device.spec.protocol.protocol_name if model is not None else ""
            changed |= self._serve(device.id, protocol, effects)
            if protocol and model is not None:
                payload = encode_mapper_device(MapperDevice(device, model))
                effects.publishes.append(Publish(topics.mapper_device(protocol, device.id), payload, 1, True))
        effects.publishes += self._indexes(changed)

    def _serve(self, id: str, protocol: str, effects: Effects) -> set[str]:
        """Let the mapper of this protocol (none if empty) serve a device, and no other: whose indexes change by that."""
        before = self._defined.pop(id, "")
        if protocol:
            self._defined[id] = protocol
        if before == protocol:
            return set()
        if before:
            effects.publishes.append(Publish(topics.mapper_device(before, id), b"", 1, True))
        return {before, protocol} - {""}

    def _indexes(self, protocols: Iterable[str]) -> Iterator[Publish]:
        for protocol in sorted(protocols):
            devices = sorted(id for id, served in self._defined.items() if served == protocol)
            payload = _encoder.encode({"devices": devices}) if devices else b""
            yield Publish(topics.mapper_index(protocol), payload, 1, True)

    def without_mapper(self, now_ms: int) -> Effects | None:
        """Tell which devices no mapper serves, once one should have come; None when there is nothing to tell."""
        found = self._unserved.look(set(self._defined.values()), self._wanted, now_ms)
        effects = Effects()
        for protocol, (why, lost) in found.items():
            for id in [id for id, served in self._defined.items() if served == protocol]:
                effects.add(self._twins.without_mapper(id, why, now_ms, lost=lost))
        return effects if effects.changes else None

    def tick_firmware(self, now_ms: int) -> Effects | None:
        """Time out devices that are being updated, open waves; to be called every second. None when there is nothing to do."""
        return self._firmware.tick(now_ms)

    # To the cloud

    def machine_is(self, machine: Mapping[str, object]) -> Effects | None:
        """What the Node object shall say of this machine from now on; None when that is nothing new."""
        if machine == self._machine:
            return None
        self._machine = machine
        effects = Effects()
        effects.dirty.append(resource.NODE_STATUS)
        return effects

    def dirty_keys(self) -> list[str]:
        """What a new connection has to bring to the cloud, in this order."""
        always = [resource.INVENTORY, resource.NODE_STATUS]
        of_devices = [*self._twins.unseen.dirty_keys(), *self._firmware.dirty_keys()]
        return [*always, *of_devices, *self.pods.dirty_keys()]

    def message_for(self, key: str, now_ms: int) -> Message | None:
        """The newest message about one of `dirty_keys`, or None when the cloud knows all of it."""
        if key == resource.INVENTORY:
            return wire.build(wire.GET, key, {"objects": self._metas.inventory()}, source="edgehub")
        if key == resource.NODE_STATUS:
            name = str(Resource(resource.NO_NAMESPACE, resource.NODE_STATUS, self.node))
            return wire.build(wire.UPDATE, name, self._machine, source="edged")
        if is_key(key):
            return self.pods.message_for(key)
        if f"/{resource.ROLLOUT}/" in key:
            return self._firmware.message_for(key)
        return self._twins.unseen.message_for(key, now_ms)

    def delivered(self, key: str) -> Effects:
        """The cloud has what `message_for(key)` last said."""
        if is_key(key):
            self.pods.delivered(key)
            return Effects()
        return self._twins.unseen.delivered(key)


def _too_large(size: int) -> TwinError:
    return TwinError(twin.TOO_LARGE, f"payload of {size} bytes is too large")


def _as_members(device: Device | None) -> list[twin.Member] | None:
    return None if device is None else [twin.Member(device.id, device.metadata.name)]
