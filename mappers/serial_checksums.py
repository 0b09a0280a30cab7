"""Checksums of serial frames, by the names a Device gives them, and their places in a frame.

Python's own `binascii` and `zlib` compute CRC-16 of polynomial 0x1021 and CRC-32 in C; the other two CRCs take a table of 256
numbers, made by the first that needs it. Names and parameters as in Greg Cook's catalogue of parametrised CRC algorithms.
"""

import binascii
import zlib
from collections.abc import Callable
from functools import cache
from typing import Literal

from msgspec import Struct


class Checksum(Struct, frozen=True, eq=False):
    """One algorithm."""

    name: str
    size: int
    """Bytes it takes in a frame, unless it is written as hexadecimal digits, two a byte."""
    order: str
    """The byte order that is usual for it: "big" or "little"."""
    compute: Callable[[bytes], int]


def _crc8(data: bytes) -> int:
    table, crc = _table8(), 0
    for byte in data:
        crc = table[crc ^ byte]
    return crc


def _crc16_modbus(data: bytes) -> int:
    table, crc = _table16(), 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc


def _ccitt_false(data: bytes) -> int:
    return binascii.crc_hqx(data, 0xFFFF)


def _xmodem(data: bytes) -> int:
    return binascii.crc_hqx(data, 0)


def _xor(data: bytes) -> int:
    found = 0
    for byte in data:
        found ^= byte
    return found


def _sum8(data: bytes) -> int:
    return sum(data) & 0xFF


@cache
def _table8() -> tuple[int, ...]:
    def entry(crc: int) -> int:
        for _ in range(8):
            crc = (crc << 1 ^ 0x07 if crc & 0x80 else crc << 1) & 0xFF
        return crc

    return tuple(entry(byte) for byte in range(256))


@cache
def _table16() -> tuple[int, ...]:
    def entry(crc: int) -> int:
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
        return crc

    return tuple(entry(byte) for byte in range(256))


CHECKSUMS = {
    checksum.name: checksum
    for checksum in (
        Checksum("crc8", 1, "big", _crc8),
        Checksum("crc16-modbus", 2, "little", _crc16_modbus),
        Checksum("crc16-ccitt-false", 2, "big", _ccitt_false),
        Checksum("crc16-xmodem", 2, "big", _xmodem),
        Checksum("crc32", 4, "big", zlib.crc32),
        Checksum("xor", 1, "big", _xor),
        Checksum("sum8", 1, "big", _sum8),
    )
}
"""Every algorithm by its name. NMEA 0183's is `xor` in a place and form of its own: `NMEA`."""

NMEA = "nmea"
"""The checksum of NMEA 0183: XOR of what stands between the first character and `*`, as two hexadecimal digits after it."""


class Seal:
    """A checksum in its place, or none: this class. `head` is what stands before the payload: start and length."""

    size = 0
    """Bytes it adds to a payload."""

    def close(self, payload: bytes, head: bytes = b"") -> bytes:
        """The payload with its checksum."""
        return payload

    def open(self, body: bytes, head: bytes = b"") -> bytes | None:
        """The payload without its checksum, or None when that is wrong."""
        return body


class ChecksumSeal(Seal):
    """Before or after the payload, binary or as hexadecimal digits."""

    def __init__(self, checksum: Checksum, *, order: str, first: bool, digits: bool, whole: bool) -> None:
        self._checksum = checksum
        self._order: Literal["big", "little"] = "little" if (order or checksum.order) == "little" else "big"
        self._first, self._digits, self._whole = first, digits, whole
        self.size = checksum.size * (2 if digits else 1)

    def close(self, payload: bytes, head: bytes = b"") -> bytes:
        """The payload with its checksum."""
        tag = self._tag(payload, head)
        return tag + payload if self._first else payload + tag

    def open(self, body: bytes, head: bytes = b"") -> bytes | None:
        """The payload without its checksum, or None when that is wrong."""
        if len(body) < self.size:
            return None
        cut = self.size if self._first else len(body) - self.size
        tag, payload = (body[:cut], body[cut:]) if self._first else (body[cut:], body[:cut])
        return payload if (tag.upper() if self._digits else tag) == self._tag(payload, head) else None

    def _tag(self, payload: bytes, head: bytes) -> bytes:
        number = self._checksum.compute(head + payload if self._whole else payload)
        binary = number.to_bytes(self._checksum.size, self._order)
        return binary.hex().upper().encode() if self._digits else binary


class NmeaSeal(Seal):
    """`$...*hh`."""

    size = 3

    def close(self, payload: bytes, head: bytes = b"") -> bytes:
        """The sentence with its checksum. Raises ValueError for what is no sentence."""
        if payload[:1] not in (b"$", b"!") or len(payload) < 2 or b"*" in payload:
            raise ValueError("not an NMEA sentence without its checksum: `$` first, no `*`")
        return payload + b"*%02X" % _xor(payload[1:])

    def open(self, body: bytes, head: bytes = b"") -> bytes | None:
        """The sentence without its checksum, or None when that is wrong or missing."""
        payload, star, digits = body.rpartition(b"*")
        if not star or payload[:1] not in (b"$", b"!") or len(payload) < 2 or b"*" in payload:
            return None
        return payload if digits.upper() == b"%02X" % _xor(payload[1:]) else None


def make_seal(name: str, *, order: str = "", first: bool = False, digits: bool = False, whole: bool = False) -> Seal:
    """The seal for a checksum of `CHECKSUMS`, for `NMEA`, or for none: an empty name."""
    if not name:
        return Seal()
    if name == NMEA:
        return NmeaSeal()
    return ChecksumSeal(CHECKSUMS[name], order=order, first=first, digits=digits, whole=whole)
