"""The three ways Modbus puts a request on a wire, and finds the answer in what comes back: TCP, RTU, ASCII. Bytes only.

A framing serves one connection and one exchange at a time: `begin` gives the bytes to send, `feed` takes what arrives and gives
the answer once it is complete. It looks for the answer of the unit and the function asked, wherever that begins: what comes
before it is noise, the echo of the own request, or somebody's late answer. TCP numbers its requests, so that a late answer is
known by its number. RTU and ASCII do not: who sends must see to it that no late answer can come any more (`modbus_connection`).

Modbus Messaging on TCP/IP V1.0b, section 3.1.3; Modbus over Serial Line V1.02, sections 2.5.1 (RTU) and 2.5.2 (ASCII).
"""

import struct
from typing import Protocol

from .modbus_pdu import Request, answer_size

_LARGEST_PDU = 253
_NOISE_KEPT = 1024
"""More than the longest frame of each framing, twice over."""


class Garbled(Exception):
    """The bytes cannot be an answer, and what follows them cannot be trusted: the text says why."""


class Framing(Protocol):
    """One connection's frames."""

    def begin(self, unit: int, request: Request) -> bytes:
        """The frame of a request, whose answer is what `feed` waits for from now on."""
        ...

    def feed(self, data: bytes) -> bytes | None:
        """Take in what arrived: the answer's function code and data once it is complete. Raises Garbled."""
        ...

    def begun(self) -> bool:
        """Whether what arrived looks like part of an answer, rather than like noise before it."""
        ...

    def answer_length(self, request: Request) -> int:
        """Bytes on the wire of a right answer."""
        ...


class TcpFrames:
    """A header of transaction number, protocol 0, length and unit."""

    _header = struct.Struct(">HHHB")

    def __init__(self) -> None:
        self._transaction = 0
        self._unit = 0
        self._buffer = b""

    def begin(self, unit: int, request: Request) -> bytes:
        """The frame of a request."""
        self._transaction = self._transaction % 0xFFFF + 1
        self._unit = unit
        return self._header.pack(self._transaction, 0, 1 + len(request.pdu), unit) + request.pdu

    def feed(self, data: bytes) -> bytes | None:
        """The answer, once complete. Raises Garbled."""
        buffer = self._buffer + data if self._buffer else data
        while len(buffer) >= self._header.size:
            transaction, protocol, length, unit = self._header.unpack_from(buffer)
            if protocol or not 3 <= length <= 1 + _LARGEST_PDU:
                raise Garbled("not a Modbus TCP header")
            end = 6 + length
            if len(buffer) < end:
                break
            if transaction == self._transaction:
                if unit != self._unit:
                    raise Garbled(f"unit {unit} instead of {self._unit}")
                if len(buffer) > end:
                    raise Garbled("more than one answer")
                self._buffer = b""
                return buffer[7:]
            buffer = buffer[end:]  # of a request that was given up
        self._buffer = buffer
        return None

    def begun(self) -> bool:
        """Whether part of a frame arrived."""
        return bool(self._buffer)

    def answer_length(self, request: Request) -> int:
        """Bytes on the wire of a right answer."""
        return self._header.size + request.length


class RtuFrames:
    """Unit, function, data, CRC-16; nothing says where a frame begins but the silence before it."""

    def __init__(self) -> None:
        self._unit = 0
        self._request: Request | None = None
        self._buffer = b""

    def begin(self, unit: int, request: Request) -> bytes:
        """The frame of a request."""
        self._unit, self._request, self._buffer = unit, request, b""
        frame = bytes((unit,)) + request.pdu
        return frame + crc16(frame)

    def feed(self, data: bytes) -> bytes | None:
        """The answer, once complete."""
        if self._request is None:
            return None
        buffer = self._buffer = (self._buffer + data)[-_NOISE_KEPT:]
        at = buffer.find(self._unit)
        while 0 <= at <= len(buffer) - 5:
            size = answer_size(self._request, buffer[at + 1 : at + 3])
            end = at + 1 + size
            if size and crc16(buffer[at:end]) == buffer[end : end + 2]:
                self._request = None
                return buffer[at + 1 : end]
            at = buffer.find(self._unit, at + 1)
        return None

    def begun(self) -> bool:
        """Whether the beginning of an answer is there."""
        if self._request is None:
            return False
        function = self._request.function
        return any(bytes((self._unit, code)) in self._buffer for code in (function, function | 0x80))

    def answer_length(self, request: Request) -> int:
        """Bytes on the wire of a right answer."""
        return request.length + 3


class AsciiFrames:
    """A colon, everything in hexadecimal with a checksum (LRC), carriage return and line feed."""

    def __init__(self) -> None:
        self._unit = 0
        self._request: Request | None = None
        self._buffer = b""
        self._begun = False

    def begin(self, unit: int, request: Request) -> bytes:
        """The frame of a request."""
        self._unit, self._request, self._buffer, self._begun = unit, request, b"", False
        frame = bytes((unit,)) + request.pdu
        return b":" + (frame + lrc(frame)).hex().upper().encode() + b"\r\n"

    def feed(self, data: bytes) -> bytes | None:
        """The answer, once complete."""
        if self._request is None:
            return None
        self._buffer = (self._buffer + data)[-_NOISE_KEPT:]
        *lines, self._buffer = self._buffer.split(b"\r\n")
        self._begun = self._begun or b":" in data
        for line in lines:
            frame = _unhexed(line.rpartition(b":")[2])
            if len(frame) < 4 or lrc(frame[:-1]) != frame[-1:] or frame[0] != self._unit:
                continue
            if answer_size(self._request, frame[1:3]) == len(frame) - 2:
                self._request = None
                return frame[1:-1]
        return None

    def begun(self) -> bool:
        """Whether an answer began."""
        return self._begun

    def answer_length(self, request: Request) -> int:
        """Bytes on the wire of a right answer."""
        return 2 * (request.length + 2) + 3


def crc16(data: bytes) -> bytes:
    """The two bytes after an RTU frame; Modbus over Serial Line V1.02, section 6.2.2."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return bytes((crc & 0xFF, crc >> 8))


def lrc(data: bytes) -> bytes:
    """The byte after an ASCII frame's data; the same, section 6.2.1."""
    return bytes((-sum(data) & 0xFF,))


def _unhexed(line: bytes) -> bytes:
    try:
        return bytes.fromhex(line.decode("ascii"))
    except ValueError:
        return b""


def _crc_of(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0xA001 if byte & 1 else 0)
    return byte


_CRC = tuple(_crc_of(byte) for byte in range(256))
