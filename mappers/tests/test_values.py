"""Registers and bytes to typed values and back, exactly; values to a twin's strings and back."""

import math
import struct
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.driver import BadAnswer, Value, ValueRefused
from mappers.values import FIXED, Codec, Scaling, parse, shortest, teller, text

PLAIN = Scaling()
TENTHS = Scaling(Decimal("0.1"))
INTEGERS = ["int16", "uint16", "int32", "uint32", "int64", "uint64"]
swaps = st.booleans()


def limits(type: str) -> tuple[int, int]:
    bits = 16 * FIXED[type]
    return (0, 2**bits - 1) if type[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@st.composite
def integers_of_a_type(draw: st.DrawFn) -> tuple[str, int]:
    type = draw(st.sampled_from(INTEGERS))
    return type, draw(st.integers(*limits(type)))


@given(integers_of_a_type(), swaps, swaps)
def test_integers_come_back_exactly_in_every_order(
    case: tuple[str, int], swap_bytes: bool, swap_registers: bool
) -> None:
    type, value = case
    codec = Codec(type, FIXED[type], swap_bytes=swap_bytes, swap_registers=swap_registers)
    assert codec.decode(codec.encode(Decimal(value))) == value
    assert parse(text(value, "INT", PLAIN), "INT", PLAIN, None, None) == value


@given(st.floats(allow_nan=False, allow_infinity=False), swaps, swaps)
def test_float64_comes_back_exactly_in_every_order(value: float, swap_bytes: bool, swap_registers: bool) -> None:
    codec = Codec("float64", 4, swap_bytes=swap_bytes, swap_registers=swap_registers)
    assert codec.decode(codec.encode(Decimal(repr(value)))) == value
    wanted = parse(text(value, "DOUBLE", PLAIN), "DOUBLE", PLAIN, None, None)
    assert isinstance(wanted, Decimal)
    assert float(wanted) == value


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), swaps, swaps)
def test_float32_is_read_as_a_decimal_that_names_the_same_float32(
    value: float, swap_bytes: bool, swap_words: bool
) -> None:
    codec = Codec("float32", 2, swap_bytes=swap_bytes, swap_registers=swap_words)
    read = codec.decode(codec.encode(Decimal(repr(value))))
    assert isinstance(read, float)
    assert struct.pack(">f", read) == struct.pack(">f", value)
    assert len(repr(abs(read)).replace(".", "").split("e")[0].strip("0")) <= 9


@pytest.mark.parametrize("written", ["21.4", "0.1", "-273.15", "1e-10", "3.4028235e+38", "16777216.0"])
def test_float32_is_read_as_it_was_written(written: str) -> None:
    held = struct.unpack(">f", struct.pack(">f", float(written)))[0]
    assert repr(shortest(held)) == repr(float(written))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_read_as_that(value: float) -> None:
    read = Codec("float32", 2).decode(struct.pack(">f", value))
    assert text(read, "FLOAT", PLAIN) == repr(value)
    with pytest.raises(BadAnswer):
        text(read, "INT", PLAIN)


@pytest.mark.parametrize(
    ("type", "swap_bytes", "swap_registers", "held"),
    [
        ("uint32", False, False, "01020304"),
        ("uint32", True, False, "02010403"),
        ("uint32", False, True, "03040102"),
        ("uint32", True, True, "04030201"),
        ("uint16", False, True, "0304"),
        ("uint16", True, False, "0403"),
        ("uint64", False, True, "0304010200000000"),
    ],
)
def test_the_orders_are_the_ones_that_manuals_draw(
    type: str, swap_bytes: bool, swap_registers: bool, held: str
) -> None:
    codec = Codec(type, FIXED[type], swap_bytes=swap_bytes, swap_registers=swap_registers)
    value = 0x0304 if type == "uint16" else 0x01020304
    assert codec.encode(Decimal(value)).hex() == held
    assert codec.decode(b"\xff\xff" + bytes.fromhex(held), 2) == value


@pytest.mark.parametrize(
    ("longs", "registers", "bytes_", "order"),
    [
        (False, False, False, "ABCDEFGH"),
        (True, False, False, "EFGHABCD"),
        (True, True, False, "CDABGHEF"),
        (False, True, True, "HGFEDCBA"),
        (True, False, True, "FEHGBADC"),
    ],
)
def test_the_halves_of_64_bits_can_be_exchanged(longs: bool, registers: bool, bytes_: bool, order: str) -> None:
    codec = Codec("uint64", 4, swap_longs=longs, swap_registers=registers, swap_bytes=bytes_)
    assert codec.encode(Decimal(int.from_bytes(b"ABCDEFGH"))) == order.encode()
    assert codec.decode(order.encode()) == int.from_bytes(b"ABCDEFGH")


