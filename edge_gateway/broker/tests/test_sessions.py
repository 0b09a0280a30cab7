"""The broker's core by plain calls: no socket, no clock, no disk."""

import logging
from collections.abc import Callable

import pytest

from edge_gateway.broker.inbox import Inbound
from edge_gateway.broker.limits import Limits
from edge_gateway.broker.packets import (
    PINGREQ,
    PINGRESP,
    PUBACK,
    PUBREC,
    UNSUBACK,
    Ack,
    Bare,
    Connack,
    Connect,
    Publish,
    Will,
    encode_ack,
    encode_bare,
    encode_connack,
    encode_connect,
    encode_publish,
    encode_suback,
    encode_subscribe,
    encode_unsubscribe,
)
from edge_gateway.broker.passwords import hash_password
from edge_gateway.broker.sessions import Core
from edge_gateway.broker.tests.desk import Client, Desk, HeldStore
from edge_gateway.broker.users import User, Users, device_user, full_user
from edge_gateway.store.memory import MemoryStore

REPORT = "$hw/events/device/default/s1/twin/update"
RESULT = REPORT + "/result"


def handler(core: Core, wanted: str = "$hw/") -> list[Inbound]:
    """Attach a handler that only remembers what it was given."""
    given: list[Inbound] = []
    core.attach(given.append, lambda topic: topic.startswith(wanted))
    return given


@pytest.fixture
def desk() -> Desk:
    return Desk()


# Connecting.


def test_the_first_packet_must_be_connect(desk: Desk) -> None:
    client = desk.client()
    client.send(encode_bare(PINGREQ))
    assert client.closed
    assert client.take() == []


def test_a_second_connect_closes_the_connection(desk: Desk) -> None:
    client = desk.connected("a")
    client.send(encode_connect(Connect("a")))
    assert client.closed


@pytest.mark.parametrize(
    "connect",
    ["10 0d 0004 4d515454 06 02 0000 00 0000", "10 0e 0006 4d5149736470 03 02 0000 0000"],
    ids=["level 6", "MQTT 3.1"],
)
def test_another_mqtt_version_is_answered_before_closing(desk: Desk, connect: str) -> None:
    client = desk.client()
    client.send(bytes.fromhex(connect))
    assert client.take() == [Connack(False, 1)]
    assert client.closed


def test_mqtt_5_is_answered_in_its_own_format(desk: Desk) -> None:
    client = desk.client()
    desk.core.receive(client.connection, bytes.fromhex("10 0d 0004 4d515454 05 02 0000 00 0000"), desk.now)
    assert client.connection.take() == bytes.fromhex("20 03 00 84 00")
    assert client.closed


def test_a_persistent_session_needs_a_client_id(desk: Desk) -> None:
    client = desk.client()
    client.send(encode_connect(Connect("", clean=False)))
    assert client.take() == [Connack(False, 2)]
    assert client.closed


def test_clients_without_an_id_do_not_take_each_other_over(desk: Desk) -> None:
    first, second = desk.connected(""), desk.connected("")
    assert not first.closed
    assert not second.closed


def test_a_client_with_the_same_id_takes_over(desk: Desk) -> None:
    first = desk.connected("a", will=Will("gone", b"a", 0, False))
    watcher = desk.connected("w")
    watcher.subscribe("gone")
    second = desk.connected("a")
    assert first.closed
    assert not second.closed
    assert watcher.published() == [("gone", b"a")]
    first.lose()
    second.send(encode_bare(PINGREQ))
    assert second.take() == [Bare(PINGRESP)]


def test_packets_sent_together_with_connect_are_handled(desk: Desk) -> None:
    client = desk.client()
    client.send(encode_connect(Connect("a")), encode_subscribe(1, [("t", 0)]), encode_publish("t", b"x"))
    assert [type(packet).__name__ for packet in client.take()] == ["Connack", "Suback", "Publish"]


