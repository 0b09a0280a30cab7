"""The bodies of every packet but PUBLISH, read field by field (specification, chapter 3). `decoder.py` calls them."""

from collections.abc import Callable

from edge_gateway.broker.errors import MalformedPacket, UnsupportedProtocol
from edge_gateway.broker.filters import filter_fault, topic_fault
from edge_gateway.broker.packets import (
    CONNACK,
    CONNECT,
    DISCONNECT,
    NAMES,
    PINGREQ,
    PINGRESP,
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    REFUSED,
    SUBACK,
    SUBSCRIBE,
    UNSUBACK,
    UNSUBSCRIBE,
    Ack,
    Bare,
    Connack,
    Connect,
    Packet,
    Suback,
    Subscribe,
    Unsubscribe,
    Will,
)


def decode_text(raw: bytes) -> str:
    """A string of the wire (section 1.5.3); raises MalformedPacket."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise MalformedPacket(f"text is not UTF-8: {error.reason}") from error
    if "\0" in text:
        raise MalformedPacket("text contains U+0000")
    return text


class _Fields:
    """Reads a body from front to back; every method raises MalformedPacket where it ends early."""

    __slots__ = ("at", "body", "name")

    def __init__(self, kind: int, body: bytes) -> None:
        self.name = NAMES[kind]
        self.body = body
        self.at = 0

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.body):
            raise MalformedPacket(f"{self.name} ends within a field")
        piece = self.body[self.at : end]
        self.at = end
        return piece

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def data(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        return decode_text(self.data())

    def packet_id(self) -> int:
        number = self.number()
        if not number:
            raise MalformedPacket(f"{self.name} has packet id 0")
        return number

    def more(self) -> bool:
        return self.at < len(self.body)

    def end(self) -> None:
        if self.more():
            raise MalformedPacket(f"{self.name} is longer than its fields")


def _connect(kind: int, body: bytes) -> Packet:
    fields = _Fields(kind, body)
    protocol = fields.data()
    level = fields.byte()
    if protocol not in (b"MQTT", b"MQIsdp"):
        raise MalformedPacket("CONNECT does not name MQTT")
    if (protocol, level) != (b"MQTT", 4):
        raise UnsupportedProtocol(level)
    flags = fields.byte()
    keepalive = fields.number()
    client_id = fields.text()
    if flags & 1:
        raise MalformedPacket("CONNECT has its reserved flag set")
    will = _will(fields, flags)
    user = fields.text() if flags & 0x80 else None
    password = fields.data() if flags & 0x40 else None
    if password is not None and user is None:
        raise MalformedPacket("CONNECT has a password and no user name")
    fields.end()
    return Connect(client_id, flags & 2 == 2, keepalive, user, password, will)


def _will(fields: _Fields, flags: int) -> Will | None:
    qos = flags >> 3 & 3
    if not flags & 4:
        if flags & 0x38:
            raise MalformedPacket("CONNECT has flags of a will and no will")
        return None
    if qos == 3:
        raise MalformedPacket("CONNECT has a will of QoS 3")
    topic = fields.text()
    fault = topic_fault(topic)
    if fault:
        raise MalformedPacket(f"CONNECT: the will's {fault}")
    return Will(topic, fields.data(), qos, flags & 0x20 == 0x20)


def _connack(kind: int, body: bytes) -> Packet:
    fields = _Fields(kind, body)
    flags = fields.byte()
    if flags > 1:
        raise MalformedPacket("CONNACK has reserved flags set")
    packet = Connack(flags == 1, fields.byte())
    fields.end()
    return packet


def _ack(kind: int, body: bytes) -> Packet:
    if len(body) == 2 and body != b"\0\0":
        return Ack(kind, body[0] << 8 | body[1])  # by far the most frequent packet after PUBLISH
    fields = _Fields(kind, body)
    packet = Ack(kind, fields.packet_id())
    fields.end()
    return packet


def _filter(fields: _Fields) -> str:
    name = fields.text()
    fault = filter_fault(name)
    if fault:
        raise MalformedPacket(f"{fields.name}: {fault}")
    return name


def _subscribe(kind: int, body: bytes) -> Packet:
    fields = _Fields(kind, body)
    packet = Subscribe(fields.packet_id(), [])
    while fields.more():
        name = _filter(fields)
        qos = fields.byte()
        if qos > 2:
            raise MalformedPacket(f"SUBSCRIBE asks for QoS {qos}")
        packet.filters.append((name, qos))
    if not packet.filters:
        raise MalformedPacket("SUBSCRIBE has no filter")
    return packet


def _suback(kind: int, body: bytes) -> Packet:
    fields = _Fields(kind, body)
    packet = Suback(fields.packet_id(), body[2:])
    if not packet.codes or any(code > 2 and code != REFUSED for code in packet.codes):
        raise MalformedPacket("SUBACK has no valid return code")
    return packet


def _unsubscribe(kind: int, body: bytes) -> Packet:
    fields = _Fields(kind, body)
    packet = Unsubscribe(fields.packet_id(), [])
    while fields.more():
        packet.filters.append(_filter(fields))
    if not packet.filters:
        raise MalformedPacket("UNSUBSCRIBE has no filter")
    return packet


def _bare(kind: int, body: bytes) -> Packet:
    return Bare(kind)


# Packet type -> reader of its body. Each raises MalformedPacket.
BODIES: dict[int, Callable[[int, bytes], Packet]] = {
    CONNECT: _connect,
    CONNACK: _connack,
    PUBACK: _ack,
    PUBREC: _ack,
    PUBREL: _ack,
    PUBCOMP: _ack,
    SUBSCRIBE: _subscribe,
    SUBACK: _suback,
    UNSUBSCRIBE: _unsubscribe,
    UNSUBACK: _ack,
    PINGREQ: _bare,
    PINGRESP: _bare,
    DISCONNECT: _bare,
}
