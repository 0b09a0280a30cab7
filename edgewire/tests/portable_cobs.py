"""What `edgewire.cobs` promises, in plain asserts: runs on CPython and on MicroPython."""

from edgewire.cobs import cobs, crc16, uncobs

# From the paper, and from the article on COBS in Wikipedia.
EXAMPLES = (
    (b"\x00", b"\x01\x01"),
    (b"\x00\x00", b"\x01\x01\x01"),
    (b"\x11\x22\x00\x33", b"\x03\x11\x22\x02\x33"),
    (b"\x11\x22\x33\x44", b"\x05\x11\x22\x33\x44"),
    (b"\x11\x00\x00\x00", b"\x02\x11\x01\x01\x01"),
    (bytes(range(1, 255)), b"\xff" + bytes(range(1, 255))),
    (bytes(range(255)), b"\x01\xff" + bytes(range(1, 255))),
    (bytes(range(1, 256)), b"\xff" + bytes(range(1, 255)) + b"\x02\xff"),
    (bytes(range(2, 256)) + b"\x00", b"\xff" + bytes(range(2, 256)) + b"\x01\x01"),
    (bytes(range(3, 256)) + b"\x00\x01", b"\xfe" + bytes(range(3, 256)) + b"\x02\x01"),
)


def test_published_examples_are_stuffed_as_published() -> None:
    for plain, stuffed in EXAMPLES:
        assert cobs(plain) == stuffed, plain
        assert uncobs(stuffed) == plain, plain


def test_what_was_not_stuffed_is_none() -> None:
    for body in (b"\x05\x11", b"\x02\x11\x03\x11", b"\x03\x11\x00", b"\x00"):
        assert uncobs(body) is None, body


def test_the_crc_has_the_catalogue_s_check_value() -> None:
    assert crc16(b"123456789") == 0xD64E
    assert crc16(b"") == 0


def test_zeros_at_either_end_change_the_crc() -> None:
    assert len({crc16(b"x"), crc16(b"x\0"), crc16(b"\0x"), crc16(b"x\0\0"), crc16(b"\0\0x")}) == 5
