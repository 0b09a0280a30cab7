"""Promise 1 of the gateway, as far as the broker keeps it: what was acknowledged survives `kill -9` at any instant."""

import contextlib
import random
import signal
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

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
from edge_gateway.broker.tests.brokers import DEADLINE_S, BuiltIn, Closed, Raw, until

ROUNDS = 6
MESSAGES = 900  # fewer than a session's queue holds


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BuiltIn]:
    process = BuiltIn(tmp_path)
    try:
        process.start()
        yield process
    finally:
        process.stop()


def publish_until_killed(broker: BuiltIn, first: int) -> int:
    """Publish numbers, queued and retained by turns, and kill the broker meanwhile; how many were acknowledged."""
    acknowledged = 0
    turning_point = random.randrange(1, MESSAGES // 2)
    killer = threading.Timer(random.uniform(0, 0.005), broker.stop, [signal.SIGKILL])
    with Raw(broker).connect(f"publisher-{first}") as publisher, contextlib.suppress(Closed, OSError):
        for start in range(0, MESSAGES, 30):
            for number in range(start, start + 30):
                topic = "queue" if number % 2 else "state"
                publisher.send(encode_publish(topic, b"%d" % (first + number), 1, not number % 2, packet_id=number + 1))
            for number in range(start, start + 30):
                assert publisher.next() == Ack(PUBACK, number + 1)
                acknowledged += 1
                if acknowledged == turning_point:
                    killer.start()
    killer.join()
    return acknowledged


def messages_before_end(client: Raw, topic: str) -> list[int]:
    """Publish an end to `topic`; the numbers that come before it, each acknowledged."""
    client.send(encode_publish(topic, b"end", 1, packet_id=1))
    got: list[int] = []
    while True:
        packet = client.next(Publish)
        client.send(encode_ack(PUBACK, packet.packet_id))
        if packet.payload == b"end":
            client.send(encode_bare(PINGREQ))
            client.next(Bare)
            return got
        got.append(int(packet.payload))


def test_nothing_acknowledged_is_lost_by_kill_9(broker: BuiltIn) -> None:
    with Raw(broker).connect("away", clean=False) as away:
        away.subscribe("queue")
    interrupted = 0
    for turn in range(ROUNDS):
        first = turn * MESSAGES
        acknowledged = publish_until_killed(broker, first)
        interrupted += acknowledged < MESSAGES
        broker.start()
        with Raw(broker).connect("away", clean=False) as away:
            assert away.session_present
            got = messages_before_end(away, "queue")
        queued = [first + number for number in range(MESSAGES) if number % 2]
        assert got == queued[: len(got)], "in order and without a gap"
        assert len(got) >= acknowledged // 2
        with Raw(broker).connect("late") as late:
            late.subscribe("state")
            assert int(late.next(Publish).payload) >= first + (acknowledged - 1) // 2 * 2
    assert interrupted, "no round was interrupted while messages were on their way"


def test_a_message_sent_to_a_client_but_not_acknowledged_by_it_survives_kill_9(broker: BuiltIn) -> None:
    with Raw(broker).connect("c", clean=False) as client, Raw(broker).connect("p") as publisher:
        client.subscribe("t")
        for number in range(10):
            publisher.publish("t", b"%d" % number, packet_id=number + 1)
        for number in range(10):
            packet = client.next(Publish)
            if number < 4:
                client.send(encode_ack(PUBACK, packet.packet_id))
        client.publish("flush", b"x", retain=True)  # durable, and with it what came before
        broker.restart(signal.SIGKILL)
    with Raw(broker).connect("c", clean=False) as again:
        assert messages_before_end(again, "t") == [4, 5, 6, 7, 8, 9]


class ExactlyOnce:
    """A client of QoS 2 that connects again until it is done, and forgets nothing meanwhile."""

    def __init__(self, broker: BuiltIn, client_id: str) -> None:
        self._broker = broker
        self._client_id = client_id
        self._thread = threading.Thread(target=self._run)
        self.stopped = False

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        while not self.stopped and not self.done():
            with contextlib.suppress(Closed, OSError), Raw(self._broker) as client:
                client.connect(self._client_id, clean=False)
                self.resume(client)
                while not self.stopped and not self.done():
                    self.step(client)

    def done(self) -> bool:
        raise NotImplementedError

    def resume(self, client: Raw) -> None:
        pass

    def step(self, client: Raw) -> None:
        raise NotImplementedError


class Publisher(ExactlyOnce):
    """Publishes the numbers up to MESSAGES."""

    sent = 0
    window = 5

    def __init__(self, broker: BuiltIn) -> None:
        super().__init__(broker, "exact-publisher")
        self.unacknowledged: dict[int, bytes] = {}

    def done(self) -> bool:
        return self.sent == MESSAGES and not self.unacknowledged

    def sent_up_to(self, number: int) -> bool:
        return self.sent >= number

    def resume(self, client: Raw) -> None:
        client.send(*self.unacknowledged.values())

    def step(self, client: Raw) -> None:
        while len(self.unacknowledged) < self.window and self.sent < MESSAGES:
            packet_id = next(number for number in range(1, 10) if number not in self.unacknowledged)
            packet = self.unacknowledged[packet_id] = encode_publish("t", b"%d" % self.sent, 2, packet_id=packet_id)
            self.sent += 1
            client.send(packet)
        answer = client.next(Ack)
        if answer.kind == PUBREC:
            release = self.unacknowledged[answer.packet_id] = encode_ack(PUBREL, answer.packet_id)
            client.send(release)
        else:
            del self.unacknowledged[answer.packet_id]


class Subscriber(ExactlyOnce):
    """Collects them."""

    def __init__(self, broker: BuiltIn) -> None:
        super().__init__(broker, "exact-subscriber")
        self.known: set[int] = set()
        self.got: list[int] = []

    def done(self) -> bool:
        return len(self.got) >= MESSAGES and not self.known

    def step(self, client: Raw) -> None:
        match client.next((Publish, Ack)):
            case Publish(payload=payload, packet_id=packet_id):
                if packet_id not in self.known and payload is not None:
                    self.known.add(packet_id)
                    self.got.append(int(payload))
                client.send(encode_ack(PUBREC, packet_id))
            case Ack(packet_id=packet_id):
                self.known.discard(packet_id)
                client.send(encode_ack(PUBCOMP, packet_id))


def test_messages_of_qos_2_arrive_exactly_once_and_in_order_over_kill_9(broker: BuiltIn) -> None:
    with Raw(broker).connect("exact-subscriber", clean=False) as client:
        client.subscribe("t", qos=2)
    publisher, subscriber = Publisher(broker), Subscriber(broker)
    try:
        publisher.start()
        subscriber.start()
        for kill_at in sorted(random.sample(range(10, MESSAGES - 10), ROUNDS)):
            until(partial(publisher.sent_up_to, kill_at), f"{kill_at} messages sent")
            broker.restart(signal.SIGKILL)
        until(lambda: publisher.done() and subscriber.done(), "every message is through")
    finally:
        publisher.stopped = subscriber.stopped = True
        broker.stop(signal.SIGKILL)
        publisher.join()
        subscriber.join()
    assert subscriber.got == list(range(MESSAGES))
