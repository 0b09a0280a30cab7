"""What the gateway and its clients rely on beyond single statements of the specification, asked of both brokers alike."""

from collections.abc import Callable

import pytest

from edge_gateway.broker.packets import (
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
    encode_subscribe,
)
from edge_gateway.broker.tests.brokers import BrokerProcess, Paho, Raw

REPORT = "$hw/events/device/default/{}/twin/update"


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_device_report_reaches_its_subscribers(paho: Callable[..., Paho], name: str, qos: int) -> None:
    mapper, app, device = paho(name + "m"), paho(name + "a"), paho(name)
    mapper.subscribe(REPORT.format(name), qos=qos)
    app.subscribe("$hw/events/device/+/+/twin/update", qos=qos)
    device.publish(REPORT.format(name), b'{"event_id":"e1"}', qos=qos)
    for client in (mapper, app):
        assert client.wait_messages(1) == [(REPORT.format(name), b'{"event_id":"e1"}')]
        assert client.messages[0].qos == qos
        assert not client.messages[0].retain


def test_a_thousand_messages_of_qos_1_come_complete_and_in_order(paho: Callable[..., Paho], name: str) -> None:
    subscriber, publisher = paho(name + "s"), paho(name + "p")
    subscriber.subscribe(name)
    sent = [publisher.client.publish(name, b"%d" % number, 1) for number in range(1000)]
    for info in sent:
        info.wait_for_publish(10)
    assert subscriber.wait_messages(1000) == [(name, b"%d" % number) for number in range(1000)]


def test_a_payload_of_200_kb_passes_whole(paho: Callable[..., Paho], name: str) -> None:
    client = paho(name)
    client.subscribe(name)
    payload = bytes(range(256)) * 800
    client.publish(name, payload)
    assert client.wait_messages(1) == [(name, payload)]


def test_bytes_may_come_one_by_one(raw: Callable[..., Raw], name: str) -> None:
    client = raw()
    packets = (
        encode_connect(Connect(name)) + encode_subscribe(1, [(name, 0)]) + encode_publish(name, b"hi", 1, packet_id=7)
    )
    for byte in packets:
        client.send(bytes((byte,)))
    assert isinstance(client.next(), Connack)
    assert {type(client.next()).__name__ for _ in range(3)} == {"Suback", "Publish", "Ack"}


# Retained messages.


def test_the_last_retained_message_greets_a_new_subscriber(paho: Callable[..., Paho], name: str) -> None:
    publisher, early = paho(name + "p"), paho(name + "e")
    early.subscribe(name)
    publisher.publish(name, b"old", retain=True)
    publisher.publish(name, b"new", retain=True)
    early.wait_messages(2)
    assert [message.retain for message in early.messages] == [False, False]
    late = paho(name + "l")
    late.subscribe(name)
    assert late.wait_messages(1) == [(name, b"new")]
    assert late.messages[0].retain


def test_an_empty_retained_message_removes_it(raw: Callable[..., Raw], name: str) -> None:
    publisher = raw(name + "p")
    publisher.publish(name, b"x", retain=True)
    publisher.publish(name, b"", retain=True)
    late = raw(name + "l")
    late.subscribe(name, name + "/end")
    publisher.publish(name + "/end", b"")
    assert late.messages_until(name + "/end") == []


def test_a_retained_message_comes_with_the_lower_qos_of_both_sides(raw: Callable[..., Raw], name: str) -> None:
    raw(name + "p").publish(name, b"x", qos=1, retain=True)
    client = raw(name)
    client.subscribe(name, qos=0)
    assert client.next(Publish) == Publish(name, b"x", 0, True, False, 0, 1)


# Wills.


def test_a_dropped_connection_publishes_the_will(raw: Callable[..., Raw], paho: Callable[..., Paho], name: str) -> None:
    watcher = paho(name + "w")
    watcher.subscribe(name)
    raw(name, will=Will(name, b"offline", 1, True)).drop()
    assert watcher.wait_messages(1) == [(name, b"offline")]
    late = paho(name + "l")
    late.subscribe(name)
    assert late.wait_messages(1) == [(name, b"offline")]


def test_a_client_that_pings_stays(raw: Callable[..., Raw], name: str) -> None:
    client = raw(name, keepalive=1)
    client.socket.settimeout(0.6)
    for _ in range(4):
        client.send(encode_bare(PINGREQ))
        assert client.next() == Bare(PINGRESP)
        with pytest.raises(TimeoutError):
            client.next()


# Sessions.


def test_sessions_queues_and_retained_messages_survive_a_restart(
    broker: BrokerProcess, raw: Callable[..., Raw], name: str
) -> None:
    client = raw(name, clean=False)
    client.subscribe(name + "/#")
    publisher = raw(name + "p")
    publisher.publish(name + "/sent", b"1")
    client.next(Publish)
    client.drop()
    publisher.publish(name + "/queued", b"2")
    publisher.publish(name + "/retained", b"3", 2, retain=True)
    broker.fail()
    again = raw(name, clean=False)
    assert again.session_present
    got = [again.next(Publish) for _ in range(3)]
    assert [(packet.topic, packet.payload) for packet in got] == [
        *((name + "/sent", b"1"), (name + "/queued", b"2"), (name + "/retained", b"3")),
    ]
    raw(name + "p").publish(name + "/new", b"4")
    assert again.next(Publish).payload == b"4"
    late = raw(name + "l")
    late.subscribe(name + "/#")
    assert late.next(Publish) == Publish(name + "/retained", b"3", 1, True, False, 1, 1)


# Bad clients.


# Users.


@pytest.mark.parametrize(
    ("user", "password", "code"),
    [("s1", "s1", 0), ("boss", "boss", 0), ("s1", "wrong", 5), ("nobody", "s1", 5), (None, None, 5)],
)
def test_a_user_needs_its_password(guarded: BrokerProcess, user: str | None, password: str | None, code: int) -> None:
    client = Raw(guarded)
    secret = None if password is None else password.encode()
    client.send(encode_connect(Connect("c", user=user, password=secret)))
    assert client.next() == Connack(False, code)
    client.drop()


def test_paho_is_told_that_its_password_is_wrong(guarded: BrokerProcess) -> None:
    client = Paho(guarded, "c", user="s1", password="wrong").connect()
    assert client.codes == [135]  # "not authorised", as paho translates code 5
    client.close()


def test_a_device_publishes_to_its_own_topics_only_and_is_acknowledged_either_way(guarded: BrokerProcess) -> None:
    boss = Raw(guarded).connect("boss", user="boss", password=b"boss")
    boss.subscribe("$hw/#", "t", qos=0)
    device = Raw(guarded).connect("s1", user="s1", password=b"s1")
    device.publish(REPORT.format("s2"), b"forged")
    device.publish("t", b"forged")
    device.publish(REPORT.format("s1"), b"true")
    assert boss.next(Publish).payload == b"true"
    device.drop()
    boss.drop()


def test_a_device_hears_nothing_of_another(guarded: BrokerProcess) -> None:
    device = Raw(guarded).connect("s1", user="s1", password=b"s1")
    device.subscribe("#", "$hw/#", REPORT.format("+") + "/delta", REPORT.format("s1") + "/delta")
    boss = Raw(guarded).connect("boss", user="boss", password=b"boss")
    boss.publish(REPORT.format("s2") + "/delta", b"for s2")
    boss.publish("t", b"for all")
    boss.publish(REPORT.format("s1") + "/delta", b"for s1")
    assert device.next(Publish).payload == b"for s1"
    device.drop()
    boss.drop()
