"""Operational behaviour (chapter 4): handshakes, resuming, order, topics."""

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
from edge_gateway.broker.tests.matching import MATCHES, MISSES

MakeRaw = Callable[..., Raw]


# A publisher's side.


@states("4.3.2-2", "7.1.1-1", "7.0.0-2")
def test_after_puback_a_packet_id_is_a_new_publication_whatever_dup_says(raw: MakeRaw, name: str) -> None:
    client, publisher = raw(name), raw(name + "p")
    client.subscribe(name, qos=1)
    for dup in (False, True):
        publisher.send(encode_publish(name, b"x", 1, dup=dup, packet_id=5))
        assert publisher.next() == Ack(PUBACK, 5)
    assert [client.next(Publish).payload for _ in range(2)] == [b"x", b"x"]


@states("4.3.3-2")
@pytest.mark.parametrize("reconnect", [False, True], ids=["same connection", "after a reconnect"])
@pytest.mark.parametrize("dup", [False, True], ids=["without DUP", "with DUP"])
def test_until_pubrel_a_packet_id_of_qos_2_is_a_duplicate(raw: MakeRaw, name: str, reconnect: bool, dup: bool) -> None:
    client, publisher = raw(name), raw(name + "p", clean=False)
    client.subscribe(name, name + "/end", qos=0)
    publisher.send(encode_publish(name, b"x", 2, packet_id=5))
    assert publisher.next() == Ack(PUBREC, 5)
    if reconnect:
        publisher.drop()
        publisher = raw(name + "p", clean=False)
    publisher.send(encode_publish(name, b"x", 2, dup=dup, packet_id=5))
    assert publisher.next() == Ack(PUBREC, 5)
    publisher.send(encode_ack(PUBREL, 5))
    assert publisher.next() == Ack(PUBCOMP, 5)
    publisher.publish(name + "/end")
    assert [packet.payload for packet in client.messages_until(name + "/end")] == [b"x"]


@states("4.3.3-2")
def test_what_differs_under_a_packet_id_of_qos_2_is_a_duplicate_too(raw: MakeRaw, name: str) -> None:
    client, publisher = raw(name), raw(name + "p")
    client.subscribe(name, name + "/end", qos=0)
    for payload in (b"first", b"other"):
        publisher.send(encode_publish(name, payload, 2, packet_id=5))
        assert publisher.next() == Ack(PUBREC, 5)
    publisher.send(encode_ack(PUBREL, 5))
    assert publisher.next() == Ack(PUBCOMP, 5)
    publisher.publish(name + "/end")
    assert [packet.payload for packet in client.messages_until(name + "/end")] == [b"first"]


@states("4.3.3-2")
def test_after_pubcomp_a_packet_id_is_a_new_publication(raw: MakeRaw, name: str) -> None:
    client, publisher = raw(name), raw(name + "p")
    client.subscribe(name, qos=0)
    for number in range(2):
        publisher.publish(name, b"%d" % number, 2, packet_id=5)
    assert [client.next(Publish).payload for _ in range(2)] == [b"0", b"1"]


@states("4.3.3-2")
def test_pubrel_is_answered_when_its_message_is_not_known_any_more(raw: MakeRaw, name: str) -> None:
    publisher = raw(name)
    publisher.publish(name, b"x", 2, packet_id=5)
    publisher.send(encode_ack(PUBREL, 5))
    assert publisher.next() == Ack(PUBCOMP, 5)


@states("4.6.0-2", "4.6.0-3")
def test_acknowledgements_come_in_the_order_of_the_publishes(raw: MakeRaw, name: str) -> None:
    raw(name + "away", clean=False).subscribe(name, qos=2)
    publisher = raw(name)
    for qos, kind in ((1, PUBACK), (2, PUBREC)):
        ids = [5, 3, 9, 1]
        publisher.send(*(encode_publish(name, b"", qos, n % 2 == 0, packet_id=each) for n, each in enumerate(ids)))
        assert [publisher.next() for _ in ids] == [Ack(kind, packet_id) for packet_id in ids]


# A subscriber's side.


def in_flight(client: Raw, publisher: Raw, name: str, *qos: int) -> list[Publish]:
    client.subscribe(name, qos=2)
    for number, each in enumerate(qos):
        publisher.publish(name, b"%d" % number, each)
    return [client.next(Publish) for _ in qos]


@states("4.4.0-1", "4.6.0-1", "4.3.2-1", "4.3.3-1", "2.3.1-4")
def test_what_is_unacknowledged_is_sent_again_in_order_under_its_packet_id(raw: MakeRaw, name: str) -> None:
    client = raw(name, clean=False)
    sent = in_flight(client, raw(name + "p"), name, 2, 1, 2, 1, 1)
    client.send(encode_ack(PUBACK, sent[1].packet_id), encode_bare(PINGREQ))
    client.next(Bare)
    client.drop()
    again = raw(name, clean=False)
    left = [packet for packet in sent if packet is not sent[1]]
    assert [again.next() for _ in left] == [
        Publish(name, packet.payload, packet.qos, False, True, packet.packet_id, 1) for packet in left
    ]


@states("4.4.0-1", "4.3.3-1", "4.6.0-4")
def test_after_pubrec_only_pubrel_is_sent_again_in_the_order_of_the_pubrecs(raw: MakeRaw, name: str) -> None:
    client = raw(name, clean=False)
    sent = in_flight(client, raw(name + "p"), name, 2, 2, 2)
    order = [sent[2].packet_id, sent[0].packet_id, sent[1].packet_id]
    client.send(*(encode_ack(PUBREC, packet_id) for packet_id in order))
    assert [client.next() for _ in order] == [Ack(PUBREL, packet_id) for packet_id in order]
    client.drop()
    again = raw(name, clean=False)
    assert [again.next() for _ in order] == [Ack(PUBREL, packet_id) for packet_id in order]
    again.send(*(encode_ack(PUBCOMP, packet_id) for packet_id in order), encode_bare(PINGREQ))
    assert isinstance(again.next(), Bare)


