"""Bytes of characteristics and values."""

import struct
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.ble_values import (
    NUMERIC,
    TYPES,
    Format,
    Packed,
    assigned,
    packed,
    presentation,
    type_name,
    uuid_text,
)
from mappers.driver import BadAnswer, DefinitionError, ValueRefused

TEMPERATURE = "00002a6e-0000-1000-8000-00805f9b34fb"


@pytest.mark.parametrize(
    ("form", "data", "value"),
    [
        (Format("uint8"), "61", 97),
        (Format("sint8"), "ff", -1),
        (Format("uint16"), "e204", 1250),
        (Format("uint16", big=True), "04e2", 1250),
        (Format("sint24"), "ffffff", -1),
        (Format("uint48"), "010000000080", 0x800000000001),
        (Format("uint64"), "ffffffffffffffff", 2**64 - 1),
        (Format("sint128"), "00" * 15 + "80", -(2**127)),
        (Format("uint12"), "ff0f", 4095),
        (Format("bool"), "01", True),
        (Format("sint16", exponent=-2), "ca09", 25.06),
        (Format("uint8", exponent=3), "02", 2000),
        (Format("float32"), "cdcc4c3e", 0.2),
        (Format("float64"), struct.pack("<d", 0.1).hex(), 0.1),
        (Format("medfloat16"), "6ef1", 36.6),  # mantissa 366, exponent -1
        (Format("medfloat32"), "6e0100ff", 36.6),
        (Format("utf8"), b"cellar\0\0".hex(), "cellar"),
        (Format("utf16"), "k".encode("utf-16-le").hex(), "k"),
        (Format("bytes"), "00ff", b"\x00\xff"),
        (Format("uint8", start=2), "000007", 7),
        (Format("utf8", start=1, length=2), "00616263", "ab"),
    ],
)
def test_a_format_says_what_the_bytes_are(form: Format, data: str, value: Any) -> None:
    assert form.decode(bytes.fromhex(data)) == value


@pytest.mark.parametrize(
    ("form", "data", "reason"),
    [
        (Format("uint16"), "01", "1 bytes instead of the 2 of a uint16"),
        (Format("uint16"), "010203", "3 bytes instead"),
        (Format("uint8", start=2), "0000", "too few"),
        (Format("utf8", start=3), "0000", "too few"),
        (Format("utf8", start=1, length=5), "00616263", "too few"),
        (Format("bool"), "02", "not a boolean"),
        (Format("uint4"), "10", "beyond a uint4"),
        (Format("float32"), "0000c07f", "not a number"),
        (Format("float64"), "000000000000f07f", "not a number"),
        (Format("medfloat16"), "ff07", "no number"),
        (Format("medfloat16"), "0008", "no number"),
        (Format("medfloat32"), "ffff7f00", "no number"),
        (Format("utf8"), "ff", "not UTF-8"),
        (Format("utf16"), "00d8", "not UTF-16"),
        (Format("sint16", unknown=-0x8000), "0080", "not known"),
    ],
)
def test_what_does_not_fit_is_no_value(form: Format, data: str, reason: str) -> None:
    with pytest.raises(BadAnswer, match=reason):
        form.decode(bytes.fromhex(data))


@pytest.mark.parametrize("type", sorted(NUMERIC - {"bool"}))
@given(data=st.data())
def test_what_a_number_was_written_as_is_what_it_is_read_as(type: str, data: st.DataObject) -> None:
    form = Format(type)
    raw = data.draw(st.binary(min_size=form.size, max_size=form.size))
    try:
        value = form.decode(raw)
    except BadAnswer:
        return
    assert isinstance(value, int | float)
    assert form.decode(form.encode(Decimal(repr(value)))) == value


@given(
    st.sampled_from(TYPES), st.none() | st.integers(0, 8), st.integers(-40, 40), st.booleans(), st.binary(max_size=24)
)
def test_no_bytes_make_a_format_fail_or_give_what_is_no_value(
    type: str, start: int | None, exponent: int, big: bool, data: bytes
) -> None:
    form = Format(type, start=start, exponent=exponent, big=big)
    try:
        value = form.decode(data)
    except BadAnswer:
        return
    assert value == value, "not a NaN"
    assert value not in (float("inf"), float("-inf"))
    assert start is not None or not form.size or len(data) == form.size


@pytest.mark.parametrize(
    ("form", "value", "data"),
    [
        (Format("sint16", exponent=-2), Decimal("21.5"), "6608"),
        (Format("sint16", exponent=-2), Decimal("21.504"), "6608"),
        (Format("uint16", big=True), Decimal(258), "0102"),
        (Format("bool"), True, "01"),
        (Format("uint8"), False, "00"),
        (Format("utf8"), "Käse", "4bc3a47365"),
        (Format("utf8"), Decimal("1.50"), "312e3530"),
        (Format("medfloat16"), Decimal("36.6"), "6ef1"),
        (Format("bytes"), b"\x01", "01"),
        (Packed("<f"), Decimal("0.2"), "cdcc4c3e"),
        (Packed("<H"), Decimal("257.5"), "0201"),
        (Packed("<4s"), "ab", "61620000"),
    ],
)
def test_a_value_is_written_as_the_format_says(form: Format | Packed, value: Any, data: str) -> None:
    assert form.encode(value).hex() == data


