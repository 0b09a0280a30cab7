"""From configData to registers, and from registers to the fewest requests."""

from typing import Any

import pytest

from edgewire.device import ModelProperty
from mappers.driver import DefinitionError, read_config
from mappers.modbus_address import Address
from mappers.modbus_registers import COIL, DISCRETE, HOLDING, INPUT, Visitor, VisitorConfig, make_visitor

UNIT = Address(ip="127.0.0.1")


def visitor(type: str = "INT", unit: Address = UNIT, /, **keys: Any) -> Visitor:
    keys = {"register": HOLDING, "offset": 0, **keys}
    config = read_config(keys, VisitorConfig, "configData")
    return make_visitor(unit, config, ModelProperty("p", type=type))


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
        ("FLOAT", {"type": "float16"}, "float16"),
        ("INT", {"type": "bcd32", "limit": 2}, "bcd32"),
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
        ("INT", {"type": "decimal"}, "`type` 'decimal' is not known: one of bool, int16"),
        ("INT", {"type": "bcd"}, "`type` 'bcd' is not known: did you mean bcd"),
        ("INT", {"order": "ABDC", "limit": 2}, "`order` 'ABDC' is no order of the 4 bytes of int32, such as ABCD"),
        ("INT", {"order": "CDAB"}, "`order` 'CDAB' is no order of the 2 bytes of int16, such as AB"),
        ("INT", {"order": "BA", "isSwap": True}, "`order` says it all"),
        ("INT", {"limit": 2, "isLongSwap": True}, "`isLongSwap` is for values of 64 bits, and int32 takes 32"),
        ("STRING", {"limit": 2, "order": "BADC"}, "is no order of the 4 bytes of string"),
        ("STRING", {}, "`limit` is missing: how many registers the string takes"),
        ("BOOLEAN", {"register": COIL, "limit": 2}, "`limit` 2: some bits of a CoilRegister make a number"),
        ("INT", {"register": COIL, "limit": 65}, "`limit` 65: at most 64 bits"),
        ("INT", {"register": COIL, "offset": 65535, "limit": 2}, "reach beyond address 65535"),
        ("INT", {"register": COIL, "order": "BA"}, "`order` and `isLongSwap` have no meaning for a CoilRegister"),
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
    ("order", "width", "held"),
    [
        ("AB", 1, "AB"), ("BA", 1, "BA"), ("ABCD", 2, "ABCD"), ("CDAB", 2, "CDAB"), ("badc", 2, "BADC"),
        ("DCBA", 2, "DCBA"), ("GHEFCDAB", 4, "GHEFCDAB"), ("EFGHABCD", 4, "EFGHABCD"), ("CDABGHEF", 4, "CDABGHEF"),
        ("HGFEDCBA", 4, "HGFEDCBA"), ("BADCFEHG", 4, "BADCFEHG"),
    ],
)  # fmt: skip
def test_an_order_is_what_its_letters_say(order: str, width: int, held: str) -> None:
    codec = visitor(limit=width, type=f"uint{16 * width}", order=order).codec
    assert codec is not None
    assert codec.decode(held.encode()) == int.from_bytes(b"ABCDEFGH"[: 2 * width])


def test_bits_of_a_table_of_bits_make_a_number() -> None:
    assert visitor(register=DISCRETE, limit=8, scale=2).count == 8


def test_what_is_broadcast_is_not_read_and_must_be_writable() -> None:
    every = Address(serial_port="/dev/ttyS0", slave_id=0)
    assert visitor("INT", every).pushed
    assert not visitor("INT", Address(ip="plc", slave_id=0)).pushed
    with pytest.raises(DefinitionError, match="`slaveID` 0 is all units of the line, and a InputRegister cannot be"):
        visitor("INT", every, register=INPUT)
