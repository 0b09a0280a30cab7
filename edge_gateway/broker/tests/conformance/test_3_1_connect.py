"""CONNECT and CONNACK (chapters 3.1 and 3.2), PINGREQ and DISCONNECT (3.12 to 3.14)."""

import string
import time
from collections.abc import Callable

import pytest

from edge_gateway.broker.packets import (
    DISCONNECT,
    PINGREQ,
    PINGRESP,
    Bare,
    Connack,
    Connect,
    Publish,
    Will,
    encode_bare,
    encode_connect,
    encode_publish,
)
from edge_gateway.broker.tests.brokers import BrokerProcess, Closed, Raw
from edge_gateway.broker.tests.conformance.statements import states

MakeRaw = Callable[..., Raw]


def retained(raw: MakeRaw, name: str, topic: str) -> list[tuple[bytes | None, int]]:
    """Payload and QoS of the retained message of a topic, if there is one."""
    client = raw(name + "late")
    client.subscribe(topic, qos=2)
    client.send(encode_bare(PINGREQ))
    found = []
    while isinstance(packet := client.next(), Publish):
        found.append((packet.payload, packet.qos))
    return found


def leave(client: Raw) -> None:
    client.send(encode_bare(DISCONNECT))
    client.wait_closed()


# Protocol name and level.


@states("3.1.2-2", "3.2.2-4", "3.2.2-5")
@pytest.mark.parametrize("level", [0, 6, 99])
def test_an_unsupported_level_gets_its_return_code_and_is_closed(raw: MakeRaw, name: str, level: int) -> None:
    client = raw()
    packet = bytearray(encode_connect(Connect(name)))
    packet[8] = level
    client.send(bytes(packet))
    assert client.wait_closed() == [Connack(False, 1)]


# Sessions.


@states("3.1.4-4", "3.2.2-1", "3.2.0-1")
def test_a_valid_connect_is_accepted_without_a_session_when_it_is_clean(raw: MakeRaw, name: str) -> None:
    leave(raw(name, clean=False))
    client = raw()
    client.send(encode_connect(Connect(name, clean=True)))
    assert client.next() == Connack(False, 0)


@states("3.1.2-4", "3.1.4-3", "3.2.2-2", "3.2.2-3", "4.1.0-1", "3.1.3-2")
@pytest.mark.parametrize("how", [leave, Raw.drop], ids=["DISCONNECT", "lost"])
def test_a_persistent_session_is_made_once_and_resumed(raw: MakeRaw, name: str, how: Callable[[Raw], None]) -> None:
    client = raw(name, clean=False)
    assert not client.session_present
    client.subscribe(name, qos=1)
    how(client)
    again = raw(name, clean=False)
    assert again.session_present
    raw(name + "p").publish(name, b"still subscribed")
    assert again.next(Publish).payload == b"still subscribed"
    assert not raw(name + "other", clean=False).session_present


@states("3.1.2-5", "4.5.0-1", "3.2.0-1")
def test_a_persistent_session_gets_what_came_meanwhile_after_connack(raw: MakeRaw, name: str) -> None:
    client = raw(name, clean=False)
    client.subscribe(name + "/#", qos=2)
    leave(client)
    publisher = raw(name + "p")
    for qos in (1, 2):
        publisher.publish(f"{name}/{qos}", b"x", qos)
    again = raw()
    again.send(encode_connect(Connect(name, clean=False)))
    assert again.next() == Connack(True, 0)
    assert [(packet.topic, packet.qos) for packet in (again.next(), again.next())] == [
        *((f"{name}/1", 1), (f"{name}/2", 2)),
    ]


@states("3.1.2-6", "3.1.4-3", "3.2.2-1", "3.2.2-3")
def test_a_clean_session_discards_the_one_before_it_and_leaves_none(raw: MakeRaw, name: str) -> None:
    client = raw(name, clean=False)
    client.subscribe(name)
    leave(client)
    raw(name + "p").publish(name, b"queued")
    clean = raw(name)
    assert not clean.session_present
    clean.subscribe(name + "/clean")
    leave(clean)
    again = raw(name, clean=False)
    assert not again.session_present
    again.subscribe(name + "/end")
    raw(name + "p2").publish(name, b"lost", qos=0)
    raw(name + "p3").publish(name + "/clean", b"lost")
    raw(name + "p4").publish(name + "/end")
    assert again.messages_until(name + "/end") == []


@states("3.1.2-7")
def test_a_retained_message_outlives_its_publishers_session(raw: MakeRaw, name: str) -> None:
    client = raw(name)
    client.publish(name, b"x", retain=True)
    leave(client)
    assert retained(raw, name, name) == [(b"x", 1)]


@states("4.1.0-2")
def test_a_session_lasts_while_its_client_is_connected(raw: MakeRaw, name: str) -> None:
    client, publisher = raw(name), raw(name + "p")
    client.subscribe(name, qos=2)
    for qos in (0, 1, 2):
        publisher.publish(name, b"x", qos)
        assert client.next(Publish).payload == b"x"
        assert not raw(f"{name}-{qos}").session_present


# Wills.


@states("3.1.2-8", "3.1.2-9", "3.1.3-1")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_lost_connection_publishes_the_will_as_connect_said(raw: MakeRaw, name: str, qos: int) -> None:
    watcher = raw(name + "w")
    watcher.subscribe(name, qos=2)
    raw(name, will=Will(name, b"offline", qos, False), user="user", password=b"password").drop()
    packet = watcher.next(Publish)
    assert (packet.topic, packet.payload, packet.qos, packet.retain) == (name, b"offline", qos, False)


