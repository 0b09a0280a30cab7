"""Promise 4: no queue grows with time offline or with a slow peer.

Each test compares what a process keeps after some thousand events with what it keeps after several times as many. Resident
memory of CPython wanders by a few hundred kB, so `SLACK_MB` is allowed; what an unbounded queue would take stands in each test.
"""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from psutil import Process

from edge_gateway.broker.packets import Connect, encode_connect, encode_subscribe
from edgewire import board, topics
from edgewire.message import now_ms
from hedgerow.children import Child
from hedgerow.stack import Ports
from hil_tests.bench.burst import publish
from hil_tests.bench.cable import Cable
from hil_tests.bench.demo import twin_value
from hil_tests.bench.mqtt_client import MqttClient
from hil_tests.conftest import Site, counter, running_site

SLACK_MB = 3.0
ONE = "default/one"
UPDATE = topics.of_device(ONE, topics.UPDATE)


def resident_mb(child: Child) -> float:
    return float(Process(child.pid).memory_info().rss) / 2**20


def bytes_on_disk(site: Site) -> tuple[int, int]:
    """Of edgecore's database and of its write-ahead log."""
    database, log = (site.stack.folder / "edge" / name for name in ("edge.db", "edge.db-wal"))
    return database.stat().st_size, log.stat().st_size


async def report(site: Site, values: range, window: int = 100) -> None:
    """Report every value over four connections, each with that many unacknowledged at a time."""
    began = now_ms() - 600_000
    reports = [(UPDATE, board.report({"count": (str(v), began + v)}, f"e{v}")) for v in values]
    left = await asyncio.gather(*(publish(site.stack.ports.mqtt, reports[n::4], window=window) for n in range(4)))
    assert left == [[], [], [], []]


@asynccontextmanager
async def wired_site(folder: Path) -> AsyncIterator[tuple[Site, Cable]]:
    """The stack with a cable between gateway and cloud."""
    ports = Ports.any()
    cable = Cable("127.0.0.1", ports.cloud)
    await cable.start()
    try:
        async with running_site(folder, ports=ports, cloud_port=cable.port) as site:
            yield site, cable
    finally:
        await cable.cut()


async def test_nothing_grows_with_the_reports_made_while_the_cloud_is_away(tmp_path: Path) -> None:
    """A queue would hold 45,000 reports more at the second look: 8 MB if it kept their payloads only, 6 MB as rows in the
    database. 800 commits of two pages of 4 kB would be 6.5 MB of write-ahead log, if it only grew."""
    async with wired_site(tmp_path) as (site, cable):
        await cable.cut()
        await site.until("the node is away", lambda: not site.ready())
        await report(site, range(15_000))
        memory, (database, _) = resident_mb(site.stack.edgecore), bytes_on_disk(site)
        await report(site, range(15_000, 56_800))
        await report(site, range(56_800, 60_000), window=1)
        grown = resident_mb(site.stack.edgecore) - memory
        assert grown < SLACK_MB
        database_later, log = bytes_on_disk(site)
        assert database_later <= database + 65_536
        assert log <= 4.5e6  # at 1,000 pages SQLite takes it into the database and begins it anew
        await cable.restore()
        await site.until("the newest is in Kubernetes", lambda: site.reported("one") == 59_999)


@contextmanager
def client_that_never_reads(port: int) -> Iterator[None]:
    """Subscribes to all a device says and hears, at QoS 1."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(encode_connect(Connect("never-reads")))
        client.sendall(encode_subscribe(1, [("$hw/events/device/#", 1)]))
        assert client.recv(4), "no CONNACK"
        yield


async def test_a_subscriber_that_never_reads_costs_neither_memory_nor_others_their_service(site: Site) -> None:
    """50,000 reports, documents and results more would be 40 MB if they waited for it; the reports alone, at QoS 1, 14 MB."""
    port = site.stack.ports.mqtt
    with client_that_never_reads(port):
        await report(site, range(10_000))
        memory = resident_mb(site.stack.edgecore)
        flood = asyncio.create_task(report(site, range(10_000, 60_000)))
        served = 0
        while not flood.done():
            assert await asyncio.to_thread(twin_value, port, ONE, "count") is not None
            served += 1
        await flood
        grown = resident_mb(site.stack.edgecore) - memory
        assert grown < SLACK_MB
        assert served > 3
        await site.until("the newest is in Kubernetes", lambda: site.reported("one") == 59_999)
    said = (site.stack.folder / "logs" / "edgecore.log").read_text()
    assert "client reads too slowly, dropping QoS 0 messages client='never-reads'" in said
    assert "queue is full, dropping the oldest client='never-reads'" in said


async def test_a_frozen_gateway_costs_the_cloud_no_memory_and_hears_the_newest_wish_when_it_thaws(site: Site) -> None:
    """A Device of 8 kB: 1,500 edits of it more would be 12 MB if they waited for the node."""
    large = counter("one")
    large["spec"]["protocol"]["configData"] = {"note": "x" * 8_000}
    await site.cluster.apply([large])
    await site.until("the node has it", lambda: _settled(site))
    edgecore = site.stack.edgecore.pid
    assert edgecore is not None
    delta = topics.of_device(ONE, topics.DELTA)
    with MqttClient(site.stack.ports.mqtt) as device:
        await asyncio.to_thread(device.subscribe, delta)
        os.kill(edgecore, signal.SIGSTOP)
        try:
            await wish(site, range(500))
            memory = resident_mb(site.stack.cloudcore)
            await wish(site, range(500, 2_000))
            grown = resident_mb(site.stack.cloudcore) - memory
        finally:
            os.kill(edgecore, signal.SIGCONT)
        assert grown < SLACK_MB
        heard = await asyncio.to_thread(wishes_until, device, "1999")
        assert len(heard) < 5  # what was under way when it froze, and the newest


def wishes_until(device: MqttClient, newest: str) -> list[str]:
    """The desired values that a device hears, up to this one."""
    heard = [""]
    while heard[-1] != newest:
        heard.append(board.delta(device.messages.get(timeout=10)[1])["count"])
    return heard[1:]


async def wish(site: Site, values: range) -> None:
    for value in values:
        await site.cluster.set_desired(ONE, "count", str(value))


def _settled(site: Site) -> bool:
    view = site.cluster.devices[ONE]
    return view.spec.protocol.config_data != {} and site.state_of("one") == "True"