@pytest.mark.parametrize(("type", "largest"), [("bcd16", 9999), ("bcd32", 99_999_999), ("bcd64", 10**16 - 1)])
def test_binary_coded_decimals_are_read_digit_by_digit(type: str, largest: int) -> None:
    codec = Codec(type, FIXED[type])
    for number in (0, 42, largest):
        held = codec.encode(Decimal(number))
        assert held.hex() == f"{number:0{4 * FIXED[type]}d}"
        assert codec.decode(held) == number
    with pytest.raises(ValueRefused, match=f"does not fit {type}"):
        codec.encode(Decimal(largest + 1))
    with pytest.raises(BadAnswer, match="not binary-coded decimal"):
        codec.decode(b"\x00\x0a" * FIXED[type])


@given(st.floats(width=16, allow_nan=False, allow_infinity=False))
def test_float16_is_read_as_a_decimal_that_names_the_same_float16(value: float) -> None:
    codec = Codec("float16", 1)
    read = codec.decode(codec.encode(Decimal(repr(value))))
    assert isinstance(read, float)
    assert struct.pack(">e", read) == struct.pack(">e", value)


def test_float16_is_read_as_it_was_written() -> None:
    assert Codec("float16", 1).decode(Codec("float16", 1).encode(Decimal("21.4"))) == 21.4


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0 ")), swaps)
def test_text_comes_back(value: str, swap_bytes: bool) -> None:
    codec = Codec("string", 60, swap_bytes=swap_bytes)
    if len(value.encode()) > 120:
        with pytest.raises(ValueRefused):
            codec.encode(value)
    else:
        assert codec.decode(codec.encode(value)) == value


@given(st.binary(min_size=8, max_size=8), swaps, swaps)
def test_bytes_come_back_as_hexadecimal(value: bytes, swap_bytes: bool, swap_registers: bool) -> None:
    codec = Codec("bytes", 4, swap_bytes=swap_bytes, swap_registers=swap_registers)
    read = codec.decode(codec.encode(value))
    assert text(read, "BYTES", PLAIN) == value.hex()
    assert parse(value.hex(), "BYTES", PLAIN, None, None) == value


@given(st.sampled_from([*FIXED, "string", "bytes"]), st.binary(max_size=12), swaps, swaps)
def test_garbage_is_a_value_or_a_bad_answer(type: str, data: bytes, swap_bytes: bool, swap_registers: bool) -> None:
    codec = Codec(type, FIXED.get(type, 3), swap_bytes=swap_bytes, swap_registers=swap_registers)
    try:
        codec.decode(data)
    except BadAnswer:
        assert len(data) < 2 * codec.registers or type == "string" or type.startswith("bcd")
    else:
        assert len(data) >= 2 * codec.registers


@given(
    st.one_of(
        st.integers(-(2**63), 2**64),
        st.integers(0, 70000),
        st.floats(),
        st.booleans(),
        st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9),
        st.text(max_size=5),
        st.binary(max_size=3),
    ),
    st.sampled_from(["INT", "FLOAT", "DOUBLE", "BOOLEAN", "STRING", "BYTES"]),
    st.sampled_from(["1", "0.1", "0.01", "1e-3", "0.5", "10", "-0.1", "1e-9", "1e-12", "0.10"]),
    st.sampled_from(["0", "0", "-40"]),
)
def test_what_is_settled_before_tells_the_same(value: Value, type: str, scale: str, offset: str) -> None:
    scaling = Scaling(Decimal(scale), Decimal(offset))
    try:
        expected = text(value, type, scaling)
    except BadAnswer:
        with pytest.raises(BadAnswer):
            teller(type, scaling)(value)
    else:
        assert teller(type, scaling)(value) == expected


def test_scaling_leaves_no_dust() -> None:
    assert text(214, "FLOAT", TENTHS) == "21.4"
    assert text(210, "FLOAT", TENTHS) == "21.0"
    assert text(-5, "FLOAT", TENTHS) == "-0.5"
    assert text(0, "FLOAT", Scaling(Decimal("-0.1"))) == "0.0"
    assert text(5, "FLOAT", Scaling(Decimal("0.01"), Decimal("-40"))) == "-39.95"
    assert text(21.4, "FLOAT", Scaling(Decimal("0.001"))) == "0.0214"
    assert text(2**64 - 1, "FLOAT", TENTHS) == "1844674407370955161.5"


def test_a_fraction_in_an_int_is_rounded_half_to_even() -> None:
    assert [text(n, "INT", TENTHS) for n in (214, 215, 216, 225)] == ["21", "22", "22", "22"]
    assert text(21.5, "INT", PLAIN) == "22"


@given(
    integers_of_a_type(), st.decimals("-1000", "1000", places=4).filter(bool), st.decimals("-1000", "1000", places=4)
)
def test_a_scaled_value_written_back_is_the_same_register(
    case: tuple[str, int], scale: Decimal, offset: Decimal
) -> None:
    type, raw = case
    scaling = Scaling(scale, offset)
    codec = Codec(type, FIXED[type])
    wanted = parse(text(raw, "FLOAT", scaling), "FLOAT", scaling, None, None)
    assert codec.decode(codec.encode(wanted)) == raw


