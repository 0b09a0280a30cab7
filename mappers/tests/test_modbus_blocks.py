"""In which requests properties are read, what their answers hold, and what refused requests teach."""

import re
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewire.device import ModelProperty
from mappers.driver import BadAnswer, DriverError, Value, read_config
from mappers.modbus_address import Address
from mappers.modbus_blocks import Block, Learned, group, halves, learn, learn_missing
from mappers.modbus_pdu import MAX_BITS
from mappers.modbus_registers import COIL, HOLDING, INPUT, Visitor, VisitorConfig, make_visitor

UNIT = Address(ip="127.0.0.1")
GAP = 16


def visitor(type: str = "INT", unit: Address = UNIT, /, **keys: Any) -> Visitor:
    config = read_config({"register": HOLDING, "offset": 0, **keys}, VisitorConfig, "configData")
    return make_visitor(unit, config, ModelProperty("p", type=type))


def requests(*visitors: Visitor, gap: int = GAP) -> list[tuple[str, int, int]]:
    return [(b.table, b.start, b.count) for b in group(visitors, gap)]


def test_adjacent_and_near_registers_are_one_request() -> None:
    near = [visitor(offset=n) for n in (0, 1, 5, 22)]
    assert requests(*near) == [(HOLDING, 0, 23)]


def test_a_gap_larger_than_allowed_is_two_requests() -> None:
    assert requests(visitor(offset=0), visitor(offset=18)) == [(HOLDING, 0, 1), (HOLDING, 18, 1)]
    assert requests(visitor(offset=0), visitor(offset=1), visitor(offset=3), gap=0) == [
        (HOLDING, 0, 2),
        (HOLDING, 3, 1),
    ]


def test_no_request_is_larger_than_the_unit_gives() -> None:
    small = Address(ip="x", max_registers=10)
    assert requests(*(visitor("INT", small, offset=2 * n, limit=2) for n in range(12))) == [
        (HOLDING, 0, 10),
        (HOLDING, 10, 10),
        (HOLDING, 20, 4),
    ]


def test_tables_are_read_apart_and_bits_in_larger_requests() -> None:
    found = requests(visitor(register=COIL, offset=0), visitor(register=COIL, offset=200), visitor(register=INPUT))
    assert found == [(COIL, 0, 201), (INPUT, 0, 1)]


def test_overlapping_visitors_share_a_request() -> None:
    assert requests(visitor(offset=4, limit=2), visitor(offset=4), visitor(offset=5), visitor(offset=4)) == [
        (HOLDING, 4, 2)
    ]


def test_a_hundred_floats_scattered_over_400_registers_take_four_requests() -> None:
    visitors = [visitor("FLOAT", offset=4 * n, limit=2) for n in range(100)]
    assert len(group(visitors, GAP)) == 4


places = st.lists(
    st.tuples(st.sampled_from([HOLDING, INPUT, COIL]), st.integers(0, 500), st.sampled_from([1, 2, 4])), max_size=40
)


@given(
    places,
    st.integers(0, 50),
    st.integers(4, 125),
    st.sets(st.tuples(st.just(HOLDING), st.integers(0, 500))),
    st.integers(4, 125),
)
def test_every_visitor_is_read_once_within_a_request_that_is_allowed(
    where: list[tuple[str, int, int]], gap: int, largest: int, apart: set[tuple[str, int]], most: int
) -> None:
    unit = Address(ip="x", max_registers=largest)
    visitors = [visitor("INT", unit, register=table, offset=offset, limit=limit) for table, offset, limit in where]
    blocks = group(visitors, gap, Learned(apart, {HOLDING: most}))
    assert sorted(n for block in blocks for n in block.members) == list(range(len(visitors)))
    for block in blocks:
        assert block.count <= (
            MAX_BITS if block.table == COIL else min(largest, most) if block.table == HOLDING else largest
        )
        for number in block.members:
            assert visitors[number].table == block.table
            assert block.start <= visitors[number].start
            assert visitors[number].end <= block.start + block.count


kinds = st.sampled_from(
    [
        ("INT", {"type": "int16"}), ("INT", {"type": "uint32", "order": "CDAB"}), ("FLOAT", {"type": "float32"}),
        ("FLOAT", {"type": "float64", "isLongSwap": True}), ("BOOLEAN", {}), ("BYTES", {"limit": 3}),
        ("INT", {"type": "uint64"}), ("INT", {"type": "bcd16"}), ("STRING", {"limit": 2}),
    ]
)  # fmt: skip


