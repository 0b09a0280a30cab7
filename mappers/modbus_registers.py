"""Which registers hold a property, and how: from a visitor's `configData` to a `Visitor`. Pure; `modbus.py` does the talking."""

from msgspec import Struct, field

from edgewire.config import nearest
from edgewire.device import BOOLEAN, FLOATS, INTEGER, ModelProperty

from .driver import DefinitionError, VisitorKeys
from .modbus_address import Address, within
from .modbus_pdu import MAX_REGISTERS
from .values import FIXED, OPEN, Codec

COIL = "CoilRegister"
DISCRETE = "DiscreteInputRegister"
INPUT = "InputRegister"
HOLDING = "HoldingRegister"
TABLES = (COIL, DISCRETE, INPUT, HOLDING)
"""KubeEdge's names of the four Modbus tables."""

BITS = frozenset({COIL, DISCRETE})
WRITABLE = frozenset({COIL, HOLDING})

MOST_BITS = 64
"""Bits of a table of bits that make one number."""

_LETTERS = "ABCDEFGH"
# What KubeEdge's mappers write in `dataType`: the model's types in small letters, which say nothing about the width.
_MODEL_WORDS = frozenset({"int", "float", "double", "string", "boolean", "bytes"})


class VisitorConfig(VisitorKeys, frozen=True, kw_only=True):
    """A property's `visitors.configData`, beside the keys that every protocol has."""

    register: str = ""
    """One of `TABLES`."""
    offset: int = -1
    """Address of the first register, counted from 0 as on the wire."""
    limit: int = 0
    """How many registers; 0 leaves it to the type."""
    type: str = ""
    """What they hold; empty leaves it to the model's type and `limit`, see `_type`."""
    data_type: str = field(default="", name="dataType")
    """KubeEdge's name for `type`."""
    is_swap: bool = field(default=False, name="isSwap")
    """The two bytes of each register are exchanged."""
    is_register_swap: bool = field(default=False, name="isRegisterSwap")
    """The register with the lowest address is the least significant one."""
    is_long_swap: bool = field(default=False, name="isLongSwap")
    """The two halves of a 64-bit value are exchanged."""
    order: str = ""
    """The three of them in the letters of manuals, A being the most significant byte: `CDAB` is `isRegisterSwap`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.register not in TABLES:
            near = nearest(self.register, list(TABLES))
            known = f"did you mean {near}?" if near else f"one of {', '.join(TABLES)}"
            raise ValueError(f"`register` {self.register!r} is not known: {known}")
        if self.offset == -1:
            raise ValueError("`offset` is missing: the address of the first register, counted from 0")
        within("offset", self.offset, 0, 65535)
        within("limit", self.limit, 0, MAX_REGISTERS)


class Visitor(Struct, frozen=True, eq=False):
    """Where a property is and how its registers are read. Compared by identity, so that plans of reads are found fast."""

    unit: Address
    table: str
    start: int
    count: int
    """Registers, or bits in `BITS`."""
    codec: Codec | None
    """None for bits."""
    pushed: bool = False
    """A broadcast is never answered: what is written is all that is known, and nothing is read."""

    @property
    def end(self) -> int:
        """The address after the last."""
        return self.start + self.count

    def __str__(self) -> str:
        return span(self.table, self.start, self.count)


def span(table: str, start: int, count: int) -> str:
    """Registers as errors name them: `HoldingRegister 100..103`."""
    return f"{table} {start}" if count == 1 else f"{table} {start}..{start + count - 1}"


def make_visitor(unit: Address, config: VisitorConfig, model: ModelProperty) -> Visitor:
    """The visitor of a property. Raises DefinitionError when its keys contradict each other or the model."""
    if unit.broadcast and config.register not in WRITABLE:
        raise DefinitionError(f"`slaveID` 0 is all units of the line, and a {config.register} cannot be written")
    if config.register in BITS:
        return _bits(unit, config, model)
    type = _type(config, model)
    count = FIXED.get(type) or config.limit
    if not count:
        raise DefinitionError(f"`limit` is missing: how many registers the {type} takes")
    if config.limit not in (0, count):
        raise DefinitionError(f"`limit` {config.limit} does not fit type {type}, which takes {count}")
    if config.offset + count > 65536:
        raise DefinitionError(f"`offset` {config.offset} and {count} registers reach beyond address 65535")
    swap_bytes, swap_registers, swap_longs = _swaps(config, type, count)
    codec = Codec(type, count, swap_bytes=swap_bytes, swap_registers=swap_registers, swap_longs=swap_longs)
    return Visitor(unit, config.register, config.offset, count, codec, unit.broadcast)


def _bits(unit: Address, config: VisitorConfig, model: ModelProperty) -> Visitor:
    count = config.limit or 1
    if count > MOST_BITS:
        raise DefinitionError(f"`limit` {count}: at most {MOST_BITS} bits of a {config.register} make one number")
    if count > 1 and model.type not in (INTEGER, *FLOATS):
        raise DefinitionError(
            f"`limit` {count}: some bits of a {config.register} make a number, the model has {model.type}"
        )
    if (config.type or config.data_type).lower() not in ("", "bool", *_MODEL_WORDS):
        raise DefinitionError(
            f"`type` {config.type or config.data_type} does not fit a {config.register}, which is bool"
        )
    if config.order or config.is_long_swap:  # KubeEdge's own manifests have the other two everywhere
        raise DefinitionError(f"`order` and `isLongSwap` have no meaning for a {config.register}")
    if count == 1 and (config.scale != 1 or config.value_offset):
        raise DefinitionError(f"`scale` and `valueOffset` have no meaning for a {config.register}")
    if config.offset + count > 65536:
        raise DefinitionError(f"`offset` {config.offset} and {count} bits reach beyond address 65535")
    return Visitor(unit, config.register, config.offset, count, None, unit.broadcast)


def _swaps(config: VisitorConfig, type: str, count: int) -> tuple[bool, bool, bool]:
    """Whether bytes, registers, and halves of 64 bits are exchanged."""
    if config.is_long_swap and count != 4:
        raise DefinitionError(f"`isLongSwap` is for values of 64 bits, and {type} takes {16 * count}")
    if not config.order:
        return config.is_swap, config.is_register_swap, config.is_long_swap
    if config.is_swap or config.is_register_swap or config.is_long_swap:
        raise DefinitionError("`order` says it all: leave `isSwap`, `isRegisterSwap` and `isLongSwap` out")
    order, letters = config.order.upper(), _LETTERS[: 2 * count]
    moved = letters.find(order[0])
    if type in OPEN or moved < 0 or order != "".join(letters[at ^ moved] for at in range(len(letters))):
        raise DefinitionError(
            f"`order` {config.order!r} is no order of the {2 * count} bytes of {type}, such as {letters}"
        )
    # Of 64 bits, registers backwards is both registers within their half and the halves.
    return bool(moved & 1), bool(moved & 2), bool(moved & 4) != bool(moved & 2 and count == 4)


def _type(config: VisitorConfig, model: ModelProperty) -> str:
    """What the registers hold: what `type` or `dataType` says, else by the model's type and how many they are."""
    named = (config.type or config.data_type).lower()
    if named in FIXED or named in OPEN:
        return named
    if named and named not in _MODEL_WORDS:
        near = nearest(named, [*FIXED, *OPEN])
        known = f"did you mean {near}?" if near else f"one of {', '.join([*FIXED, *sorted(OPEN)])}"
        raise DefinitionError(f"`type` {named!r} is not known: {known}")
    if model.type in ("STRING", "BYTES"):
        return model.type.lower()
    if model.type == BOOLEAN:
        return "bool"
    widths = _WIDTHS["FLOAT" if model.type in FLOATS else INTEGER]
    width = config.limit or (4 if model.type == "DOUBLE" else 2 if model.type in FLOATS else 1)
    if width not in widths:
        raise DefinitionError(f"`limit` {width} does not fit a property of type {model.type}: name its `type`")
    return widths[width]


# One register in a FLOAT property is an integer that `scale` makes a fraction of.
_WIDTHS = {
    INTEGER: {1: "int16", 2: "int32", 4: "int64"},
    "FLOAT": {1: "int16", 2: "float32", 4: "float64"},
}
