"""PUBLISH and retained messages (chapter 3.3)."""

from collections.abc import Callable

import pytest

from edge_gateway.broker.packets import (
    PINGREQ,
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    Ack,
    Bare,
    Publish,
    encode_ack,
    encode_bare,
    encode_publish,
)
from edge_gateway.broker.tests.brokers import BrokerProcess, Raw
from edge_gateway.broker.tests.conformance.statements import states
from edge_gateway.broker.tests.conformance.test_3_1_connect import retained

MakeRaw = Callable[..., Raw]


@states("3.3.4-1", "2.3.1-6", "2.2.2-1")
def test_a_publish_is_answered_by_its_qos(raw: MakeRaw, name: str) -> None:
    client = raw(name)
    client.send(encode_publish(name, b"x", 0), encode_bare(PINGREQ))
    assert client.socket.recv(100) == b"\xd0\x00"
    client.send(encode_publish(name, b"x", 1, packet_id=0x1234))
    assert client.socket.recv(100) == b"\x40\x02\x12\x34"
    client.send(encode_publish(name, b"x", 2, packet_id=0x1234))
    assert client.socket.recv(100) == b"\x50\x02\x12\x34"
    client.send(encode_ack(PUBREL, 0x1234))
    assert client.socket.recv(100) == b"\x70\x02\x12\x34"


@states("2.3.1-4", "4.3.2-1", "4.3.3-1")
@pytest.mark.parametrize("qos", [1, 2])
def test_the_brokers_publishes_have_packet_ids_that_are_not_in_use(raw: MakeRaw, name: str, qos: int) -> None:
    client, publisher = raw(name), raw(name + "p")
    client.subscribe(name, qos=qos)
    for _ in range(10):
        publisher.publish(name, b"x", qos)
    ids = [client.next(Publish).packet_id for _ in range(10)]
    assert len(set(ids)) == 10
    assert 0 not in ids


@states("2.3.1-5", "4.3.1-1", "3.3.1-2")
def test_a_publish_of_qos_0_has_no_packet_id_and_no_dup(raw: MakeRaw) -> None:
    client = raw("nul")
    client.subscribe("nul", qos=2)
    client.send(encode_publish("nul", b"x", 0))
    assert client.socket.recv(100) == b"\x30\x06\x00\x03nulx"


@states("3.3.1-1", "4.3.2-1", "4.3.3-1")
@pytest.mark.parametrize("qos", [1, 2])
def test_dup_says_whether_a_message_is_sent_again(raw: MakeRaw, name: str, qos: int) -> None:
    client = raw(name, clean=False)
    client.subscribe(name, qos=qos)
    raw(name + "p").publish(name, b"x", qos)
    first = client.next(Publish)
    client.drop()
    again = raw(name, clean=False).next(Publish)
    assert (first.dup, again.dup) == (False, True)
    assert (first.packet_id, first.payload, first.qos) == (again.packet_id, again.payload, again.qos)


@states("3.3.1-3")
@pytest.mark.parametrize("qos", [1, 2])
def test_dup_of_a_publisher_is_not_passed_on(raw: MakeRaw, name: str, qos: int) -> None:
    client, publisher = raw(name), raw(name + "p")
    client.subscribe(name, qos=qos)
    publisher.send(encode_publish(name, b"x", qos, dup=True, packet_id=5), encode_ack(PUBREL, 5))
    assert not client.next(Publish).dup


@states("3.3.2-3", "4.5.0-1")
def test_the_topic_of_a_message_is_that_of_its_publisher(raw: MakeRaw, name: str) -> None:
    client = raw(name)
    client.subscribe(f"{name}/+/#")
    raw(name + "p").publish(f"{name}/ä b/c", b"x")
    assert client.next(Publish).topic == f"{name}/ä b/c"


# Retained messages.


@states("3.3.1-5", "3.3.1-6", "3.3.1-8")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_new_subscriber_gets_the_retained_message_with_its_qos(raw: MakeRaw, name: str, qos: int) -> None:
    raw(name + "p").publish(name, b"x", qos, retain=True)
    client = raw(name)
    client.subscribe(name, qos=2)
    packet = client.next(Publish)
    assert (packet.payload, packet.qos, packet.retain) == (b"x", qos, True)


