"""In which requests properties are read, and what is learned when a device refuses one. Pure; `modbus.py` does the talking.

Grouping is the lever of a Modbus mapper: a request costs a round trip however few registers it asks for. Visitors of one
table that lie close together are read in one request, registers between them included, as long as the gap is no larger than
what another request would cost.

A device may have holes, or a small buffer, and says so by refusing the whole request. Then the request is halved, at a gap if it
has one, and its halves again, until each is answered or cannot be halved. What that taught is kept in `Learned`: a place that
cannot be read across, a register that is not there, or the largest request that was answered; the next plan keeps to it.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct, field

from . import modbus_pdu as pdu
from .driver import BadAnswer, DriverError, Value
from .modbus_registers import BITS, COIL, DISCRETE, HOLDING, INPUT, TABLES, Visitor, span

READ_FUNCTIONS = {
    COIL: pdu.READ_COILS,
    DISCRETE: pdu.READ_DISCRETE,
    HOLDING: pdu.READ_HOLDING,
    INPUT: pdu.READ_INPUT,
}
_BITS_PER_REGISTER = 16


class Learned(Struct):
    """What one unit taught by refusing requests."""

    apart: set[tuple[str, int]] = field(default_factory=set)
    """(table, address): what begins there is not read together with what lies before it."""
    most: dict[str, int] = field(default_factory=dict)
    """Table -> the largest request."""


class Block(Struct, frozen=True, eq=False):
    """One request, and which visitors its answer serves: their positions in the read."""

    table: str
    start: int
    count: int
    members: tuple[int, ...]
    request: pdu.Request
    decoder: "Decoder"

    def __str__(self) -> str:
        return span(self.table, self.start, self.count)


class Decoder:
    """Makes the values of a block's visitors of the data in its answer."""

    __slots__ = ("_apart", "_bits", "_finishes", "_numbers", "_struct")

    def __init__(self, start: int, members: Sequence[tuple[int, Visitor]]) -> None:
        """`members` are the visitors with their positions in the read."""
        self._bits = [(n, v.start - start, v.count) for n, v in members if v.codec is None]
        self._apart: list[tuple[int, int, Visitor]] = []
        self._numbers: list[int] = []
        self._finishes: list[tuple[int, Callable[[Any], Value], Visitor]] = []
        code, end = ">", start
        for number, visitor in sorted(members, key=lambda member: member[1].start):
            if visitor.codec is None:
                continue
            if not visitor.codec.code or visitor.start < end:
                self._apart.append((number, 2 * (visitor.start - start), visitor))
                continue
            code += f"{2 * (visitor.start - end)}x" * (visitor.start > end) + visitor.codec.code
            self._numbers.append(number)
            if visitor.codec.finish is not None:
                self._finishes.append((number, visitor.codec.finish, visitor))
            end = visitor.end
        self._struct = struct.Struct(code)

    def decode(self, data: bytes, results: list[Value | DriverError]) -> None:
        """Put each visitor's value, or what is wrong with it, in its place of the results."""
        for number, value in zip(self._numbers, self._struct.unpack_from(data), strict=True):
            results[number] = value
        for number, finish, visitor in self._finishes:
            try:
                results[number] = finish(results[number])
            except BadAnswer as error:
                results[number] = BadAnswer(f"{visitor}: {error}")
        for number, at, visitor in self._apart:
            try:
                results[number] = visitor.codec.decode(data, at) if visitor.codec is not None else False
            except BadAnswer as error:
                results[number] = BadAnswer(f"{visitor}: {error}")
        if self._bits:
            bits = int.from_bytes(data, "little")
            for number, at, count in self._bits:
                found = bits >> at & (1 << count) - 1
                results[number] = bool(found) if count == 1 else found


def group(visitors: Sequence[Visitor], gap: int, learned: Learned | None = None) -> list[Block]:
    """The fewest requests that read the visitors of one unit across gaps of up to `gap` registers."""
    learned = learned or Learned()
    blocks = []
    for table in TABLES:
        numbers = [number for number, v in enumerate(visitors) if v.table == table]
        if numbers:
            largest = pdu.MAX_BITS if table in BITS else visitors[numbers[0]].unit.max_registers
            largest = min(largest, learned.most.get(table, largest))
            factor = _BITS_PER_REGISTER if table in BITS else 1
            blocks += [make_block(visitors, run) for run in _runs(visitors, numbers, gap * factor, largest, learned)]
    return blocks


def make_block(visitors: Sequence[Visitor], members: Sequence[int]) -> Block:
    """The request that reads some of the visitors, all of one table."""
    found = [(number, visitors[number]) for number in members]
    start, end = min(v.start for _, v in found), max(v.end for _, v in found)
    table = found[0][1].table
    request = pdu.read(READ_FUNCTIONS[table], start, end - start)
    return Block(table, start, end - start, tuple(members), request, Decoder(start, found))


def halves(visitors: Sequence[Visitor], block: Block) -> tuple[Block, Block] | None:
    """A refused block in two: at the gap nearest its middle, else between visitors; None when all begin alike."""
    order = sorted(block.members, key=lambda number: visitors[number].start)
    gaps, places, end = [], [], visitors[order[0]].end
    for place, number in enumerate(order[1:], 1):
        start = visitors[number].start
        if start > visitors[order[place - 1]].start:
            places.append(place)
            if start > end:
                gaps.append(place)
        end = max(end, visitors[number].end)
    if not places:
        return None
    place = min(gaps or places, key=lambda place: abs(2 * place - len(order)))
    return make_block(visitors, order[:place]), make_block(visitors, order[place:])


def learn(learned: Learned, whole: Block, parts: tuple[Block, Block], *, answered: bool) -> str:
    """Take in that a block was refused, and whether both its halves were answered; what that taught, in words."""
    left, right = parts
    if not answered:
        return ""  # the half that was refused has its own lesson
    if left.start + left.count < right.start:
        learned.apart.add((whole.table, right.start))
        return f"{whole.table} {left.start + left.count}..{right.start - 1} cannot be read across"
    learned.most[whole.table] = max(left.count, right.count)
    return f"at most {learned.most[whole.table]} of {whole.table} in a request"


def learn_missing(learned: Learned, block: Block) -> bool:
    """Take in that what can only be read at once is refused: its neighbours are better off without it. Whether it is news."""
    borders = {(block.table, block.start), (block.table, block.start + block.count)}
    news = not borders <= learned.apart
    learned.apart |= borders
    return news


def _runs(
    visitors: Sequence[Visitor], numbers: Iterable[int], gap: int, largest: int, learned: Learned
) -> Iterable[list[int]]:
    """The numbers of visitors of one table that are read together."""
    run: list[int] = []
    first = last = 0
    for number in sorted(numbers, key=lambda n: (visitors[n].start, visitors[n].end)):
        visitor = visitors[number]
        near = run and visitor.start - last <= gap and max(visitor.end, last) - first <= largest
        if not near or _parted(learned, visitor, last):
            if run:
                yield run
            run, first, last = [], visitor.start, visitor.end
        run.append(number)
        last = max(last, visitor.end)
    if run:
        yield run


def _parted(learned: Learned, visitor: Visitor, last: int) -> bool:
    """Whether a lesson lies where a visitor begins, or in the gap before it."""
    return (visitor.table, visitor.start) in learned.apart or any(
        (visitor.table, address) in learned.apart for address in range(last, visitor.start)
    )
