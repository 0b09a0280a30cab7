"""What the gateway keeps of one device: its properties' values with their times, its state, and what the cloud has seen.

Each value that changes takes the device's next sequence number; what is above `seen` is not yet in the cloud. A property
that is not reported to the cloud has no number until it is. Records are kept as JSON, one key a property (table `twin`) and
one a device (table `device`).
"""

from datetime import UTC, datetime

import msgspec
from msgspec import UNSET, Struct, field

from edgewire.device import Device, DeviceModel, ModelProperty, same_value
from edgewire.twin import DeviceState, Stamp, Twin, TypeOf, Value, Version

ONLINE = ("online", "ok")

MESSAGE_LIMIT = 2 * 1024 * 1024
"""Bytes of twins in one message to the cloud: half of what a frame of the link may have."""

_BYTES_PER_CHARACTER = 6
"""The longest a character becomes in JSON: `\\u0001`."""
_BYTES_BESIDE_VALUES = 512
"""Of one property: a name of 128 characters, times, versions, keys."""

_WIRE_TYPES = {"BOOLEAN": "boolean", "INT": "int", "FLOAT": "float", "DOUBLE": "double", "STRING": "string"}


class ValueRecord(Struct, omit_defaults=True, gc=False):
    """One property's values; None where there is none. Times in ms since 1970."""

    reported: str | None = None
    reported_at: int = 0
    desired: str | None = None
    desired_at: int = 0
    spec_desired: str | None = None
    """The desired value last seen in the Device resource: only a new one replaces what a local client wished since."""
    sequence: int = 0
    """Number of the last change; 0 when the cloud need not know of it."""


class DeviceRecord(Struct, omit_defaults=True, gc=False):
    """What is kept of a device beside its values."""

    uid: str = ""
    state: str = ""
    last_online_at: int = 0
    state_sequence: int = 0
    seen: int = 0
    """Highest sequence number of a value the cloud has acknowledged."""
    state_seen: int = 0
    reason: str = ""
    """Why the device is not well, and the last error: as it said with its state."""
    message: str = ""
    refused: dict[str, str] = field(default_factory=dict)
    """Property -> why the device does not follow its desired value."""


class PropertyTwin:
    """One property: its record, and what the device model and the device say of it."""

    __slots__ = ("model", "name", "record", "to_cloud", "wire_type")

    def __init__(self, of_model: ModelProperty, record: ValueRecord, to_cloud: bool) -> None:
        self.name = of_model.name
        self.model = of_model
        self.wire_type = TypeOf(_WIRE_TYPES.get(of_model.type, of_model.type.lower()))
        self.to_cloud = to_cloud
        self.record = record

    def twin(self) -> Twin:
        """The property as it goes over the wire."""
        r = self.record
        return Twin(
            desired=None if r.desired is None else Value(r.desired, Stamp(r.desired_at)),
            reported=None if r.reported is None else Value(r.reported, Stamp(r.reported_at)),
            optional=True,
            metadata=self.wire_type,
        )

    def twin_or_none(self) -> Twin | None:
        """The property as it goes over the wire, None when it has no value at all."""
        return None if self.record.reported is None and self.record.desired is None else self.twin()

    def twin_for_cloud(self) -> Twin | None:
        """The property as the link carries it, with the sequence number. A value that was and is no more is there without a
        `value`, for what is absent is not news; None when that holds of the reported value, and nothing was ever desired."""
        r = self.record
        if r.reported is None and not r.desired_at:
            return None
        return Twin(
            desired=_with_time(r.desired, r.desired_at),
            reported=_with_time(r.reported, r.reported_at),
            optional=True,
            metadata=self.wire_type,
            reported_version=Version(0, r.sequence),
        )

    def differs(self) -> bool:
        """Whether the device has still to follow a desired value."""
        r = self.record
        if r.desired is None or not self.model.writable:
            return False
        return r.reported is None or not same_value(r.desired, r.reported, self.model.type)


class DeviceTwinRecord:
    """One device with all its properties; it waits for its model while `model` is None."""

    __slots__ = (
        "device",
        "looked_at",
        "model",
        "offered",
        "properties",
        "record",
        "sequence",
        "state_offered",
        "values",
    )

    def __init__(self, device: Device, record: DeviceRecord, values: dict[str, ValueRecord]) -> None:
        self.device = device
        self.model: DeviceModel | None = None
        self.record = record
        self.values = values
        """By property, also while the model is missing that says what they are."""
        self.properties: dict[str, PropertyTwin] = {}
        self.sequence = max(record.seen, record.state_sequence, *(v.sequence for v in values.values()))
        self.offered = record.seen
        """The sequence number up to which the message now in flight to the cloud speaks."""
        self.state_offered = record.state_seen
        self.looked_at = 0
        """When all properties were last looked at for a delta, in ms since 1970."""

    def next_sequence(self) -> int:
        """The number of one more change."""
        self.sequence += 1
        return self.sequence

    def dirty(self) -> list[PropertyTwin]:
        """The properties whose newest values the cloud does not have, the longest waiting first."""
        seen = self.record.seen
        found = [p for p in self.properties.values() if p.to_cloud and p.record.sequence > seen]
        found.sort(key=lambda p: p.record.sequence)
        return found

    def state_is_dirty(self) -> bool:
        """Whether the cloud does not have the newest state."""
        return self.record.state_sequence > self.record.state_seen

    def offer(self) -> list[PropertyTwin]:
        """The dirty properties that fit into one message, which speaks for them from now on."""
        fitting, room = [], MESSAGE_LIMIT
        for p in self.dirty():
            characters = len(p.record.reported or "") + len(p.record.desired or "")
            room -= _BYTES_BESIDE_VALUES + _BYTES_PER_CHARACTER * characters
            if room < 0:
                break
            fitting.append(p)
            self.offered = p.record.sequence
        return fitting

    def state(self, last_online: str) -> DeviceState:
        """The device's state as it goes over the wire."""
        r = self.record
        return DeviceState(self.device.metadata.name, r.state, last_online, r.reason, r.message, r.refused)


def _with_time(value: str | None, at: int) -> Value | None:
    return Value(UNSET if value is None else value, Stamp(at)) if at else None


_encoder = msgspec.json.Encoder()
_value_record = msgspec.json.Decoder(ValueRecord)
_device_record = msgspec.json.Decoder(DeviceRecord)


def encode(record: ValueRecord | DeviceRecord) -> bytes:
    """A record as it is kept."""
    return _encoder.encode(record)


def parse_value_record(value: bytes) -> ValueRecord:
    """A kept ValueRecord. Raises what `message.UNREADABLE` names if the store was tampered with."""
    return _value_record.decode(value)


def parse_device_record(value: bytes) -> DeviceRecord:
    """A kept DeviceRecord. Raises what `message.UNREADABLE` names if the store was tampered with."""
    return _device_record.decode(value)


def rfc3339(at_ms: int) -> str:
    """A time in ms since 1970 as Kubernetes writes it; empty for 0, which is never."""
    return "" if not at_ms else datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
