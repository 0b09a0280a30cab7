"""Frames of a board's serial link (`docs/serial-link.md`): their kinds, built and taken apart. Runs on MicroPython too."""

from edgewire import topics
from edgewire.cobs import cobs, crc16, uncobs

VERSION = 1

# Kinds of frames. None looks like text: 9, 10, 13 and 27 are left out, also with MORE.
ACK = 0
STATE = 1
REPORT = 2
DELTA = 3
RESULT = 4
OTA_OFFER = 5
OTA_GET = 6
OTA_CHUNK = 7
HELLO = 11
WELCOME = 12
WHO = 14
TIME = 15
MORE = 0x10  # added to a message's kind: the next frame goes on with it
# Events that are no frames.
LOST = -1
TEXT = -2

CODES = {
    topics.STATE: STATE,
    topics.UPDATE: REPORT,
    topics.DELTA: DELTA,
    topics.RESULT: RESULT,
    topics.OTA_OFFER: OTA_OFFER,
    topics.OTA_GET: OTA_GET,
    topics.OTA_CHUNK: OTA_CHUNK,
}
"""Kinds of a device's topics (`edgewire.topics`) as kinds of frames."""

OVERHEAD = 9
"""Bytes of a frame beside its part of a message: two zeros, the first code, header and CRC. Each 254 bytes take one more, and
each 3 or 4."""
LARGEST_MESSAGE = 65535


def encode(kind: int, tag: int, number: int, content: bytes) -> bytes:
    """A frame between two zeros. None holds a 3, which is Ctrl-C to a board that has not opened its end yet."""
    body = bytes((kind, tag >> 8, tag & 0xFF, number)) + content
    stuffed = cobs(body + u16(crc16(body)))
    return b"\0" + stuffed.replace(b"\4", b"\4\6").replace(b"\3", b"\4\5") + b"\0"


def decode(piece: bytes) -> "bytes | None":
    """Header and content of what stood between two zeros, or None when it is no frame."""
    body = uncobs(piece.replace(b"\4\5", b"\3").replace(b"\4\6", b"\4"))
    if body is None or len(body) < 6 or u16(crc16(body[:-2])) != body[-2:]:
        return None
    return body[:-2]


def u16(value: int) -> bytes:
    """Two bytes, the higher first."""
    return bytes((value >> 8, value & 0xFF))


class Pieces:
    """Cuts a stream at its zeros; a piece that grows longer than any frame is given up where it is."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._rest = bytearray()

    @property
    def rest(self) -> bytes:
        """What came since the last whole piece."""
        return bytes(self._rest)

    def feed(self, data: bytes) -> "list[bytes]":
        """What is whole now, or never will be: nothing empty, and no zero in it."""
        found = []
        parts = data.split(b"\0")
        for number, part in enumerate(parts):
            if len(self._rest) + len(part) > self._longest:
                found.append(self.rest)
                self._rest = bytearray()
            if len(part) > self._longest:
                found.append(part)
            else:
                self._rest.extend(part)
            if number < len(parts) - 1:
                found.append(self.rest)
                self._rest = bytearray()
        return [piece for piece in found if piece]

    def forget(self, count: int) -> None:
        """Leave out so many bytes of the rest."""
        self._rest = self._rest[count:]