@states("4.1.0-1", "4.3.3-2")
def test_a_packet_id_of_qos_2_is_known_after_a_restart(broker: BrokerProcess, raw: MakeRaw, name: str) -> None:
    with raw(name, clean=False) as client:
        client.subscribe(name, qos=1)
    publisher = raw(name + "p", clean=False)
    publisher.send(encode_publish(name, b"once", 2, packet_id=77))
    assert publisher.next() == Ack(PUBREC, 77)
    broker.fail()
    publisher = raw(name + "p", clean=False)
    assert publisher.session_present
    publisher.send(encode_publish(name, b"once", 2, dup=True, packet_id=77), encode_ack(PUBREL, 77))
    assert [publisher.next(), publisher.next()] == [Ack(PUBREC, 77), Ack(PUBCOMP, 77)]
    publisher.publish(name, b"end", 2, packet_id=77)
    client = raw(name, clean=False)
    assert [client.next(Publish).payload for _ in range(2)] == [b"once", b"end"]


@states("4.1.0-1", "4.4.0-1", "4.3.3-1", "3.3.1-1")
def test_the_state_of_every_message_survives_a_restart(broker: BrokerProcess, raw: MakeRaw, name: str) -> None:
    client = raw(name, clean=False)
    sent = in_flight(client, raw(name + "p"), name, 2, 2, 1)
    client.send(encode_ack(PUBREC, sent[0].packet_id))
    assert client.next() == Ack(PUBREL, sent[0].packet_id)
    client.drop()
    broker.fail()
    client = raw(name, clean=False)
    assert client.session_present
    resumed = [client.next() for _ in sent]
    assert Ack(PUBREL, sent[0].packet_id) in resumed
    assert [packet for packet in resumed if isinstance(packet, Publish)] == [
        Publish(name, packet.payload, packet.qos, False, True, packet.packet_id, 1) for packet in sent[1:]
    ]
    client.send(encode_bare(PINGREQ))
    assert isinstance(client.next(), Bare)


@states("4.6.0-5", "4.6.0-6")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_keep_their_order(raw: MakeRaw, name: str, qos: int) -> None:
    client, publisher = raw(name), raw(name + "p")
    client.subscribe(name + "/#", qos=qos)
    publisher.send(*(encode_publish(f"{name}/{n % 2}", b"%d" % n, qos, packet_id=n + 1) for n in range(20)))
    publisher.send(*(encode_ack(PUBREL, n + 1) for n in range(20) if qos == 2))
    assert [client.next(Publish).payload for _ in range(20)] == [b"%d" % number for number in range(20)]


@states("4.5.0-1")
def test_every_session_with_a_matching_subscription_gets_the_message(raw: MakeRaw, name: str) -> None:
    clients = [raw(f"{name}-{number}") for number in range(5)]
    for client in clients:
        client.subscribe(name, qos=1)
    away = raw(name + "away", clean=False)
    away.subscribe(name, qos=1)
    away.drop()
    raw(name + "p").publish(name, b"x")
    assert [client.next(Publish).payload for client in (*clients, raw(name + "away", clean=False))] == [b"x"] * 6


# Topics.


@states("4.7.1-1", "4.7.1-2", "4.7.1-3", "4.7.2-1", "4.7.3-4", "3.3.2-3")
def test_a_filter_brings_what_it_matches_and_nothing_else(raw: MakeRaw, name: str) -> None:
    filters = sorted({name_filter for name_filter, _ in MATCHES + MISSES})
    topics = sorted({topic for _, topic in MATCHES + MISSES})
    clients = {name_filter: raw(f"{name}-{number}") for number, name_filter in enumerate(filters)}
    for name_filter, client in clients.items():
        assert client.subscribe(name_filter, name, qos=0) == b"\0\0"
    publisher = raw(name)
    for topic in topics:
        publisher.publish(topic, qos=0)
    publisher.publish(name, qos=0)
    got = {name_filter: {packet.topic for packet in c.messages_until(name)} for name_filter, c in clients.items()}
    assert [pair for pair in MATCHES if pair[1] not in got[pair[0]]] == []
    assert [pair for pair in MISSES if pair[1] in got[pair[0]]] == []


@states("1.5.3-3", "4.7.3-4")
@pytest.mark.parametrize(
    ("topic", "other"),
    [("\ufeff{}", "{}"), ("{}/\u00c5", "{}/A\u030a"), ("{}/ß", "{}/ss"), ("{}/a", "{}/A"), ("{}/a ", "{}/a")],
    ids=["U+FEFF", "composed", "folded", "case", "space"],
)
def test_topics_are_compared_as_they_are(raw: MakeRaw, name: str, topic: str, other: str) -> None:
    topic, other = topic.format(name), other.format(name)
    client = raw(name)
    client.subscribe(topic)
    publisher = raw(name + "p")
    publisher.publish(other, b"another")
    publisher.publish(topic, b"this")
    packet = client.next(Publish)
    assert (packet.topic, packet.payload) == (topic, b"this")


@states("4.7.3-3")
def test_topics_may_be_as_long_as_their_length_can_say(raw: MakeRaw, name: str) -> None:
    topic = (name + "x" * 65_535)[:65_535]
    client = raw(name)
    client.subscribe(name + "/end")
    client.send(encode_publish(topic, b"x", 1, packet_id=1))
    assert client.next() == Ack(PUBACK, 1)
