"""Which registers hold a property, and in which requests they are read. Pure; `modbus.py` does the talking.

Grouping is the lever of a Modbus mapper: a request costs a round trip however few registers it asks for. Visitors of one
table that lie close together are read in one request, registers between them included, as long as the gap is no larger than
`gap`. A device that refuses to read across a gap is asked apart from then on: the driver remembers where, in `apart`.
"""

from collections.abc import Collection, Iterable, Sequence

from msgspec import Struct, field

from edgewire.config import nearest
from edgewire.device import BOOLEAN, FLOATS, INTEGER, ModelProperty

from .driver import DefinitionError, VisitorKeys
from .values import FIXED, OPEN, Codec

COIL = "CoilRegister"
DISCRETE = "DiscreteInputRegister"
INPUT = "InputRegister"
HOLDING = "HoldingRegister"
TABLES = (COIL, DISCRETE, INPUT, HOLDING)
"""KubeEdge's names of the four Modbus tables."""

BITS = frozenset({COIL, DISCRETE})
WRITABLE = frozenset({COIL, HOLDING})

MAX_BITS = 2000
"""Bits in one read; Modbus Application Protocol V1.1b3, section 6.1."""
MAX_REGISTERS = 125
"""Registers in one read; the same, section 6.3."""
MAX_WRITTEN = 123
"""Registers in one write; the same, section 6.12."""

_BITS_PER_REGISTER = 16
# What KubeEdge's mappers write in `dataType`: the model's types in small letters, which say nothing about the width.
_MODEL_WORDS = frozenset({"int", "float", "double", "string", "boolean", "bytes"})
_SERIAL_KEYS = ("serialPort", "baudRate", "dataBits", "parity", "stopBits")


class Server(Struct, frozen=True):
    """A Modbus TCP server: the bus that its units share."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Address(Struct, frozen=True, kw_only=True):
    """A Device's `protocol.configData`."""

    ip: str = ""
    """The server's address or host name."""
    port: int = 502
    """Modbus's registered port."""
    slave_id: int = field(default=1, name="slaveID")
    """The unit behind the server; many that are none use 1, 0 or 255."""
    timeout: int = 1000
    """Milliseconds the unit may take to answer, and the server to accept a connection."""
    gap: int = 16
    """Registers that a read may span without need to save a request; 0 reads only what lies side by side."""
    max_registers: int = field(default=MAX_REGISTERS, name="maxRegisters")
    """The most registers the unit gives in one answer; some have small buffers."""
    serial_port: str | None = field(default=None, name="serialPort")
    baud_rate: int | None = field(default=None, name="baudRate")
    data_bits: int | None = field(default=None, name="dataBits")
    parity: str | None = None
    stop_bits: int | None = field(default=None, name="stopBits")

    def __post_init__(self) -> None:
        if self.serial_port is not None:
            raise ValueError("`serialPort`: Modbus RTU is not supported yet, use `ip` and `port`")
        if not self.ip:
            raise ValueError("`ip` is missing: the address or host name of the Modbus TCP server")
        _within("port", self.port, 1, 65535)
        _within("slaveID", self.slave_id, 0, 255)
        _within("timeout", self.timeout, 10, 60_000)
        _within("gap", self.gap, 0, MAX_REGISTERS)
        _within("maxRegisters", self.max_registers, 1, MAX_REGISTERS)

    @property
    def server(self) -> Server:
        """The server the unit is behind."""
        return Server(self.ip, self.port)


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

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.register not in TABLES:
            near = nearest(self.register, list(TABLES))
            known = f"did you mean {near}?" if near else f"one of {', '.join(TABLES)}"
            raise ValueError(f"`register` {self.register!r} is not known: {known}")
        if self.offset == -1:
            raise ValueError("`offset` is missing: the address of the first register, counted from 0")
        _within("offset", self.offset, 0, 65535)
        _within("limit", self.limit, 0, MAX_REGISTERS)