@pytest.mark.parametrize("packet", [encode_connack(0), encode_suback(1, b"\0"), encode_ack(UNSUBACK, 1)])
def test_a_packet_that_has_no_place_closes_the_connection_with_a_log_line(
    desk: Desk, packet: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    client = desk.connected("a")
    client.send(packet)
    assert client.closed
    assert client.take() == []
    assert [record.levelname for record in caplog.records if "protocol error" in record.message] == ["WARNING"]


def test_a_malformed_packet_harms_nobody_else(desk: Desk) -> None:
    bad, good = desk.connected("bad"), desk.connected("good")
    good.subscribe("t")
    bad.send(encode_publish("t", b"before"), b"\x00\x00", encode_publish("t", b"after"))
    assert bad.closed
    assert good.published() == [("t", b"before")]


def test_a_connection_without_connect_is_closed_in_time() -> None:
    desk = Desk(limits=Limits(connect_timeout=3))
    client = desk.client()
    client.send(b"\x10")
    desk.wait(2)
    assert not client.closed
    desk.wait(1)
    assert client.closed


def test_silence_of_one_and_a_half_keepalives_ends_a_connection(desk: Desk) -> None:
    client = desk.connected("a", keepalive=10, will=Will("gone", b"", 0, False))
    desk.wait(10)
    client.send(encode_bare(PINGREQ))
    desk.wait(15)
    assert not client.closed
    watcher = desk.connected("w")
    watcher.subscribe("gone")
    desk.wait(1)
    assert client.closed
    assert watcher.published() == [("gone", b"")]


def test_silence_is_no_fault_while_the_broker_does_not_read(desk: Desk) -> None:
    client = desk.connected("a", keepalive=10)
    desk.core.reading = False
    desk.wait(60)
    desk.core.reading = True
    desk.wait(15)
    assert not client.closed
    desk.wait(2)
    assert client.closed


def test_a_client_without_keepalive_may_be_silent(desk: Desk) -> None:
    client = desk.connected("a")
    desk.wait(1000)
    assert not client.closed


def test_a_closed_connection_that_stays_is_cut_off(desk: Desk) -> None:
    client = desk.connected("a")
    client.send(b"\x00\x00")
    assert client.closed
    assert client not in desk.wait(4)
    assert client in desk.wait(3)


def test_too_many_connections_are_turned_away() -> None:
    desk = Desk(limits=Limits(connections=2))
    first, _ = desk.client(), desk.client()
    assert desk.core.opened("127.0.0.1:3", 0) is None
    first.lose()
    assert desk.core.opened("127.0.0.1:3", 0) is not None


def test_too_many_sessions_are_refused_until_one_ends() -> None:
    desk = Desk(limits=Limits(sessions=1))
    first = desk.connected("a")
    second = desk.client()
    second.send(encode_connect(Connect("b")))
    assert second.take() == [Connack(False, 3)]
    first.disconnect()
    desk.connected("b")


# Publishing and subscribing.


@pytest.mark.parametrize(
    ("published", "granted", "received"),
    [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 1), (1, 2, 1), (2, 0, 0), (2, 1, 1), (2, 2, 2)],
    ids=str,
)
def test_a_message_comes_with_the_lower_qos_of_both_sides(
    desk: Desk, published: int, granted: int, received: int
) -> None:
    subscriber, publisher = desk.connected("s"), desk.connected("p")
    assert subscriber.subscribe("t", qos=granted) == bytes((granted,))
    publisher.publish("t", b"x", qos=published)
    assert subscriber.take() == [Publish("t", b"x", received, False, False, received and 1, 1)]
    assert publisher.take() == [[], [Ack(PUBACK, 1)], [Ack(PUBREC, 1)]][published]


def test_overlapping_subscriptions_bring_a_message_once_with_the_highest_qos(desk: Desk) -> None:
    client = desk.connected("a")
    client.subscribe("t/+", qos=0)
    client.subscribe("t/#", qos=1)
    client.publish("t/1", qos=1)
    packets = [packet for packet in client.take() if isinstance(packet, Publish)]
    assert [packet.qos for packet in packets] == [1]


def test_an_unsubscribed_client_gets_nothing_more(desk: Desk) -> None:
    client = desk.connected("a")
    client.subscribe("t")
    client.publish("t", qos=0)
    client.take()
    client.send(encode_unsubscribe(7, ["t", "never"]))
    assert client.take() == [Ack(11, 7)]
    client.publish("t", qos=0)
    assert client.take() == []


def test_a_subscription_too_many_is_refused_and_the_others_hold() -> None:
    desk = Desk(limits=Limits(subscriptions=2))
    client = desk.connected("a")
    assert client.subscribe("a", "b", "c", "a") == b"\x01\x01\x80\x01"


def test_a_message_of_the_gateway_reaches_subscribers_but_not_its_own_handler(desk: Desk) -> None:
    given = handler(desk.core)
    client = desk.connected("a")
    client.subscribe("$hw/#")
    desk.core.router.publish(RESULT, b"ok", 1, False)
    desk.settle()
    assert client.published() == [(RESULT, b"ok")]
    assert given == []


# Acknowledging.


def test_a_puback_waits_for_the_handler(desk: Desk) -> None:
    given = handler(desk.core)
    client = desk.connected("s1")
    client.publish(REPORT, b"{}", packet_id=5)
    assert client.take() == []
    inbound = given.pop()
    assert (
        inbound.client_id,
        inbound.user,
        inbound.topic,
        inbound.payload,
        inbound.size,
        inbound.qos,
        inbound.retain,
    ) == (*("s1", None, REPORT, b"{}", 2, 1, False),)
    inbound.ack()
    inbound.ack()
    desk.settle()
    assert client.acknowledged() == [5]


def test_pubacks_go_out_in_the_order_of_the_publishes(desk: Desk) -> None:
    given = handler(desk.core)
    client = desk.connected("s1")
    for packet_id in (3, 1, 2):
        client.publish(REPORT, packet_id=packet_id)
    client.publish("not/for/the/handler", packet_id=4)
    assert client.acknowledged() == []
    given[2].ack()
    given[1].ack()
    desk.settle()
    assert client.acknowledged() == []
    given[0].ack()
    desk.settle()
    assert client.acknowledged() == [3, 1, 2, 4]


