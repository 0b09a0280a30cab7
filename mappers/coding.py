"""What stands between a raw value and the number or text a user knows: some bits of an integer, names for values, a dead band.

All three are keys of a visitor (`driver.VisitorKeys`), the same in every protocol: `bits: 4-7`, `enum: {"0": off, "1": heating}`,
`deadband: 2%`. Bits are taken first, then named. Scaling is in `values.py`; a value that has a name is not scaled.
"""

from decimal import Decimal, InvalidOperation

from msgspec import Struct
from msgspec.structs import replace

from edgewire import twin
from edgewire.config import nearest
from edgewire.device import FLOATS, INTEGER, ModelProperty, same_value, value_problem

from .driver import BadAnswer, DefinitionError, Value, ValueRefused, VisitorKeys, Wanted

HIGHEST_BIT = 63


class Bits(Struct, frozen=True):
    """Some bits of an integer that stand together."""

    low: int
    """The least significant of them, counted from 0."""
    width: int

    @property
    def mask(self) -> int:
        """All of them set, in their place."""
        return ((1 << self.width) - 1) << self.low

    def take(self, raw: Value) -> int:
        """The number they hold, never negative. Raises BadAnswer where the raw value is no integer."""
        return (_whole(raw) & self.mask) >> self.low

    def place(self, value: Wanted) -> int:
        """A number to hold, in their place. Raises ValueRefused for one that does not fit."""
        if not isinstance(value, bool | Decimal):
            raise ValueRefused("not a number")
        number = int(value) if isinstance(value, bool) or value.adjusted() < 40 else -1
        if number != value or not 0 <= number < 1 << self.width:
            raise ValueRefused(f"does not fit {self.width} bits (0 to {(1 << self.width) - 1})")
        return number << self.low


class Names(Struct, frozen=True):
    """Raw values with a name each."""

    by_raw: dict[str, str]
    """Raw value, written as `_key` does, to name."""

    @property
    def integers(self) -> bool:
        """Whether all raw values are integers."""
        return all(value_problem(raw, INTEGER) is None for raw in self.by_raw)

    def name(self, raw: Value) -> str:
        """The name of a raw value. Raises BadAnswer for one that has none."""
        name = self.by_raw.get(_key(raw))
        if name is None:
            raise BadAnswer(f"{_key(raw)[:40]} is not in `enum`")
        return name

    def raw(self, name: str, type: str) -> Wanted:
        """The raw value to write for a name; the first if several have it. Raises ValueRefused for a name there is not."""
        for raw, known in self.by_raw.items():
            if same_value(name, known, type):
                return Decimal(raw) if value_problem(raw, INTEGER) is None else raw
        near = nearest(name, list(self.by_raw.values()))
        hint = f"did you mean {near!r}?" if near else f"one of {', '.join(dict.fromkeys(self.by_raw.values()))}"[:400]
        raise ValueRefused(f"not in `enum`: {hint}")


class Coding(Struct, frozen=True):
    """The bits and the names of one property; either may be missing."""

    bits: Bits | None
    names: Names | None

    def decode(self, raw: Value) -> Value:
        """What a raw value means. Raises BadAnswer when it means nothing."""
        value = raw if self.bits is None else self.bits.take(raw)
        return value if self.names is None else self.names.name(value)


class DeadBand(Struct, frozen=True):
    """How far a number may move without being reported."""

    size: Decimal
    percent: bool
    """Of the value last reported, instead of in its unit."""

    def holds(self, reported: str, text: str) -> bool:
        """Whether a value is still that near to the one last reported. Not a number is near to nothing."""
        was, now = Decimal(reported), Decimal(text)
        if not was.is_finite() or not now.is_finite():
            return False
        size = abs(was) * self.size / 100 if self.percent else self.size
        return abs(now - was) <= size


def coding(keys: VisitorKeys, model: ModelProperty) -> Coding | None:
    """The coding that a visitor's keys ask for; None for the usual, plain one. Raises DefinitionError naming the key."""
    bits = _bits(keys.bits) if keys.bits != "" else None
    if bits is not None and model.type == "BYTES":
        raise DefinitionError("`bits` of BYTES: the model's type must be one of a number, a BOOLEAN or a STRING")
    names = _names(keys, model) if keys.enum else None
    return Coding(bits, names) if bits is not None or names is not None else None


def dead_band(keys: VisitorKeys, model: ModelProperty) -> DeadBand | None:
    """The dead band that a visitor's keys ask for, if any. Raises DefinitionError."""
    text = str(keys.deadband).strip()
    if not text:
        return None
    if model.type != INTEGER and model.type not in FLOATS:
        raise DefinitionError(f"`deadband` is for numbers, and the model's type is {model.type}")
    try:
        size = Decimal(text.removesuffix("%").strip())
    except InvalidOperation:
        size = Decimal("NaN")
    if not size.is_finite() or size < 0 or abs(size.adjusted()) > 100:
        raise DefinitionError(f"`deadband` {text[:40]!r} is neither a number (0.5) nor a percentage (2%)")
    return DeadBand(size, text.endswith("%")) if size else None


def shown_to_driver(model: ModelProperty, coding: Coding | None) -> ModelProperty:
    """A model property as a driver should see it: what it reads is an integer where bits are taken or integers named."""
    if coding is None or (coding.bits is None and (coding.names is None or not coding.names.integers)):
        return model
    return replace(model, type=INTEGER)


def _bits(key: int | str) -> Bits:
    first, dash, last = str(key).replace(" ", "").partition("-")
    ends = [
        int(end) for end in ((first, last) if dash else (first,)) if end.isascii() and end.isdigit() and len(end) < 3
    ]
    if len(ends) != 1 + bool(dash) or max(ends) > HIGHEST_BIT:
        raise DefinitionError(
            f"`bits` {str(key)[:40]!r} is neither a bit (3) nor a range of bits (4-7) up to {HIGHEST_BIT}"
        )
    return Bits(min(ends), max(ends) - min(ends) + 1)


def _names(keys: VisitorKeys, model: ModelProperty) -> Names:
    if keys.scale != 1 or keys.value_offset:
        raise DefinitionError("`enum` and `scale` or `valueOffset`: what has a name is not scaled")
    if keys.deadband != "":
        raise DefinitionError("`enum` and `deadband`: names have no distance")
    for raw, name in keys.enum.items():
        problem = value_problem(name, model.type) or twin.value_problem(name)
        if problem is not None:
            raise DefinitionError(f"`enum` {raw[:40]!r}: {problem}, and the model's type is {model.type}")
    return Names({_written(raw): name for raw, name in keys.enum.items()})


def _written(key: str) -> str:
    """A key of `enum` as `_key` writes the raw value it means: 0x1F and true are integers too."""
    if key.lower() in ("true", "false"):
        return "1" if key.lower() == "true" else "0"
    try:
        return str(int(key, 0) if key[:2].lower() in ("0x", "0b", "0o") else int(key))
    except ValueError:
        return key


def _key(raw: Value) -> str:
    if isinstance(raw, bytes):
        return raw.hex()
    if isinstance(raw, str):
        return _written(raw)
    try:
        return str(_whole(raw))
    except BadAnswer:
        return str(raw)


def _whole(raw: Value) -> int:
    if isinstance(raw, int):
        return int(raw)
    if isinstance(raw, str) and value_problem(raw, INTEGER) is None:
        return int(raw)
    if isinstance(raw, float | Decimal):
        number = Decimal(raw)
        if number.is_finite() and number.adjusted() < 40 and number == int(number):
            return int(number)
    raise BadAnswer(f"{str(raw)[:40]!r} is not an integer")