class Visitor(Struct, frozen=True, eq=False):
    """Where a property is and how its registers are read. Compared by identity, so that plans of reads are found fast."""

    unit: Address
    table: str
    start: int
    count: int
    """Registers, or bits in `BITS`."""
    codec: Codec | None
    """None for a single bit."""

    @property
    def end(self) -> int:
        """The address after the last."""
        return self.start + self.count

    def __str__(self) -> str:
        return span(self.table, self.start, self.count)


class Block(Struct, frozen=True, eq=False):
    """One request, and which visitors its answer serves: their positions in the read."""

    table: str
    start: int
    count: int
    members: tuple[int, ...]

    def __str__(self) -> str:
        return span(self.table, self.start, self.count)


def span(table: str, start: int, count: int) -> str:
    """Registers as errors name them: `HoldingRegister 100..103`."""
    return f"{table} {start}" if count == 1 else f"{table} {start}..{start + count - 1}"


def make_visitor(unit: Address, config: VisitorConfig, model: ModelProperty) -> Visitor:
    """The visitor of a property. Raises DefinitionError when its keys contradict each other or the model."""
    if config.register in BITS:
        return _bit(unit, config)
    type = _type(config, model)
    count = FIXED.get(type) or config.limit
    if not count:
        raise DefinitionError(f"`limit` is missing: how many registers the {type} takes")
    if config.limit not in (0, count):
        raise DefinitionError(f"`limit` {config.limit} does not fit type {type}, which takes {count}")
    if config.offset + count > 65536:
        raise DefinitionError(f"`offset` {config.offset} and {count} registers reach beyond address 65535")
    codec = Codec(type, count, swap_bytes=config.is_swap, swap_registers=config.is_register_swap)
    return Visitor(unit, config.register, config.offset, count, codec)


def group(visitors: Sequence[Visitor], apart: Collection[tuple[str, int]] = ()) -> list[Block]:
    """The fewest requests that read the visitors of one unit, within its `gap` and `maxRegisters`.

    `apart` holds (table, address) of visitors that may not be read together with one before them.
    """
    blocks = []
    for table in TABLES:
        order = sorted((v.start, v.end, number) for number, v in enumerate(visitors) if v.table == table)
        if order:
            unit = visitors[order[0][2]].unit
            factor, limit = (_BITS_PER_REGISTER, MAX_BITS) if table in BITS else (1, unit.max_registers)
            blocks += _runs(table, order, unit.gap * factor, limit, apart)
    return blocks


def seams(visitors: Sequence[Visitor], block: Block) -> set[tuple[str, int]]:
    """Where to part a block that the device refuses: at its gaps, or between all its visitors when it has none."""
    members = sorted((visitors[number] for number in block.members), key=lambda v: v.start)
    gaps, all_seams, end = set(), set(), members[0].end
    for visitor in members[1:]:
        if visitor.start > end:
            gaps.add((block.table, visitor.start))
        if visitor.start >= end:
            all_seams.add((block.table, visitor.start))
        end = max(end, visitor.end)
    return gaps or all_seams


def _runs(
    table: str, order: Iterable[tuple[int, int, int]], gap: int, limit: int, apart: Collection[tuple[str, int]]
) -> list[Block]:
    blocks: list[Block] = []
    members: list[int] = []
    first = last = 0
    for start, end, number in order:
        near = members and start - last <= gap and max(end, last) - first <= limit and (table, start) not in apart
        if members and not near:
            blocks.append(Block(table, first, last - first, tuple(members)))
            members = []
        if not members:
            first, last = start, end
        members.append(number)
        last = max(last, end)
    blocks.append(Block(table, first, last - first, tuple(members)))
    return blocks


def _bit(unit: Address, config: VisitorConfig) -> Visitor:
    if config.limit not in (0, 1):
        raise DefinitionError(f"`limit` {config.limit} does not fit a {config.register}, which is one bit")
    if (config.type or config.data_type).lower() not in ("", "bool", *_MODEL_WORDS):
        raise DefinitionError(
            f"`type` {config.type or config.data_type} does not fit a {config.register}, which is bool"
        )
    if not config.scale == 1 or config.value_offset:
        raise DefinitionError(f"`scale` and `valueOffset` have no meaning for a {config.register}")
    return Visitor(unit, config.register, config.offset, 1, None)


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


def _within(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"`{name}` must lie between {low} and {high}")