@states("3.1.2-8")
@pytest.mark.parametrize("packet", [b"\x00\x00", encode_connect(Connect("again"))], ids=["malformed", "second CONNECT"])
def test_a_violation_publishes_the_will(raw: MakeRaw, name: str, packet: bytes) -> None:
    watcher = raw(name + "w")
    watcher.subscribe(name, name + "/end")
    client = raw(name, will=Will(name, b"offline", 1, False))
    client.send(packet)
    client.wait_closed()
    raw(name + "p").publish(name + "/end")
    assert [packet.payload for packet in watcher.messages_until(name + "/end")] == [b"offline"]


@states("3.14.4-3", "3.1.2-8", "3.1.2-10")
def test_disconnect_discards_the_will(raw: MakeRaw, name: str) -> None:
    watcher = raw(name + "w")
    watcher.subscribe(name, name + "/end")
    leave(raw(name, clean=False, will=Will(name, b"offline", 1, False)))
    raw(name, clean=False).drop()
    raw(name + "p").publish(name + "/end")
    assert watcher.messages_until(name + "/end") == []


@states("3.1.2-10", "3.1.2-12")
def test_a_will_is_published_once(raw: MakeRaw, name: str) -> None:
    watcher = raw(name + "w")
    watcher.subscribe(name, name + "/end")
    raw(name, clean=False, will=Will(name, b"offline", 1, False)).drop()
    assert watcher.next(Publish).payload == b"offline"
    second = raw(name, clean=False)
    raw(name, clean=False)  # takes over
    second.wait_closed()
    raw(name + "p").publish(name + "/end")
    assert watcher.messages_until(name + "/end") == []


@states("3.1.2-16", "3.1.2-17")
@pytest.mark.parametrize("retain", [False, True])
def test_a_will_is_retained_as_connect_said(raw: MakeRaw, name: str, retain: bool) -> None:
    watcher = raw(name + "w")
    watcher.subscribe(name)
    raw(name, will=Will(name, b"offline", 2, retain)).drop()
    assert not watcher.next(Publish).retain
    assert retained(raw, name, name) == [(b"offline", 2)] * retain


# Client ids.


@states("3.1.3-5")
@pytest.mark.parametrize("length", [1, 23])
def test_short_client_ids_are_allowed(raw: MakeRaw, length: int) -> None:
    for client_id in (string.digits * 3, string.ascii_lowercase, string.ascii_uppercase):
        leave(raw(client_id[:length]))


@states("3.1.3-6")
def test_an_empty_client_id_gets_a_session_of_its_own(raw: MakeRaw, name: str) -> None:
    first, second = raw(""), raw("")
    for client in (first, second):
        client.subscribe(name)
    raw(name).publish(name, b"x")
    assert (first.next(Publish).payload, second.next(Publish).payload) == (b"x", b"x")


@states("3.1.3-8", "3.1.3-9", "3.2.2-4", "3.2.2-5")
def test_a_persistent_session_needs_a_client_id(raw: MakeRaw) -> None:
    client = raw()
    client.send(encode_connect(Connect("", clean=False)))
    assert client.wait_closed() == [Connack(False, 2)]


@states("3.1.4-5")
def test_nothing_after_a_refused_connect_is_processed(raw: MakeRaw, name: str) -> None:
    client = raw()
    client.send(encode_connect(Connect("", clean=False)), encode_publish(name, b"x", retain=True))
    client.wait_closed()
    assert retained(raw, name, name) == []


@states("3.1.4-2")
@pytest.mark.parametrize("clean", [False, True])
def test_a_client_id_that_is_connected_loses_its_older_connection(raw: MakeRaw, name: str, clean: bool) -> None:
    first = raw(name, clean=clean)
    second = raw(name, clean=clean)
    first.wait_closed()
    second.send(encode_bare(PINGREQ))
    assert second.next() == Bare(PINGRESP)


# Users.


@states("3.2.2-4", "3.2.2-5", "3.1.2-19", "3.1.2-21", "3.1.3-1")
@pytest.mark.parametrize(("user", "password", "code"), [("boss", b"boss", 0), ("boss", b"wrong", 5), (None, None, 5)])
def test_user_and_password_are_read_after_the_will_and_a_refusal_closes(
    guarded: BrokerProcess, user: str | None, password: bytes | None, code: int
) -> None:
    with Raw(guarded) as client:
        client.send(encode_connect(Connect("c", will=Will("t", b"x", 0, False), user=user, password=password)))
        assert client.next() == Connack(False, code)
        if code:
            with pytest.raises(Closed):
                client.next()


# Keep alive, PINGREQ.


@states("3.1.2-24")
def test_a_silent_client_is_closed_as_if_the_network_had_failed(raw: MakeRaw, name: str) -> None:
    watcher = raw(name + "w")
    watcher.subscribe(name)
    begun = time.monotonic()
    board = raw(name, keepalive=1, will=Will(name, b"offline", 0, False))
    assert watcher.next(Publish).payload == b"offline"
    board.wait_closed()
    assert 1.0 < time.monotonic() - begun < 8  # mosquitto counts whole seconds and looks every few


@states("3.12.4-1", "2.2.2-1")
def test_pingreq_is_answered_byte_for_byte(raw: MakeRaw, name: str) -> None:
    client = raw(name)
    client.send(encode_bare(PINGREQ))
    assert client.socket.recv(10) == b"\xd0\x00"
