"""Checksums against the published check values, and in their places."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.serial_checksums import CHECKSUMS, NMEA, make_seal


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("crc8", 0xF4),
        ("crc16-modbus", 0x4B37),
        ("crc16-ccitt-false", 0x29B1),
        ("crc16-xmodem", 0x31C3),
        ("crc32", 0xCBF43926),
        ("xor", 0x31),
        ("sum8", 0xDD),
    ],
)
def test_each_algorithm_gives_its_published_check_value(name: str, check: int) -> None:
    assert CHECKSUMS[name].compute(b"123456789") == check


@pytest.mark.parametrize(
    ("options", "frame"),
    [
        ({}, b"123456789\x37\x4b"),
        ({"order": "big"}, b"123456789\x4b\x37"),
        ({"first": True}, b"\x37\x4b123456789"),
        ({"digits": True}, b"123456789374B"),
        ({"digits": True, "order": "big"}, b"1234567894B37"),
    ],
)
def test_a_checksum_stands_where_and_how_it_is_asked_for(options: dict[str, object], frame: bytes) -> None:
    seal = make_seal("crc16-modbus", **options)  # type: ignore[arg-type]
    assert seal.close(b"123456789") == frame
    assert seal.open(frame) == b"123456789"


def test_hexadecimal_digits_may_be_small_letters() -> None:
    assert make_seal("crc16-modbus", digits=True).open(b"123456789374b") == b"123456789"


def test_a_checksum_may_cover_what_stands_before_the_payload() -> None:
    seal = make_seal("sum8", whole=True)
    assert seal.close(b"\x01", b"\x02\x03") == b"\x01\x06"
    assert seal.open(b"\x01\x06", b"\x02\x03") == b"\x01"
    assert seal.open(b"\x01\x06", b"\x02\x04") is None


def test_an_nmea_sentence_is_sealed_as_in_the_standards_example() -> None:
    sentence = b"$GPGLL,5300.97914,N,00259.98174,E,125926,A"
    seal = make_seal(NMEA)
    assert seal.close(sentence) == sentence + b"*28"
    assert seal.open(sentence + b"*28") == sentence
    assert seal.open(sentence + b"*29") is None
    assert seal.open(sentence) is None


@given(st.binary(min_size=1, max_size=40), st.sampled_from([*CHECKSUMS]), st.booleans(), st.booleans(), st.data())
def test_one_flipped_bit_is_always_noticed(
    payload: bytes, name: str, first: bool, digits: bool, data: st.DataObject
) -> None:
    seal = make_seal(name, first=first, digits=digits)
    frame = seal.close(payload)
    assert seal.open(frame) == payload
    bit = data.draw(st.integers(0, 8 * len(frame) - 1))
    flipped = (int.from_bytes(frame) ^ 1 << bit).to_bytes(len(frame))
    found = seal.open(flipped)
    assert found is None or (digits and found == payload), "a hexadecimal digit in small letters is the same digit"