@pytest.mark.parametrize(
    ("form", "value", "reason"),
    [
        (Format("uint8"), Decimal(256), "does not fit uint8"),
        (Format("uint8"), Decimal(-1), "does not fit uint8"),
        (Format("sint8"), Decimal("1e300"), "does not fit"),
        (Format("uint8"), "abc", "not a number"),
        (Format("uint8"), b"\1", "not a number"),
        (Format("float32"), Decimal("1e60"), "does not fit float32"),
        (Format("medfloat16"), Decimal("1e60"), "does not fit medfloat16"),
        (Format("sint16", exponent=-2, unknown=-0x8000), Decimal("-327.68"), "not known"),
        (Format("uint8", start=0), Decimal(1), "use `dataWrite`"),
        (Format("bytes"), "text", "not bytes"),
        (Packed("<HH"), Decimal(1), "use `dataWrite`"),
        (Packed("<B"), Decimal(256), "does not fit"),
    ],
)
def test_a_value_that_cannot_be_held_is_refused(form: Any, value: Any, reason: str) -> None:
    with pytest.raises(ValueRefused, match=reason):
        form.encode(value)


def test_a_device_describes_its_own_format() -> None:
    assert presentation(bytes.fromhex("0efe2f27010000")) == Format("sint16", exponent=-2)
    assert presentation(bytes.fromhex("14fe2f27010000")) == Format("float32"), "an exponent is for integers"


@pytest.mark.parametrize(
    "data", ["", "0efe2f270100", "0efe2f2701000000", "1b000000010000", "00000000010000", "047f0000010000"]
)
def test_a_descriptor_that_says_nothing_usable_is_no_format(data: str) -> None:
    with pytest.raises(BadAnswer, match="0x2904"):
        presentation(bytes.fromhex(data))


@given(st.binary(max_size=9))
def test_no_descriptor_makes_more_than_a_known_format(data: bytes) -> None:
    try:
        form = presentation(data)
    except BadAnswer:
        return
    assert form.type in TYPES
    assert abs(form.exponent) <= 40


def test_the_sig_says_what_well_known_characteristics_are() -> None:
    assert assigned(TEMPERATURE) == Format("sint16", exponent=-2, unknown=-0x8000)
    assert assigned("00002a19-0000-1000-8000-00805f9b34fb") == Format("uint8")
    assert assigned("00002a6d-0000-1000-8000-00805f9b34fb") == Format("uint32", exponent=-1)
    assert assigned("00002aff-0000-1000-8000-00805f9b34fb") is None
    assert assigned("00002a6e-1111-1000-8000-00805f9b34fb") is None, "another's UUID"


def test_a_field_of_a_packet_is_read_by_its_layout() -> None:
    assert packed("hB", 1).decode(b"\x01\x00\x07") == 7
    assert packed(">f", 0).decode(bytes.fromhex("3e4ccccd")) == 0.2
    assert packed("?", 0).decode(b"\1") is True
    with pytest.raises(BadAnswer, match="2 bytes instead of the 3"):
        packed("<hB", 1).decode(b"\x01\x00")
    with pytest.raises(BadAnswer, match="not a number"):
        packed("<f", 0).decode(bytes.fromhex("0000c07f"))


@pytest.mark.parametrize("layout", ["", "<", "<q!", "9999s", "<0s"])
def test_a_layout_that_is_none_is_refused(layout: str) -> None:
    with pytest.raises(DefinitionError, match="`format`"):
        packed(layout, 0)


def test_a_field_that_the_layout_lacks_is_refused() -> None:
    with pytest.raises(DefinitionError, match="`field` 2 does not exist"):
        packed("<hB", 2)


@given(st.sampled_from(["<hB", "<f", ">d", "<4s", "?", "<HxH"]), st.binary(max_size=12))
def test_no_bytes_make_a_layout_fail(layout: str, data: bytes) -> None:
    codec = packed(layout, 0)
    fits = len(data) == struct.calcsize(codec.layout)
    try:
        value = codec.decode(data)
    except BadAnswer as error:
        assert fits == ("not a number" in str(error))  # noqa: PT017
    else:
        assert fits
        assert value == value


@pytest.mark.parametrize(
    "text", ["2A6E", "0x2a6e", "00002A6E", TEMPERATURE, TEMPERATURE.upper(), TEMPERATURE.replace("-", "")]
)
def test_a_uuid_may_be_written_in_many_ways(text: str) -> None:
    assert uuid_text(text, "key") == TEMPERATURE


@pytest.mark.parametrize("text", ["", "2A6", "2A6G", "hello", "00002a6e-0000-1000-8000", "-" * 32])
def test_what_is_no_uuid_is_refused(text: str) -> None:
    with pytest.raises(DefinitionError, match="`key`"):
        uuid_text(text, "key")


def test_a_misspelt_type_is_refused_with_the_nearest() -> None:
    assert type_name("INT16") == "sint16"
    assert type_name("string") == "utf8"
    with pytest.raises(DefinitionError, match="did you mean uint16"):
        type_name("unit16")
