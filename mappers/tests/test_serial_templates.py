"""What is sent: escapes, values in their forms, and what a template must not be."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.driver import DefinitionError, ValueRefused
from mappers.serial_templates import Template, raw_bytes


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("P\r\n", b"P\r\n"),
        (r"P\r\n", b"P\r\n"),
        (r"\x02W\x03\0\t\e\\", b"\x02W\x03\0\t\x1b\\"),
        ("\xa5\x01", b"\xa5\x01"),
    ],
)
def test_escapes_are_understood_whoever_left_them_in(text: str, sent: bytes) -> None:
    assert raw_bytes("ask", text) == sent


@pytest.mark.parametrize(
    ("template", "value", "sent"),
    [
        (r"SP {value:.1f}\r\n", Decimal("21.45"), b"SP 21.4\r\n"),
        ("SP {value}", Decimal("21.450"), b"SP 21.450"),
        ("{value}", Decimal("1E+3"), b"1000"),
        ("{value:04d}", Decimal("7.0"), b"0007"),
        ("{value:+06.2f}", Decimal("1.5"), b"+01.50"),
        ("{value:X}", Decimal(255), b"FF"),
        ("{value:e}", Decimal(1500), b"1.500e+3"),
        ("OUT {value:d}", True, b"OUT 1"),
        ("{value}", False, b"0"),
        ("N {value:>6}", "abc", b"N    abc"),
        ("{value}", "grün", "grün".encode()),
        ('{{"sp": {value}}}', Decimal(5), b'{"sp": 5}'),
        (r"\x01{value:struct <h}", Decimal(-2), b"\x01\xfe\xff"),
        ("{value:struct f}", Decimal("21.4"), b"\x41\xab\x33\x33"),
        ("T", Decimal(5), b"T"),
        ("{value:05.1f}", "7", b"007.0"),
        ("{value}", "007", b"007"),
        ("{value}", b"\x00\xff", b"\x00\xff"),
    ],
)
def test_a_value_is_put_in_its_form(template: str, value: Any, sent: bytes) -> None:
    assert Template("write", template).fill(value) == sent


@pytest.mark.parametrize(
    ("template", "value", "words"),
    [
        ("{value:.1f}", "abc", "not a number"),
        ("{value}", "a\r\nT", "holds control characters"),
        ("{value:struct B}", Decimal(256), "does not fit struct B"),
        ("{value:struct B}", "x", "not a number"),
        ("{value:.1f}", "nan", "not a number"),
        ("{value:.1f}", "1e999999999", "not a number"),
        ("{value:struct f}", Decimal("1e300"), "does not fit struct f"),
        ("{value:d}", Decimal("1e300"), "does not fit an integer"),
        ("{value:+}", "abc", "has no form"),
    ],
)
def test_a_value_without_that_form_is_refused(template: str, value: Any, words: str) -> None:
    with pytest.raises(ValueRefused, match=words):
        Template("write", template).fill(value)


@pytest.mark.parametrize(
    "template",
    [
        "{value.__class__}", "{value[0]}", "{0}", "{}", "{other}", "{value!r}", "{value:{value}}", "{value:999999999d}",
        "{value:.999999999f}", "{value", "}", r"\q", "price €", "x" * 2000, "{value:struct 999s}", "{value:n}",
    ],
)  # fmt: skip
def test_a_template_that_could_reach_further_or_cannot_be_sent_is_refused(template: str) -> None:
    with pytest.raises(DefinitionError, match=r"^`write`"):
        Template("write", template)


@given(
    st.text(max_size=30),
    st.one_of(st.booleans(), st.decimals(allow_nan=False, allow_infinity=False), st.text(max_size=9)),
)
def test_any_template_is_refused_or_gives_bytes_of_bounded_length(text: str, value: Any) -> None:
    try:
        sent = Template("write", text).fill(value)
    except (DefinitionError, ValueRefused):
        return
    assert len(sent) < 100_000
