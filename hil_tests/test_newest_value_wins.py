"""Promise 2: per property the newest source time wins, whatever the order of arrival; a replay changes nothing.

Values count up with their source times, so the newest is the largest. `merge.py`'s own tests have the rules in detail.
"""

import asyncio
import json
import os
import random
import signal
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from itertools import count

from edgewire import board, topics
from edgewire.message import now_ms
from hedgerow.stack import until
from hil_tests.bench.burst import Report, publish
from hil_tests.bench.demo import twin_value
from hil_tests.bench.mqtt_client import MqttClient
from hil_tests.conftest import Site

ONE, TWO = "default/one", "default/two"
BEGAN_MS = now_ms() - 3_600_000
CONNECTIONS = 3

_sentinels = count(1)


def report_of(device: str, value: int, at: int | None = None) -> Report:
    """A report whose source time is as new as its value is large, unless said otherwise."""
    payload = board.report({"count": (str(value), BEGAN_MS + (value if at is None else at))}, f"e{value}")
    return topics.of_device(device, topics.UPDATE), payload


async def let_everything_pass(site: Site) -> None:
    """Wait until what was reported before is in Kubernetes: a later report of the other device is.

    Twice, for the patches of two devices may be under way at once; the second is begun when the first is through.
    """
    for _ in range(2):
        value = next(_sentinels)
        await publish_until_acknowledged(site, [report_of(TWO, value)])  # the gateway may be about to start
        await site.until("the other device's later report", lambda least=value: site.reported("two") == least)  # type: ignore[misc]


async def publish_at_once(site: Site, reports: Sequence[Report]) -> list[Report]:
    """Share reports out among several connections; those without a PUBACK."""
    shares = [publish(site.stack.ports.mqtt, reports[n::CONNECTIONS], window=20) for n in range(CONNECTIONS)]
    return [report for share in await asyncio.gather(*shares) for report in share]


async def publish_until_acknowledged(site: Site, reports: Sequence[Report]) -> None:
    """The same through restarts of the gateway: what has no PUBACK is sent again, as MQTT's clients do."""
    left = list(reports)
    async with asyncio.timeout(20):
        while left:
            with suppress(OSError):
                left = await publish(site.stack.ports.mqtt, left, again=True)
            await asyncio.sleep(0.02)


async def kill(site: Site) -> None:
    """SIGKILL, and wait for the gateway's next process."""
    edgecore = site.stack.edgecore
    victim = edgecore.pid
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    await until(lambda: edgecore.pid not in (None, victim), lambda: "edgecore is not started again")


async def version(site: Site, device: str) -> str:
    return (await site.cluster.device(device)).metadata.resource_version


async def test_only_newer_reports_change_anything_whichever_connection_they_come_over(site: Site) -> None:
    document, sentinel = (topics.of_device(device, topics.DOCUMENT) for device in (ONE, TWO))

    def devices() -> list[str]:
        with ExitStack() as stack:
            listener, *senders = (stack.enter_context(MqttClient(site.stack.ports.mqtt)) for _ in range(4))
            listener.subscribe(document, sentinel)
            for turn, value in enumerate((5, 3, 9, 1, 7, 12, 9, 5, 12, 11)):
                assert senders[turn % 3].publish(*report_of(ONE, value))
            assert senders[0].publish(*report_of(TWO, next(_sentinels)))
            changes = []
            while (message := listener.messages.get(timeout=10))[0] == document:
                changes.append(json.loads(message[1])["twin"]["count"]["current"][board.REPORTED]["value"])
            return changes

    assert await asyncio.to_thread(devices) == ["5", "9", "12"]
    await let_everything_pass(site)
    assert site.reported("one") == 12


async def test_a_replay_changes_neither_twin_nor_kubernetes(site: Site) -> None:
    port = site.stack.ports.mqtt
    older, newest = report_of(ONE, 41), report_of(ONE, 42)
    assert await publish(port, [older, newest]) == []
    await let_everything_pass(site)
    before = await version(site, ONE)
    document, result, sentinel = (
        topics.of_device(ONE, topics.DOCUMENT),
        topics.of_device(ONE, topics.RESULT),
        topics.of_device(TWO, topics.RESULT),
    )
    with MqttClient(port) as listener:
        await asyncio.to_thread(listener.subscribe, document, result, sentinel)
        assert await publish(port, [newest, older] * 10, again=True) == []
        assert await publish(port, [newest, older, newest]) == []
        await let_everything_pass(site)
        heard = []
        while (message := await asyncio.to_thread(listener.messages.get, timeout=10))[0] != sentinel:
            heard.append(message)
    assert [topic for topic, _ in heard] == [result] * 23
    assert all(json.loads(payload)["twin"] == {} for _, payload in heard)
    assert await version(site, ONE) == before
    assert site.reported("one") == 42


async def test_source_times_count_across_the_gateways_death(site: Site) -> None:
    reports = [*(report_of(ONE, value) for value in (50, 100, 70)), report_of(ONE, 100, at=300)]
    assert await publish(site.stack.ports.mqtt, reports) == []
    await kill(site)
    await publish_until_acknowledged(site, [report_of(ONE, value) for value in (99, 200, 60, 100, 80)])
    assert await asyncio.to_thread(twin_value, site.stack.ports.mqtt, ONE, "count") == "100"
    await let_everything_pass(site)
    assert site.reported("one") == 100


async def test_after_every_shuffled_burst_the_newest_is_left(site: Site) -> None:
    for burst in range(1, 6):
        values = range(burst * 1000, burst * 1000 + 500)
        shuffled = random.sample(values, len(values)) + random.sample(values, 50)
        assert await publish_at_once(site, [report_of(ONE, value) for value in shuffled]) == []
        await let_everything_pass(site)
        found = site.cluster.devices[ONE].reported("count")
        assert found is not None
        assert (found.value, found.metadata["timestamp"]) == (str(values[-1]), str(BEGAN_MS + values[-1]))


async def test_a_burst_torn_by_the_gateways_death_leaves_the_newest(site: Site) -> None:
    for burst in range(1, 4):
        values = range(burst * 1000, burst * 1000 + 500)
        shuffled = random.sample(values, len(values))
        sending = asyncio.create_task(publish_at_once(site, [report_of(ONE, value) for value in shuffled]))
        await site.until("the burst has begun", lambda least=values[0]: site.reported("one") >= least)  # type: ignore[misc]
        await kill(site)
        left = await sending
        await publish_until_acknowledged(site, random.sample(left, len(left)))
        await let_everything_pass(site)
        assert site.reported("one") == values[-1]
