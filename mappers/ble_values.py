"""Bytes of a Bluetooth characteristic or advertisement <-> typed values. Pure.

A codec comes from one of three places: what a Device names (`type`, `format`; KubeEdge's ways are in `ble_kubeedge.py`), the
Characteristic Presentation Format descriptor that the device itself carries (0x2904), or the Bluetooth SIG's assigned format of
a well-known characteristic. Little-endian unless said otherwise, as Bluetooth is. A length that does not fit, a number that is
none, and the value that a specification reserves for "not known" are BadAnswer: garbage never becomes a value.
"""

import re
import struct
import uuid
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Protocol

from msgspec import Struct

from edgewire.config import nearest

from .driver import BadAnswer, DefinitionError, Value, ValueRefused, Wanted
from .values import shortest

_INTEGERS = {f"{sign}int{bits}": bits for bits in (8, 16, 24, 32, 40, 48, 64, 128) for sign in "us"}
_NARROW = {"uint2": 2, "uint4": 4, "uint12": 12}
_FLOATS = {"float32": struct.Struct("<f"), "float64": struct.Struct("<d")}
_MEDICAL = {"medfloat16": (12, 4), "medfloat32": (24, 8)}
_TEXTS = {"utf8": "utf-8", "utf16": "utf-16-le"}
NUMERIC = frozenset({"bool", *_INTEGERS, *_NARROW, *_FLOATS, *_MEDICAL})
TYPES = (*sorted(NUMERIC), *_TEXTS, "bytes")
"""What `type` may say; GATT Specification Supplement, section 2.2 (medfloat16 is IEEE 11073's SFLOAT)."""
_ALIASES = {
    **{f"int{bits}": f"sint{bits}" for bits in (8, 16, 24, 32, 40, 48, 64, 128)},
    "boolean": "bool", "string": "utf8", "text": "utf8", "sfloat": "medfloat16",
}  # fmt: skip

_BASE = "-0000-1000-8000-00805f9b34fb"  # Core Specification, Vol 3, Part B, section 2.5.1
_LARGEST_EXPONENT = 40
EXACT = Context(prec=120, rounding=ROUND_HALF_EVEN)
"""Wide enough for 128 bits and their scale."""
_PRESENTATION = struct.Struct("<BbHBH")

# Characteristic Presentation Format, "Format" field; Assigned Numbers, section 2.4.1. Not there: 0x18 (two of something),
# 0x1B and 0x1C, which say nothing of what is inside, and sint12, whose sign extension is nowhere defined.
_FORMATS = {
    0x01: "bool", 0x02: "uint2", 0x03: "uint4", 0x04: "uint8", 0x05: "uint12", 0x06: "uint16", 0x07: "uint24",
    0x08: "uint32", 0x09: "uint48", 0x0A: "uint64", 0x0B: "uint128", 0x0C: "sint8", 0x0E: "sint16", 0x0F: "sint24",
    0x10: "sint32", 0x11: "sint48", 0x12: "sint64", 0x13: "sint128", 0x14: "float32", 0x15: "float64",
    0x16: "medfloat16", 0x17: "medfloat32", 0x19: "utf8", 0x1A: "utf16",
}  # fmt: skip


class Codec(Protocol):
    """Bytes to a value and back."""

    def decode(self, data: bytes) -> Value:
        """The value that bytes hold. Raises BadAnswer."""
        ...

    def encode(self, value: Wanted) -> bytes:
        """The bytes that hold a value, rounded to the nearest that can be held. Raises ValueRefused."""
        ...