@given(st.lists(st.tuples(kinds, st.integers(0, 60)), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_values_taken_of_a_block_at_once_are_those_taken_one_by_one(
    found: list[tuple[tuple[str, dict[str, Any]], int]], random: Any
) -> None:
    visitors = [visitor(model, offset=offset, **keys) for (model, keys), offset in found]
    memory = random.randbytes(200)
    results: list[Value | DriverError] = [False] * len(visitors)
    for block in group(visitors, GAP):
        block.decoder.decode(memory[2 * block.start : 2 * (block.start + block.count)], results)
    for v, result in zip(visitors, results, strict=True):
        assert v.codec is not None
        if isinstance(result, BadAnswer):
            with pytest.raises(BadAnswer, match=re.escape(str(result).removeprefix(f"{v}: "))):
                v.codec.decode(memory, 2 * v.start)
        else:
            assert repr(v.codec.decode(memory, 2 * v.start)) == repr(result)


def test_bits_are_taken_of_a_block_of_bits() -> None:
    visitors = [visitor("BOOLEAN", register=COIL, offset=9), visitor("INT", register=COIL, offset=10, limit=12)]
    results: list[Value | DriverError] = [False, False]
    (block,) = group(visitors, GAP)
    block.decoder.decode(struct.pack("<H", 0b1_0000_0000_0110_1 | 0x8000)[:2], results)
    assert results == [True, 0b0000_0000_0110]


class Unit:
    """A unit that refuses requests beyond its registers or its buffer, read as the driver reads."""

    def __init__(self, missing: set[int], most: int = 125) -> None:
        self.missing, self.most = missing, most
        self.learned = Learned()
        self.asked: list[tuple[int, int]] = []

    def cycle(self, visitors: list[Visitor]) -> list[int]:
        """One read; the offsets that were answered."""
        self.asked.clear()
        answered: list[int] = []
        for block in group(visitors, GAP, self.learned):
            self._read(block, visitors, answered)
        return sorted(answered)

    def _read(self, block: Block, visitors: list[Visitor], answered: list[int]) -> bool:
        self.asked.append((block.start, block.count))
        if block.count <= self.most and not self.missing & set(range(block.start, block.start + block.count)):
            answered += [visitors[n].start for n in block.members]
            return True
        parts = halves(visitors, block)
        if parts is None:
            learn_missing(self.learned, block)
            return False
        found = [self._read(part, visitors, answered) for part in parts]
        learn(self.learned, block, parts, answered=all(found))
        return False


def settled(unit: Unit, visitors: list[Visitor]) -> list[int]:
    for _ in range(20):
        answered = unit.cycle(visitors)
    return answered


def test_a_hole_is_found_and_costs_one_request_more_from_then_on() -> None:
    visitors = [visitor(offset=n) for n in (0, 1, 5, 6, 10, 14, 15)]
    unit = Unit(missing={8})
    assert settled(unit, visitors) == [0, 1, 5, 6, 10, 14, 15]
    assert unit.asked == [(0, 7), (10, 6)]


def test_a_register_that_is_missing_costs_its_own_property_only_and_two_requests_more() -> None:
    visitors = [visitor(offset=n) for n in range(100)]
    unit = Unit(missing={41})
    assert settled(unit, visitors) == [n for n in range(100) if n != 41]
    assert unit.asked == [(0, 41), (41, 1), (42, 58)]


def test_a_small_buffer_is_learned() -> None:
    visitors = [visitor(offset=n) for n in range(100)]
    unit = Unit(missing=set(), most=40)
    assert settled(unit, visitors) == list(range(100))
    assert unit.asked == [(0, 25), (25, 25), (50, 25), (75, 25)]


def test_what_begins_at_one_address_cannot_be_parted() -> None:
    visitors = [visitor(offset=0), visitor(offset=0, limit=2)]
    (block,) = group(visitors, GAP)
    assert halves(visitors, block) is None


@given(
    st.lists(st.tuples(st.integers(0, 120), st.sampled_from([1, 2])), min_size=1, max_size=40),
    st.sets(st.integers(0, 125), max_size=8),
    st.integers(2, 125),
)
def test_whatever_a_unit_refuses_the_rest_is_read_and_what_was_learned_saves_requests(
    where: list[tuple[int, int]], missing: set[int], most: int
) -> None:
    visitors = [visitor(offset=offset, limit=limit) for offset, limit in where]
    unit = Unit(missing, most)
    answered = set(settled(unit, visitors))
    first = len(unit.asked)
    for v in visitors:
        alone = not any(o is not v and o.start < v.end and v.start < o.end for o in visitors)
        there = not missing & set(range(v.start, v.end))
        if alone:
            assert (v.start in answered) == there
    assert first <= 2 * len(visitors)


def test_learning_takes_few_requests() -> None:
    visitors = [visitor(offset=n) for n in range(100)]
    unit = Unit(missing={41})
    unit.cycle(visitors)
    assert len(unit.asked) <= 15


def test_only_a_refused_whole_with_answered_halves_teaches() -> None:
    visitors = [visitor(offset=n) for n in (0, 9)]
    (block,) = group(visitors, GAP)
    parts = halves(visitors, block)
    assert parts is not None
    learned = Learned()
    assert learn(learned, block, parts, answered=False) == ""
    assert learned == Learned()
    assert learn(learned, block, parts, answered=True) == "HoldingRegister 1..8 cannot be read across"


@pytest.mark.parametrize("table", [COIL, HOLDING])
def test_lessons_are_of_one_table(table: str) -> None:
    learned = Learned(most={table: 4})
    other = HOLDING if table == COIL else COIL
    visitors = [visitor(register=other, offset=n) for n in range(10)]
    assert len(group(visitors, GAP, learned)) == 1
