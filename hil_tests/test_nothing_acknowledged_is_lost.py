"""Promise 1: a report that got its PUBACK survives `kill -9` at any instant, and reaches Kubernetes."""

import asyncio
import contextlib
import os
import random
import signal
import threading

import pytest

from edgewire import board, topics
from hedgerow.children import Child
from hil_tests.bench.mqtt_client import MqttClient
from hil_tests.conftest import Site

UPDATE = topics.of_device("default/one", topics.UPDATE)


class Reporter:
    """Counts up in a thread, one report at a time, through every restart; remembers the last one acknowledged."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ended = threading.Event()
        self.sent = self.acknowledged = 0
        self.thread = threading.Thread(target=self._run, name="reporter")

    def end(self) -> None:
        self._ended.set()
        self.thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(OSError, AssertionError, RuntimeError, ValueError), MqttClient(self._port) as mqtt:
                while not self._ended.is_set():
                    self.sent += 1
                    if not mqtt.publish(UPDATE, board.report({"count": (str(self.sent), 0)}), deadline_s=0.5):
                        break
                    self.acknowledged = self.sent


@pytest.mark.parametrize("victim", ["edgecore", "cloudcore"])
async def test_kill_9_under_load_loses_no_acknowledged_report(site: Site, victim: str) -> None:
    child: Child = getattr(site.stack, victim)
    reporter = Reporter(site.stack.ports.mqtt)
    reporter.thread.start()
    try:
        for _ in range(4):
            before = reporter.acknowledged
            await site.until("reports reach Kubernetes", lambda least=before: site.reported("one") > least)  # type: ignore[misc]
            await asyncio.sleep(random.uniform(0, 0.2))  # the instant is what the test varies, not what it waits for
            if child.pid is not None:
                os.kill(child.pid, signal.SIGKILL)
    finally:
        await asyncio.to_thread(reporter.end)
    assert reporter.acknowledged > 0
    await site.until("the last acknowledged report", lambda: site.reported("one") >= reporter.acknowledged)
    assert site.reported("one") <= reporter.sent
