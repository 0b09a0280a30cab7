"""Clients that mean ill, against the broker as a process: its memory stays bounded, others are served, its log is short.

A bystander publishes to itself at QoS 1 all the while; each of its round trips has a deadline.
"""

import contextlib
import random
import resource
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_gateway.broker.packets import (
    PUBACK,
    Connect,
    Publish,
    Suback,
    Will,
    encode_ack,
    encode_connect,
    encode_publish,
    encode_subscribe,
)
from edge_gateway.broker.tests.authority import Authority
from edge_gateway.broker.tests.brokers import DEADLINE_S, BuiltIn, Closed, Raw, free_port, until

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")

MB = 1024 * 1024


class Bystander:
    """A client with round trips of its own, in a thread, for as long as its `with` block lasts."""

    def __init__(self, broker: BuiltIn) -> None:
        self.trips = 0
        self._client = Raw(broker).connect(f"bystander-{random.random()}")
        self._client.subscribe("bystander")
        self._client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            while not self._stop.wait(0.005):
                self._client.send(encode_publish("bystander", b"%d" % self.trips, 1, packet_id=1))
                packet = self._client.next(Publish)
                assert packet.payload == b"%d" % self.trips
                self._client.send(encode_ack(PUBACK, packet.packet_id))
                self.trips += 1
        except (OSError, Closed, AssertionError) as error:
            self._failure = error

    def __enter__(self) -> "Bystander":
        self._thread.start()
        until(lambda: self.trips or self._failure, "the bystander's first round trip")
        return self

    def __exit__(self, *why: object) -> None:
        before = self.trips
        if why[0] is None:
            until(lambda: self.trips > before + 1 or self._failure, "round trips go on")
        self._stop.set()
        self._thread.join(DEADLINE_S)
        self._client.drop()
        if why[0] is None:
            assert self._failure is None, repr(self._failure)


