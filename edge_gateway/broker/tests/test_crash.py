"""Promise 1 of the gateway, as far as the broker keeps it: what was acknowledged survives `kill -9` at any instant."""

import contextlib
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_gateway.broker.packets import PINGREQ, PUBACK, Ack, Bare, Publish, encode_ack, encode_bare, encode_publish
from edge_gateway.broker.tests.brokers import BuiltIn, Closed, Raw

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