def test_a_puback_that_comes_after_the_client_left_goes_nowhere(desk: Desk) -> None:
    given = handler(desk.core)
    client = desk.connected("s1")
    client.publish(REPORT)
    client.lose()
    again = desk.connected("s1")
    given[0].ack()
    desk.settle()
    assert again.acknowledged() == []


def test_a_message_of_qos_0_reaches_the_handler_and_needs_no_puback(desk: Desk) -> None:
    given = handler(desk.core)
    client = desk.connected("s1")
    client.publish(REPORT, qos=0)
    given[0].ack()
    desk.settle()
    assert client.take() == []


def test_a_topic_is_offered_to_the_handler_once() -> None:
    desk = Desk()
    asked: list[str] = []

    def wants(topic: str) -> bool:
        asked.append(topic)
        return True

    desk.core.attach(Inbound.ack, wants)
    client = desk.connected("s1")
    for packet_id in range(1, 5):
        client.publish(REPORT, packet_id=packet_id)
    assert asked == [REPORT]


def test_a_client_with_too_much_unacknowledged_is_held_until_half_is_done() -> None:
    desk = Desk(limits=Limits(unacknowledged=10))
    given = handler(desk.core)
    client = desk.connected("s1", keepalive=1)
    for packet_id in range(1, 11):
        assert not client.connection.held
        client.publish(REPORT, packet_id=packet_id)
    assert client.connection.held
    desk.wait(10)
    assert not client.closed
    for inbound in given[:5]:
        inbound.ack()
    assert client.connection.held
    given[5].ack()
    assert not client.connection.held


def test_a_client_with_too_many_bytes_unacknowledged_is_held() -> None:
    desk = Desk(limits=Limits(unacknowledged_bytes=1000))
    given = handler(desk.core)
    client = desk.connected("s1")
    client.publish(REPORT, bytes(999))
    assert not client.connection.held
    client.publish(REPORT, bytes(1), packet_id=2)
    assert client.connection.held
    for inbound in given:
        inbound.ack()
    assert not client.connection.held


def test_a_payload_too_long_is_told_to_the_handler_and_acknowledged_when_it_says_so() -> None:
    desk = Desk(limits=Limits(payload=100))
    given = handler(desk.core)
    client, subscriber = desk.connected("s1"), desk.connected("x")
    subscriber.subscribe("$hw/#")
    client.publish(REPORT, bytes(101), retain=True)
    assert (given[0].payload, given[0].size) == (None, 101)
    assert client.acknowledged() == []
    given[0].ack()
    desk.settle()
    assert client.acknowledged() == [1]
    assert subscriber.published() == []
    assert not desk.core.router.retained.topics()


def test_a_payload_too_long_that_nobody_handles_is_acknowledged_with_one_log_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    desk = Desk(limits=Limits(payload=100))
    client = desk.connected("s1")
    client.publish("t", bytes(101))
    assert client.acknowledged() == [1]
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        "payload too long, dropped client='s1' topic='t' bytes=101"
    ]


# Retained messages.


def test_a_new_subscriber_gets_the_last_retained_message(desk: Desk) -> None:
    publisher = desk.connected("p")
    publisher.publish("t/1", b"old", retain=True)
    publisher.publish("t/1", b"new", retain=True)
    publisher.publish("t/2", b"not kept")
    early = desk.connected("e")
    assert early.subscribe("t/+") == b"\x01"
    assert early.take() == [Publish("t/1", b"new", 1, True, False, 1, 3)]
    publisher.publish("t/1", b"newer", retain=True)
    assert early.take() == [Publish("t/1", b"newer", 1, False, False, 2, 5)]


def test_an_empty_retained_message_removes_the_one_before(desk: Desk) -> None:
    publisher = desk.connected("p")
    watcher = desk.connected("w")
    watcher.subscribe("t")
    publisher.publish("t", b"x", retain=True)
    publisher.publish("t", b"", retain=True)
    assert watcher.published() == [("t", b"x"), ("t", b"")]
    late = desk.connected("l")
    late.subscribe("t")
    assert late.take() == []


def test_subscribing_again_brings_the_retained_message_again(desk: Desk) -> None:
    desk.core.router.publish("t", b"x", 0, True)
    client = desk.connected("a")
    client.subscribe("t")
    client.subscribe("t")
    assert client.published() == [("t", b"x"), ("t", b"x")]


@pytest.mark.parametrize("qos", [0, 1])
def test_any_number_of_retained_messages_reach_a_client_whose_buffer_is_small(qos: int) -> None:
    desk = Desk(limits=Limits(send_buffer=2000, window=5, queue=10))
    for number in range(500):
        desk.core.router.publish(f"t/{number:03}", b"x" * 100, qos, True)
    client = desk.connected("a")
    client.subscribe("t/#")
    got: list[str] = []
    while packets := [packet for packet in client.take() if isinstance(packet, Publish)]:
        got += [packet.topic for packet in packets]
        client.puback(*(packet.packet_id for packet in packets if packet.qos))
    assert got == [f"t/{number:03}" for number in range(500)]