class Target:
    """The broker, and what its memory was before."""

    def __init__(self, broker: BuiltIn, tls_port: int) -> None:
        self.broker = broker
        self.tls_port = tls_port
        self._clients: list[Raw] = []
        with Raw(broker).connect("warm-up") as client:
            client.subscribe("t")
        self._before = self._resident()

    def raw(self, client_id: str | None = None, **fields: object) -> Raw:
        client = Raw(self.broker)
        self._clients.append(client)
        return client if client_id is None else client.connect(client_id, **fields)

    def grown(self) -> float:
        """MB of resident memory more than before, at the highest so far."""
        return (self._resident() - self._before) / MB

    def _resident(self) -> int:
        lines = Path(f"/proc/{self.broker.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

    def close(self) -> None:
        for client in self._clients:
            client.drop()


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    authority, port = Authority(tmp_path / "ca"), free_port()
    pair = authority.server()
    tls = {"port": port, "certificate": str(pair.certificate), "key": str(pair.key)}
    broker = BuiltIn(tmp_path, settings={"tls": tls})
    try:
        broker.start()
        made = Target(broker, port)
        yield made
        made.close()
        with Raw(broker).connect("afterwards") as client:
            client.publish("t")
    finally:
        broker.stop()
    assert "Traceback" not in broker.log()
    assert len(broker.log().splitlines()) < 10_000, "a hostile client must not fill the disk with the log"


@pytest.fixture(scope="module", autouse=True)
def files() -> None:
    """Thousands of sockets, here and in the broker."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))


CONNECT = encode_connect(Connect("c"))


def bomb(kind: int, length: int) -> bytes:
    """The header of a packet that says it is `length` bytes long."""
    made = bytearray([kind])
    while True:
        length, low = divmod(length, 128)
        made.append(low | 128 if length else low)
        if not length:
            return bytes(made)


@pytest.mark.parametrize(
    "said",
    [
        CONNECT[:-1],
        bomb(0x10, 268_435_455) + bytes(20_000),
        CONNECT + bomb(0x82, 268_435_455) + bytes(100_000),
        CONNECT + bytes.fromhex("30 ffffffff7f") + bytes(100_000),
        CONNECT + bytes.fromhex("30 06 0004 c328 6161"),
        CONNECT + bytes.fromhex("82 09 0001 0004 eda080 61 00"),
        CONNECT + bytes.fromhex("30 02 ffff"),
        CONNECT + encode_publish("/" * 60_000, b""),
        CONNECT + bytes([0xF0]) * 1000,
        random.Random(1).randbytes(100_000),
    ],
    ids=[
        *(
            "cut off",
            "long CONNECT",
            "long SUBSCRIBE",
            "length of 5 bytes",
            "bad UTF-8",
            "a surrogate",
            "short",
            "levels",
        ),
        *("type 15", "noise"),
    ],
)
def test_broken_packets_close_their_connection_and_no_other(target: Target, said: bytes) -> None:
    with Bystander(target.broker):
        for _ in range(50):
            client = target.raw()
            with contextlib.suppress(OSError):
                client.send(said)
                if said != CONNECT[:-1]:
                    client.wait_closed()
            client.drop()
    assert target.grown() < 8


def test_endless_payloads_are_not_kept(target: Target) -> None:
    with Bystander(target.broker):
        clients = [target.raw(f"c{number}") for number in range(4)]
        for client in clients:
            client.send(bomb(0x30, 268_435_455) + b"\x00\x01t")
        for _ in range(40):
            for client in clients:
                client.send(bytes(MB))
    assert target.grown() < 16


def test_packets_that_never_end_are_kept_up_to_a_limit_of_all_clients(target: Target) -> None:
    """300 clients send 250 of the 256 KiB that a message may have; those beyond 32 MiB in all are closed."""
    with Bystander(target.broker):
        for number in range(300):
            client = target.raw(f"c{number}")
            with contextlib.suppress(OSError):
                client.send(bomb(0x30, 262_000) + b"\x00\x01t" + bytes(250_000))
        until(lambda: "wait for their end" in target.broker.log(), "somebody is closed")
    assert target.grown() < 100


def test_100_000_retained_topics_are_bounded_and_said_once(target: Target) -> None:
    with Bystander(target.broker):
        client = target.raw("c")
        for start in range(0, 100_000, 1000):
            client.send(*(encode_publish(f"t/{number}", bytes(100), 0, True) for number in range(start, start + 1000)))
        client.publish("end", b"x")
    assert target.grown() < 60
    assert target.broker.log().count("not retained") == 1


def test_large_retained_messages_are_bounded(target: Target) -> None:
    """100 MiB are offered, 64 MiB kept."""
    with Bystander(target.broker):
        client = target.raw("c")
        for number in range(400):
            client.send(encode_publish(f"t/{number}", bytes(256 * 1024), 0, True))
        client.publish("end", b"x")
    assert "not retained" in target.broker.log()
    assert target.grown() < 160


def test_100_000_subscriptions_and_deep_wildcards_are_bounded(target: Target) -> None:
    """Of 100 clients, in about 32 MiB; each filter has a hundred levels of its own, or wildcards at places of its own."""
    deep = "/".join("x" for _ in range(100))
    places = random.Random(1)
    wild = ["/".join(places.choice("+x") for _ in range(100)) for _ in range(500)]
    with Bystander(target.broker):
        refused = 0
        for number in range(100):
            client = target.raw(f"c{number}")
            own = [f"{number}/{at}/{deep}" for at in range(500)] + wild
            for start in range(0, 1000, 200):
                client.send(encode_subscribe(1, [(name, 1) for name in own[start : start + 200]]))
                refused += client.next(Suback).codes.count(0x80)
        for number in range(20):
            client.publish(deep, b"%d" % number)
    assert refused > 10_000
    assert target.grown() < 60


def test_a_thousand_wildcards_over_20_000_retained_topics_delay_nobody(target: Target) -> None:
    publisher, greedy = target.raw("p"), target.raw("greedy")
    for start in range(0, 20_000, 1000):
        publisher.send(*(encode_publish(f"t/{n}/a/b", b"x", 0, True) for n in range(start, start + 1000)))
    publisher.publish("end")
    with Bystander(target.broker) as bystander:
        for turn in range(5):
            greedy.send(encode_subscribe(1, [(f"+/+/a/+/{'+/' * turn}{number}", 0) for number in range(200)]))
            greedy.next(Suback)
        greedy.send(encode_subscribe(1, [("#", 0)] * 10_000))
        greedy.next(Suback)
        before = bystander.trips
        until(lambda: bystander.trips > before + 20, "round trips go on")
    assert target.grown() < 40


def test_a_flood_of_subscriptions_delays_nobody(target: Target) -> None:
    with Bystander(target.broker):
        client = target.raw("c")
        packets = [encode_subscribe(1, [(f"f/{n}/{at}/+/#", 0) for at in range(1000)]) for n in range(3)]
        for _ in range(20):
            client.send(*packets)
            for _ in packets:
                client.next(Suback)
    assert target.grown() < 30
    assert target.broker.log().count("subscription refused") == 40  # one line a packet


def test_slow_readers_are_bounded(target: Target) -> None:
    """100 clients never read 50 MB of QoS 0 and 1 each."""
    with Bystander(target.broker):
        for number in range(100):
            client = target.raw(f"slow-{number}")
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.subscribe("t", "u", qos=number % 2)
        publisher = target.raw("p")
        for _ in range(50):
            publisher.send(*(encode_publish("t", bytes(10_000), 0) for _ in range(100)))
        for number in range(500):
            publisher.publish("u", bytes(10_000), packet_id=number + 1)
    assert target.grown() < 100


def test_clients_that_never_acknowledge_are_bounded_together(target: Target) -> None:
    """Each of 60 sends itself 8 MiB, 480 MiB in all, and keeps to reading; the bystander's messages are not dropped."""
    with Bystander(target.broker):
        for number in range(60):
            client = target.raw(f"c{number}")
            client.subscribe(f"t/{number}")
            for at in range(32):
                client.send(encode_publish(f"t/{number}", bytes([at]) * 256 * 1024, 1, packet_id=at + 1))
            client.send(encode_subscribe(2, [("end", 0)]))
            client.next(Suback)
    assert target.grown() < 160
    assert "queue is full" in target.broker.log()


def test_a_thousand_half_open_connections_leave_room_for_others(target: Target) -> None:
    """Some say nothing, some begin a CONNECT, some a TLS handshake; all are gone after the 10 s that CONNECT may take."""
    with Bystander(target.broker):
        for number in range(1000):
            client = Raw(target.broker, target.tls_port if number % 3 == 2 else None)
            target._clients.append(client)
            client.send((b"", CONNECT[:5], b"\x16\x03\x01\x02\x00\x01")[number % 3])
        with Raw(target.broker).connect("late") as late:
            late.publish("t")
        assert target.grown() < 60
        target._clients[-1].socket.settimeout(2 * DEADLINE_S)
        assert target._clients[-1].wait_closed() == []
        until(lambda: target.broker.log().count("no CONNECT in time") == 1000, "all are closed", 15)


def test_a_connect_byte_by_byte_is_taken(target: Target) -> None:
    with Bystander(target.broker):
        clients = [target.raw() for _ in range(50)]
        for clients_number, client in enumerate(clients):
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in encode_connect(Connect(f"slow-{clients_number}")):
                client.send(bytes([byte]))
        for client in clients:
            assert client.next().code == 0


def test_a_storm_of_takeovers_leaves_one_session(target: Target) -> None:
    with Bystander(target.broker):
        for number in range(500):
            client = target.raw("same", clean=number % 2 == 0, will=Will("t", bytes(1000), 1, True))
            client.subscribe(f"t/{number}")
        client.publish("t", b"still here")
        for other in target._clients[:-1]:
            other.wait_closed()
    assert target.grown() < 16


def test_who_connects_and_goes_a_thousand_times_leaves_nothing(target: Target) -> None:
    with Bystander(target.broker):
        for number in range(1000):
            client = Raw(target.broker)
            client.send(encode_connect(Connect(f"c{number}")), encode_subscribe(1, [(f"t/{number}/+", 1)]))
            client.drop()
    assert target.grown() < 16
