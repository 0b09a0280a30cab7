"""The broker as a service: real sockets in one event loop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from edge_gateway.broker.decoder import Decoder
from edge_gateway.broker.errors import BrokerNotStarted, InvalidTopic
from edge_gateway.broker.inbox import Inbound
from edge_gateway.broker.limits import Limits
from edge_gateway.broker.packets import (
    PINGREQ,
    PINGRESP,
    PUBACK,
    PUBREC,
    Ack,
    Bare,
    Connack,
    Connect,
    Packet,
    Publish,
    Suback,
    Will,
    encode_ack,
    encode_bare,
    encode_connect,
    encode_publish,
    encode_subscribe,
)
from edge_gateway.broker.passwords import hash_password
from edge_gateway.broker.server import Broker
from edge_gateway.broker.tests.brokers import BuiltIn, Raw
from edge_gateway.broker.tests.desk import HeldStore
from edge_gateway.broker.users import Users, full_user
from edge_gateway.store.memory import MemoryStore
from edge_gateway.store.sqlite import SqliteStore

DEADLINE_S = 10.0
RECEIVE_BUFFER = (socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
REPORT = "$hw/events/device/default/s1/twin/update"


class Peer:
    """A client on asyncio streams, packet by packet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._decoder = Decoder(1 << 24)
        self._packets: list[Packet] = []

    async def send(self, *packets: bytes) -> None:
        self.writer.write(b"".join(packets))
        async with asyncio.timeout(DEADLINE_S):
            await self.writer.drain()

    async def next(self, kind: Any = None) -> Any:
        """The next packet; with `kind` the next of that class, what comes before it is left out."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                while self._packets:
                    packet = self._packets.pop(0)
                    if kind is None or isinstance(packet, kind):
                        return packet
                data = await self.reader.read(65_536)
                assert data, "the broker closed the connection"
                self._packets += self._decoder.feed(data)

    async def nothing(self, seconds: float = 0.1) -> bool:
        """Whether nothing comes for a while."""
        try:
            async with asyncio.timeout(seconds):
                return await self.reader.read(1) == b"never"
        except TimeoutError:
            return True

    async def subscribe(self, *filters: str, qos: int = 0) -> None:
        await self.send(encode_subscribe(1, [(name, qos) for name in filters]))
        await self.next(Suback)

    async def alive(self) -> bool:
        """Whether the broker answers it."""
        await self.send(encode_bare(PINGREQ))
        return bool(await self.next(Bare) == Bare(PINGRESP))

    async def wait_closed(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            with contextlib.suppress(ConnectionResetError):
                while await self.reader.read(65_536):
                    pass


class Bench:
    """A running broker and its clients."""

    def __init__(self) -> None:
        self.peers: list[Peer] = []

    @contextlib.asynccontextmanager
    async def running(self, broker: Broker) -> AsyncIterator[Broker]:
        ready = asyncio.Event()
        task = asyncio.create_task(broker.run(ready))
        try:
            async with asyncio.timeout(DEADLINE_S):
                await ready.wait()
            yield broker
        finally:
            for peer in self.peers:
                peer.writer.transport.abort()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def peer(self, broker: Broker, client_id: str | None = None, **fields: Any) -> Peer:
        peer = Peer(*await asyncio.open_connection("127.0.0.1", broker.port))
        self.peers.append(peer)
        if client_id is not None:
            await peer.send(encode_connect(Connect(client_id, **fields)))
            assert (await peer.next()).code == 0
        return peer


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110, what it waits for knows of no event
            await asyncio.sleep(0.005)


def any_topic(topic: str) -> bool:
    return True


async def test_a_payload_of_10_mb_is_told_to_the_handler_and_harms_nobody(bench: Bench) -> None:
    given: list[Inbound] = []
    broker = Broker(MemoryStore(), port=0)
    broker.attach(given.append, any_topic)
    async with bench.running(broker):
        big, other = await bench.peer(broker, "big"), await bench.peer(broker, "other")
        sending = asyncio.create_task(big.send(encode_publish(REPORT, bytes(10_000_000), 1, True, packet_id=1)))
        while not given:
            assert await other.alive()
        await sending
        assert (given[0].topic, given[0].payload, given[0].size) == (REPORT, None, 10_000_000)
        given[0].ack()
        assert await big.next() == Ack(PUBACK, 1)
        assert await big.alive()
        assert broker.retained_topics("") == []


async def test_a_puback_is_withheld_until_the_store_commits(bench: Bench) -> None:
    store = HeldStore()
    broker = Broker(store, port=0)
    async with bench.running(broker):
        client = await bench.peer(broker, "c")
        await client.send(encode_publish("t", b"x", 1, True, packet_id=1))
        await until(lambda: store.held)
        assert await client.alive()
        store.commit()
        assert await client.next() == Ack(PUBACK, 1)


async def test_a_puback_means_that_the_message_is_on_the_disk(bench: Bench, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "db")
    broker = Broker(store, port=0)
    async with bench.running(broker):
        client = await bench.peer(broker, "c")
        await client.send(encode_publish("t", b"x", 1, True, packet_id=1))
        assert await client.next() == Ack(PUBACK, 1)
        reader = SqliteStore(tmp_path / "db")
        assert list(reader.read("retained")) == [("t", b"\x01x")]
        await reader.close()
    await store.close()


async def test_a_report_of_qos_2_and_its_packet_id_share_a_commit_before_pubrec(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path / "db")
    broker = Broker(store, port=0)
    broker.attach(lambda inbound: store.write([("twin", "default/s1", b"24")], inbound.ack), any_topic)
    commits: list[set[str]] = []
    commit = store._commit

    def recorded(group: dict[tuple[str, str], bytes | None]) -> None:
        commits.append({table for table, _ in group})
        commit(group)

    async with bench.running(broker):
        client = await bench.peer(broker, "s1", clean=False)
        monkeypatch.setattr(store, "_commit", recorded)
        await client.send(encode_publish("warm", b"up", 1, packet_id=1), encode_publish(REPORT, b"{}", 2, packet_id=7))
        assert [await client.next(), await client.next()] == [Ack(PUBACK, 1), Ack(PUBREC, 7)]
        assert [tables for tables in commits if "received" in tables] == [{"received", "twin"}]
    await store.close()


async def test_the_handler_may_acknowledge_later_from_anywhere(bench: Bench) -> None:
    broker = Broker(MemoryStore(), port=0)
    loop = asyncio.get_running_loop()

    def later(inbound: Inbound) -> None:
        loop.call_later(0.01, inbound.ack)

    broker.attach(later, any_topic)
    async with bench.running(broker):
        client = await bench.peer(broker, "c")
        await client.send(*(encode_publish(REPORT, b"x", 1, packet_id=packet_id) for packet_id in range(1, 101)))
        assert [(await client.next()).packet_id for _ in range(100)] == list(range(1, 101))


async def test_the_gateway_publishes_and_asks_who_wants_what(bench: Bench) -> None:
    broker = Broker(MemoryStore(), port=0)
    async with bench.running(broker):
        client = await bench.peer(broker, "c", clean=False)
        assert not broker.wanted(REPORT)
        await client.subscribe("$hw/#", qos=1)
        assert broker.wanted(REPORT)
        broker.publish(REPORT, b"1")
        broker.publish(REPORT, b"2", qos=1, retain=True)
        assert [(await client.next()).payload for _ in range(2)] == [b"1", b"2"]
        assert broker.retained_topics("$hw/events/device/default/") == [REPORT]
        assert broker.retained_topics("$hw/events/device/defaults/") == []
        client.writer.close()
        await until(lambda: broker.wanted(REPORT))
        broker.publish(REPORT, b"", retain=True)
        assert broker.retained_topics("") == []


@pytest.mark.parametrize("topic", ["", "a/+", "#", "a\0", "x" * 70_000])
def test_the_gateway_cannot_publish_to_what_is_no_topic(topic: str) -> None:
    with pytest.raises(InvalidTopic):
        Broker(MemoryStore()).publish(topic, b"")


async def test_nothing_is_read_while_the_broker_is_paused(bench: Bench) -> None:
    given: list[Inbound] = []
    broker = Broker(MemoryStore(), port=0)
    broker.attach(given.append, any_topic)
    async with bench.running(broker):
        early = await bench.peer(broker, "early")
        broker.pause()
        late = await bench.peer(broker)
        await late.send(encode_connect(Connect("late")), encode_publish(REPORT, b"late"))
        await early.send(encode_publish(REPORT, b"early"))
        assert await early.nothing()
        assert given == []
        broker.resume()
        assert await late.next() == Connack(False, 0)
        await until(lambda: len(given) == 2)
        assert {inbound.payload for inbound in given} == {b"early", b"late"}


async def test_a_client_that_does_not_read_costs_bounded_memory_and_delays_nobody(bench: Bench) -> None:
    limits = Limits(send_buffer=50_000, queue=20)
    broker = Broker(MemoryStore(), port=0, limits=limits)
    async with bench.running(broker):
        slow, fast = await bench.peer(broker, "slow"), await bench.peer(broker, "fast")
        slow.writer.get_extra_info("socket").setsockopt(*RECEIVE_BUFFER)
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await slow.send(encode_subscribe(1, [("t/#", 1)]))
        await until(lambda: broker.wanted("t/0"))
        await fast.subscribe("t/#", qos=0)
        for number in range(2000):
            broker.publish("t/0", b"%04d" % number + bytes(10_000), qos=0)
            assert (await fast.next(Publish)).payload[:4] == b"%04d" % number
        for number in range(100):
            broker.publish("t/1", b"%04d" % number + bytes(10_000), qos=1)
            assert (await fast.next(Publish)).payload[:4] == b"%04d" % number
        slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await slow.next(Suback)
        newest = b""
        unimportant = 0
        while newest[:4] != b"0099":
            packet = await slow.next(Publish)
            unimportant += packet.qos == 0
            if packet.qos:
                await slow.send(encode_ack(PUBACK, packet.packet_id))
                assert packet.payload > newest
                newest = packet.payload
        # The system's socket buffers take some megabytes; the broker itself held no more than its limits.
        assert unimportant < 1500


async def test_a_client_that_never_reads_its_answers_is_closed(bench: Bench) -> None:
    broker = Broker(MemoryStore(), port=0, limits=Limits(send_buffer=1000))
    async with bench.running(broker):
        client = await bench.peer(broker, "c", will=Will("gone", b"x", 0, True))
        client.writer.get_extra_info("socket").setsockopt(*RECEIVE_BUFFER)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        sent = 0
        with contextlib.suppress(ConnectionError):
            while not broker.retained_topics(""):
                await client.send(encode_bare(PINGREQ) * 10_000)
                sent += 20_000
                assert sent < 20_000_000, "more than the system's socket buffers take"
        await until(lambda: broker.retained_topics("") == ["gone"])


@pytest.mark.parametrize("qos", [0, 1])
async def test_thousands_of_retained_messages_pass_through_a_small_buffer(bench: Bench, qos: int) -> None:
    broker = Broker(MemoryStore(), port=0, limits=Limits(send_buffer=20_000, window=10))
    for number in range(2000):
        broker.publish(f"t/{number:04}", bytes(5000), qos=1, retain=True)
    async with bench.running(broker):
        client = await bench.peer(broker, "c")
        await client.subscribe("t/#", qos=qos)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(0.05)  # time to fill the system's buffers: the broker must wait for room in its own
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for number in range(2000):
            packet = await client.next(Publish)
            assert packet.topic == f"t/{number:04}"
            if qos:
                await client.send(encode_ack(PUBACK, packet.packet_id))


async def test_passwords_are_checked_while_others_are_served(bench: Bench) -> None:
    users = Users([full_user("boss", hash_password("boss"))])
    broker = Broker(MemoryStore(), port=0, users=users)
    async with bench.running(broker):
        for _ in range(2):  # the second time the password is known
            client = await bench.peer(broker, "boss", user="boss", password=b"boss")
            assert await client.alive()
        wrong = await bench.peer(broker)
        await wrong.send(encode_connect(Connect("c", user="boss", password=b"no")), encode_bare(PINGREQ))
        assert await wrong.next() == Connack(False, 5)
        await wrong.wait_closed()
        assert await client.alive()


async def test_an_address_in_use_is_named(bench: Bench) -> None:
    async with bench.running(Broker(MemoryStore(), port=0)) as broker:
        with pytest.raises(BrokerNotStarted, match=f"127.0.0.1:{broker.port}"):
            await Broker(MemoryStore(), port=broker.port).run(asyncio.Event())


async def test_a_stopped_broker_lets_go_of_its_port_and_its_clients_and_keeps_their_sessions(bench: Bench) -> None:
    store = MemoryStore()
    async with bench.running(Broker(store, port=0)) as broker:
        client = await bench.peer(broker, "c", clean=False, will=Will("t", b"will", 1, False))
        await client.subscribe("t", qos=1)
        broker.publish("t", b"last words", qos=1)
    await client.wait_closed()
    async with bench.running(Broker(store, port=broker.port)) as again:
        client = await bench.peer(again)
        await client.send(encode_connect(Connect("c", clean=False)))
        assert await client.next() == Connack(True, 0)
        assert (await client.next()).payload == b"last words"
        assert await client.alive()


async def test_connections_above_the_limit_are_closed_at_once(bench: Bench) -> None:
    async with bench.running(Broker(MemoryStore(), port=0, limits=Limits(connections=1))) as broker:
        first = await bench.peer(broker, "a")
        await (await bench.peer(broker)).wait_closed()
        assert await first.alive()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_thousand_idle_clients_need_less_than_30_mb(tmp_path: Path) -> None:
    broker = BuiltIn(tmp_path)
    clients = []

    def resident_kb() -> int:
        lines = Path(f"/proc/{broker.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

    try:
        broker.start()
        before = resident_kb()
        for number in range(1000):
            client = Raw(broker)
            clients.append(client)
            client.connect(f"board-{number}", keepalive=60, will=Will(f"t/{number}", b"offline", 1, False))
            client.subscribe(f"$hw/events/device/default/d{number}/twin/update/delta")
        assert resident_kb() - before < 30_000
    finally:
        for client in clients:
            client.drop()
        broker.stop()
