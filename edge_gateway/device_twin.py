"""DeviceTwin: what every device of this node reported and is desired to be, and who has to be told.

A core: events in, `Effects` out. Devices and models come from MetaManager, reports and requests from the broker,
acknowledgements from EdgeHub. `merge.py` decides which value wins.

A delta goes out when a desired value changes, when a device says it is online, and when it reports something else than is
desired; it is repeated to a device that goes on reporting, though not more often than every five seconds. Deltas are QoS 0 on
purpose: a broker must not queue wishes of the past for a device that is away.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping

from edge_gateway import merge, twin_record
from edge_gateway.effects import Effects, Publish
from edge_gateway.store import Change as Row
from edge_gateway.twin_record import ONLINE, DeviceRecord, DeviceTwinRecord, PropertyTwin, ValueRecord, rfc3339
from edge_gateway.unseen import Unseen, state_key, twin_key
from edgewire import message as wire
from edgewire import topics, twin
from edgewire.device import Device, DeviceModel, desired_problem
from edgewire.twin import Change, Member, StateReport, Twin, TwinError, Value

log = logging.getLogger(__name__)

REPEAT_DELTA_MS = 5_000

NO_MAPPER = "NoMapper"
"""Why the state of a device is unknown that nobody serves."""

_ANSWERS = {topics.UPDATE: topics.RESULT, topics.GET: topics.GET_RESULT, topics.STATE: topics.STATE_RESULT}


class DeviceTwin:
    """The twins of one node's devices."""

    def __init__(self, wanted: Callable[[str], bool] = lambda topic: True) -> None:
        """`wanted` says whether anyone on the broker listens to a topic, so that nothing is encoded for nobody."""
        self._wanted = wanted
        self._devices: dict[str, DeviceTwinRecord] = {}
        self.unseen = Unseen(self._devices)
        """What the cloud does not know yet."""
        self._kept_values: dict[str, dict[str, ValueRecord]] = {}
        self._kept_devices: dict[str, DeviceRecord] = {}

    def restore(self, devices: Iterable[tuple[str, bytes]], values: Iterable[tuple[str, bytes]]) -> Iterator[Row]:
        """Take back what the store kept (tables `device` and `twin`); `device_changed` then makes use of it.

        Yields the removal of what cannot be read: a gateway does not stay down for the sake of one value.
        """
        for id, value in devices:
            try:
                self._kept_devices[id] = twin_record.parse_device_record(value)
            except wire.UNREADABLE as error:
                yield _unreadable("device", id, error)
        for key, value in values:
            namespace, name, prop = key.split("/", 2)
            try:
                self._kept_values.setdefault(f"{namespace}/{name}", {})[prop] = twin_record.parse_value_record(value)
            except wire.UNREADABLE as error:
                yield _unreadable("twin", key, error)

    # What MetaManager learnt

    def device_changed(self, device: Device, model: DeviceModel | None, now_ms: int) -> Effects:
        """A device or its model came or was edited: its properties follow the model; without a model it waits."""
        effects = Effects()
        kept = self._devices.get(device.id)
        if kept is None:
            kept = self._devices[device.id] = self._take_back(device, effects)
        if kept.record.uid != device.metadata.uid:
            self._forget_values(kept, effects)
            kept.record = DeviceRecord(uid=device.metadata.uid)
            effects.changes.append(("device", device.id, twin_record.encode(kept.record)))
        kept.device = device
        kept.model = model
        kept.properties = {}
        if model is not None:
            self._follow_model(kept, model, effects)
            self._follow_wishes(kept, now_ms, effects)
            if kept.dirty():
                effects.dirty.append(twin_key(device.id))
        return effects

    def device_removed(self, id: str) -> Effects:
        """A device left this node: nothing of it is kept."""
        effects = Effects()
        kept = self._devices.pop(id, None)
        if kept is not None:
            self._forget_values(kept, effects)
            effects.changes.append(("device", id, None))
        return effects

    # What clients of the broker sent

    def report(self, id: str, payload: bytes, now_ms: int) -> Effects:
        """A `twin/update`. What of it can be taken is taken; the rest is answered with `code` and `reason`."""
        try:
            report, errors = twin.parse_report(payload)
            kept = self._known(id, report.event_id)
        except TwinError as error:
            return self.refuse(id, topics.UPDATE, error, now_ms)
        effects = Effects()
        changes: dict[str, Change] = {}
        alive = False
        for name, sent in report.twin.items():
            try:
                change = self._take(kept, name, sent, report.timestamp, now_ms, effects)
            except TwinError as error:
                errors.append(error)
                continue
            alive = alive or (sent is not None and sent.reported is not None)
            if change is not None:
                changes[name] = change
        if alive:  # an application that only desires something says nothing of the device
            self._device_is_alive(id, kept, now_ms, effects)
        self._tell(id, kept, report.event_id, changes, _joined(errors, report.event_id), now_ms, effects)
        return effects

    def desire(self, id: str, values: Mapping[str, str], now_ms: int) -> Effects:
        """An application desires values: all, or TwinError. They count from now on, whatever a clock said before."""
        kept = self._known(id, "")
        sent = {name: Twin(desired=Value(value)) for name, value in values.items()}
        for name, wish in sent.items():
            if name not in kept.properties:
                raise _unknown_property(kept, name)
            merge.check(kept.properties[name], wish)
        effects = Effects()
        changes = {name: self._take(kept, name, wish, 0, now_ms, effects) for name, wish in sent.items()}
        changed = {name: change for name, change in changes.items() if change is not None}
        self._tell(id, kept, wire.new_id(), changed, None, now_ms, effects)
        return effects

    def record(self, id: str) -> DeviceTwinRecord | None:
        """What is known of a device, to be read only; None when it is not here."""
        return self._devices.get(id)

    def refuse(self, id: str, kind: str, error: TwinError, now_ms: int) -> Effects:
        """A message of a kind (`topics.UPDATE`, `GET`, `STATE`) that cannot be taken at all: its sender is told why."""
        effects = Effects()
        self._answer(id, _ANSWERS[kind], error.event_id, now_ms, {}, error, effects)
        return effects

    def get(self, id: str, payload: bytes, now_ms: int) -> Effects:
        """A `twin/get`, answered with all properties."""
        try:
            event_id = twin.parse_request(payload)
            kept = self._known(id, event_id)
        except TwinError as error:
            return self.refuse(id, topics.GET, error, now_ms)
        effects = Effects()
        twins = {p.name: p.twin() for p in kept.properties.values()}
        self._answer(id, topics.GET_RESULT, event_id, now_ms, twins, None, effects)
        return effects

    def state(self, id: str, payload: bytes, now_ms: int) -> Effects:
        """A `state/update`. A device that says it is online is told what it should be."""
        try:
            report = twin.parse_state(payload)
            kept = self._known(id, report.event_id)
        except TwinError as error:
            return self.refuse(id, topics.STATE, error, now_ms)
        effects = Effects()
        self._enter_state(id, kept, report, now_ms, effects)
        topic = topics.of_device(id, topics.STATE_RESULT)
        if self._wanted(topic):
            state = kept.state(rfc3339(kept.record.last_online_at))
            effects.publishes.append(Publish(topic, twin.state_result(report.event_id, now_ms, state)))
        if report.state in ONLINE:
            self._look_at_all(id, kept, now_ms, effects)
        return effects

    def without_mapper(self, id: str, why: str, now_ms: int, *, lost: bool) -> Effects:
        """No mapper serves a device: its state is unknown, unless it speaks for itself; `lost`: not any more."""
        effects = Effects()
        kept = self._devices.get(id)
        if kept is not None and (lost or not kept.record.state or kept.record.reason == NO_MAPPER):
            state = StateReport("unknown", reason=NO_MAPPER, message=why, refused=kept.record.refused)
            self._enter_state(id, kept, state, now_ms, effects)
        return effects

    def reported(self, id: str, names: Iterable[str]) -> dict[str, str] | None:
        """What a device last reported of some properties, empty for nothing yet; those that its model lacks are not there.

        None when the device is not here, or has no model yet.
        """
        kept = self._devices.get(id)
        if kept is None or kept.model is None:
            return None
        return {name: kept.properties[name].record.reported or "" for name in names if name in kept.properties}

    def is_online(self, id: str) -> bool:
        """Whether a device said, or showed, that it is online."""
        kept = self._devices.get(id)
        return kept is not None and kept.record.state in ONLINE

    def members(self) -> list[Member]:
        """Every device of the node."""
        return [
            Member(id, kept.device.metadata.name, kept.record.state, rfc3339(kept.record.last_online_at))
            for id, kept in self._devices.items()
        ]

    # Following the resources

    def _take_back(self, device: Device, effects: Effects) -> DeviceTwinRecord:
        record = self._kept_devices.pop(device.id, None)
        if record is None:
            record = DeviceRecord(uid=device.metadata.uid)
            effects.changes.append(("device", device.id, twin_record.encode(record)))
        return DeviceTwinRecord(device, record, self._kept_values.pop(device.id, {}))

    def _forget_values(self, kept: DeviceTwinRecord, effects: Effects) -> None:
        effects.changes += [("twin", f"{kept.device.id}/{name}", None) for name in kept.values]
        kept.values = {}

    def _follow_model(self, kept: DeviceTwinRecord, model: DeviceModel, effects: Effects) -> None:
        own = {p.name: p for p in kept.device.spec.properties}
        for of_model in model.spec.properties:
            name = of_model.name
            record = kept.values.setdefault(name, ValueRecord())
            prop = kept.properties[name] = PropertyTwin(of_model, record, name not in own or own[name].report_to_cloud)
            if prop.to_cloud and not record.sequence and (record.reported_at or record.desired_at):
                self._changed(kept, prop, effects)  # from now on the cloud is to know it
        for name in kept.values.keys() - kept.properties.keys():
            del kept.values[name]
            effects.changes.append(("twin", f"{kept.device.id}/{name}", None))

    def _follow_wishes(self, kept: DeviceTwinRecord, now_ms: int, effects: Effects) -> None:
        """Take over desired values that are new in the Device. One that cannot be followed is none: its Device says why."""
        wishes = {p.name: p.desired.value for p in kept.device.spec.properties if p.desired is not None}
        changed = []
        for prop in kept.properties.values():
            wish = wishes.get(prop.name) or None
            if wish is not None and desired_problem(wish, prop.model) is not None:
                wish = None
            record = prop.record
            if record.spec_desired != wish:
                record.spec_desired = record.desired = wish
                record.desired_at = max(now_ms, record.desired_at + 1)
                self._changed(kept, prop, effects)
                changed.append(prop)
        self._send_delta(kept.device.id, changed, now_ms, effects)

    # Merging

    def _take(
        self, kept: DeviceTwinRecord, name: str, sent: Twin | None, made_at: int, now_ms: int, effects: Effects
    ) -> Change | None:
        """Merge what was sent of one property: before and after, or None when it changed nothing. Raises TwinError."""
        prop = kept.properties.get(name)
        if prop is None:
            raise _unknown_property(kept, name)
        before = prop.twin_or_none()
        if sent is not None:
            merge.check(prop, sent)
        times = prop.record.reported_at, prop.record.desired_at
        if not merge.merge(prop.record, sent, made_at, now_ms):
            if times != (prop.record.reported_at, prop.record.desired_at):
                effects.changes.append(_row(kept, prop))  # no news, but what is older may not win after a restart
            return None
        self._changed(kept, prop, effects)
        return Change(before, prop.twin_or_none())

    def _changed(self, kept: DeviceTwinRecord, prop: PropertyTwin, effects: Effects) -> None:
        prop.record.sequence = kept.next_sequence() if prop.to_cloud else 0
        effects.changes.append(_row(kept, prop))

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
        if changes:
            topic = topics.of_device(id, topics.DOCUMENT)
            if self._wanted(topic):
                effects.publishes.append(Publish(topic, twin.document(event_id, now_ms, changes)))
        changed = [kept.properties[name] for name in changes]
        if any(p.to_cloud for p in changed):
            effects.dirty.append(twin_key(id))
        if not 0 <= now_ms - kept.looked_at < REPEAT_DELTA_MS:  # below 0 the clock went back
            self._look_at_all(id, kept, now_ms, effects)
        else:
            self._send_delta(id, changed, now_ms, effects)

    def _look_at_all(self, id: str, kept: DeviceTwinRecord, now_ms: int, effects: Effects) -> None:
        kept.looked_at = now_ms
        self._send_delta(id, kept.properties.values(), now_ms, effects)

    def _send_delta(self, id: str, of: Iterable[PropertyTwin], now_ms: int, effects: Effects) -> None:
        lagging = [p for p in of if p.differs()]
        if not lagging:
            return
        topic = topics.of_device(id, topics.DELTA)
        if self._wanted(topic):
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
            self._enter_state(id, kept, StateReport("online", refused=kept.record.refused), now_ms, effects)

    def _enter_state(self, id: str, kept: DeviceTwinRecord, said: StateReport, now_ms: int, effects: Effects) -> None:
        record = kept.record
        if said.state in ONLINE:
            record.last_online_at = now_ms
        new = said.state, said.reason, said.message, said.refused
        if (record.state, record.reason, record.message, record.refused) == new:
            return
        record.state, record.reason, record.message, record.refused = new
        record.state_sequence = kept.next_sequence()
        effects.changes.append(("device", id, twin_record.encode(record)))
        effects.dirty.append(state_key(id))

    def _known(self, id: str, event_id: str) -> DeviceTwinRecord:
        kept = self._devices.get(id)
        if kept is None:
            raise TwinError(twin.NOT_FOUND, f"device {id} is not a device of this node", event_id)
        if kept.model is None:
            raise TwinError(twin.NOT_FOUND, f"device {id} waits for its model {kept.device.model_id}", event_id)
        return kept


def _row(kept: DeviceTwinRecord, prop: PropertyTwin) -> Row:
    return ("twin", f"{kept.device.id}/{prop.name}", twin_record.encode(prop.record))


def _unknown_property(kept: DeviceTwinRecord, name: str) -> TwinError:
    known = ", ".join(kept.properties) or "none"
    why = f"property {name[:128]!r} is not declared by the device's model; it declares {known}"
    return TwinError(twin.NOT_FOUND, twin.name_problem(name) or why[: twin.MAX_REASON])


def _joined(errors: list[TwinError], event_id: str) -> TwinError | None:
    """All that is wrong with one message, in one answer."""
    if not errors:
        return None
    return TwinError(errors[0].code, "; ".join(e.reason for e in errors)[: twin.MAX_REASON], event_id)


def _unreadable(table: str, key: str, error: Exception) -> Row:
    log.error("stored row is unreadable and dropped table=%s key=%r error=%s", table, key, error)
    return (table, key, None)
