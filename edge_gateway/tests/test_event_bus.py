"""What EventBus does while the disk is slow. `hil_tests/test_event_bus.py` has its way with real brokers."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from edge_gateway import event_bus
from edge_gateway.broker.packets import Ack, Publish
from edge_gateway.broker.tests.desk import Desk
from edge_gateway.bus import Inbound
from edge_gateway.edge_core import EdgeCore
from edge_gateway.event_bus import EventBus
from edge_gateway.store.sqlite import SqliteStore
from edge_gateway.tests.test_store import until
from edgewire import topics

REPORT = topics.of_device("default/pump", topics.UPDATE)


class Report:
    """A PUBLISH of a client."""

    topic = REPORT

    def __init__(self, payload: bytes) -> None:
        self.payload: bytes | None = payload
        self.size = len(payload)
        self.acknowledged = False

    def ack(self) -> None:
        self.acknowledged = True


class Pausable:
    """A broker that knows whether it may read."""

    reading = True
    handler: Callable[[Inbound], None]

    def attach(self, handler: Callable[[Inbound], None], wants: Callable[[str], bool]) -> None:
        self.handler = handler

    def on_connected(self, connected: Callable[[], None]) -> None: ...

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> None: ...

    def wanted(self, topic: str) -> bool:
        return False

    def retained_topics(self, prefix: str) -> list[str]:
        return []

    def pause(self) -> None:
        self.reading = False

    def resume(self) -> None:
        self.reading = True


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "edge.db", retry_s=0.01, busy_s=0.01)
    yield store
    await store.close()


@pytest.fixture
def broker(store: SqliteStore) -> Pausable:
    broker = Pausable()
    EventBus(EdgeCore("edge1", wanted=broker.wanted, machine={}), store, broker).open()
    return broker


@pytest.fixture
def desk() -> Desk:
    """The built-in broker's core with a gateway behind it, and a client that listens to all of its topics."""
    desk = Desk()

    class Bus(Pausable):
        def attach(self, handler: Callable[[Inbound], None], wants: Callable[[str], bool]) -> None:
            desk.core.attach(handler, wants)

        def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> None:
            desk.core.router.publish(topic, payload, qos, retain)

    EventBus(EdgeCore("edge1", wanted=lambda topic: True, machine={}), desk.store, Bus()).open()
    return desk


def test_who_sends_nonsense_writes_no_lines_of_its_own_into_the_log(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    payload = json.dumps({"event_id": "1\nWARNING forged" + "x" * 10_000, "twin": {}}).encode()
    desk.connected("c").publish(topics.of_device("default/x\nWARNING forged", topics.UPDATE), payload)
    (line,) = [record.getMessage() for record in caplog.records if "< refused" in record.getMessage()]
    assert "\n" not in line
    assert len(line) < 1000


def test_a_device_with_a_name_that_no_answer_could_carry_is_none(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    client = desk.connected("c")
    client.subscribe("$hw/#")
    client.take()
    name = topics.of_device("default/" + "x" * 65_495, topics.UPDATE)
    client.publish(name, b"{}", packet_id=7)
    assert [type(packet) for packet in client.take()] == [Publish, Ack]
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@contextlib.contextmanager
def stalled(path: Path) -> Iterator[None]:
    """Nothing can be written meanwhile."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


async def test_clients_are_read_again_though_others_writes_are_the_last_to_be_durable(
    store: SqliteStore, broker: Pausable, tmp_path: Path
) -> None:
    with stalled(tmp_path / "edge.db"):
        store.write([("retained", "t", b"x")])
        for _ in range(event_bus.HIGH_WATER + 1):
            broker.handler(Report(b"{}"))
        assert not broker.reading
        for _ in range(2 * event_bus.LOW_WATER):
            store.write([("retained", "t", b"y")], lambda: None)
    await until(lambda: store.waiting() == 0)
    assert broker.reading


async def test_what_waits_for_the_disk_is_bounded_in_bytes_too(
    store: SqliteStore, broker: Pausable, tmp_path: Path
) -> None:
    reports = []
    with stalled(tmp_path / "edge.db"):
        store.write([("retained", "t", b"x")])
        while broker.reading:
            reports.append(Report(bytes(256 * 1024)))
            broker.handler(reports[-1])
            assert len(reports) < 100
        await asyncio.sleep(0)
        assert not any(report.acknowledged for report in reports)
    await until(lambda: broker.reading)
    await until(lambda: all(report.acknowledged for report in reports))
