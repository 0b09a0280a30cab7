"""What closes the connection, packet by packet: violations that need no more than bytes (chapters 1 to 4)."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from edge_gateway.broker.packets import (
    PINGREQ,
    PINGRESP,
    UNSUBACK,
    Bare,
    Connect,
    encode_ack,
    encode_bare,
    encode_connack,
    encode_connect,
    encode_publish,
    encode_suback,
    encode_subscribe,
)
from edge_gateway.broker.tests.brokers import Closed, Raw
from edge_gateway.broker.tests.conformance.statements import states


class Case(NamedTuple):
    """A violation and the statements it is one of."""

    what: str
    packet: bytes
    statements: tuple[str, ...]


def case(statements: str, what: str, packet: str | bytes) -> Case:
    return Case(what, bytes.fromhex(packet) if isinstance(packet, str) else packet, tuple(statements.split()))


AFTER_CONNECT = [
    case("1.5.3-1 3.3.2-1", "a topic with a byte FF", "30 03 0001 ff"),
    case("1.5.3-1 3.3.2-1", "a topic with a surrogate", "30 05 0003 eda080"),
    case("1.5.3-1 3.3.2-1", "a topic with an overlong character", "30 04 0002 c0af"),
    case("1.5.3-2 4.7.3-2", "a topic with U+0000", "30 05 0003 610061"),
    case("1.5.3-2 4.7.3-2", "a filter with U+0000", "82 08 0001 0003 610061 00"),
    case("2.2.2-2 4.8.0-1", "PUBACK with flags", "41 02 0001"),
    case("2.2.2-2 4.8.0-1", "PUBREC with flags", "51 02 0001"),
    case("2.2.2-2 4.8.0-1", "PUBCOMP with flags", "72 02 0001"),
    case("2.2.2-2 4.8.0-1", "PINGREQ with flags", "c1 00"),
    case("3.14.1-1", "DISCONNECT with flags", "e1 00"),
    case("3.6.1-1", "PUBREL without its flags", "60 02 0001"),
    case("3.8.1-1", "SUBSCRIBE without its flags", "80 06 0001 0001 61 00"),
    case("3.10.1-1", "UNSUBSCRIBE without its flags", "a0 05 0001 0001 61"),
    case("2.3.1-1", "PUBLISH of QoS 1 with packet id 0", "32 05 0001 61 0000"),
    case("2.3.1-1", "PUBLISH of QoS 2 with packet id 0", "34 05 0001 61 0000"),
    case("2.3.1-1", "SUBSCRIBE with packet id 0", "82 06 0000 0001 61 00"),
    case("2.3.1-1", "UNSUBSCRIBE with packet id 0", "a2 05 0000 0001 61"),
    case("3.1.0-2", "a second CONNECT", encode_connect(Connect("second"))),
    case("3.3.1-2", "DUP with QoS 0", "38 03 0001 61"),
    case("3.3.1-4", "PUBLISH of QoS 3", "36 06 0001 61 0001 78"),
    case("3.3.2-1", "PUBLISH without a topic", "30 00"),
    case("3.3.2-1", "PUBLISH that ends within its topic", "30 03 0005 61"),
    case("3.3.2-2 4.7.1-1", "PUBLISH to +", "30 03 0001 2b"),
    case("3.3.2-2 4.7.1-1", "PUBLISH to a/#", "30 05 0003 612f23"),
    case("4.7.3-1", "PUBLISH to an empty topic", "30 02 0000"),
    case("4.7.3-1", "SUBSCRIBE to an empty filter", "82 05 0001 0000 00"),
    case("4.7.3-1", "UNSUBSCRIBE from an empty filter", "a2 04 0001 0000"),
    case("3.8.3-1", "SUBSCRIBE to a filter that is not UTF-8", "82 06 0001 0001 ff 00"),
    case("3.8.3-3", "SUBSCRIBE without a filter", "82 02 0001"),
    case("3.8.3-4", "SUBSCRIBE to QoS 3", "82 06 0001 0001 61 03"),
    case("3.8.3-4", "SUBSCRIBE with reserved bits", "82 06 0001 0001 61 41"),
    case("3.10.3-1", "UNSUBSCRIBE from a filter that is not UTF-8", "a2 05 0001 0001 ff"),
    case("3.10.3-2", "UNSUBSCRIBE without a filter", "a2 02 0001"),
    case("4.7.1-2", "# within a level", encode_subscribe(1, [("a#", 0)])),
    case("4.7.1-2", "# that is not last", encode_subscribe(1, [("a/#/b", 0)])),
    case("4.7.1-3", "+ at the end of a level", encode_subscribe(1, [("a+", 0)])),
    case("4.7.1-3", "+ within a level", encode_subscribe(1, [("a/b+c/d", 0)])),
    case("4.8.0-1", "the reserved type 0", "00 00"),
    case("4.8.0-1", "the reserved type 15", "f0 00"),
    case("4.8.0-1", "a remaining length of five bytes", "30 8080808001"),
    case("4.8.0-1", "a CONNACK", encode_connack(0)),
    case("4.8.0-1", "a SUBACK", encode_suback(1, b"\0")),
    case("4.8.0-1", "an UNSUBACK", encode_ack(UNSUBACK, 1)),
    case("4.8.0-1", "a PINGRESP", encode_bare(PINGRESP)),
    case("4.8.0-1", "a PUBACK that is too short", "40 01 00"),
]


def connect(flags: int, payload: str, name: bytes = b"MQTT", level: int = 4) -> bytes:
    """A CONNECT with any flags and fields."""
    body = len(name).to_bytes(2, "big") + name + bytes((level, flags, 0, 60)) + bytes.fromhex(payload)
    return bytes((0x10, len(body))) + body


INSTEAD_OF_CONNECT = [
    case("3.1.0-1", "PINGREQ", encode_bare(PINGREQ)),
    case("3.1.0-1", "PUBLISH", encode_publish("t", b"x")),
    case("3.1.0-1", "SUBSCRIBE", encode_subscribe(1, [("t", 0)])),
    case("3.1.0-1", "a web browser", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    case("2.2.2-2", "CONNECT with flags in its first byte", b"\x11" + connect(2, "0001 63")[1:]),
    case("3.1.2-1", "another protocol", connect(2, "0001 63", b"MQTX")),
    case("3.1.2-3", "the reserved flag", connect(3, "0001 63")),
    case("3.1.2-9", "a will flag and no will", connect(0x06, "0001 63")),
    case("3.1.2-9", "a will without a message", connect(0x06, "0001 63 0001 77")),
    case("3.1.2-11", "a will and no will flag", connect(2, "0001 63 0001 77 0001 78")),
    case("3.1.2-11 3.1.2-13", "a will's QoS and no will flag", connect(0x0A, "0001 63")),
    case("3.1.2-11 3.1.2-15", "a will's retain flag and no will flag", connect(0x22, "0001 63")),
    case("3.1.2-14", "a will of QoS 3", connect(0x1E, "0001 63 0001 77 0001 78")),
    case("3.1.2-18", "a user name and no flag for it", connect(2, "0001 63 0001 75")),
    case("3.1.2-19", "a flag for a user name and none", connect(0x82, "0001 63")),
    case("3.1.2-20", "a password and no flag for it", connect(0x82, "0001 63 0001 75 0001 70")),
    case("3.1.2-21", "a flag for a password and none", connect(0xC2, "0001 63 0001 75")),
    case("3.1.2-22", "a password and no user name", connect(0x42, "0001 63 0001 70")),
    case("3.1.3-3", "no client id", connect(2, "")),
    case("3.1.3-4 1.5.3-1", "a client id that is not UTF-8", connect(2, "0001 ff")),
    case("3.1.3-4 1.5.3-2", "a client id with U+0000", connect(2, "0003 610061")),
    case("3.1.3-10 1.5.3-1", "a will topic that is not UTF-8", connect(0x06, "0001 63 0001 ff 0001 78")),
    case("3.1.3-11 1.5.3-1", "a user name that is not UTF-8", connect(0x82, "0001 63 0001 ff")),
    case("4.7.1-1", "a will topic with a wildcard", connect(0x06, "0001 63 0001 23 0001 78")),
]


def numbers(cases: list[Case], *more: str) -> tuple[str, ...]:
    return tuple(sorted({*more, *(number for each in cases for number in each.statements)}))


@states(*numbers(AFTER_CONNECT))
@pytest.mark.parametrize("bad", AFTER_CONNECT, ids=lambda bad: bad.what)
def test_a_violation_closes_the_connection_and_no_other(raw: Callable[..., Raw], name: str, bad: Case) -> None:
    bystander, client = raw(name), raw(name + "bad")
    client.send(bad.packet, encode_bare(PINGREQ))
    with pytest.raises((Closed, ConnectionResetError)):
        pytest.fail(f"the broker goes on with {client.next()}")
    bystander.send(encode_bare(PINGREQ))
    assert bystander.next() == Bare(PINGRESP)


@states(*numbers(INSTEAD_OF_CONNECT, "3.1.4-1"))
@pytest.mark.parametrize("bad", INSTEAD_OF_CONNECT, ids=lambda bad: bad.what)
def test_what_is_no_proper_connect_is_closed_without_connack(raw: Callable[..., Raw], bad: Case) -> None:
    client = raw()
    client.send(bad.packet)
    if bad.what.startswith(("a will flag", "a will without", "a flag for", "no client id")):
        client.socket.shutdown(1)  # in case the broker waits for more
    assert client.wait_closed() == []
