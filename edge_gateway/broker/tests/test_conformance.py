"""What a client may rely on, asked of the built-in broker and of mosquitto alike.

Both run as processes of their own on a loopback port. Every test uses client ids and topics of its own, so they share them.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from edge_gateway.broker.packets import (
    DISCONNECT,
    PINGREQ,
    PINGRESP,
    PUBACK,
    Ack,
    Bare,
    Connack,
    Connect,
    Publish,
    Will,
    encode_ack,
    encode_bare,
    encode_connect,
    encode_publish,
    encode_subscribe,
    encode_unsubscribe,
)
from edge_gateway.broker.tests.brokers import BrokerProcess, BuiltIn, Mosquitto, Paho, Raw
from edge_gateway.broker.tests.matching import MATCHES, MISSES
from edge_gateway.broker.users import device_user, full_user

REPORT = "$hw/events/device/default/{}/twin/update"
numbers = itertools.count(1)

BROKERS = [BuiltIn, Mosquitto]


@pytest.fixture(scope="module", params=BROKERS, ids=lambda kind: kind.name)
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    yield from running(request.param(tmp_path_factory.mktemp(request.param.name)))


@pytest.fixture(scope="module", params=BROKERS, ids=lambda kind: kind.name)
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """A broker with users."""
    users = [device_user("default/s1", "", "s1"), full_user("boss", "")]
    users[1].publish += ("$hw/#",)  # mosquitto's # leaves the topics with $ out
    users[1].subscribe += ("$hw/#",)
    yield from running(request.param(tmp_path_factory.mktemp(request.param.name), users))


def running(process: BrokerProcess) -> Iterator[BrokerProcess]:
    try:
        process.start()
        yield process
    finally:
        process.stop()


@pytest.fixture
def name() -> str:
    """A name that no other test uses: of a device, a client or a topic."""
    return f"x{next(numbers)}"


@pytest.fixture
def raw(broker: BrokerProcess) -> Iterator[Callable[..., Raw]]:
    """Makes raw clients, connected when a client id is given."""
    clients: list[Raw] = []

    def make(client_id: str | None = None, **fields: Any) -> Raw:
        client = Raw(broker)
        clients.append(client)
        return client if client_id is None else client.connect(client_id, **fields)

    yield make
    for client in clients:
        client.drop()


@pytest.fixture
def paho(broker: BrokerProcess) -> Iterator[Callable[..., Paho]]:
    """Makes connected paho clients."""
    clients: list[Paho] = []

    def make(client_id: str, **options: Any) -> Paho:
        client = Paho(broker, client_id, **options)
        clients.append(client)
        return client.connect()

    yield make
    for client in clients:
        client.close()


@pytest.mark.parametrize("qos", [0, 1])
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


def test_a_filter_brings_what_it_matches_and_nothing_else(raw: Callable[..., Raw], name: str) -> None:
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


def test_unsubscribing_ends_it(raw: Callable[..., Raw], name: str) -> None:
    client = raw(name)
    client.subscribe(name, name + "/end")
    client.send(encode_unsubscribe(9, [name]))
    assert client.next() == Ack(11, 9)
    client.send(encode_publish(name, b"x"), encode_publish(name + "/end", b"x"))
    assert client.messages_until(name + "/end") == []


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


def test_pubacks_come_in_the_order_of_the_publishes(raw: Callable[..., Raw], name: str) -> None:
    raw(name + "away", clean=False).subscribe(name)
    client = raw(name)
    ids = [5, 3, 9, 1]
    client.send(*(encode_publish(name, b"", 1, n % 2 == 0, packet_id=packet_id) for n, packet_id in enumerate(ids)))
    assert [client.next() for _ in ids] == [Ack(PUBACK, packet_id) for packet_id in ids]


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


def test_no_will_follows_disconnect(raw: Callable[..., Raw], name: str) -> None:
    watcher = raw(name + "w")
    watcher.subscribe(name, name + "/end")
    board = raw(name, will=Will(name, b"offline", 1, False))
    board.send(encode_bare(DISCONNECT))
    board.wait_closed()
    raw(name + "p").publish(name + "/end", b"")
    assert watcher.messages_until(name + "/end") == []


def test_a_client_that_falls_silent_is_closed_and_its_will_published(raw: Callable[..., Raw], name: str) -> None:
    watcher = raw(name + "w")
    watcher.subscribe(name)
    begun = time.monotonic()
    board = raw(name, keepalive=1, will=Will(name, b"offline", 0, False))
    assert watcher.next(Publish).payload == b"offline"
    board.wait_closed()
    assert 1.0 < time.monotonic() - begun < 8  # mosquitto counts whole seconds and looks every few


def test_a_client_that_pings_stays(raw: Callable[..., Raw], name: str) -> None:
    client = raw(name, keepalive=1)
    client.socket.settimeout(0.6)
    for _ in range(4):
        client.send(encode_bare(PINGREQ))
        assert client.next() == Bare(PINGRESP)
        with pytest.raises(TimeoutError):
            client.next()


# Sessions.


def test_the_same_client_id_takes_over_the_session(raw: Callable[..., Raw], name: str) -> None:
    first = raw(name, clean=False)
    first.subscribe(name)
    second = raw(name, clean=False)
    assert second.session_present
    first.wait_closed()
    raw(name + "p").publish(name, b"still subscribed")
    assert second.next(Publish).payload == b"still subscribed"


def test_a_persistent_session_collects_messages_while_its_client_is_away(paho: Callable[..., Paho], name: str) -> None:
    client = paho(name, clean=False)
    assert not client.session_present
    client.subscribe(name + "/#")
    client.close()
    publisher = paho(name + "p")
    for number in range(50):
        publisher.publish(f"{name}/{number}", b"x")
    again = paho(name, clean=False)
    assert again.session_present
    assert again.wait_messages(50) == [(f"{name}/{number}", b"x") for number in range(50)]


def test_a_clean_session_has_no_past(raw: Callable[..., Raw], name: str) -> None:
    raw(name, clean=False).subscribe(name)
    raw(name + "p").publish(name, b"x")
    assert not raw(name).session_present
    client = raw(name, clean=False)
    assert not client.session_present
    client.subscribe(name + "/end")
    client.publish(name)
    client.send(encode_publish(name + "/end", b""))
    assert client.messages_until(name + "/end") == []


def test_what_was_not_acknowledged_is_sent_again_and_marked(raw: Callable[..., Raw], name: str) -> None:
    client = raw(name, clean=False)
    client.subscribe(name)
    publisher = raw(name + "p")
    for number in range(3):
        publisher.publish(name, b"%d" % number)
    sent = [client.next(Publish) for _ in range(3)]
    client.send(encode_ack(PUBACK, sent[1].packet_id), encode_bare(PINGREQ))
    client.next(Bare)
    client.drop()
    again = raw(name, clean=False)
    resent = [again.next(Publish) for _ in range(2)]
    assert [(packet.payload, packet.packet_id, packet.dup) for packet in resent] == [
        *((b"0", sent[0].packet_id, True), (b"2", sent[2].packet_id, True)),
    ]


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
    publisher.publish(name + "/retained", b"3", retain=True)
    broker.restart()
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


@pytest.mark.parametrize(
    "packets",
    [
        encode_bare(PINGREQ),
        encode_publish("t", b"x"),
        encode_connect(Connect("c")) + encode_connect(Connect("c")),
        encode_connect(Connect("c")) + b"\x00\x00",
        encode_connect(Connect("c")) + b"\xf0\x00",
        encode_connect(Connect("c")) + bytes.fromhex("36 06 0001 61 0001 78"),
        encode_connect(Connect("c")) + bytes.fromhex("30 03 0001 2b"),
        encode_connect(Connect("c")) + bytes.fromhex("30 ffffffff7f"),
        encode_connect(Connect("c")) + bytes.fromhex("80 06 0001 0001 61 00"),
        encode_connect(Connect("c")) + bytes.fromhex("82 02 0001"),
        encode_connect(Connect("c")) + bytes.fromhex("82 08 0001 0003 232f61 00"),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=[
        "PINGREQ before CONNECT",
        "PUBLISH before CONNECT",
        "two CONNECTs",
        "type 0",
        "type 15",
        "QoS 3",
        "PUBLISH to a wildcard",
        "remaining length of five bytes",
        "SUBSCRIBE without its flags",
        "SUBSCRIBE without a filter",
        "SUBSCRIBE to a # that is not last",
        "a web browser",
    ],
)
def test_a_client_that_breaks_the_protocol_is_closed_and_nobody_else(
    raw: Callable[..., Raw], name: str, packets: bytes
) -> None:
    bystander = raw(name)
    bad = raw()
    bad.send(packets)
    bad.wait_closed()
    bystander.send(encode_bare(PINGREQ))
    assert bystander.next() == Bare(PINGRESP)


def test_a_persistent_session_needs_a_client_id(raw: Callable[..., Raw]) -> None:
    client = raw()
    client.send(encode_connect(Connect("", clean=False)))
    assert client.wait_closed() == [Connack(False, 2)]


def test_an_empty_client_id_gets_a_session_of_its_own(raw: Callable[..., Raw], name: str) -> None:
    first, second = raw(""), raw("")
    for client in (first, second):
        client.subscribe(name)
    raw(name).publish(name, b"x")
    assert (first.next(Publish).payload, second.next(Publish).payload) == (b"x", b"x")


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
