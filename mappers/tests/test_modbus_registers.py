"""From configData to registers, and from registers to the fewest requests."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewire.device import ModelProperty
from mappers.driver import DefinitionError, read_config
from mappers.modbus_registers import (
    COIL,
    HOLDING,
    INPUT,
    MAX_BITS,
    Address,
    Server,
    Visitor,
    VisitorConfig,
    group,
    make_visitor,
    seams,
)  # fmt: skip

UNIT = Address(ip="127.0.0.1")


def visitor(type: str = "INT", unit: Address = UNIT, /, **keys: Any) -> Visitor:
    keys = {"register": HOLDING, "offset": 0, **keys}
    config = read_config(keys, VisitorConfig, "configData")
    return make_visitor(unit, config, ModelProperty("p", type=type))


def requests(*visitors: Visitor) -> list[tuple[str, int, int]]:
    return [(b.table, b.start, b.count) for b in group(visitors)]


@pytest.mark.parametrize(
    ("model", "keys", "held"),
    [
        ("INT", {}, "int16"),
        ("INT", {"limit": 1}, "int16"),
        ("INT", {"limit": "2"}, "int32"),
        ("INT", {"limit": 4}, "int64"),
        ("INT", {"limit": 2, "type": "uint32"}, "uint32"),
        ("INT", {"type": "uint64"}, "uint64"),
        ("INT", {"limit": 1, "dataType": "int"}, "int16"),
        ("FLOAT", {"limit": 1, "scale": 0.1}, "int16"),
        ("FLOAT", {"limit": 2}, "float32"),
        ("FLOAT", {}, "float32"),
        ("DOUBLE", {}, "float64"),
        ("DOUBLE", {"limit": 2}, "float32"),
        ("FLOAT", {"dataType": "uint16"}, "uint16"),
        ("BOOLEAN", {}, "bool"),
        ("STRING", {"limit": 8}, "string"),
        ("BYTES", {"limit": 2}, "bytes"),
    ],
)
def test_what_registers_hold_follows_from_type_or_from_model_and_limit(
    model: str, keys: dict[str, Any], held: str
) -> None:
    codec = visitor(model, **keys).codec
    assert codec is not None
    assert codec.type == held


@pytest.mark.parametrize(
    ("model", "keys", "message"),
    [
        (
            "INT",
            {"register": ""},
            "`register` '' is not known: one of CoilRegister, DiscreteInputRegister, InputRegister",
        ),
        (
            "INT",
            {"register": "HoldingRegisters"},
            "`register` 'HoldingRegisters' is not known: did you mean HoldingRegister?",
        ),
        ("INT", {"register": "coil"}, "`register` 'coil' is not known"),
        ("INT", {"offset": -1}, "`offset` is missing"),
        ("INT", {"offset": 65536}, "`offset` must lie between 0 and 65535"),
        ("INT", {"offset": 65535, "limit": 2}, "reach beyond address 65535"),
        ("INT", {"limit": 126}, "`limit` must lie between 0 and 125"),
        ("INT", {"limit": 3}, "`limit` 3 does not fit a property of type INT: name its `type`"),
        ("INT", {"limit": 1, "type": "uint32"}, "`limit` 1 does not fit type uint32, which takes 2"),
        ("INT", {"type": "unit32"}, "`type` 'unit32' is not known: did you mean uint32?"),
        ("INT", {"type": "bcd"}, "`type` 'bcd' is not known: one of bool, int16"),
        ("STRING", {}, "`limit` is missing: how many registers the string takes"),
        ("INT", {"register": COIL, "limit": 2}, "`limit` 2 does not fit a CoilRegister, which is one bit"),
        ("INT", {"register": COIL, "type": "int16"}, "`type` int16 does not fit a CoilRegister"),
        ("INT", {"register": COIL, "scale": 2}, "`scale` and `valueOffset` have no meaning for a CoilRegister"),
        ("INT", {"isSwapped": True}, "unknown key `isSwapped` in configData: did you mean `isSwap`?"),
        ("INT", {"offset": 1.5}, "`offset` in configData: expected `int`, got `float`"),
    ],
)
def test_a_mistake_in_a_visitor_names_its_key(model: str, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        visitor(model, **keys)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "`ip` is missing"),
        ({"ip": "x", "port": 0}, "`port` must lie between 1 and 65535"),
        ({"ip": "x", "slaveID": 256}, "`slaveID` must lie between 0 and 255"),
        ({"ip": "x", "slaveID": "one"}, "`slaveID` in protocol: expected `int`, got `str`"),
        ({"ip": "x", "slaveId": 1}, "unknown key `slaveId` in protocol: did you mean `slaveID`?"),
        ({"ip": "x", "timeout": 0}, "`timeout` must lie between 10 and 60000"),
        ({"ip": "x", "maxRegisters": 126}, "`maxRegisters` must lie between 1 and 125"),
        ({"serialPort": "/dev/ttyS0", "baudRate": 9600}, "`serialPort`: Modbus RTU is not supported yet"),
    ],
)
def test_a_mistake_in_an_address_names_its_key(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        read_config(keys, Address, "protocol")
    assert message in str(caught.value)


def test_units_of_one_server_are_on_one_bus() -> None:
    one, two = (read_config({"ip": "plc", "port": "502", "slaveID": n}, Address, "protocol") for n in ("1", 2))
    assert (one.slave_id, two.slave_id) == (1, 2)
    assert one.server == two.server == Server("plc", 502)
    assert str(one.server) == "plc:502"


def test_adjacent_and_near_registers_are_one_request() -> None:
    near = [visitor(offset=n) for n in (0, 1, 5, 22)]
    assert requests(*near) == [(HOLDING, 0, 23)]


def test_a_gap_larger_than_allowed_is_two_requests() -> None:
    assert requests(visitor(offset=0), visitor(offset=18)) == [(HOLDING, 0, 1), (HOLDING, 18, 1)]
    tight = Address(ip="x", gap=0)
    assert requests(
        visitor("INT", tight, offset=0), visitor("INT", tight, offset=1), visitor("INT", tight, offset=3)
    ) == [
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


def test_a_refused_block_is_parted_at_its_gaps_and_then_between_its_visitors() -> None:
    visitors = [visitor(offset=n) for n in (0, 1, 5, 6)]
    (whole,) = group(visitors)
    at_gaps = seams(visitors, whole)
    assert at_gaps == {(HOLDING, 5)}
    parts = group(visitors, at_gaps)
    assert [(b.start, b.count) for b in parts] == [(0, 2), (5, 2)]
    assert seams(visitors, parts[0]) == {(HOLDING, 1)}


def test_a_hundred_floats_scattered_over_400_registers_take_four_requests() -> None:
    visitors = [visitor("FLOAT", offset=4 * n, limit=2) for n in range(100)]
    assert len(group(visitors)) == 4


places = st.lists(
    st.tuples(st.sampled_from([HOLDING, INPUT, COIL]), st.integers(0, 500), st.sampled_from([1, 2, 4])), max_size=40
)


@given(places, st.integers(0, 50), st.integers(4, 125), st.sets(st.tuples(st.just(HOLDING), st.integers(0, 500))))
def test_every_visitor_is_read_once_within_a_request_that_is_allowed(
    where: list[tuple[str, int, int]], gap: int, largest: int, apart: set[tuple[str, int]]
) -> None:
    unit = Address(ip="x", gap=gap, max_registers=largest)
    visitors = [
        visitor("INT", unit, register=table, offset=offset, **({} if table == COIL else {"limit": limit}))
        for table, offset, limit in where
    ]
    blocks = group(visitors, apart)
    assert sorted(n for block in blocks for n in block.members) == list(range(len(visitors)))
    for block in blocks:
        assert block.count <= (MAX_BITS if block.table == COIL else largest)
        for number in block.members:
            assert visitors[number].table == block.table
            assert block.start <= visitors[number].start
            assert visitors[number].end <= block.start + block.count
