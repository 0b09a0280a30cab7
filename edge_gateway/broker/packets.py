"""The packets of MQTT 3.1.1 and their encoding. `decoder.py` reads them.

Both directions are here, a client's and a broker's, so the tests speak to any broker through it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

# Packet types: the high half of a packet's first byte (section 2.2.1).
CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK = range(1, 12)
PINGREQ, PINGRESP, DISCONNECT = range(12, 15)
NAMES = (
    *("reserved", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK"),
    *("UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "reserved"),
)

# Return codes of CONNACK (section 3.2.2.3) and of a refused subscription in SUBACK (3.9.3).
ACCEPTED, UNACCEPTABLE_PROTOCOL, IDENTIFIER_REJECTED, SERVER_UNAVAILABLE, BAD_CREDENTIALS, NOT_AUTHORIZED = range(6)
REFUSED = 0x80

MAX_PAYLOAD = 256 * 1024
# The low half of the first byte, fixed for every kind but PUBLISH [MQTT-2.2.2-2].
FLAGS = (0, 0, 0, 0, 0, 0, 2, 0, 2, 0, 2, 0, 0, 0, 0, 0)


@dataclass(slots=True)
class Will:
    """What the broker publishes for a client that vanishes without DISCONNECT."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


@dataclass(slots=True)
class Connect:
    """A client's first packet; `keepalive` in seconds, 0 for none."""

    client_id: str
    clean: bool = True
    keepalive: int = 0
    user: str | None = None
    password: bytes | None = None
    will: Will | None = None


@dataclass(slots=True)
class Connack:
    """The answer to CONNECT; `code` 0 is acceptance."""

    session_present: bool
    code: int


@dataclass(slots=True)
class Publish:
    """A message. `payload` is None when it was larger than the decoder keeps; `size` is its length in bytes all the same."""

    topic: str
    payload: bytes | None
    qos: int
    retain: bool
    dup: bool
    packet_id: int
    size: int


@dataclass(slots=True)
class Ack:
    """PUBACK, PUBREC, PUBREL, PUBCOMP or UNSUBACK: a kind and a packet id."""

    kind: int
    packet_id: int


@dataclass(slots=True)
class Subscribe:
    """Filters with the QoS asked for."""

    packet_id: int
    filters: list[tuple[str, int]]


@dataclass(slots=True)
class Suback:
    """One byte for each filter: the QoS granted, or REFUSED."""

    packet_id: int
    codes: bytes


@dataclass(slots=True)
class Unsubscribe:
    """Filters to forget."""

    packet_id: int
    filters: list[str]


@dataclass(slots=True)
class Bare:
    """PINGREQ, PINGRESP or DISCONNECT: a kind and nothing else."""

    kind: int


Packet = Connect | Connack | Publish | Ack | Subscribe | Suback | Unsubscribe | Bare


def encode_publish(
    topic: str, payload: bytes, qos: int = 0, retain: bool = False, dup: bool = False, packet_id: int = 0
) -> bytes:
    """A PUBLISH; `packet_id` counts only with QoS 1 and 2."""
    name = topic.encode()
    size = len(name)
    first = PUBLISH << 4 | dup << 3 | qos << 1 | retain
    if not qos:
        return b"%b%c%c%b%b" % (_header(first, 2 + size + len(payload)), size >> 8, size & 255, name, payload)
    head = _header(first, 4 + size + len(payload))
    return b"%b%c%c%b%c%c%b" % (head, size >> 8, size & 255, name, packet_id >> 8, packet_id & 255, payload)


def encode_ack(kind: int, packet_id: int) -> bytes:
    """PUBACK, PUBREC, PUBREL, PUBCOMP or UNSUBACK."""
    return bytes((kind << 4 | FLAGS[kind], 2, packet_id >> 8, packet_id & 255))


def encode_connect(packet: Connect) -> bytes:
    """A CONNECT of MQTT 3.1.1."""
    flags = packet.clean << 1
    fields = [_data(packet.client_id.encode())]
    if packet.will is not None:
        flags |= 4 | packet.will.qos << 3 | packet.will.retain << 5
        fields += [_data(packet.will.topic.encode()), _data(packet.will.payload)]
    if packet.user is not None:
        flags |= 0x80
        fields.append(_data(packet.user.encode()))
    if packet.password is not None:
        flags |= 0x40
        fields.append(_data(packet.password))
    body = b"\x00\x04MQTT\x04" + bytes((flags,)) + _number(packet.keepalive) + b"".join(fields)
    return _header(CONNECT << 4, len(body)) + body


def encode_connack(code: int, session_present: bool = False) -> bytes:
    """A CONNACK."""
    return bytes((CONNACK << 4, 2, session_present, code))


def encode_unsupported(level: int) -> bytes:
    """The CONNACK for a client of another protocol level, in its own format, so that it falls back to MQTT 3.1.1.

    MQTT 5 has reason code 0x84 (its specification, sections 3.1.2.2 and 3.2.2.2); all others return code 1 [MQTT-3.1.2-2].
    """
    if level == 5:
        return bytes((CONNACK << 4, 3, 0, 0x84, 0))
    return encode_connack(UNACCEPTABLE_PROTOCOL)


def encode_subscribe(packet_id: int, filters: Iterable[tuple[str, int]]) -> bytes:
    """A SUBSCRIBE of filters with the QoS asked for."""
    body = _number(packet_id) + b"".join(_data(name.encode()) + bytes((qos,)) for name, qos in filters)
    return _header(SUBSCRIBE << 4 | 2, len(body)) + body


def encode_suback(packet_id: int, codes: bytes) -> bytes:
    """A SUBACK: one byte for each filter."""
    return _header(SUBACK << 4, 2 + len(codes)) + _number(packet_id) + codes


def encode_unsubscribe(packet_id: int, filters: Iterable[str]) -> bytes:
    """An UNSUBSCRIBE."""
    body = _number(packet_id) + b"".join(_data(name.encode()) for name in filters)
    return _header(UNSUBSCRIBE << 4 | 2, len(body)) + body


def encode_bare(kind: int) -> bytes:
    """PINGREQ, PINGRESP or DISCONNECT."""
    return bytes((kind << 4, 0))


def _header(first: int, length: int) -> bytes:
    """The first byte and the remaining length (section 2.2.3)."""
    if length < 128:
        return bytes((first, length))
    if length < 16_384:
        return bytes((first, length & 127 | 128, length >> 7))
    if length < 2_097_152:
        return bytes((first, length & 127 | 128, length >> 7 & 127 | 128, length >> 14))
    return bytes((first, length & 127 | 128, length >> 7 & 127 | 128, length >> 14 & 127 | 128, length >> 21))


def _number(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _data(value: bytes) -> bytes:
    return _number(len(value)) + value
