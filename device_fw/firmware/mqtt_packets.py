"""MQTT 3.1.1 packets as far as a board needs them: built from parts, and assembled from bytes as they come. No I/O.

Errors are `PacketError`, an OSError like all of the link's.
"""

CONNECT = 0x10
CONNACK = 0x20
PUBLISH = 0x30
PUBACK = 0x40
SUBSCRIBE = 0x82
SUBACK = 0x90
PINGREQ = 0xC0
PINGRESP = 0xD0
DISCONNECT = 0xE0

_PART = 1024  # bytes wanted at a time


class PacketError(OSError):
    """What came is no packet that a board can get, or what shall go does not fit one."""


class Refused(OSError):
    """The broker refused the connection or a subscription; `code` as in MQTT 3.1.1, sections 3.2.2.3 and 3.9.3."""

    def __init__(self, what: str, code: int) -> None:
        super().__init__("{} refused with code {}".format(what, code))
        self.code = code


def packet(first: int, body: bytes) -> bytes:
    """A whole packet: its first byte, the length, the body."""
    head = bytes((first,))
    length = len(body)
    while length > 0x7F:
        head += bytes((length & 0x7F | 0x80,))
        length >>= 7
    return head + bytes((length,)) + body


def u16(number: int) -> bytes:
    """Two bytes, the higher first."""
    return bytes((number >> 8, number & 0xFF))


def raw(text: "str | bytes") -> bytes:
    """Text as UTF-8."""
    return text.encode() if isinstance(text, str) else text


def string(text: "str | bytes") -> bytes:
    """A string with its length before it. PacketError beyond 65,535 bytes."""
    encoded = raw(text)
    if len(encoded) > 65535:
        raise PacketError("text too long for MQTT")
    return u16(len(encoded)) + encoded


def parse_publish(first: int, body: bytes) -> "tuple[bytes, bytes, bytes]":
    """Topic, packet id (empty at QoS 0) and payload of a PUBLISH, whose end may be cut off. PacketError when it is none."""
    qos = first >> 1 & 3
    end = 2 + (body[0] << 8 | body[1]) if len(body) > 1 else 2
    start = end + 2 if qos else end
    if qos > 1 or start > len(body):
        raise PacketError("malformed PUBLISH")
    return body[2:end], body[end:start], body[start:]


class Reader:
    """Assembles one packet at a time. It wants exactly the bytes that are missing, and keeps `max_packet` of a body at most."""

    def __init__(self, max_packet: int) -> None:
        self._max_packet = max_packet
        self._begin()

    def _begin(self) -> None:
        self._header = b""
        self._body = b""
        self._length = -1  # of the body; unknown
        self._missing = 2  # no packet is shorter

    @property
    def wants(self) -> int:
        """How many bytes to feed next, at most; 0 when a packet is complete."""
        return min(self._missing, _PART)

    def feed(self, part: bytes) -> None:
        """Take up to `wants` bytes. PacketError when the length is malformed."""
        self._missing -= len(part)
        if self._length >= 0:
            self._body += part[: self._max_packet - len(self._body)]
            return
        self._header += part
        if self._missing:
            return
        if not self._header[-1] & 0x80:
            self._length = self._missing = self._decode_length()
        elif len(self._header) < 5:
            self._missing = 1
        else:
            raise PacketError("malformed packet length")

    def take(self) -> "tuple[int, bytes, bool]":
        """The complete packet: its first byte, its body, and whether nothing was cut off. The next one may follow."""
        packet = self._header[0], self._body, len(self._body) == self._length
        self._begin()
        return packet

    def _decode_length(self) -> int:
        length = 0
        for position in range(1, len(self._header)):
            length |= (self._header[position] & 0x7F) << 7 * (position - 1)
        return length
