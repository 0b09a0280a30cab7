"""SLIP and COBS against published examples, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewire.cobs import cobs, uncobs
from mappers.serial_stuffing import slip, unslip


# The examples of Wikipedia's article on COBS, which are those of the paper and its implementations.
@pytest.mark.parametrize(
    ("plain", "stuffed"),
    [
        (b"\0", b"\1\1"),
        (b"\0\0", b"\1\1\1"),
        (b"\0\x11\0", b"\1\2\x11\1"),
        (b"\x11\x22\0\x33", b"\3\x11\x22\2\x33"),
        (b"\x11\0\0\0", b"\2\x11\1\1\1"),
        (bytes(range(1, 255)), b"\xff" + bytes(range(1, 255))),
        (bytes(range(255)), b"\1\xff" + bytes(range(1, 255))),
        (bytes(range(1, 256)), b"\xff" + bytes(range(1, 255)) + b"\2\xff"),
        (bytes(range(2, 256)) + b"\0", b"\xff" + bytes(range(2, 256)) + b"\1\1"),
        (bytes(range(3, 256)) + b"\0\1", b"\xfe" + bytes(range(3, 256)) + b"\2\1"),
    ],
)
def test_cobs_stuffs_as_published(plain: bytes, stuffed: bytes) -> None:
    assert cobs(plain) == stuffed
    assert uncobs(stuffed) == plain


@given(
    st.lists(st.one_of(st.binary(max_size=10), st.integers(250, 520).map(lambda n: b"x" * n)), max_size=4).map(
        b"\0".join
    )
)
def test_cobs_is_undone(plain: bytes) -> None:
    assert 0 not in cobs(plain)
    assert uncobs(cobs(plain)) == plain


@given(st.one_of(st.binary(), st.lists(st.sampled_from([0xC0, 0xDB, 0xDC, 0xDD, 1])).map(bytes)))
def test_slip_is_undone(plain: bytes) -> None:
    assert 0xC0 not in slip(plain)
    assert unslip(slip(plain)) == plain


@given(st.binary())
def test_any_bytes_are_stuffed_or_none(body: bytes) -> None:
    for undo, again in ((unslip, slip), (uncobs, cobs)):
        plain = undo(body.replace(b"\xc0", b"") if undo is unslip else body)
        assert plain is None or undo(again(plain)) == plain
