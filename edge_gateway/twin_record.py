"""What the gateway keeps of one device: its properties' values with their times, its state, and what the cloud has seen.

Each value that changes takes the device's next sequence number; what is above `seen` is not yet in the cloud. Records are
kept as JSON, one key a property (table `twin`) and one a device (table `device`).
"""

import msgspec
from msgspec import Struct

from edgewire.device import Device, DeviceModel, ModelProperty, same_value
from edgewire.twin import DeviceState, Stamp, Twin, TypeOf, Value, Version

ONLINE = ("online", "ok")

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


class DeviceRecord(Struct, omit_defaults=True, gc=False):
    """What is kept of a device beside its values."""

    uid: str = ""
    state: str = ""
    last_online_at: int = 0
    state_sequence: int = 0
    seen: int = 0
    """Highest sequence number of a value the cloud has acknowledged."""
    state_seen: int = 0


class PropertyTwin:
    """One property: its record, and what the device model and the device say of it."""

    __slots__ = ("name", "record", "to_cloud", "type", "wire_type", "writable")

    def __init__(self, of_model: ModelProperty, record: ValueRecord, to_cloud: bool) -> None:
        self.name = of_model.name
        self.type = of_model.type
        self.wire_type = TypeOf(_WIRE_TYPES.get(of_model.type, of_model.type.lower()))
        self.writable = of_model.writable
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

    def twin_for_cloud(self) -> Twin:
        """The property with its sequence number, as the link carries it."""
        return msgspec.structs.replace(self.twin(), reported_version=Version(0, self.record.sequence))

    def differs(self) -> bool:
        """Whether the device has still to follow a desired value."""
        r = self.record
        if r.desired is None or not self.writable:
            return False
        return r.reported is None or not same_value(r.desired, r.reported, self.type)


class DeviceTwinRecord:
    """One device with all its properties; it waits for its model while `model` is None."""

    __slots__ = ("delta_at", "device", "model", "offered", "properties", "record", "sequence", "state_offered")

    def __init__(self, device: Device, record: DeviceRecord) -> None:
        self.device = device
        self.model: DeviceModel | None = None
        self.record = record
        self.properties: dict[str, PropertyTwin] = {}
        self.sequence = max(record.seen, record.state_sequence)
        self.offered = record.seen
        """The sequence number up to which the message now in flight to the cloud speaks."""
        self.state_offered = record.state_seen
        self.delta_at = 0
        """When the last delta was sent, in ms since 1970."""

    def next_sequence(self) -> int:
        """The number of one more change."""
        self.sequence += 1
        return self.sequence

    def dirty(self) -> list[PropertyTwin]:
        """The properties whose newest values the cloud does not have."""
        seen = self.record.seen
        return [p for p in self.properties.values() if p.record.sequence > seen]

    def state(self, last_online: str) -> DeviceState:
        """The device's state as it goes over the wire."""
        return DeviceState(self.device.metadata.name, self.record.state, last_online)


_encoder = msgspec.json.Encoder()
_value_record = msgspec.json.Decoder(ValueRecord)
_device_record = msgspec.json.Decoder(DeviceRecord)


def encode(record: ValueRecord | DeviceRecord) -> bytes:
    """A record as it is kept."""
    return _encoder.encode(record)


def parse_value_record(value: bytes) -> ValueRecord:
    """A kept ValueRecord. Raises msgspec.DecodeError if the store was tampered with."""
    return _value_record.decode(value)


def parse_device_record(value: bytes) -> DeviceRecord:
    """A kept DeviceRecord. Raises msgspec.DecodeError if the store was tampered with."""
    return _device_record.decode(value)
