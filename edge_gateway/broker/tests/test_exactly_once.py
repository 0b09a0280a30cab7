"""QoS 2 by plain calls: each message once, over duplicates, reconnects, slow disks and restarts at any step."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_gateway.broker.inbox import Inbound
from edge_gateway.broker.limits import Limits
from edge_gateway.broker.packets import (
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    Ack,
    Connack,
    Connect,
    Packet,
    Publish,
    Will,
    encode_ack,
    encode_connect,
    encode_publish,
)
from edge_gateway.broker.passwords import hash_password
from edge_gateway.broker.tests.desk import Client, Desk, HeldStore
from edge_gateway.broker.users import Users, device_user
from edge_gateway.store.memory import MemoryStore

REPORT = "$hw/events/device/default/s1/twin/update"


def message(payload: bytes, packet_id: int, *, dup: bool = False, topic: str = "t", retain: bool = False) -> Publish:
    return Publish(topic, payload, 2, retain, dup, packet_id, len(payload))


def send(client: Client, packet_id: int, payload: bytes = b"x", *, dup: bool = False, topic: str = "t") -> None:
    client.send(encode_publish(topic, payload, 2, dup=dup, packet_id=packet_id))


def answer(client: Client, kind: int, *packet_ids: int) -> None:
    client.send(*(encode_ack(kind, packet_id) for packet_id in packet_ids))


@pytest.fixture
def store() -> HeldStore:
    return HeldStore()


@pytest.fixture
def desk(store: HeldStore) -> Desk:
    return Desk(store)


def durable_client(desk: Desk, client_id: str, *filters: str) -> Client:
    client = desk.connected(client_id, clean=False)
    if filters:
        client.subscribe(*filters, qos=2)
    desk.commit()
    client.take()
    return client


# From a client.


def test_a_message_is_passed_on_once_however_often_it_comes() -> None:
    desk = Desk()
    watcher, client = desk.connected("w"), desk.connected("p")
    watcher.subscribe("t", qos=0)
    send(client, 7)
    send(client, 7, dup=True)
    send(client, 7)
    assert client.take() == [Ack(PUBREC, 7)] * 3
    answer(client, PUBREL, 7)
    answer(client, PUBREL, 7)
    assert client.take() == [Ack(PUBCOMP, 7)] * 2
    assert watcher.published() == [("t", b"x")]
    send(client, 7, b"another message")
    assert watcher.published() == [("t", b"another message")]


def test_a_message_is_known_again_after_a_reconnect_but_not_in_a_clean_session() -> None:
    desk = Desk()
    watcher = desk.connected("w")
    watcher.subscribe("t", qos=0)
    for clean, times in ((False, 1), (True, 2)):
        for _ in range(2):
            client = desk.connected(f"clean={clean}", clean=clean)
            send(client, 7)
            assert client.take() == [Ack(PUBREC, 7)]
            client.lose()
        assert len(watcher.published()) == times


def test_pubrec_waits_for_the_packet_id_to_be_durable_and_pubcomp_for_it_to_be_forgotten(
    desk: Desk, store: HeldStore
) -> None:
    client = durable_client(desk, "p")
    send(client, 7)
    assert client.take() == []
    desk.commit()
    assert client.take() == [Ack(PUBREC, 7)]
    assert [key for key, _ in store.read("received")] == ["p\x007"]
    answer(client, PUBREL, 7)
    assert client.take() == []
    desk.commit()
    assert client.take() == [Ack(PUBCOMP, 7)]
    assert list(store.read("received")) == []


def test_a_message_and_its_packet_id_become_durable_together(desk: Desk, store: HeldStore) -> None:
    durable_client(desk, "away", "t").lose()
    client = durable_client(desk, "p")
    client.send(encode_publish("t", b"x", 2, retain=True, packet_id=7))
    with_it = [{table for table, _, _ in changes} for changes, _ in store.held]
    assert with_it == [{"queued", "retained", "received"}]


def test_the_packet_id_is_with_the_store_before_the_handler_has_the_message(desk: Desk, store: HeldStore) -> None:
    client = durable_client(desk, "s1")
    held: list[set[str]] = []

    def handle(inbound: Inbound) -> None:
        held.append({table for changes, _ in store.held for table, _, _ in changes})

    desk.core.attach(handle, lambda topic: topic == REPORT)
    client.send(encode_publish("other", b"x", 1, packet_id=1), encode_publish(REPORT, b"x", 2, packet_id=7))
    assert held == [{"received"}]


def test_pubrec_waits_for_the_handler_too_and_the_handler_is_asked_once(desk: Desk) -> None:
    given: list[Inbound] = []
    desk.core.attach(given.append, lambda topic: topic == REPORT)
    client = durable_client(desk, "s1")
    send(client, 7, topic=REPORT)
    send(client, 7, topic=REPORT, dup=True)
    desk.commit()
    assert client.take() == []
    (inbound,) = given
    assert (inbound.qos, inbound.payload) == (2, b"x")
    inbound.ack()
    desk.settle()
    assert client.take() == [Ack(PUBREC, 7)]


def test_a_duplicate_that_overtakes_the_handler_is_answered_where_it_came(desk: Desk) -> None:
    given: list[Inbound] = []
    desk.core.attach(given.append, lambda topic: topic == REPORT)
    client = durable_client(desk, "s1")
    send(client, 7, topic=REPORT)
    client.lose()
    again = durable_client(desk, "s1")
    send(again, 7, topic=REPORT, dup=True)
    send(again, 8, topic="t")
    desk.commit()
    assert again.take() == []
    given[0].ack()
    desk.settle()
    assert again.take() == [Ack(PUBREC, 7), Ack(PUBREC, 8)]
    assert len(given) == 1


def test_a_message_whose_handler_was_done_after_its_sender_left_is_answered_at_once(desk: Desk) -> None:
    given: list[Inbound] = []
    desk.core.attach(given.append, lambda topic: topic == REPORT)
    client = durable_client(desk, "s1")
    send(client, 7, topic=REPORT)
    client.lose()
    given[0].ack()
    desk.commit()
    assert given[0].payload is None, "an inbox holds no payloads"
    again = durable_client(desk, "s1")
    send(again, 7, topic=REPORT, dup=True)
    assert again.take() == [Ack(PUBREC, 7)]
    assert len(given) == 1


def test_pubacks_and_pubrecs_go_out_in_the_order_of_the_publishes() -> None:
    desk = Desk()
    given: list[Inbound] = []
    desk.core.attach(given.append, lambda topic: topic == REPORT)
    client = desk.connected("s1")
    for packet_id, qos in ((3, 2), (1, 1), (2, 2)):
        client.publish(REPORT, qos=qos, packet_id=packet_id)
    for inbound in reversed(given):
        assert client.take() == []
        inbound.ack()
        desk.settle()
    assert client.take() == [Ack(PUBREC, 3), Ack(PUBACK, 1), Ack(PUBREC, 2)]


def test_what_came_is_known_again_after_a_restart() -> None:
    store = MemoryStore()
    before = Desk(store)
    client = before.connected("p", clean=False)
    for packet_id in (7, 8, 9):
        send(client, packet_id)
    answer(client, PUBREL, 8)
    after = Desk(store)
    watcher, client = after.connected("w"), after.connected("p", clean=False)
    watcher.subscribe("t", qos=0)
    for packet_id in (7, 8, 9):
        send(client, packet_id, b"%d" % packet_id)
    assert client.take() == [Ack(PUBREC, 7), Ack(PUBREC, 8), Ack(PUBREC, 9)]
    assert watcher.published() == [("t", b"8")]


def test_a_client_that_never_releases_is_closed_and_may_go_on_with_its_pubrels() -> None:
    desk = Desk(limits=Limits(received=3))
    client = desk.connected("p", clean=False)
    for packet_id in range(1, 5):
        send(client, packet_id)
    assert client.closed
    assert client.take() == [Ack(PUBREC, 1), Ack(PUBREC, 2), Ack(PUBREC, 3)]
    again = desk.connected("p", clean=False)
    send(again, 3, dup=True)
    answer(again, PUBREL, 1)
    send(again, 4)
    assert again.take() == [Ack(PUBREC, 3), Ack(PUBCOMP, 1), Ack(PUBREC, 4)]


def test_a_message_that_one_message_too_many_closed_for_is_passed_on_once() -> None:
    desk = Desk(limits=Limits(received=1))
    watcher = desk.connected("w")
    watcher.subscribe("t")
    client = desk.connected("p", clean=False)
    send(client, 1, b"1")
    send(client, 2, b"2")
    assert client.closed
    again = desk.connected("p", clean=False)
    answer(again, PUBREL, 1)
    send(again, 2, b"2", dup=True)
    assert watcher.published() == [("t", b"1"), ("t", b"2")]


def test_a_forbidden_message_and_one_too_long_go_through_the_motions() -> None:
    desk = Desk(users=Users([device_user("default/s1", hash_password("s1"), "s1")]), limits=Limits(payload=10))
    client = desk.connected("c", user="s1")
    send(client, 1, topic="elsewhere")
    send(client, 2, bytes(11), topic=REPORT)
    answer(client, PUBREL, 1, 2)
    assert client.take() == [Ack(PUBREC, 1), Ack(PUBREC, 2), Ack(PUBCOMP, 1), Ack(PUBCOMP, 2)]


def test_a_clean_session_leaves_nothing_of_the_persistent_one_before_it() -> None:
    store = MemoryStore()
    desk = Desk(store)
    client = desk.connected("c", clean=False)
    client.subscribe("t", qos=2)
    send(client, 7)
    client.lose()
    for packet_id in range(1, 41):
        desk.core.router.publish("t", b"%d" % packet_id, 2, False)
    again = desk.connected("c", clean=False)
    answer(again, PUBREC, 1, 2)
    answer(again, PUBCOMP, 1, 2)  # so that two that had to wait are sent
    again.lose()
    assert all(list(store.read(table)) for table in ("session", "queued", "received", "sent"))
    assert not desk.connected("c").session_present
    assert not any(list(store.read(table)) for table in ("session", "queued", "received", "sent"))


# To a client.


def test_a_message_is_released_once_the_client_has_it() -> None:
    desk = Desk()
    client = desk.connected("s")
    client.subscribe("t", qos=2)
    desk.core.router.publish("t", b"x", 2, False)
    desk.settle()
    assert client.take() == [message(b"x", 1)]
    answer(client, PUBREC, 1)
    assert client.take() == [Ack(PUBREL, 1)]
    answer(client, PUBCOMP, 1)
    answer(client, PUBREC, 99)  # the client is left waiting by somebody: let it go
    answer(client, PUBCOMP, 99)
    answer(client, PUBACK, 99)
    assert client.take() == [Ack(PUBREL, 99)]


def test_the_wrong_acknowledgement_changes_nothing() -> None:
    desk = Desk()
    client = desk.connected("s", clean=False)
    client.subscribe("t", qos=2)
    desk.core.router.publish("t", b"one", 1, False)
    desk.core.router.publish("t", b"two", 2, False)
    desk.settle()
    client.take()
    answer(client, PUBREC, 1)
    answer(client, PUBCOMP, 1, 2)
    answer(client, PUBACK, 2)
    assert client.take() == []
    client.lose()
    again = desk.connected("s", clean=False)
    assert again.published() == [("t", b"one"), ("t", b"two")]


def test_a_message_leaves_for_a_persistent_session_once_it_is_durable_and_so_does_its_pubrel(desk: Desk) -> None:
    client = durable_client(desk, "s", "t")
    desk.core.router.publish("t", b"x", 2, False)
    desk.settle()
    assert client.take() == []
    desk.commit()
    assert client.take() == [message(b"x", 1)]
    answer(client, PUBREC, 1)
    assert client.take() == []
    desk.commit()
    assert client.take() == [Ack(PUBREL, 1)]


def test_messages_behind_one_that_waits_for_the_disk_keep_their_order(desk: Desk) -> None:
    client = durable_client(desk, "s", "t")
    for qos in (1, 2, 1, 2):
        desk.core.router.publish("t", b"%d" % qos, qos, False)
    desk.settle()
    assert client.published() == [("t", b"1")]
    desk.commit()
    assert client.published() == [("t", b"2"), ("t", b"1"), ("t", b"2")]


def test_a_message_that_waits_for_the_disk_is_not_sent_twice_over_a_reconnect(desk: Desk) -> None:
    client = durable_client(desk, "s", "t")
    desk.core.router.publish("t", b"x", 2, False)
    desk.settle()
    client.lose()
    again = desk.connected("s", clean=False)
    desk.settle()
    assert again.take() == []
    desk.commit()
    assert again.take() == [message(b"x", 1)]
    answer(again, PUBREC, 1)
    again.lose()
    third = desk.connected("s", clean=False)
    desk.settle()
    assert third.take() == []
    desk.commit()
    assert third.take() == [Ack(PUBREL, 1)]


def in_every_state(desk: Desk) -> Client:
    """A client with window 4 that was sent six messages: 1 is complete, 3 and then 2 are released, the rest is as it was."""
    client = desk.connected("s", clean=False)
    client.subscribe("t", qos=2)
    for number in range(1, 7):
        desk.core.router.publish("t", b"%d" % number, 2, False)
    desk.settle()
    assert client.take() == [message(b"%d" % number, number) for number in (1, 2, 3, 4)]
    answer(client, PUBREC, 1)
    answer(client, PUBCOMP, 1)
    assert client.take() == [Ack(PUBREL, 1), message(b"5", 5)]
    answer(client, PUBREC, 3, 2)
    assert client.take() == [Ack(PUBREL, 3), Ack(PUBREL, 2)]
    return client


RESUMED: list[Packet] = [Ack(PUBREL, 3), Ack(PUBREL, 2), message(b"4", 4, dup=True), message(b"5", 5, dup=True)]


def test_after_a_reconnect_every_message_goes_on_from_its_state_and_in_order() -> None:
    desk = Desk(limits=Limits(window=4))
    in_every_state(desk).lose()
    again = desk.connected("s", clean=False)
    assert again.take() == RESUMED
    answer(again, PUBCOMP, 2)
    assert again.take() == [message(b"6", 6)]


def test_after_a_restart_too_with_the_same_packet_ids() -> None:
    store = MemoryStore()
    in_every_state(Desk(store, limits=Limits(window=4)))
    for _ in range(2):
        client = Desk(store, limits=Limits(window=4)).connected("s", clean=False)
        assert client.take() == RESUMED
    answer(client, PUBCOMP, 3, 2)
    assert client.take() == [message(b"6", 6)]
    client = Desk(store, limits=Limits(window=4)).connected("s", clean=False)
    assert client.take() == [message(b"%d" % number, number, dup=True) for number in (4, 5, 6)]


def test_new_messages_after_a_restart_are_not_taken_for_those_before_it() -> None:
    store = MemoryStore()
    desk = Desk(store, limits=Limits(window=1))
    client = desk.connected("s", clean=False)
    client.subscribe("t", qos=2)
    for _ in range(3):
        desk.core.router.publish("t", b"before", 2, False)
    desk.settle()
    for packet_id in (1, 2, 3):
        answer(client, PUBREC, packet_id)
        answer(client, PUBCOMP, packet_id)
    assert len(client.published()) == 3
    desk = Desk(store, limits=Limits(window=1))
    desk.core.router.publish("t", b"after", 2, False)
    desk.settle()
    assert Desk(store).connected("s", clean=False).take() == [message(b"after", 4)]


def test_a_full_queue_drops_what_is_not_in_flight_and_never_breaks_a_handshake() -> None:
    desk = Desk(limits=Limits(window=2, queue=2))
    client = desk.connected("s", clean=False)
    client.subscribe("t", qos=2)
    for number in range(2):
        desk.core.router.publish("t", b"%d" % number, 2, False)
    desk.settle()
    assert len(client.published()) == 2
    client.lose()
    for number in range(2, 9):
        desk.core.router.publish("t", b"%d" % number, 2, False)
    again = desk.connected("s", clean=False)
    assert again.published() == [("t", b"0"), ("t", b"1")]
    answer(again, PUBREC, 1, 2)
    answer(again, PUBCOMP, 1, 2)
    assert again.published() == [("t", b"7"), ("t", b"8")]


def test_a_slow_reader_gets_its_messages_again_as_it_reads() -> None:
    desk = Desk()
    client = desk.connected("s", clean=False)
    client.subscribe("t", qos=2)
    for number in range(10):
        desk.core.router.publish("t", b"%d" % number, 2, False)
    desk.settle()
    client.lose()
    again = desk.client()
    again.connection.blocked = True
    again.send(encode_connect(Connect("s", clean=False)))
    assert again.take() == [Connack(True, 0)]
    again.connection.blocked = False
    again.connection.sent()
    desk.settle()
    assert again.take() == [message(b"%d" % number, number + 1, dup=True) for number in range(10)]


@pytest.mark.parametrize("stage", [PUBREC, PUBCOMP])
def test_packet_ids_in_flight_are_not_given_to_another(stage: int) -> None:
    desk = Desk(limits=Limits(window=3))
    client = desk.connected("s")
    client.subscribe("t", qos=2)
    desk.core.router.publish("t", b"stuck", 2, False)
    desk.settle()
    client.take()
    if stage == PUBCOMP:
        answer(client, PUBREC, 1)
    ids = []
    for _ in range(65_540):
        desk.core.router.publish("t", b"", 1, False)
        desk.settle()
        ids += [packet.packet_id for packet in client.take() if isinstance(packet, Publish)]
        client.puback(ids[-1])
    assert (ids[:2], ids[65_533:65_535]) == ([2, 3], [65_535, 2])


def test_a_retained_message_and_a_will_of_qos_2_come_with_qos_2(desk: Desk) -> None:
    watcher = durable_client(desk, "w", "gone")
    board = desk.connected("board", will=Will("gone", b"x", 2, True))
    board.lose()
    desk.commit()
    assert watcher.take() == [message(b"x", 1, topic="gone")]
    late = desk.connected("late", clean=False)
    late.subscribe("gone", qos=2)
    desk.commit()
    assert late.take() == [message(b"x", 1, topic="gone", retain=True)]


# Both, with whatever may go wrong at any step.


class Chain:
    """A publisher and a subscriber of QoS 2 in persistent sessions, who do as the specification asks and forget nothing."""

    def __init__(self) -> None:
        self.store = HeldStore()
        self.desk = Desk(self.store)
        self.subscriber = durable_client(self.desk, "s", "t")
        self.publisher = durable_client(self.desk, "p")
        self.known: set[int] = set()  # packet ids that the subscriber has not released
        self.got: list[bytes | None] = []
        self.sent = 0
        self.unacknowledged: dict[int, bytes] = {}

    def publish(self) -> None:
        if len(self.unacknowledged) < 3:
            packet_id = next(number for number in range(1, 5) if number not in self.unacknowledged)
            packet = encode_publish("t", b"%d" % self.sent, 2, packet_id=packet_id)
            self.unacknowledged[packet_id] = packet
            self.sent += 1
            self.publisher.send(packet)

    def answer_broker(self) -> None:
        for packet in self.publisher.take():
            assert isinstance(packet, Ack)
            if packet.kind == PUBCOMP:
                self.unacknowledged.pop(packet.packet_id, None)
            else:
                self.unacknowledged[packet.packet_id] = release = encode_ack(PUBREL, packet.packet_id)
                self.publisher.send(release)

    def receive(self) -> None:
        for packet in self.subscriber.take():
            if isinstance(packet, Publish):
                if packet.packet_id not in self.known:
                    self.known.add(packet.packet_id)
                    self.got.append(packet.payload)
                answer(self.subscriber, PUBREC, packet.packet_id)
            else:
                assert isinstance(packet, Ack)
                self.known.discard(packet.packet_id)
                answer(self.subscriber, PUBCOMP, packet.packet_id)

    def commit(self) -> None:
        self.store.commit_first()
        self.desk.settle()

    def lose_subscriber(self) -> None:
        self.subscriber.lose()
        self.subscriber = self.desk.connected("s", clean=False)

    def lose_publisher(self) -> None:
        self.publisher.lose()
        self._publisher_returns()

    def lose_power(self) -> None:
        self.store.held.clear()
        self.desk = Desk(self.store)
        self.subscriber = self.desk.connected("s", clean=False)
        self._publisher_returns()

    def _publisher_returns(self) -> None:
        self.publisher = self.desk.connected("p", clean=False)
        for packet in self.unacknowledged.values():
            self.publisher.send(packet)

    def finish(self) -> None:
        for _ in range(40):
            self.desk.commit()
            self.answer_broker()
            self.receive()


STEPS = ["publish", "answer_broker", "receive", "commit", "lose_subscriber", "lose_publisher", "lose_power"]


@settings(deadline=None)
@given(st.lists(st.sampled_from(STEPS), max_size=60))
def test_every_message_passes_from_client_to_client_once_and_in_order_whatever_happens(steps: list[str]) -> None:
    chain = Chain()
    for step in steps:
        getattr(chain, step)()
    chain.finish()
    assert chain.got == [b"%d" % number for number in range(chain.sent)]
    assert chain.unacknowledged == {}
    assert not any(list(chain.store.read(table)) for table in ("queued", "received"))
