"""BTHome v2: what a beacon says in its advertisements' service data, UUID 0xFCD2; https://bthome.io/format. Pure.

A packet is a byte of flags, then objects: a number that says what it is and how long, then the value, little-endian. Objects
stand in ascending order, so that a reader who meets one that is newer than itself has read all that it knows: what stands
before it counts. A packet that ends within an object is garbage, and nothing of it counts. Encrypted packets are refused.
"""

from collections.abc import Iterator
from decimal import Decimal

from msgspec import Struct

from .driver import BadAnswer, Refused, Value

SERVICE = "0000fcd2-0000-1000-8000-00805f9b34fb"
"""The UUID of BTHome's service data."""

_ENCRYPTED = 0x01
_VERSION = 2
_PACKET_ID = 0x00
_BUTTON = 0x3A
_DIMMER = 0x3C
_TEXT = 0x53
_RAW = 0x54

# number: name, bytes (negative: signed), factor
_NUMBERS: dict[int, tuple[str, int, str]] = {
    0x01: ("battery", 1, "1"), 0x02: ("temperature", -2, "0.01"), 0x03: ("humidity", 2, "0.01"),
    0x04: ("pressure", 3, "0.01"), 0x05: ("illuminance", 3, "0.01"), 0x06: ("mass_kg", 2, "0.01"),
    0x07: ("mass_lb", 2, "0.01"), 0x08: ("dew_point", -2, "0.01"), 0x09: ("count", 1, "1"),
    0x0A: ("energy", 3, "0.001"), 0x0B: ("power", 3, "0.01"), 0x0C: ("voltage", 2, "0.001"), 0x0D: ("pm2.5", 2, "1"),
    0x0E: ("pm10", 2, "1"), 0x12: ("co2", 2, "1"), 0x13: ("tvoc", 2, "1"), 0x14: ("moisture", 2, "0.01"),
    0x2E: ("humidity", 1, "1"), 0x2F: ("moisture", 1, "1"), 0x3D: ("count", 2, "1"), 0x3E: ("count", 4, "1"),
    0x3F: ("rotation", -2, "0.1"), 0x40: ("distance_mm", 2, "1"), 0x41: ("distance_m", 2, "0.1"),
    0x42: ("duration", 3, "0.001"), 0x43: ("current", 2, "0.001"), 0x44: ("speed", 2, "0.01"),
    0x45: ("temperature", -2, "0.1"), 0x46: ("uv_index", 1, "0.1"), 0x47: ("volume", 2, "0.1"),
    0x48: ("volume_ml", 2, "1"), 0x49: ("volume_flow_rate", 2, "0.001"), 0x4A: ("voltage", 2, "0.1"),
    0x4B: ("gas", 3, "0.001"), 0x4C: ("gas", 4, "0.001"), 0x4D: ("energy", 4, "0.001"), 0x4E: ("volume", 4, "0.001"),
    0x4F: ("water", 4, "0.001"), 0x50: ("timestamp", 4, "1"), 0x51: ("acceleration", 2, "0.001"),
    0x52: ("gyroscope", 2, "0.001"), 0x55: ("volume_storage", 4, "0.001"), 0x56: ("conductivity", 2, "1"),
    0x57: ("temperature", -1, "1"), 0x58: ("temperature", -1, "0.35"), 0x59: ("count", -1, "1"),
    0x5A: ("count", -2, "1"), 0x5B: ("count", -4, "1"), 0x5C: ("power", -4, "0.01"), 0x5D: ("current", -2, "0.001"),
    0x5E: ("direction", 2, "0.01"), 0x5F: ("precipitation", 2, "0.1"), 0x60: ("channel", 1, "1"),
    0x61: ("rotational_speed", 2, "1"), 0x62: ("speed", -4, "0.000001"), 0x63: ("acceleration", -4, "0.000001"),
    0x64: ("light_level", 1, "1"), 0xF0: ("device_type", 2, "1"), 0xF1: ("firmware_version", 4, "1"),
    0xF2: ("firmware_version", 3, "1"),
}  # fmt: skip

# 0x0F to 0x11 and 0x15 to 0x2D: one byte, 0 or 1. Where a measurement has the same name, these say what being true means.
_BINARY = dict(
    zip(
        (0x0F, 0x10, 0x11, *range(0x15, 0x2E)),
        ("generic_boolean", "power_on", "opening", "battery_low", "battery_charging", "carbon_monoxide", "cold",
         "connectivity", "door", "garage_door", "gas_detected", "heat", "light", "lock", "moisture_detected", "motion",
         "moving", "occupancy", "plug", "presence", "problem", "running", "safety", "smoke", "sound", "tamper",
         "vibration", "window"),
        strict=True,
    )
)  # fmt: skip