def test_a_retained_topic_too_many_is_delivered_but_not_kept() -> None:
    desk = Desk(limits=Limits(retained=1))
    client = desk.connected("a")
    client.subscribe("#")
    client.publish("a", retain=True)
    client.publish("b", retain=True)
    assert client.published() == [("a", b"x"), ("b", b"x")]
    assert desk.core.router.retained.topics() == ["a"]


# Wills.


def test_a_will_is_published_when_the_connection_is_lost(desk: Desk) -> None:
    given = handler(desk.core)
    watcher = desk.connected("w")
    watcher.subscribe("$hw/#")
    board = desk.connected("board", will=Will(REPORT, b"offline", 1, True))
    board.lose()
    assert watcher.published() == [(REPORT, b"offline")]
    assert [(inbound.client_id, inbound.payload) for inbound in given] == [("board", b"offline")]
    given[0].ack()
    assert desk.core.router.retained.topics() == [REPORT]


def test_no_will_is_published_after_disconnect(desk: Desk) -> None:
    watcher = desk.connected("w")
    watcher.subscribe("#")
    desk.connected("board", will=Will("gone", b"x", 1, False)).disconnect()
    assert watcher.take() == []


def test_a_protocol_error_publishes_the_will(desk: Desk) -> None:
    watcher = desk.connected("w")
    watcher.subscribe("#")
    desk.connected("board", will=Will("gone", b"x", 1, False)).send(b"\x00\x00")
    assert watcher.published() == [("gone", b"x")]


def test_no_will_is_published_when_the_broker_stops(desk: Desk) -> None:
    watcher = desk.connected("w")
    watcher.subscribe("#")
    board = desk.connected("board", will=Will("gone", b"x", 1, False))
    desk.core.stop()
    board.lose()
    assert watcher.take() == []


# Sessions that outlive their connection.


def test_a_persistent_session_gets_what_came_while_it_was_away(desk: Desk) -> None:
    client = desk.connected("a", clean=False)
    assert not client.session_present
    client.subscribe("t/+")
    client.lose()
    publisher = desk.connected("p")
    for number in range(3):
        publisher.publish(f"t/{number}")
    publisher.publish("t/unimportant", qos=0)
    again = desk.connected("a", clean=False)
    assert again.session_present
    assert again.published() == [("t/0", b"x"), ("t/1", b"x"), ("t/2", b"x")]


def test_a_clean_session_forgets_the_persistent_one_before_it() -> None:
    store = MemoryStore()
    desk = Desk(store)
    client = desk.connected("a", clean=False)
    client.subscribe("t")
    client.lose()
    desk.connected("p").publish("t")
    again = desk.connected("a")
    assert not again.session_present
    assert again.take() == []
    assert list(store.read("session")) == list(store.read("queued")) == []
    again.disconnect()
    assert not desk.connected("a", clean=False).session_present


def test_what_was_not_acknowledged_is_sent_again_first_and_marked(desk: Desk) -> None:
    desk = Desk(limits=Limits(window=3))
    client = desk.connected("a", clean=False)
    client.subscribe("t")
    publisher = desk.connected("p")
    for number in range(5):
        publisher.publish("t", b"%d" % number)
    sent = [packet for packet in client.take() if isinstance(packet, Publish)]
    assert [(packet.payload, packet.packet_id) for packet in sent] == [(b"0", 1), (b"1", 2), (b"2", 3)]
    client.puback(2)
    assert [packet.packet_id for packet in client.take() if isinstance(packet, Publish)] == [4]
    client.lose()
    again = desk.connected("a", clean=False)
    resent = [packet for packet in again.take() if isinstance(packet, Publish)]
    assert [(packet.payload, packet.packet_id, packet.dup) for packet in resent] == [
        *((b"0", 1, True), (b"2", 3, True), (b"3", 4, True)),
    ]
    again.puback(1, 3, 4)
    assert [(packet.payload, packet.dup) for packet in again.take() if isinstance(packet, Publish)] == [(b"4", False)]


def test_packet_ids_start_again_after_the_last_and_skip_those_in_use() -> None:
    desk = Desk(limits=Limits(window=3))
    client = desk.connected("a")
    client.subscribe("t")
    publisher = desk.connected("p")
    publisher.publish("t", b"stuck")
    client.take()
    ids = []
    for _ in range(65_540):
        publisher.publish("t", qos=1)
        ids += [packet.packet_id for packet in client.take() if isinstance(packet, Publish)]
        client.puback(ids[-1])
    assert ids[:2] == [2, 3]
    assert ids[65_533:65_536] == [65_535, 2, 3]


