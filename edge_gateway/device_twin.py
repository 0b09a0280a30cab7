"""DeviceTwin: what every device of this node reported and is desired to be, and who has to be told.

A core: events in, `Effects` out. Devices and models come from MetaManager, reports and requests from the broker,
acknowledgements from EdgeHub. `merge.py` decides which value wins.

A delta goes out when a desired value changes, when a device says it is online, and when it reports something else than is
desired; it is repeated to a device that keeps reporting the same, though not more often than every five seconds. Deltas are
QoS 0 on purpose: a broker must not queue wishes of the past for a device that is away.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from edge_gateway import merge, twin_record
from edge_gateway.effects import Effects, Publish
from edge_gateway.twin_record import ONLINE, DeviceRecord, DeviceTwinRecord, PropertyTwin, ValueRecord
from edgewire import device as resources
from edgewire import message as wire
from edgewire import resource, topics, twin
from edgewire.device import Device, DeviceModel
from edgewire.message import Message
from edgewire.twin import Change, Member, Twin, TwinError

REPEAT_DELTA_MS = 5_000


class DeviceTwin:
    """The twins of one node's devices."""

    def __init__(self, wanted: Callable[[str], bool] = lambda topic: True) -> None:
        """`wanted` says whether anyone on the broker listens to a topic, so that nothing is encoded for nobody."""
        self._wanted = wanted
        self._devices: dict[str, DeviceTwinRecord] = {}
        self._kept_values: dict[str, dict[str, ValueRecord]] = {}
        self._kept_devices: dict[str, DeviceRecord] = {}

    def restore(self, devices: Iterable[tuple[str, bytes]], values: Iterable[tuple[str, bytes]]) -> None:
        """Take back what the store kept (tables `device` and `twin`); `device_changed` then makes use of it."""
        for key, value in devices:
            self._kept_devices[key] = twin_record.parse_device_record(value)
        for key, value in values:
            namespace, name, prop = key.split("/", 2)
            self._kept_values.setdefault(f"{namespace}/{name}", {})[prop] = twin_record.parse_value_record(value)

    # What MetaManager learnt

    def device_changed(self, device: Device, model: DeviceModel | None, now_ms: int) -> Effects:
        """A device came or was edited; without its model it waits."""
        effects = Effects()
        kept = self._devices.get(device.id)
        if kept is None:
            kept = self._devices[device.id] = self._take_back(device)
        if kept.record.uid != device.metadata.uid:
            self._forget_values(kept, effects)
            kept.record = DeviceRecord(uid=device.metadata.uid)
        kept.device = device
        if model is not None:
            self.model_changed(device.id, model, now_ms, effects)
        effects.changes.append(("device", device.id, twin_record.encode(kept.record)))
        return effects

    def model_changed(self, id: str, model: DeviceModel, now_ms: int, effects: Effects) -> None:
        """A device's model came or was edited: its properties follow."""
        kept = self._devices[id]
        kept.model = model
        values = {name: p.record for name, p in kept.properties.items()} or self._kept_values.pop(id, {})
        of_device = {p.name: p for p in kept.device.spec.properties}
        kept.properties = {}
        for of_model in model.spec.properties:
            own = of_device.get(of_model.name)
            record = values.pop(of_model.name, None) or ValueRecord()
            kept.sequence = max(kept.sequence, record.sequence)
            kept.properties[of_model.name] = PropertyTwin(of_model, record, own is None or own.report_to_cloud)
        effects.changes += [("twin", f"{id}/{name}", None) for name in values]
        for own in kept.device.spec.properties:
            self._wish_from_spec(kept, own, now_ms, effects)
        if kept.dirty():
            effects.dirty.append(_twin_key(id))

    def device_removed(self, id: str) -> Effects:
        """A device left this node: nothing of it is kept."""
        effects = Effects()
        kept = self._devices.pop(id, None)
        if kept is not None:
            self._forget_values(kept, effects)
            effects.changes.append(("device", id, None))
        return effects

    # What clients of the broker sent

    def report(self, id: str, payload: bytes | None, now_ms: int, size: int = 0) -> Effects:
        """A `twin/update`. What of it can be taken is taken; the rest is answered with `code` and `reason`."""
        effects = Effects()
        try:
            if payload is None:
                raise TwinError(twin.TOO_LARGE, f"payload of {size} bytes is too large")
            report = twin.parse_report(payload)
            kept = self._known(id, report.event_id)
        except TwinError as error:
            self._answer(id, topics.RESULT, error.event_id, now_ms, {}, error, effects)
            return effects
        changes: dict[str, Change] = {}
        refused: TwinError | None = None
        for name, sent in report.twin.items():
            try:
                before = self._take(kept, name, sent, report.timestamp, now_ms, effects)
            except TwinError as error:
                refused = refused or TwinError(error.code, error.reason, report.event_id)
                continue
            if before is not None:
                changes[name] = before
        self._device_is_alive(id, kept, now_ms, effects)
        if changes:
            effects.dirty.append(_twin_key(id))
        self._tell(id, kept, report.event_id, changes, refused, now_ms, effects)
        return effects

    def get(self, id: str, payload: bytes | None, now_ms: int) -> Effects:
        """A `twin/get`, answered with all properties."""
        effects = Effects()
        refused: TwinError | None = None
        twins: dict[str, Twin | None] = {}
        event_id = ""
        try:
            event_id = twin.parse_request(payload or b"")
            twins = {p.name: p.twin() for p in self._known(id, event_id).properties.values()}
        except TwinError as error:
            refused, event_id = error, error.event_id
        self._answer(id, topics.GET_RESULT, event_id, now_ms, twins, refused, effects)
        return effects

    def state(self, id: str, payload: bytes | None, now_ms: int) -> Effects:
        """A `state/update`. A device that says it is online is told what it should be."""
        effects = Effects()
        try:
            report = twin.parse_state(payload or b"")
            kept = self._known(id, report.event_id)
        except TwinError as error:
            self._answer(id, topics.STATE_RESULT, error.event_id, now_ms, {}, error, effects)
            return effects
        self._enter_state(id, kept, report.state, now_ms, effects)
        topic = topics.of_device(id, topics.STATE_RESULT)
        if self._wanted(topic):
            state = kept.state(_rfc3339(kept.record.last_online_at))
            effects.publishes.append(Publish(topic, twin.state_result(report.event_id, now_ms, state)))
        if report.state in ONLINE:
            self._send_delta(id, kept, kept.properties.values(), now_ms, effects)
        return effects

    def members(self) -> list[Member]:
        """Every device of the node."""
        return [
            Member(id, kept.device.metadata.name, kept.record.state, _rfc3339(kept.record.last_online_at))
            for id, kept in self._devices.items()
        ]

    # What the cloud does not know yet

    def dirty_keys(self) -> list[str]:
        """Everything the cloud has not acknowledged, as keys for `message_for`."""
        keys = []
        for id, kept in self._devices.items():
            if kept.dirty():
                keys.append(_twin_key(id))
            if kept.record.state_sequence > kept.record.state_seen:
                keys.append(_state_key(id))
        return keys

    def message_for(self, key: str, now_ms: int) -> Message | None:
        """The newest message about a key, or None when the cloud knows all."""
        report = resource.parse_device_report(key)
        kept = self._devices.get(report[0]) if report else None
        if report is None or kept is None:
            return None
        if report[1] == resource.STATE_UPDATED:
            if kept.record.state_sequence <= kept.record.state_seen:
                return None
            kept.state_offered = kept.record.state_sequence
            state = kept.state(_rfc3339(kept.record.last_online_at))
            return wire.build(wire.UPDATE, key, twin.state_content(wire.new_id(), now_ms, state), source="twin")
        dirty = kept.dirty()
        if not dirty:
            return None
        kept.offered = max(p.record.sequence for p in dirty)
        twins = {p.name: _for_cloud(p) for p in dirty}
        return wire.build(wire.UPDATE, key, twin.updated_content(wire.new_id(), now_ms, twins), source="twin")

    def delivered(self, key: str) -> Effects:
        """The cloud has what `message_for(key)` last said (or will never take it): it is not sent again."""
        effects = Effects()
        report = resource.parse_device_report(key)
        kept = self._devices.get(report[0]) if report else None
        if report is None or kept is None:
            return effects
        if report[1] == resource.STATE_UPDATED:
            kept.record.state_seen = max(kept.record.state_seen, kept.state_offered)
        else:
            kept.record.seen = max(kept.record.seen, kept.offered)
        effects.changes.append(("device", report[0], twin_record.encode(kept.record)))
        return effects

    # Merging

    def _take(
        self, kept: DeviceTwinRecord, name: str, sent: Twin | None, made_at: int, now_ms: int, effects: Effects
    ) -> Change | None:
        """Merge what was sent of one property: before and after, or None when it changed nothing. Raises TwinError."""
        prop = kept.properties.get(name)
        if prop is None:
            known = ", ".join(kept.properties) or "none"
            why = (
                twin.name_problem(name)
                or f"property {name!r} is not declared by the device's model; it declares {known}"
            )
            raise TwinError(twin.NOT_FOUND, why[:500])
        record = prop.record
        before = _unless_empty(prop)
        if sent is not None:
            merge.check(prop, sent)
        if not merge.merge(record, sent, made_at, now_ms):
            return None
        if prop.to_cloud:
            record.sequence = kept.next_sequence()
        effects.changes.append(("twin", f"{kept.device.id}/{name}", twin_record.encode(record)))
        return Change(before, _unless_empty(prop))

    def _wish_from_spec(self, kept: DeviceTwinRecord, own: resources.Property, now_ms: int, effects: Effects) -> None:
        prop = kept.properties.get(own.name)
        wish = own.desired.value if own.desired is not None and own.desired.value else None
        if prop is None or prop.record.spec_desired == wish:
            return
        record = prop.record
        record.spec_desired = record.desired = wish
        record.desired_at = max(now_ms, record.desired_at + 1)
        record.sequence = kept.next_sequence()
        effects.changes.append(("twin", f"{kept.device.id}/{own.name}", twin_record.encode(record)))
        self._send_delta(kept.device.id, kept, (prop,), now_ms, effects)

    # Telling

    def _tell(
        self,
        id: str,
        kept: DeviceTwinRecord,
        event_id: str,
        changes: dict[str, Change],
        refused: TwinError | None,
        now_ms: int,
        effects: Effects,
    ) -> None:
        twins = {name: change.current for name, change in changes.items()}
        self._answer(id, topics.RESULT, event_id, now_ms, twins, refused, effects)
        topic = topics.of_device(id, topics.DOCUMENT)
        if changes and self._wanted(topic):
            effects.publishes.append(Publish(topic, twin.document(event_id, now_ms, changes)))
        if changes or now_ms - kept.delta_at >= REPEAT_DELTA_MS:
            self._send_delta(id, kept, kept.properties.values(), now_ms, effects)

    def _send_delta(
        self, id: str, kept: DeviceTwinRecord, of: Iterable[PropertyTwin], now_ms: int, effects: Effects
    ) -> None:
        lagging = [p for p in of if p.differs()]
        topic = topics.of_device(id, topics.DELTA)
        if not lagging or not self._wanted(topic):
            return
        kept.delta_at = now_ms
        wishes = {p.name: p.record.desired or "" for p in lagging}
        payload = twin.delta(wire.new_id(), now_ms, {p.name: p.twin() for p in lagging}, wishes)
        effects.publishes.append(Publish(topic, payload))

    def _answer(
        self,
        id: str,
        kind: str,
        event_id: str,
        now_ms: int,
        twins: Mapping[str, Twin | None],
        refused: TwinError | None,
        effects: Effects,
    ) -> None:
        topic = topics.of_device(id, kind)
        if refused is not None:
            effects.refusals.append((id, refused))
        if self._wanted(topic):
            effects.publishes.append(Publish(topic, twin.result(event_id, now_ms, twins, refused)))

    def _device_is_alive(self, id: str, kept: DeviceTwinRecord, now_ms: int, effects: Effects) -> None:
        if kept.record.state in ONLINE:
            kept.record.last_online_at = now_ms
        elif kept.record.state != "unhealthy":
            self._enter_state(id, kept, "online", now_ms, effects)

    def _enter_state(self, id: str, kept: DeviceTwinRecord, state: str, now_ms: int, effects: Effects) -> None:
        record = kept.record
        if state in ONLINE:
            record.last_online_at = now_ms
        if record.state == state:
            return
        record.state = state
        record.state_sequence = kept.next_sequence()
        effects.changes.append(("device", id, twin_record.encode(record)))
        effects.dirty.append(_state_key(id))

    def _known(self, id: str, event_id: str) -> DeviceTwinRecord:
        kept = self._devices.get(id)
        if kept is None:
            raise TwinError(twin.NOT_FOUND, f"device {id} is not a device of this node", event_id)
        if kept.model is None:
            raise TwinError(twin.NOT_FOUND, f"device {id} waits for its model {kept.device.model_id}", event_id)
        return kept

    def _forget_values(self, kept: DeviceTwinRecord, effects: Effects) -> None:
        id = kept.device.id
        names = kept.properties.keys() | self._kept_values.pop(id, {}).keys()
        effects.changes += [("twin", f"{id}/{name}", None) for name in names]
        kept.properties = {}

    def _take_back(self, device: Device) -> DeviceTwinRecord:
        record = self._kept_devices.pop(device.id, None) or DeviceRecord(uid=device.metadata.uid)
        return DeviceTwinRecord(device, record)


def _unless_empty(prop: PropertyTwin) -> Twin | None:
    if prop.record.reported is None and prop.record.desired is None:
        return None
    return prop.twin()


def _for_cloud(prop: PropertyTwin) -> Twin | None:
    return None if _unless_empty(prop) is None else prop.twin_for_cloud()


def _twin_key(id: str) -> str:
    return resource.device_report(id, resource.TWIN_UPDATED)


def _state_key(id: str) -> str:
    return resource.device_report(id, resource.STATE_UPDATED)


def _rfc3339(at_ms: int) -> str:
    return "" if not at_ms else datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