_PRESSES = {
    0x00: "none", 0x01: "press", 0x02: "double_press", 0x03: "triple_press", 0x04: "long_press",
    0x05: "long_double_press", 0x06: "long_triple_press", 0x80: "hold_press",
}  # fmt: skip
_TURNS = {0x00: 0, 0x01: -1, 0x02: 1}

EVENTS = frozenset({"button", "dimmer"})
"""Names of what happens at an instant, as opposed to what is measured."""
NUMBERS = frozenset(name for name, _, _ in _NUMBERS.values())
NAMES = tuple(sorted(NUMBERS | set(_BINARY.values()) | EVENTS | {"text", "raw"}))
"""The names of all objects that are understood."""


class Packet(Struct, frozen=True):
    """What one advertisement says."""

    id: int | None
    """Changes with every new packet; None when the beacon does not number them."""
    objects: tuple[tuple[str, Value], ...]
    """Name and value, in the order they stand; a name may occur several times."""

    def value(self, name: str, index: int = 1) -> Value | None:
        """The value of the `index`th object of a name, counted from 1; None when there is none, or a button at rest."""
        found = [value for known, value in self.objects if known == name]
        return found[index - 1] if 1 <= index <= len(found) and found[index - 1] != "none" else None


class Repeats:
    """Tells a new packet from the repetitions that a beacon sends of each, so that a button pressed once counts once."""

    def __init__(self) -> None:
        self._last: tuple[int | None, bytes] | None = None

    def new(self, packet: Packet, data: bytes) -> bool:
        """Whether this packet is another than the one before: by its number, else by its content."""
        one = (packet.id, b"" if packet.id is not None else data)
        new, self._last = one != self._last, one
        return new


def parse(data: bytes) -> Packet:
    """The packet in service data of UUID 0xFCD2. Raises BadAnswer for garbage, Refused for an encrypted one."""
    if not data:
        raise BadAnswer("an empty BTHome packet")
    if data[0] >> 5 != _VERSION:
        raise BadAnswer(f"BTHome version {data[0] >> 5}: only 2 is supported")
    if data[0] & _ENCRYPTED:
        raise Refused("the BTHome beacon encrypts its data, which is not supported: turn its encryption off")
    id = None
    objects: list[tuple[str, Value]] = []
    for number, content in _split(data[1:]):
        if number == _PACKET_ID:
            id = content[0]
        else:
            objects.append(_object(number, content))
    return Packet(id, tuple(objects))


def _split(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Objects' numbers and contents, up to the first that is not known."""
    at = 0
    while at < len(data):
        number = data[at]
        at += 1
        if number in (_TEXT, _RAW):
            length = data[at] if at < len(data) else 1
            at += 1
        else:
            length = _length(number)
            if not length:
                return
        if at + length > len(data):
            raise BadAnswer(f"a BTHome packet that ends within object 0x{number:02X}")
        yield number, data[at : at + length]
        at += length


def _length(number: int) -> int:
    if number in _NUMBERS:
        return abs(_NUMBERS[number][1])
    return 1 if number in _BINARY or number in (_PACKET_ID, _BUTTON) else 2 if number == _DIMMER else 0


def _object(number: int, content: bytes) -> tuple[str, Value]:
    if number in _NUMBERS:
        name, size, factor = _NUMBERS[number]
        raw = int.from_bytes(content, "little", signed=size < 0)
        return name, raw if factor == "1" else float(raw * Decimal(factor))
    if number in _BINARY:
        if content[0] > 1:
            raise BadAnswer(f"BTHome {_BINARY[number]} is {content[0]}, neither 0 nor 1")
        return _BINARY[number], bool(content[0])
    if number == _BUTTON:
        if content[0] not in _PRESSES:
            raise BadAnswer(f"BTHome button event 0x{content[0]:02X} is not known")
        return "button", _PRESSES[content[0]]
    if number == _DIMMER:
        if content[0] not in _TURNS:
            raise BadAnswer(f"BTHome dimmer event 0x{content[0]:02X} is not known")
        return "dimmer", _TURNS[content[0]] * content[1]
    if number == _RAW:
        return "raw", content
    try:
        return "text", content.decode()
    except UnicodeDecodeError as error:
        raise BadAnswer("a BTHome text that is not UTF-8") from error