@pytest.mark.parametrize(
    ("value", "type", "expected"),
    [
        (True, "BOOLEAN", "true"),
        (0, "BOOLEAN", "false"),
        (2, "BOOLEAN", "true"),
        (True, "INT", "1"),
        (True, "STRING", "true"),
        (7, "STRING", "7"),
        (7, "FLOAT", "7"),
        ("ok", "STRING", "ok"),
        (21.0, "DOUBLE", "21.0"),
    ],
)
def test_a_value_is_told_by_the_type_of_the_model(value: float | str, type: str, expected: str) -> None:
    assert text(value, type, PLAIN) == expected


@pytest.mark.parametrize(
    ("desired", "type", "reason"),
    [
        ("hot", "INT", "'hot' is not an integer"),
        ("1.5", "INT", "'1.5' is not an integer"),
        ("hot", "FLOAT", "'hot' is not a number"),
        ("nan", "FLOAT", "not a finite number"),
        ("inf", "FLOAT", "not a finite number"),
        ("1e999999999999999999999", "FLOAT", "not a number"),
        ("1e999999", "DOUBLE", "not a finite number"),
        ("on", "BOOLEAN", "'on' is not true or false"),
        ("9", "INT", "below the minimum 10"),
        ("20.5", "FLOAT", "above the maximum 20"),
        ("xyz", "BYTES", "not hexadecimal bytes"),
    ],
)
def test_a_desired_value_that_cannot_be_is_refused_with_its_reason(desired: str, type: str, reason: str) -> None:
    with pytest.raises(ValueRefused) as caught:
        parse(desired, type, PLAIN, Decimal(10), Decimal(20))
    assert str(caught.value) == reason


@given(st.text(max_size=30), st.sampled_from(["INT", "FLOAT", "DOUBLE", "BOOLEAN", "BYTES", "STRING"]))
def test_any_desired_text_is_written_or_refused(desired: str, type: str) -> None:
    for codec in (Codec("int16", 1), Codec("float32", 2), Codec("bool", 1), Codec("string", 4), Codec("bytes", 1)):
        try:
            data = codec.encode(parse(desired, type, TENTHS, None, None))
        except ValueRefused:
            continue
        assert len(data) == 2 * codec.registers


@pytest.mark.parametrize(
    ("type", "value", "reason"),
    [
        ("int16", Decimal(32768), "does not fit int16 (-32768 to 32767)"),
        ("uint16", Decimal(-1), "does not fit uint16 (0 to 65535)"),
        ("uint64", Decimal(2**64), "does not fit uint64 (0 to 18446744073709551615)"),
        ("int16", Decimal("1e300"), "does not fit int16 (-32768 to 32767)"),
        ("float32", Decimal("1e39"), "does not fit float32"),
        ("float64", Decimal("1e309"), "does not fit float64"),
        ("bool", Decimal(2), "does not fit bool (0 to 1)"),
        ("int16", "x", "not a number"),
        ("bytes", b"abc", "must be exactly 2 bytes"),
    ],
)
def test_what_a_register_cannot_hold_is_refused(type: str, value: Decimal | str | bytes, reason: str) -> None:
    with pytest.raises(ValueRefused) as caught:
        Codec(type, FIXED.get(type, 1)).encode(value)
    assert str(caught.value) == reason


def test_a_desired_value_is_rounded_to_what_the_register_can_hold() -> None:
    wanted = parse("21.46", "FLOAT", TENTHS, None, None)
    assert Codec("int16", 1).decode(Codec("int16", 1).encode(wanted)) == 215


@pytest.mark.parametrize(
    ("value", "type", "expected"),
    [
        ("18446744073709551615", "INT", "18446744073709551615"),
        ("18446744073709551615", "FLOAT", "18446744073709551615"),
        ("0.10", "DOUBLE", "0.10"),
        (Decimal("123456789.123456789012345678"), "DOUBLE", "123456789.123456789012345678"),
        ("1", "BOOLEAN", "true"),
        ("False", "BOOLEAN", "false"),
    ],
)
def test_a_number_that_a_driver_read_as_text_stays_exact(value: Decimal | str, type: str, expected: str) -> None:
    assert text(value, type, PLAIN) == expected


def test_a_number_that_a_driver_read_as_text_is_scaled() -> None:
    assert text("214", "FLOAT", TENTHS) == "21.4"
    assert text(Decimal("214.5"), "FLOAT", TENTHS) == "21.45"


@pytest.mark.parametrize(
    ("value", "type"),
    [
        ("abc", "INT"), ("", "FLOAT"), ("1e999999", "FLOAT"), ("nan", "DOUBLE"), ("inf", "INT"), ("on", "BOOLEAN"),
        (b"\x01", "INT"), (b"\x01", "BOOLEAN"), (Decimal("NaN"), "INT"), (float("nan"), "INT"), (float("inf"), "INT"),
        (Decimal("1e999999"), "INT"), (10**1000, "INT"), (10**1000, "STRING"),
    ],
)  # fmt: skip
def test_what_is_no_value_of_the_type_is_a_bad_answer(value: float | Decimal | str | bytes, type: str) -> None:
    with pytest.raises(BadAnswer):
        text(value, type, PLAIN)