def test_a_full_queue_drops_the_oldest_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    store = MemoryStore()
    desk = Desk(store, limits=Limits(queue=3))
    client = desk.connected("a", clean=False)
    client.subscribe("t")
    client.lose()
    publisher = desk.connected("p")
    for number in range(10):
        publisher.publish("t", b"%d" % number)
    assert len(list(store.read("queued"))) == 3
    assert [payload for _, payload in desk.connected("a", clean=False).published()] == [b"7", b"8", b"9"]
    about = [record.message for record in caplog.records if record.message.startswith("queue")]
    assert about == [
        "queue is full, dropping the oldest client='a' messages=4",
        "queue is empty again client='a' dropped=7",
    ]


def test_a_queue_is_bounded_in_bytes_too() -> None:
    desk = Desk(limits=Limits(queue_bytes=2000))
    client = desk.connected("a", clean=False)
    client.subscribe("t")
    client.lose()
    publisher = desk.connected("p")
    for number in range(10):
        publisher.publish("t", bytes((number,)) * 300)
    assert [payload[0] for _, payload in desk.connected("a", clean=False).published() if payload] == [7, 8, 9]


def test_when_all_queues_together_are_too_much_who_has_much_drops_and_who_has_little_does_not() -> None:
    desk = Desk(limits=Limits(waiting_bytes=20_000, sessions=10))
    for name in ("greedy", "modest"):
        client = desk.connected(name, clean=False)
        client.subscribe(name)
        client.lose()
    publisher = desk.connected("p")
    for number in range(50):
        publisher.publish("greedy", bytes((number,)) * 700)
    for _ in range(2):
        publisher.publish("modest", b"x" * 300)
    modest = desk.connected("modest", clean=False)
    assert len(modest.published()) == 2
    greedy = [payload[0] for _, payload in desk.connected("greedy", clean=False).published() if payload]
    assert greedy == list(range(50 - len(greedy), 50))
    assert 17 <= len(greedy) <= 20


def test_who_acknowledges_nothing_is_sent_nothing_more_when_all_have_too_much_and_goes_on_later() -> None:
    desk = Desk(limits=Limits(waiting_bytes=5000, sessions=10))
    client, publisher = desk.connected("a"), desk.connected("p")
    client.subscribe("t")
    for _ in range(30):
        publisher.publish("t", b"x" * 700)
    sent = [packet.packet_id for packet in client.take() if isinstance(packet, Publish)]
    assert len(sent) <= 6
    client.puback(*sent)
    publisher.publish("t", b"again")
    assert client.published()[-1] == ("t", b"again")


def test_retained_messages_for_many_filters_come_over_several_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_gateway.broker.lookups.SLICE", 3)
    desk = Desk()
    client, gone = desk.connected("c"), desk.connected("gone")
    for topic in ("a/1", "a/2", "b/1", "b/2", "c"):
        desk.core.router.publish(topic, b"x", 0, True)
    filters = [("a/+", 0), ("+/1", 0), ("none/#", 0), ("b/#", 1), ("c", 0)]
    for one in (client, gone):
        desk.core.receive(one.connection, encode_subscribe(1, filters), desk.now)
    wakes = desk.wakes
    gone.lose()
    assert desk.wakes >= wakes + 3, "not all in one turn"
    assert sorted(topic for topic, _ in client.published()) == ["a/1", "a/1", "a/2", "b/1", "b/1", "b/2", "c"]


def test_subscriptions_are_bounded_by_what_they_take_together() -> None:
    desk = Desk(limits=Limits(subscription_bytes=10_000))
    first, second = desk.connected("a"), desk.connected("b")
    assert first.subscribe("x/" * 30 + "x") == b"\x01"
    assert second.subscribe("y/" * 30 + "y", "z") == b"\x80\x80"
    assert first.subscribe("x/" * 30 + "x") == b"\x80"
    first.disconnect()
    assert second.subscribe("y/" * 30 + "y") == b"\x01"


def test_the_filters_of_one_session_are_bounded_for_all_are_written_when_one_changes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    desk = Desk(limits=Limits(session_subscription_bytes=1000))
    client = desk.connected("c", clean=False)
    assert client.subscribe("a" * 600, "b" * 600, "c" * 300) == b"\x01\x80\x01"
    assert client.subscribe("a" * 600, qos=0) == b"\x00"  # one that is there may have another QoS
    desk.core.receive(client.connection, encode_unsubscribe(1, ["a" * 600]), desk.now)
    assert client.subscribe("b" * 600) == b"\x01"
    assert max(len(record.getMessage()) for record in caplog.records) < 500


def test_what_the_gateway_itself_retains_is_retained_whatever_clients_retain() -> None:
    desk = Desk(limits=Limits(retained=2, retained_bytes=20))
    client = desk.connected("c")
    client.publish("a", b"1", retain=True)
    client.publish("b", bytes(18), retain=True)
    desk.core.router.publish("$hw/events/mapper/modbus/devices", bytes(10), 1, True)
    assert client.subscribe("$hw/#") == b"\x01"
    assert ("$hw/events/mapper/modbus/devices", bytes(10)) in client.published()


