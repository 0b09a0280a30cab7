"""Values on their way between a register and a twin, where every value is a string.

A `Codec` turns bytes into a typed value and back, with a precompiled `struct`; a `Scaling` turns what a register holds into
the unit a user reads; `text` and `parse` go between values and the strings of a twin, by the device model's type.

Numbers stay exact. Integers of 64 bits never pass through a float. Scaling is decimal arithmetic on the scale as it is
written, so 214 at scale 0.1 is `21.4`, not 21.400000000000002, and keeps the scale's decimals: 210 is `21.0`. A float32 is
read as the shortest decimal that names it, `21.4`, not the 21.399999618530273 that its widening to a float64 gives.
"""

import struct
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from math import frexp
from operator import itemgetter
from typing import Any

from msgspec import Struct

from edgewire.device import BOOLEAN, FLOATS, INTEGER, value_problem

from .driver import BadAnswer, Value, ValueRefused, Wanted

_INTEGERS = {"int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q"}
_FLOATS = {"float16": "e", "float32": "f", "float64": "d"}
_BCD = {"bcd16": "2s", "bcd32": "4s", "bcd64": "8s"}
FIXED = {
    "bool": 1,
    **{name: struct.calcsize(f">{code}") // 2 for name, code in {**_INTEGERS, **_FLOATS, **_BCD}.items()},
}
"""Registers (of 16 bits) that each type of fixed width takes."""

OPEN = frozenset({"string", "bytes"})
"""The types as wide as one says."""

# Wide enough for a uint64 times any scale of practical length without rounding.
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
_LARGEST_EXPONENT = 400  # beyond float64, and cheap to compute with
_MOST_DIGITS = 38  # of an INT: a twin carries 40 characters
_HUGE = 10**_MOST_DIGITS
_MOST_SHIFTED, _SHIFTED_BELOW = 9, 10**18  # within what `_plain` writes without an exponent
_single = struct.Struct(">f")
_short_float = struct.Struct(">e")
_SIX_DIGITS = 8  # a text of fewer characters has six digits, or is an integer, which has no shorter form
_HALF_A_BIT = 2.0**-25  # of the value: half of what lies between neighbours, at the least
_LARGEST = 3.4028234663852886e38  # of float32


class Codec:
    """One type in one byte order: bytes of `registers` 16-bit registers, big-endian, to a value and back."""

    __slots__ = ("_order", "_struct", "code", "finish", "registers", "type")

    def __init__(
        self,
        type: str,
        registers: int,
        *,
        swap_bytes: bool = False,
        swap_registers: bool = False,
        swap_longs: bool = False,
    ) -> None:
        """`swap_bytes` exchanges the two bytes of every register, `swap_longs` the two halves of four registers.

        `swap_registers` puts the last register first.
        """
        self.type = type
        self.registers = registers
        swap_registers = swap_registers and registers > 1
        swap_longs = swap_longs and registers == 4
        little = swap_bytes and (swap_registers or registers == 1) and not swap_longs and type not in OPEN | _BCD.keys()
        code = _INTEGERS.get(type) or _FLOATS.get(type) or ("H" if type == "bool" else f"{registers * 2}s")
        self._struct = struct.Struct(("<" if little else ">") + code)
        mixed = (swap_bytes or swap_registers or swap_longs) and not little
        self._order = _order(registers, swap_bytes, swap_registers, swap_longs) if mixed else None
        self.code = "" if little or mixed else code
        """What `struct` calls it, for who unpacks many at once, big-endian; empty when the order is another."""
        self.finish: Callable[[Any], Value] | None = _FINISH.get(type)
        """What makes a value of what `struct` unpacks, where that is not one yet. Raises BadAnswer."""

    def decode(self, data: bytes, at: int = 0) -> Value:
        """The value whose first byte is `data[at]`. Raises BadAnswer when the bytes are no text, no number, or too few."""
        try:
            if self._order is not None:
                data, at = bytes(self._order(data[at : at + 2 * self.registers])), 0
            (value,) = self._struct.unpack_from(data, at)
        except (struct.error, IndexError) as error:
            raise BadAnswer(f"too few bytes for {self.type}") from error
        return value if self.finish is None else self.finish(value)

    def encode(self, value: Wanted) -> bytes:
        """The bytes that hold a value; numbers are rounded to the nearest that can be held. Raises ValueRefused."""
        return self.arrange(self._struct.pack(self._fitting(value)))

    def encode_bits(self, bits: int) -> bytes:
        """The bytes that hold an unsigned integer of the same width. Raises ValueRefused where no integer is held."""
        if self.type not in _INTEGERS or bits >> 16 * self.registers:
            raise ValueRefused(f"{self.type} has no bits to write" if self.type not in _INTEGERS else "has fewer bits")
        # `_order` expects what the struct packs, and the struct may be little-endian.
        data = bits.to_bytes(2 * self.registers, "little" if self._struct.format.startswith("<") else "big")
        return self.arrange(data)

    def arrange(self, data: bytes) -> bytes:
        """Bytes as the struct packs them, in the order of the registers."""
        return data if self._order is None else bytes(self._order(data))

    def _fitting(self, value: Wanted) -> int | float | bytes:
        if self.type == "string":
            return self._padded(value.encode() if isinstance(value, str) else str(value).encode())
        if self.type == "bytes":
            if not isinstance(value, bytes) or len(value) != 2 * self.registers:
                raise ValueRefused(f"must be exactly {2 * self.registers} bytes")
            return value
        number = _number(value)
        if self.type in _FLOATS:
            return self._fitting_float(number)
        if self.type in _BCD:
            return bytes.fromhex(f"{self._fitting_integer(number):0{4 * self.registers}d}")
        return self._fitting_integer(number)

    def _padded(self, data: bytes) -> bytes:
        if len(data) > 2 * self.registers:
            raise ValueRefused(f"{len(data)} bytes long, there is room for {2 * self.registers}")
        return data

    def _fitting_float(self, number: Decimal) -> float:
        value = float(number)
        try:
            self._struct.pack(value)
        except OverflowError as error:
            raise ValueRefused(f"does not fit {self.type}") from error
        if value in (float("inf"), float("-inf")):
            raise ValueRefused(f"does not fit {self.type}")
        return value

    def _fitting_integer(self, number: Decimal) -> int:
        value = int(number.to_integral_value(ROUND_HALF_EVEN, _EXACT)) if number.adjusted() < 40 else 10**40
        low, high = _range(self.type)
        if not low <= value <= high:
            raise ValueRefused(f"does not fit {self.type} ({low} to {high})")
        return value


class Scaling(Struct, frozen=True):
    """What a register holds to what a user reads: value = raw * scale + offset, in exact decimal arithmetic."""

    scale: Decimal = Decimal(1)
    offset: Decimal = Decimal(0)

    @property
    def identity(self) -> bool:
        """Whether values pass unchanged."""
        return self.scale == 1 and self.offset == 0

    def apply(self, raw: float | Decimal) -> Decimal:
        """The scaled value of what a register holds."""
        number = Decimal(repr(raw)) if isinstance(raw, float) else Decimal(raw)
        scaled = _EXACT.multiply(number, self.scale)
        return _EXACT.add(scaled, self.offset) if self.offset else scaled

    def remove(self, value: Decimal) -> Decimal:
        """What a register would hold for a scaled value; not rounded to what it can hold."""
        return _EXACT.divide(_EXACT.subtract(value, self.offset), self.scale)


def text(value: Value, type: str, scaling: Scaling) -> str:
    """A value as a twin carries it, by the model's type. Scaling concerns numbers only; a BYTES value is hexadecimal.

    A fraction in an INT property is rounded half to even. Raises BadAnswer for what the type cannot express.
    """
    numeric = type == INTEGER or type in FLOATS
    if isinstance(value, str):
        if not numeric:
            return _truth(value) if type == BOOLEAN else value
        value = _number_read(value)
    elif isinstance(value, bytes):
        if numeric or type == BOOLEAN:
            raise BadAnswer(f"bytes are no {type}")
        return value.hex()
    elif (isinstance(value, int) and not -_HUGE < value < _HUGE) or (isinstance(value, Decimal) and value.is_snan()):
        raise BadAnswer("a number that no device counts to")
    if type == BOOLEAN:
        return "true" if value else "false"
    if isinstance(value, bool):
        return str(int(value)) if numeric else ("true" if value else "false")
    if scaling.identity:
        if type == INTEGER:
            return str(value) if isinstance(value, int) else _rounded(Decimal(value))
        return _plain(value) if isinstance(value, Decimal) else repr(value)
    number = scaling.apply(value)
    return _rounded(number) if type == INTEGER else _plain(number)


def teller(type: str, scaling: Scaling) -> Callable[[Value], str]:
    """`text` with its type and scaling settled: what a value costs when thousands are read a second."""
    if type not in FLOATS:
        return lambda value: text(value, type, scaling)
    if scaling.identity:
        return lambda value: repr(value) if value.__class__ is float else text(value, type, scaling)
    sign, digits, exponent = scaling.scale.as_tuple()
    if sign or digits != (1,) or not isinstance(exponent, int) or not -_MOST_SHIFTED <= exponent < 0 or scaling.offset:
        return lambda value: text(value, type, scaling)
    decimals = -exponent

    def shifted(value: Value) -> str:
        """An integer times a tenth, a hundredth, ...: its digits with a point among them."""
        if value.__class__ is not int or not 0 <= value < _SHIFTED_BELOW:
            return text(value, type, scaling)
        whole = str(value)
        if len(whole) <= decimals:
            whole = whole.zfill(decimals + 1)
        return f"{whole[:-decimals]}.{whole[-decimals:]}"

    return shifted


def parse(text: str, type: str, scaling: Scaling, minimum: Decimal | None, maximum: Decimal | None) -> Wanted:
    """What to write for a twin's string. Raises ValueRefused for one that is no value of the type, or outside the limits."""
    problem = value_problem(text, type)
    if problem is not None:
        raise ValueRefused(problem)
    if type == BOOLEAN:
        return text.lower() in ("true", "1")
    if type == "BYTES":
        return _unhexed(text)
    if type != INTEGER and type not in FLOATS:
        return text
    number = _decimal(text)
    if minimum is not None and number < minimum:
        raise ValueRefused(f"below the minimum {minimum}")
    if maximum is not None and number > maximum:
        raise ValueRefused(f"above the maximum {maximum}")
    return scaling.remove(number)


def shortest(value: float) -> float:
    """The float whose decimal form is the shortest that names the same float32 as `value` does."""
    if not -_LARGEST <= value <= _LARGEST:
        return value  # infinite, or not a number
    near = float(text := "%.7g" % value)  # noqa: UP031 (half the time of an f-string, for every value read)
    if abs(near - value) <= abs(value) * _HALF_A_BIT or _single.pack(near) == _single.pack(value):
        # Of six digits at most, which every float32 has room for; or else, rarely, there is a shorter one.
        return near if len(text) < _SIX_DIGITS else _named(value, (6,), near)
    return _named(value, (8,) if abs(frexp(value)[0]) != 0.5 else (6, 8), float(f"{value:.9g}"))


def _named(value: float, digits: Sequence[int], otherwise: float) -> float:
    """A decimal of one of some lengths that names the same float32 as `value`, else another."""
    exact = _single.pack(value)
    for length in digits:
        try:
            if _single.pack(near := float(f"{value:.{length}g}")) == exact:
                return near
        except OverflowError:  # rounded up beyond the largest float32
            continue
    return otherwise


def _text_of(data: bytes) -> str:
    try:
        return data.rstrip(b"\0 ").decode()
    except UnicodeDecodeError as error:
        raise BadAnswer("not UTF-8 text") from error


def _decimal_digits(data: bytes) -> int:
    digits = data.hex()
    if not digits.isdecimal():
        raise BadAnswer(f"not binary-coded decimal: {digits}")
    return int(digits)


def _half(value: float) -> float:
    """The shortest decimal that names a float16."""
    if value != value or value in (float("inf"), float("-inf")):
        return value
    return next(n for digits in (3, 4, 5) if _half_of(n := float(f"{value:.{digits}g}")) == value)


def _half_of(value: float) -> float | None:
    try:
        return float(_short_float.unpack(_short_float.pack(value))[0])
    except OverflowError:
        return None


_FINISH: dict[str, Callable[[Any], Value]] = {
    "bool": bool,
    "float16": _half,
    "float32": shortest,
    "string": _text_of,
    **dict.fromkeys(_BCD, _decimal_digits),
}


def _number(value: Wanted) -> Decimal:
    if isinstance(value, Decimal):
        return value
    if isinstance(value, bool):
        return Decimal(int(value))
    if isinstance(value, str):
        return _decimal(value)
    raise ValueRefused("not a number")


def _decimal(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise ValueRefused("not a number") from error
    if not number.is_finite() or abs(number.adjusted()) > _LARGEST_EXPONENT:
        raise ValueRefused("not a finite number")
    return number


def _number_read(text: str) -> int | Decimal:
    try:
        return int(text) if value_problem(text, INTEGER) is None else _decimal(text)
    except ValueRefused as error:
        raise BadAnswer(f"{text[:40]!r} is not a number") from error


def _truth(text: str) -> str:
    if value_problem(text, BOOLEAN) is not None:
        raise BadAnswer(f"{text[:40]!r} is not true or false")
    return "true" if text.lower() in ("true", "1") else "false"


def _range(type: str) -> tuple[int, int]:
    if type == "bool":
        return 0, 1
    if type in _BCD:
        return 0, 10 ** (4 * FIXED[type]) - 1
    bits = 16 * FIXED[type]
    return (0, (1 << bits) - 1) if type.startswith("u") else (-(1 << bits - 1), (1 << bits - 1) - 1)


def _order(
    registers: int, swap_bytes: bool, swap_registers: bool, swap_longs: bool
) -> Callable[[bytes], tuple[int, ...]]:
    """Picks the bytes of a value in big-endian order; its own inverse."""
    words = range(registers - 1, -1, -1) if swap_registers else range(registers)
    longs = [word ^ 2 if swap_longs else word for word in words]
    return itemgetter(*(2 * word + byte for word in longs for byte in ((1, 0) if swap_bytes else (0, 1))))


def _rounded(number: Decimal) -> str:
    if not number.is_finite() or number.adjusted() >= _MOST_DIGITS:
        raise BadAnswer(f"{number:.6g} is not an integer that can be told")
    return str(int(number.to_integral_value(ROUND_HALF_EVEN, _EXACT)))


def _plain(number: Decimal) -> str:
    """Without an exponent, unless that took more than 20 digits."""
    if not number:
        number = abs(number)
    return format(number, "f") if not number.is_finite() or -20 <= number.adjusted() <= 20 else str(number)


def _unhexed(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise ValueRefused("not hexadecimal bytes") from error