class Format(Struct, frozen=True):
    """One value of a named type, alone or somewhere in a longer packet."""

    type: str
    exponent: int = 0
    """Integers only: value = integer * 10 ** exponent."""
    start: int | None = None
    """Where the value begins, for one in a longer packet; None: it is all there is, and the length must fit."""
    length: int = 0
    """Bytes of a text or `bytes` within a packet; 0: to its end."""
    big: bool = False
    """Most significant byte first."""
    unknown: int | None = None
    """The integer that stands for "not known"."""

    @property
    def size(self) -> int:
        """Bytes that the type takes; 0 for one as long as one likes."""
        bits = _INTEGERS.get(self.type) or _NARROW.get(self.type) or sum(_MEDICAL.get(self.type, ()))
        return -(-bits // 8) or (1 if self.type == "bool" else _FLOATS[self.type].size if self.type in _FLOATS else 0)

    def decode(self, data: bytes) -> Value:
        """The value that bytes hold. Raises BadAnswer."""
        part = self._part(data)
        if self.type in _TEXTS:
            return _text(part, _TEXTS[self.type])
        if self.type == "bytes":
            return part
        if self.big:
            part = part[::-1]
        if self.type in _FLOATS:
            (number,) = _FLOATS[self.type].unpack(part)
            return _finite(shortest(number) if self.type == "float32" else number)
        if self.type in _MEDICAL:
            return _medical(int.from_bytes(part, "little"), *_MEDICAL[self.type])
        raw = int.from_bytes(part, "little", signed=self.type.startswith("s"))
        if raw == self.unknown:
            raise BadAnswer(f"{part.hex()} stands for a value that is not known")
        return self._number(raw)

    def encode(self, value: Wanted) -> bytes:
        """The bytes that hold a value. Raises ValueRefused."""
        if self.start is not None:
            raise ValueRefused("a part of a packet cannot be written alone: use `dataWrite`")
        if self.type in _TEXTS:
            return (value if isinstance(value, str) else str(value)).encode(_TEXTS[self.type])
        if self.type == "bytes":
            if not isinstance(value, bytes):
                raise ValueRefused("not bytes")
            return value
        number = _decimal(value)
        if self.type in _FLOATS:
            data = _packed(_FLOATS[self.type], float(number), self.type)
        elif self.type in _MEDICAL:
            data = _to_medical(number, *_MEDICAL[self.type])
        else:
            data = self._integer(number)
        return data[::-1] if self.big else data

    def _part(self, data: bytes) -> bytes:
        if self.start is None:
            if self.size and len(data) != self.size:
                raise BadAnswer(f"{len(data)} bytes instead of the {self.size} of a {self.type}")
            return data
        end = self.start + (self.size or self.length or max(0, len(data) - self.start))
        if len(data) < end or len(data) < self.start:
            raise BadAnswer(f"{len(data)} bytes, too few for the {self.type} at {self.start}")
        return data[self.start : end]

    def _number(self, raw: int) -> Value:
        if self.type == "bool":
            if raw > 1:
                raise BadAnswer(f"{raw} is not a boolean")
            return bool(raw)
        if raw >> _NARROW.get(self.type, 128) > 0:
            raise BadAnswer(f"{raw} is beyond a {self.type}")
        if self.exponent >= 0:
            return raw * int(10**self.exponent)
        return float(Decimal(raw).scaleb(self.exponent, EXACT))

    def _integer(self, number: Decimal) -> bytes:
        number = number.scaleb(-self.exponent, EXACT)
        raw = int(number.to_integral_value(ROUND_HALF_EVEN, EXACT)) if number.adjusted() < 60 else 10**60
        bits = 1 if self.type == "bool" else _INTEGERS.get(self.type) or _NARROW[self.type]
        signed = self.type.startswith("s")
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        if not low <= raw <= high:
            raise ValueRefused(
                f"does not fit {self.type}" + (f" with exponent {self.exponent}" if self.exponent else "")
            )
        if raw == self.unknown:
            raise ValueRefused("stands for a value that is not known")
        return raw.to_bytes(self.size, "little", signed=signed)


class Packed(Struct, frozen=True):
    """One field of a packet in the notation of Python's `struct`."""

    layout: str
    field: int = 0

    def decode(self, data: bytes) -> Value:
        """The field's value. Raises BadAnswer."""
        try:
            value = struct.unpack(self.layout, data)[self.field]
        except struct.error as error:
            raise BadAnswer(
                f"{len(data)} bytes instead of the {struct.calcsize(self.layout)} of `{self.layout}`"
            ) from error
        if isinstance(value, float):
            return _finite(shortest(value) if "f" in self.layout else value)
        assert isinstance(value, bool | int | bytes)
        return value

    def encode(self, value: Wanted) -> bytes:
        """The packet of a single field. Raises ValueRefused."""
        packer = struct.Struct(self.layout)
        if len(packer.unpack(bytes(packer.size))) != 1:
            raise ValueRefused("one field of several cannot be written alone: use `dataWrite`")
        if isinstance(value, bytes | str):
            return _packed(packer, value.encode() if isinstance(value, str) else value, self.layout)
        number = _decimal(value)
        exact = isinstance(packer.unpack(bytes(packer.size))[0], float)
        return _packed(packer, float(number) if exact else _rounded(number), self.layout)


# What the Bluetooth SIG assigns to characteristics that few devices describe themselves; GATT Specification Supplement,
# section 3: type, exponent, the integer for "value is not known".
_ASSIGNED = {
    0x2A00: ("utf8",), 0x2A19: ("uint8",), 0x2A24: ("utf8",), 0x2A25: ("utf8",), 0x2A26: ("utf8",), 0x2A27: ("utf8",),
    0x2A28: ("utf8",), 0x2A29: ("utf8",), 0x2A6C: ("sint24", -2), 0x2A6D: ("uint32", -1),
    0x2A6E: ("sint16", -2, -0x8000), 0x2A6F: ("uint16", -2, 0xFFFF), 0x2A70: ("uint16", -2), 0x2A71: ("uint16", -2),
    0x2A72: ("uint16", -2), 0x2A73: ("uint16", -2), 0x2A76: ("uint8",), 0x2A77: ("uint16", -1), 0x2A78: ("uint16",),
    0x2A79: ("sint8",), 0x2A7A: ("sint8",), 0x2A7B: ("sint8",), 0x2AFB: ("uint24", -2, 0xFFFFFF),
}  # fmt: skip


def assigned(characteristic: str) -> Format | None:
    """The SIG's format of a characteristic (a full UUID), or None for one without."""
    number = int(characteristic[:8], 16) if characteristic.endswith(_BASE) else 0
    found = _ASSIGNED.get(number)
    if found is None:
        return None
    type, exponent, unknown, *_ = (*found, 0, None) if len(found) == 1 else (*found, None)
    return Format(str(type), exponent=int(exponent or 0), unknown=unknown if unknown is None else int(unknown))


def presentation(data: bytes) -> Format:
    """What a Characteristic Presentation Format descriptor (0x2904) says; Core Specification, Vol 3, Part G, 3.3.3.5.

    Raises BadAnswer for a descriptor that is none, or whose format does not say what is inside.
    """
    try:
        format, exponent, _unit, _namespace, _description = _PRESENTATION.unpack(data)
    except struct.error as error:
        raise BadAnswer(f"a descriptor 0x2904 of {len(data)} bytes instead of 7") from error
    type = _FORMATS.get(format)
    if type is None:
        raise BadAnswer(f"descriptor 0x2904 names format 0x{format:02X}, which is not supported: name its `type`")
    if abs(exponent) > _LARGEST_EXPONENT:
        raise BadAnswer(f"descriptor 0x2904 names exponent {exponent}")
    whole = type in _INTEGERS or type in _NARROW  # "only used on integer format types"
    return Format(type, exponent=exponent if whole else 0)


def type_name(text: str) -> str:
    """A `type` as `TYPES` writes it. Raises DefinitionError with the nearest name."""
    name = text.strip().lower()
    name = _ALIASES.get(name, name)
    if name not in TYPES:
        near = nearest(name, [*TYPES, *_ALIASES])
        raise DefinitionError(
            f"`type` {text!r} is not known: " + (f"did you mean {near}?" if near else ", ".join(TYPES))
        )
    return name


def packed(layout: str, field: int) -> Packed:
    """The codec of a `format`. Raises DefinitionError. Without a byte order it is little-endian, and never aligned."""
    if not layout[:1] or layout[0] not in "<>!=":
        layout = "<" + layout.removeprefix("@")
    try:
        size = struct.calcsize(layout)
        values = struct.unpack(layout, bytes(size)) if size <= 512 else ()
    except struct.error as error:
        raise DefinitionError(f"`format` {layout!r} is not in the notation of Python's struct: {error}") from error
    if not values or not size:
        raise DefinitionError(f"`format` {layout!r} must have fields of 1 to 512 bytes together")
    if not 0 <= field < len(values):
        raise DefinitionError(f"`field` {field} does not exist: `format` {layout!r} has {len(values)}, counted from 0")
    return Packed(layout, field)


def uuid_text(text: str, key: str) -> str:
    """A UUID in full and small letters, from one with 16, 32 or 128 bits, with or without dashes. Raises DefinitionError."""
    digits = text.strip().lower().removeprefix("0x")
    if re.fullmatch(r"[0-9a-f]{4}|[0-9a-f]{8}", digits):
        return digits.rjust(8, "0") + _BASE
    try:
        if re.fullmatch(r"[0-9a-f-]{32,36}", digits):
            return str(uuid.UUID(digits))
    except ValueError:
        pass
    raise DefinitionError(f"`{key}` {text!r} is not a UUID: 4, 8 or 32 hexadecimal digits")


def _text(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding).rstrip("\0 ")
    except UnicodeDecodeError as error:
        raise BadAnswer("not " + ("UTF-16" if "16" in encoding else "UTF-8") + " text") from error


def _finite(number: float) -> float:
    if number != number or number in (float("inf"), float("-inf")):
        raise BadAnswer(f"{number} is not a number to report")
    return number


def _medical(raw: int, mantissa_bits: int, exponent_bits: int) -> Value:
    """IEEE 11073-20601, section 2.2.2: mantissa and exponent, both signed; five mantissas around the middle are no numbers."""
    mantissa, exponent = raw & (1 << mantissa_bits) - 1, raw >> mantissa_bits
    half = 1 << mantissa_bits - 1
    if exponent == 0 and half - 2 <= mantissa <= half + 2:
        raise BadAnswer("a medical float that stands for no number")
    mantissa -= (1 << mantissa_bits) if mantissa >= half else 0
    exponent -= (1 << exponent_bits) if exponent >= 1 << exponent_bits - 1 else 0
    return float(Decimal(mantissa).scaleb(exponent, EXACT))


def _to_medical(number: Decimal, mantissa_bits: int, exponent_bits: int) -> bytes:
    largest = (1 << mantissa_bits - 1) - 3
    lowest, highest = -(1 << exponent_bits - 1), (1 << exponent_bits - 1) - 1
    own = number.as_tuple().exponent
    exponent = max(lowest, own if isinstance(own, int) and number else 0)
    while exponent <= highest:
        mantissa = _rounded(number.scaleb(-exponent, EXACT))
        if abs(mantissa) <= largest:
            bits = (mantissa & (1 << mantissa_bits) - 1) | (exponent & (1 << exponent_bits) - 1) << mantissa_bits
            return bits.to_bytes((mantissa_bits + exponent_bits) // 8, "little")
        exponent += 1
    raise ValueRefused(f"does not fit medfloat{mantissa_bits + exponent_bits}")


def _packed(packer: struct.Struct, value: float | bytes, name: str) -> bytes:
    try:
        return packer.pack(value)
    except (struct.error, OverflowError) as error:
        raise ValueRefused(f"does not fit {name}") from error


def _rounded(number: Decimal) -> int:
    return int(number.to_integral_value(ROUND_HALF_EVEN, EXACT)) if number.adjusted() < 60 else 10**60


def _decimal(value: Wanted) -> Decimal:
    if isinstance(value, bytes):
        raise ValueRefused("not a number")
    try:
        number = Decimal(int(value)) if isinstance(value, bool) else Decimal(value)
    except InvalidOperation as error:
        raise ValueRefused("not a number") from error
    if not number.is_finite() or abs(number.adjusted()) > 400:
        raise ValueRefused("not a finite number")
    return number