def test_retained_messages_still_to_be_sent_count_with_what_waits_for_all_sessions() -> None:
    desk = Desk(limits=Limits(waiting_bytes=10_000, sessions=10))
    publisher, reader = desk.connected("p"), desk.connected("r")
    for number in range(100):
        publisher.publish(f"t/{number:02}", retain=True)
    stuck = [desk.connected(f"s{number}", clean=False) for number in range(5)]
    for client in stuck:
        client.connection.blocked = True
        client.subscribe("t/#", qos=0)
    assert desk.core.clients.waiting_bytes <= 15_000
    reader.subscribe("t/#", qos=0)
    assert len(reader.published()) == 100
    for client in stuck:
        client.connection.blocked = False
        client.connection.sent()
    desk.settle()
    first, *_, last = [len(client.published()) for client in stuck]
    assert first > last >= 5
    assert desk.core.clients.waiting_bytes == 0


def test_a_retained_message_that_would_be_too_much_is_delivered_and_the_old_one_stays() -> None:
    desk = Desk(limits=Limits(retained_bytes=1000))
    client = desk.connected("c")
    client.subscribe("#")
    client.publish("a", b"1" * 900, retain=True)
    client.publish("b", b"2" * 200, retain=True)
    client.publish("a", b"3" * 1200, retain=True)
    client.publish("a", b"4" * 800, retain=True)
    client.publish("b", b"5" * 100, retain=True)
    assert [payload[:1] for _, payload in client.published() if payload] == [b"1", b"2", b"3", b"4", b"5"]
    assert desk.core.router.retained.get("a") == (b"4" * 800, 1)
    assert desk.core.router.retained.get("b") == (b"5" * 100, 1)
    for topic in "ab":
        client.publish(topic, b"", retain=True)
    assert desk.core.router.retained.bytes == 0


def test_who_holds_a_long_incomplete_packet_is_closed_when_all_hold_too_much() -> None:
    desk = Desk(limits=Limits(incomplete_bytes=20_000))
    first, second, small = desk.connected("a"), desk.connected("b"), desk.connected("c")
    long = encode_publish("t", bytes(30_000))
    first.send(long[:15_000])
    small.send(long[:3000])
    second.send(long[:15_000])
    assert (first.closed, second.closed, small.closed) == (False, True, False)
    second.lose()
    first.send(long[15_000:])
    small.send(long[3000:18_000])
    assert not small.closed


def test_what_comes_while_a_password_is_checked_counts_with_the_incomplete_packets() -> None:
    users = Users([full_user("u", hash_password("u"))])
    asked: list[Callable[[User | None], None]] = []
    desk = Desk(None, users, Limits(incomplete_bytes=20_000), lambda name, password, answer: asked.append(answer))
    first, second, small = desk.client(), desk.client(), desk.client()
    for number, (client, pings) in enumerate(((first, 7000), (second, 7000), (small, 1000))):
        client.send(encode_connect(Connect(f"c{number}", user="u", password=b"u")), encode_bare(PINGREQ) * pings)
    assert (first.closed, second.closed, small.closed) == (False, True, False)
    second.lose()
    first.send(encode_bare(PINGREQ) * 500)
    assert not first.closed
    for answer in asked:
        answer(users.find("u"))
    desk.settle()
    assert first.take() == [Connack(False, 0)] + [Bare(PINGRESP)] * 7500
    assert small.take() == [Connack(False, 0)] + [Bare(PINGRESP)] * 1000
    first.send(encode_publish("t", bytes(30_000))[:15_000])
    assert not first.closed