@states("3.3.1-6")
def test_a_new_subscriber_gets_the_last_message_of_each_topic(raw: MakeRaw, name: str) -> None:
    publisher = raw(name + "p")
    for topic in ("a", "b"):
        for payload in (b"old", b"new"):
            publisher.publish(f"{name}/{topic}", payload, retain=True)
    client = raw(name)
    client.subscribe(f"{name}/+")
    assert {(packet.topic, packet.payload) for packet in (client.next(Publish), client.next(Publish))} == {
        *((f"{name}/a", b"new"), (f"{name}/b", b"new")),
    }


@states("3.3.1-7")
def test_a_retained_message_of_qos_0_replaces_the_one_before(raw: MakeRaw, name: str) -> None:
    publisher = raw(name + "p")
    publisher.publish(name, b"old", 2, retain=True)
    publisher.publish(name, b"new", 0, retain=True)
    publisher.publish(name + "/sync", b"", 1)
    assert retained(raw, name, name) in ([(b"new", 0)], [])


@states("3.3.1-9")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_an_established_subscription_gets_messages_without_retain(raw: MakeRaw, name: str, qos: int) -> None:
    client = raw(name)
    client.subscribe(name, qos=2)
    raw(name + "p").publish(name, b"x", qos, retain=True)
    assert not client.next(Publish).retain


@states("3.3.1-10", "3.3.1-11")
def test_an_empty_retained_message_is_delivered_and_removes_what_was_retained(raw: MakeRaw, name: str) -> None:
    client, publisher = raw(name), raw(name + "p")
    client.subscribe(name)
    publisher.publish(name, b"x", retain=True)
    publisher.publish(name, b"", retain=True)
    assert [client.next(Publish).payload for _ in range(2)] == [b"x", b""]
    assert retained(raw, name, name) == []


@states("3.3.1-12")
@pytest.mark.parametrize("payload", [b"passing", b""])
def test_a_message_without_retain_leaves_the_retained_one(raw: MakeRaw, name: str, payload: bytes) -> None:
    publisher = raw(name + "p")
    publisher.publish(name + "/none", payload)
    publisher.publish(name, b"kept", retain=True)
    publisher.publish(name, payload)
    assert retained(raw, name, name + "/#") == [(b"kept", 1)]


# Who gets what.


@states("3.3.5-1")
@pytest.mark.parametrize("highest", ["a", "+", "#"])
def test_overlapping_subscriptions_bring_the_highest_qos(raw: MakeRaw, name: str, highest: str) -> None:
    client = raw(name)
    client.subscribe(name + "/end/end", qos=0)
    for number, level in enumerate(sorted("+#a", key=highest.__eq__)):
        client.subscribe(f"{name}/{level}", qos=number)
    publisher = raw(name + "p")
    publisher.publish(f"{name}/a", b"x", 2)
    publisher.publish(f"{name}/end/end", b"", 0)
    messages = client.messages_until(f"{name}/end/end")
    assert max(packet.qos for packet in messages) == 2


@states("3.3.5-2")
@pytest.mark.parametrize("qos", [1, 2])
def test_a_publish_that_is_not_allowed_is_acknowledged_and_dropped(guarded: BrokerProcess, qos: int) -> None:
    with Raw(guarded) as boss, Raw(guarded) as device:
        boss.connect("boss", user="boss", password=b"boss").subscribe("#", qos=0)
        device.connect("s1", user="s1", password=b"s1").publish("elsewhere", b"forged", qos)
        boss.publish("end", b"", 0)
        assert boss.messages_until("end") == []


# The handshakes with a subscriber.


@states("4.3.2-1", "4.3.3-1", "2.3.1-6")
def test_a_message_is_forgotten_once_it_is_acknowledged(raw: MakeRaw, name: str) -> None:
    client = raw(name, clean=False)
    client.subscribe(name, qos=2)
    publisher = raw(name + "p")
    for qos in (1, 2):
        publisher.publish(name, b"x", qos)
    first, second = client.next(Publish), client.next(Publish)
    client.send(encode_ack(PUBACK, first.packet_id), encode_ack(PUBREC, second.packet_id))
    assert client.next() == Ack(PUBREL, second.packet_id)
    client.send(encode_ack(PUBCOMP, second.packet_id), encode_bare(PINGREQ))
    assert isinstance(client.next(), Bare)
    client.drop()
    again = raw(name, clean=False)
    again.send(encode_bare(PINGREQ))
    assert isinstance(again.next(), Bare)
