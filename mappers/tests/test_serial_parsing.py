"""From frames to values: each way of parsing, and what is none."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.driver import BadAnswer, DefinitionError
from mappers.serial_parsing import (
    MISSING,
    Frame,
    Parser,
    convert,
    csv_parser,
    json_parser,
    nmea_parser,
    pattern_parser,
    struct_parser,
    whole_parser,
)  # fmt: skip

GGA = b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47"
RMC = b"$GPRMC,123519,A,4807.038,S,01131.000,W,022.4,084.4,230394,003.1,W*65"


def found(parser: Parser, *frames: bytes) -> Any:
    """What a parser gives for the last of these frames."""
    return [parser(Frame(frame)) for frame in frames][-1]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/net", Decimal("12.50")),
        ("$.net", Decimal("12.50")),
        ("net", Decimal("12.50")),
        ("/list/1/x", 18446744073709551615),
        ("$.list[1].x", 18446744073709551615),
        ("/a~1b", True),
        ("/nothing", MISSING),
        ("/list/7", MISSING),
        ("/net/x", MISSING),
    ],
)
def test_a_member_of_a_document_is_found_with_all_its_digits(path: str, value: Any) -> None:
    frame = b'{"net": 12.50, "list": [0, {"x": 18446744073709551615}], "a/b": true}'
    got = found(json_parser(path), frame)
    assert got == value
    assert str(got) == str(value)


def test_documents_are_told_apart_by_a_member() -> None:
    parser = json_parser("/v", "/kind=weight")
    assert found(parser, b'{"kind": "weight", "v": 1}') == 1
    assert found(parser, b'{"kind": "temperature", "v": 1}') is MISSING
    assert found(parser, b'{"v": 1}') is MISSING


@pytest.mark.parametrize(
    "text", [b"", b"boot ok", b"{", b"[" * 100_000, b'{"v": NaN}', b'{"v": 1}}', b"\xff", b"9" * 9999]
)
def test_what_is_no_document_is_not_of_the_property(text: bytes) -> None:
    assert found(json_parser("/v"), text) is MISSING


@pytest.mark.parametrize(
    ("pattern", "field", "value"),
    [
        (r"(\d+)kg", "", "12"),
        (r"\d+kg", "", "12kg"),
        (r"(?P<w>\d+)(?P<unit>kg)", "unit", "kg"),
        (r"(x)?12", "", MISSING),
        (r"^kg", "", MISSING),
    ],
)
def test_a_group_of_an_expression_is_found(pattern: str, field: str, value: Any) -> None:
    assert found(pattern_parser(pattern, field), b"ST 12kg") == value


@pytest.mark.parametrize(
    ("format", "field", "fields", "value"),
    [
        (">Hh", "", "", 1),
        ("Hh", "1", "", -2),
        ("<Hh", "h", "id, h", -257),
        ("HBB", "2", "", 0xFE),
        (">i", "", "", 0x1FFFE),
    ],
)
def test_a_field_of_a_packed_frame_is_found(format: str, field: str, fields: str, value: Any) -> None:
    assert found(struct_parser(format, field, fields), b"\x00\x01\xff\xfe") == value


def test_a_float32_is_the_shortest_decimal_that_names_it() -> None:
    assert found(struct_parser("<xf2x"), b"\0\x33\x33\xab\x41\0\0") == 21.4


def test_a_packed_frame_of_another_size_is_not_of_the_property() -> None:
    assert found(struct_parser(">H"), b"\0\0\0") is MISSING


@pytest.mark.parametrize(
    ("column", "header", "value"),
    [
        ("1", "", "2026-01-01"),
        ("3", "", "a,b"),
        ("4", "", MISSING),
        ("t", "when,t,note", "21.5"),
        ("t", "when,t", MISSING),
    ],
)
def test_a_column_is_found_by_number_or_header(column: str, header: str, value: Any) -> None:
    assert found(csv_parser(column, header=header), b'2026-01-01, 21.5 ,"a,b"') == value


def test_a_header_that_the_device_sends_is_learned_and_learned_anew() -> None:
    parser = csv_parser("t", ";")
    assert found(parser, b"1;2;3") is MISSING
    assert found(parser, b"when;t", b"1;2;3") is MISSING
    assert found(parser, b"1;2") == "2"
    assert found(parser, b"t;when", b"1;2") == "1"


@pytest.mark.parametrize(
    ("sentence", "field", "frame", "value"),
    [
        ("GGA", "latitude", GGA, "48.117300000"),
        ("GPGGA", "longitude", GGA, "11.516666667"),
        ("RMC", "latitude", RMC, "-48.117300000"),
        ("RMC", "longitude", RMC, "-11.516666667"),
        ("GGA", "altitude", GGA, "545.4"),
        ("GGA", "8", GGA, "0.9"),
        ("GGA", "13", GGA, MISSING),
        ("GGA", "99", GGA, MISSING),
        ("GNGGA", "latitude", GGA, MISSING),
        ("RMC", "latitude", GGA, MISSING),
        ("GGA", "latitude", GGA[:-1] + b"8", MISSING),
        ("GGA", "latitude", GGA[:-3], MISSING),
        ("GGA", "latitude", GGA.replace(b"4807", b"4808"), MISSING),
    ],
)
def test_a_field_of_a_sentence_with_a_good_checksum_is_found(
    sentence: str, field: str, frame: bytes, value: Any
) -> None:
    assert str(found(nmea_parser(sentence, field), frame)) == str(value)


def test_a_sentence_whose_checksum_the_framing_took_off_is_found_too() -> None:
    assert str(found(nmea_parser("GGA", "latitude", sealed=False), GGA[:-3])) == "48.117300000"


@pytest.mark.parametrize("position", [b"4860.000,N", b"9100.000,N", b"4807.038,X", b"x,N", b"4807.038,"])
def test_a_position_that_is_none_is_a_bad_answer(position: bytes) -> None:
    with pytest.raises(BadAnswer, match="is no position"):
        found(nmea_parser("GLL", "latitude", sealed=False), b"$GPGLL," + position + b",01131.000,E")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: json_parser("a..b"), "`json` 'a..b' is neither a JSON pointer (/net/value) nor a path (net.value)"),
        (lambda: json_parser("/a", "b"), "`where` 'b' must be a path, =, and a value"),
        (lambda: pattern_parser("("), "`pattern` '(' is no regular expression: missing )"),
        (lambda: pattern_parser("(?P<net>.)(.)", "nett"), "`field` 'nett' is no group of `pattern`: did you mean net?"),
        (lambda: pattern_parser("(.)(.)"), "`field` is missing: which group of `pattern`"),
        (lambda: struct_parser("<Hk"), "`struct` '<Hk': bad char in struct format"),
        (lambda: struct_parser("<H", "1"), "`field` '1' is none of the 1 of `struct`"),
        (lambda: struct_parser("<HH", "a", "a"), "`struct` '<HH' has 2 fields, `fields` names 1"),
        (lambda: csv_parser("0"), "`column` '0' is not in `header`, and no number from 1"),
        (lambda: csv_parser("temp", header="time,tmp"), "did you mean tmp?"),
        (lambda: csv_parser("1", "::"), "`separator` must be one character"),
        (lambda: nmea_parser("GGA", "lattitude"), "`field` 'lattitude' of GGA is not known: did you mean latitude?"),
        (lambda: nmea_parser("XYZ", "speed"), "`field` 'speed' of XYZ is not known: count it: 1 is the first"),
        (lambda: nmea_parser("gga", "1"), "`sentence` 'gga' must be a type, GGA, or a talker and type, GPGGA"),
    ],
)
def test_a_key_that_cannot_be_used_is_named(make: Any, words: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        make()
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("field", "type", "mark", "value"),
    [
        ("+  12.34", "FLOAT", ".", Decimal("12.34")),
        ("-  0.10", "DOUBLE", ".", Decimal("-0.10")),
        (" 007 ", "INT", ".", 7),
        ("9007199254740993", "FLOAT", ".", 9007199254740993),
        ("1.5e3", "FLOAT", ".", Decimal("1.5E+3")),
        ("1.234,5", "FLOAT", ",", None),
        ("12,5", "FLOAT", ",", Decimal("12.5")),
        ("12,5", "FLOAT", ".", None),
        ("", "FLOAT", ".", None),
        ("nan", "FLOAT", ".", None),
        ("inf", "FLOAT", ".", None),
        ("1_000", "INT", ".", None),
        ("१२", "INT", ".", None),
        ("0x10", "INT", ".", None),
        (None, "INT", ".", None),
        ([1], "INT", ".", None),
        (float("inf"), "FLOAT", ".", None),
        (10**400, "INT", ".", None),
        (True, "INT", ".", 1),
        ("ON", "BOOLEAN", ".", True),
        ("0", "BOOLEAN", ".", False),
        (2, "BOOLEAN", ".", True),
        ("maybe", "BOOLEAN", ".", None),
        (b"abc\0\0", "STRING", ".", "abc"),
        (b"\xb0C", "STRING", ".", "°C"),
        ({"a": Decimal("1.0")}, "STRING", ".", '{"a":1.0}'),
        ([10**30], "STRING", ".", f"[{10**30}]"),
        (b"\x00\xff", "BYTES", ".", b"\x00\xff"),
        (b"12.5", "FLOAT", ".", Decimal("12.5")),
    ],
)
def test_a_field_becomes_a_value_of_the_models_type_or_a_bad_answer(
    field: Any, type: str, mark: str, value: Any
) -> None:
    if value is None:
        with pytest.raises(BadAnswer):
            convert(field, type, mark)
    else:
        got = convert(field, type, mark)
        assert (got, str(got)) == (value, str(value))


PARSERS = [
    json_parser("/v"), json_parser("$"), pattern_parser("(.+)"), struct_parser("<f"), csv_parser("2"), csv_parser("t"),
    nmea_parser("GGA", "latitude"), nmea_parser("GLL", "latitude", sealed=False), whole_parser,
]  # fmt: skip
frames = st.one_of(st.binary(max_size=60), st.text('0123456789.,-+eE{}[]":$*GPLNS ', max_size=60).map(str.encode))


@given(st.sampled_from(PARSERS), frames, st.sampled_from(["INT", "FLOAT", "DOUBLE", "STRING", "BOOLEAN", "BYTES"]))
def test_any_bytes_are_a_value_of_the_type_missing_or_a_bad_answer(parser: Parser, frame: bytes, type: str) -> None:
    try:
        field = parser(Frame(frame))
        if field is MISSING:
            return
        value = convert(field, type)
    except BadAnswer:
        return
    kinds = {"STRING": str, "BOOLEAN": bool, "BYTES": bytes}
    assert isinstance(value, kinds.get(type, int | float | Decimal))
    if type in ("INT", "FLOAT", "DOUBLE"):
        assert not isinstance(value, str | bytes)
        assert abs(Decimal(value)) < Decimal("1e301")