def test_a_client_that_does_not_read_is_spared_qos_0_and_gets_qos_1_later(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    client, publisher = desk.connected("a"), desk.connected("p")
    client.subscribe("t")
    client.connection.blocked = True
    publisher.publish("t", b"lost", qos=0)
    publisher.publish("t", b"lost", qos=0)
    publisher.publish("t", b"kept", qos=1)
    assert client.published() == []
    client.connection.blocked = False
    client.connection.sent()
    desk.settle()
    assert client.published() == [("t", b"kept")]
    assert sum("reads too slowly" in record.message for record in caplog.records) == 1


# What is kept, and what a restart brings back.


def test_a_puback_for_a_queued_or_retained_message_waits_for_the_disk() -> None:
    store = HeldStore()
    desk = Desk(store)
    away = desk.connected("away", clean=False)
    away.subscribe("t")
    away.lose()
    publisher = desk.connected("p")
    desk.commit()
    publisher.publish("t", packet_id=1)
    publisher.publish("r", retain=True, packet_id=2)
    publisher.publish("other", packet_id=3)
    assert publisher.acknowledged() == []
    desk.commit()
    assert publisher.acknowledged() == [1, 2, 3]
    assert [key for key, _ in store.read("queued")] == ["away\x00" + "0" * 16]
    assert [key for key, _ in store.read("retained")] == ["r"]


def test_a_puback_waits_for_both_the_disk_and_the_handler() -> None:
    desk = Desk(HeldStore())
    given = handler(desk.core)
    client = desk.connected("p")
    client.publish(REPORT, retain=True, packet_id=1)
    client.publish(REPORT, retain=True, packet_id=2)
    given[0].ack()
    desk.settle()
    assert client.acknowledged() == []
    desk.commit()
    assert client.acknowledged() == [1]
    given[1].ack()
    desk.settle()
    assert client.acknowledged() == [2]


def test_a_subscription_of_a_persistent_session_is_acknowledged_when_it_is_kept() -> None:
    desk = Desk(HeldStore())
    client = desk.connected("a", clean=False)
    client.send(encode_subscribe(3, [("t", 1)]))
    assert client.take() == []
    desk.commit()
    assert [type(packet).__name__ for packet in client.take()] == ["Suback"]
    client.send(encode_unsubscribe(4, ["t"]))
    assert client.take() == []
    desk.commit()
    assert client.take() == [Ack(11, 4)]


def test_an_unchanged_retained_message_is_not_written_again_but_waits_for_the_first() -> None:
    store = HeldStore()
    desk = Desk(store)
    client = desk.connected("p")
    client.publish("r", b"same", retain=True, packet_id=1)
    client.publish("r", b"same", retain=True, packet_id=2)
    assert client.acknowledged() == []
    desk.commit()
    assert client.acknowledged() == [1, 2]
    client.publish("r", b"same", retain=True, packet_id=3)
    desk.commit()
    assert client.acknowledged() == [3]
    assert [change for change in store.written if change[0] == "retained"] == [("retained", "r", b"\x01same")]


def test_a_message_for_a_connected_persistent_session_is_kept_until_it_is_acknowledged() -> None:
    store = MemoryStore()
    desk = Desk(store)
    client = desk.connected("a", clean=False)
    client.subscribe("t")
    desk.connected("p").publish("t", b"x")
    assert client.published() == [("t", b"x")]
    assert len(list(store.read("queued"))) == 1
    client.puback(1)
    assert list(store.read("queued")) == []


def test_sessions_queues_and_retained_messages_come_back_after_a_restart() -> None:
    store = MemoryStore()
    before = Desk(store)
    client = before.connected("ä", clean=False)
    client.subscribe("t/+", "$hw/#")
    publisher = before.connected("p")
    publisher.publish("t/1", b"sent, not acknowledged")
    client.lose()
    for number in range(12):
        publisher.publish("t/2", b"%d" % number)
    publisher.publish("t/r", "größer".encode(), retain=True)
    publisher.publish("t/0", b"qos 0", qos=0, retain=True)

    after = Desk(store)
    again = after.connected("ä", clean=False)
    assert again.session_present
    payloads = [payload for _, payload in again.published()]
    assert payloads == [b"sent, not acknowledged", *(b"%d" % number for number in range(12)), "größer".encode()]
    after.core.router.publish("$hw/x", b"still subscribed", 1, False)
    after.settle()
    assert again.published() == [("$hw/x", b"still subscribed")]
    again.puback(*range(1, 16))
    assert list(store.read("queued")) == []
    late = after.connected("late")
    late.subscribe("t/+", qos=0)
    assert late.published() == [("t/0", b"qos 0"), ("t/r", "größer".encode())]


def test_messages_queued_after_a_restart_come_after_those_before_it() -> None:
    store = MemoryStore()
    desk = Desk(store)
    client = desk.connected("a", clean=False)
    client.subscribe("t")
    client.lose()
    for number in range(5):
        desk.connected("p").publish("t", b"%d" % number)
        desk = Desk(store)
    assert [payload for _, payload in desk.connected("a", clean=False).published()] == [b"0", b"1", b"2", b"3", b"4"]


def test_unreadable_rows_are_dropped_with_a_log_line_and_the_rest_is_loaded(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    store.write(
        [
            ("retained", "bad", b"\x01"),
            ("retained", "good", b"\x00x"),
            ("session", "bad", b"{"),
            ("session", "worse", b'"\xff"'),
            ("session", "good", b'{"user":null,"subscriptions":{"t":1}}'),
            ("queued", "good\x00nonsense", b"\x00\x00\x01tx"),
            ("queued", "good\x000000000000000003", b"\x00\x00\x01tx"),
            ("queued", "gone\x000000000000000003", b"\x00\x00\x01tx"),
        ]
    )
    desk = Desk(store)
    assert desk.core.router.retained.topics() == ["good"]
    assert desk.connected("good", clean=False).published() == [("t", b"x")]
    assert sum("unreadable" in record.message for record in caplog.records) == 4
    assert [key for key, _ in store.read("queued")] == ["good\x000000000000000003"]
    assert [key for key, _ in store.read("session")] == ["good"]


# Users.


def users(*more: User) -> Users:
    return Users(
        [device_user("default/s1", hash_password("s1"), "s1"), full_user("boss", hash_password("boss")), *more]
    )


def connect_as(client: Client, user: str | None, password: bytes | None, client_id: str = "c") -> None:
    client.send(encode_connect(Connect(client_id, user=user, password=password)))


@pytest.mark.parametrize(
    ("user", "password"), [(None, None), ("s1", None), ("s1", b"wrong"), ("nobody", b"s1"), ("s1", b"")], ids=str
)
def test_who_cannot_prove_its_user_is_refused(user: str | None, password: bytes | None) -> None:
    client = Desk(users=users()).client()
    connect_as(client, user, password)
    assert client.take() == [Connack(False, 5)]
    assert client.closed


def test_what_a_client_sends_while_its_password_is_checked_waits() -> None:
    answers = []
    desk = Desk(users=users(), verify=lambda name, password, answer: answers.append(answer))
    given = handler(desk.core)
    client = desk.client()
    client.send(encode_connect(Connect("c", user="s1", password=b"s1")), encode_publish(REPORT, b"1", 1, packet_id=1))
    client.send(encode_publish(REPORT, b"2", 1, packet_id=2))
    assert client.connection.held
    assert (client.take(), given) == ([], [])
    assert desk.core.admission.users is not None
    answers[0](desk.core.admission.users.find("s1"))
    desk.settle()
    assert client.take() == [Connack(False, 0)]
    assert [(inbound.user, inbound.payload) for inbound in given] == [("s1", b"1"), ("s1", b"2")]
    assert not client.connection.held


def test_an_answer_for_a_client_that_left_meanwhile_is_ignored() -> None:
    answers = []
    desk = Desk(users=users(), verify=lambda name, password, answer: answers.append(answer))
    client = desk.client()
    connect_as(client, "s1", b"s1")
    client.lose()
    answers[0](device_user("default/s1", "", "s1"))
    assert len(desk.core.clients) == 0


def test_a_forbidden_publish_is_acknowledged_and_dropped_with_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(users=users())
    given = handler(desk.core)
    boss = desk.connected("boss", user="boss")
    boss.subscribe("#", "$hw/#")
    client = desk.connected("c", user="s1")
    other = REPORT.replace("/s1/", "/s2/")
    for packet_id in (1, 2):
        client.publish(other, packet_id=packet_id)
    client.publish(RESULT, qos=0)  # within the same second: not logged
    desk.wait(1)
    client.publish(RESULT, qos=0)
    assert client.acknowledged() == [1, 2]
    assert (given, boss.published()) == ([], [])
    warned = [record.message for record in caplog.records if "forbidden" in record.message]
    assert warned == [
        f"publish forbidden, dropped client='c' user=s1 topic={other!r}",
        f"publish forbidden, dropped client='c' user=s1 topic={RESULT!r}",
    ]


def test_a_forbidden_publish_keeps_its_place_among_the_acknowledgements() -> None:
    desk = Desk(users=users())
    given = handler(desk.core)
    client = desk.connected("c", user="s1")
    client.publish(REPORT, packet_id=1)
    client.publish("elsewhere", packet_id=2)
    assert client.acknowledged() == []
    given[0].ack()
    desk.settle()
    assert client.acknowledged() == [1, 2]


def test_a_device_subscribes_to_its_own_topics_only() -> None:
    client = Desk(users=users()).connected("c", user="s1")
    asked = [RESULT, "$hw/events/device/default/s1/#", "$hw/#", "#", "$hw/events/device/default/+/twin/update/delta"]
    assert client.subscribe(*asked) == b"\x01\x01\x80\x80\x80"


def test_a_forbidden_will_is_dropped() -> None:
    desk = Desk(users=users())
    boss = desk.connected("boss", user="boss")
    boss.subscribe("#", "$hw/#")
    desk.connected("c", user="s1", will=Will("elsewhere", b"", 0, False)).lose()
    assert boss.take() == []


def test_a_client_id_cannot_be_taken_from_another_user() -> None:
    desk = Desk(users=users())
    owner = desk.connected("boss", user="boss", clean=False)
    thief = desk.client()
    connect_as(thief, "s1", b"s1", "boss")
    assert thief.take() == [Connack(False, 5)]
    assert not owner.closed
    owner.lose()
    thief = desk.client()
    connect_as(thief, "s1", b"s1", "boss")
    assert thief.take() == [Connack(False, 5)]


def test_a_stored_session_keeps_only_what_its_user_may_have_now() -> None:
    store = MemoryStore()
    before = Desk(store, users=users(full_user("s2", hash_password("s2"))))
    for user in ("s2", "boss"):
        client = before.connected(user, user=user, clean=False)
        client.subscribe("t", RESULT)
        client.lose()
    restricted = device_user("default/s1", hash_password("boss"), "boss")
    after = Desk(store, users=Users([restricted]))
    assert [key for key, _ in store.read("session")] == ["boss"]
    after.core.router.publish("t", b"no longer", 1, False)
    after.core.router.publish(RESULT, b"yes", 1, False)
    assert after.connected("boss", user="boss", clean=False).published() == [(RESULT, b"yes")]


def test_the_shell_is_woken_once_for_any_number_of_packets(desk: Desk) -> None:
    client = desk.connected("a")
    client.subscribe("t", qos=0)
    woken = desk.wakes
    client.send(*(encode_publish("t", b"x") for _ in range(100)))
    assert desk.wakes == woken + 1
