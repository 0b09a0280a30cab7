"""SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK (chapters 3.8 to 3.11)."""

from collections.abc import Callable

import pytest

from edge_gateway.broker.packets import (
    PUBACK,
    PUBREC,
    PUBREL,
    UNSUBACK,
    Ack,
    Publish,
    Suback,
    encode_ack,
    encode_publish,
    encode_subscribe,
    encode_unsubscribe,
)
from edge_gateway.broker.tests.brokers import BrokerProcess, Raw
from edge_gateway.broker.tests.conformance.statements import states

MakeRaw = Callable[..., Raw]


def unsubscribe(client: Raw, *filters: str, packet_id: int = 9) -> None:
    client.send(encode_unsubscribe(packet_id, filters))
    assert client.next(Ack) == Ack(UNSUBACK, packet_id)


@states("3.8.4-1", "3.8.4-2", "3.8.4-4", "3.8.4-5", "3.9.3-1", "3.9.3-2", "2.3.1-7", "2.2.2-1")
def test_subscribe_is_answered_by_the_qos_granted_to_each_filter_in_order(raw: MakeRaw, name: str) -> None:
    client = raw(name)
    client.send(encode_subscribe(0xABCD, [("a", 2), ("b/#", 0), ("+/c", 1), ("a", 1)]))
    assert client.socket.recv(100) == bytes.fromhex("90 06 abcd 02 00 01 01")


@states("3.8.4-5", "3.9.3-1", "3.9.3-2")
def test_a_filter_that_is_refused_has_its_place_among_the_return_codes(guarded: BrokerProcess) -> None:
    own = "$hw/events/device/default/s1/twin/update/delta"
    with Raw(guarded) as client:
        client.connect("s1", user="s1", password=b"s1")
        client.send(encode_subscribe(1, [(own, 1), ("$hw/other/#", 1), (own, 0)]))
        assert client.next() == Suback(1, b"\x01\x80\x00")


@states("3.8.4-3")
def test_a_second_subscription_to_a_filter_replaces_the_first_and_brings_retained_messages(
    raw: MakeRaw, name: str
) -> None:
    client, publisher = raw(name), raw(name + "p")
    publisher.publish(name, b"retained", 2, retain=True)
    qos = []
    for granted in (2, 1, 0):
        client.subscribe(name, qos=granted)
        qos.append(client.next(Publish).qos)
    assert qos == [2, 1, 0]
    publisher.publish(name, b"new", 2)
    publisher.publish(name, b"end", 0)
    new, end = client.next(Publish), client.next(Publish)
    assert ((new.payload, new.qos), end.payload) == ((b"new", 0), b"end")


@states("3.8.4-4")
def test_several_filters_in_one_packet_all_hold(raw: MakeRaw, name: str) -> None:
    client, publisher = raw(name), raw(name + "p")
    client.subscribe(f"{name}/a", f"{name}/b/+", qos=1)
    for topic in ("a", "b/c"):
        publisher.publish(f"{name}/{topic}")
        assert client.next(Publish).topic == f"{name}/{topic}"


@states("3.8.4-6")
@pytest.mark.parametrize("published", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_a_message_comes_with_the_lower_qos(raw: MakeRaw, name: str, published: int, granted: int) -> None:
    client = raw(name)
    assert client.subscribe(name, qos=granted) == bytes((granted,))
    raw(name + "p").publish(name, b"x", published)
    assert client.next(Publish).qos == min(published, granted)


# UNSUBSCRIBE.


@states("3.10.4-2", "3.10.4-4", "2.3.1-7", "2.2.2-1")
def test_after_unsubscribing_nothing_more_comes(raw: MakeRaw, name: str) -> None:
    client = raw(name)
    client.subscribe(name, name + "/end")
    client.send(encode_unsubscribe(0xABCD, [name]))
    assert client.socket.recv(100) == bytes.fromhex("b0 02 abcd")
    client.send(encode_publish(name, b"x"), encode_publish(name + "/end", b"x"))
    assert client.messages_until(name + "/end") == []


@states("3.10.4-1", "3.10.4-5", "4.7.3-4")
def test_unsubscribing_takes_the_very_filter_only(raw: MakeRaw, name: str) -> None:
    client = raw(name)
    client.subscribe(f"{name}/+")
    unsubscribe(client, f"{name}/#", f"{name}/a", f"{name}/+/", f"{name.upper()}/+", "+")
    raw(name + "p").publish(f"{name}/a", b"x")
    assert client.next(Publish).payload == b"x"
    unsubscribe(client, f"{name}/+")


@states("3.10.4-6")
def test_several_filters_end_by_one_packet_with_one_answer(raw: MakeRaw, name: str) -> None:
    client = raw(name)
    client.subscribe(f"{name}/a", f"{name}/b", f"{name}/end")
    unsubscribe(client, f"{name}/a", "never", f"{name}/b")
    for topic in ("a", "b", "end"):
        client.send(encode_publish(f"{name}/{topic}", b""))
    assert client.messages_until(f"{name}/end") == []


@states("3.10.4-3")
def test_what_is_on_its_way_is_completed_after_unsubscribing(raw: MakeRaw, name: str) -> None:
    client = raw(name, clean=False)
    client.subscribe(name, qos=2)
    publisher = raw(name + "p")
    for qos in (1, 2):
        publisher.publish(name, b"x", qos)
    first, second = client.next(Publish), client.next(Publish)
    unsubscribe(client, name)
    client.send(encode_ack(PUBREC, second.packet_id))
    assert client.next() == Ack(PUBREL, second.packet_id)
    client.drop()
    again = raw(name, clean=False)
    resumed = {(type(packet).__name__, packet.packet_id) for packet in (again.next(), again.next())}
    assert resumed == {("Publish", first.packet_id), ("Ack", second.packet_id)}
    again.send(encode_ack(PUBACK, first.packet_id))
