"""Promise: what somebody reads from a pod makes no device's value wait for long, even on a line that it fills."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from edgewire import board, topics
from edgewire.streams import FORWARDS_LIMIT
from hedgerow.stack import Ports, free_port
from hil_tests.bench.cable import Cable
from hil_tests.bench.mqtt_client import MqttClient
from hil_tests.bench.port_forward import Forwarding, forwarding
from hil_tests.conftest import counter, counter_model
from hil_tests.test_pod_port_forward import server
from hil_tests.test_pods import Gateway

BYTES_PER_S = 24 * 1024
READERS = FORWARDS_LIMIT
FILLED_BYTES = 3 * BYTES_PER_S
SOON_S = 15.0
"""For a value. `STREAMS_WINDOW` takes three seconds on this line; what the streams may have under way without it takes 22."""
ACCEPTED = "jsonpath={.status.conditions[?(@.type=='Accepted')].status}"
COUNT = "jsonpath={.status.twins[0].reported.value}"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    """On a slow line to the cloud."""
    ports = Ports.any()
    cable = Cable("127.0.0.1", ports.cloud, bytes_per_s=BYTES_PER_S)
    await cable.start()
    gateway = Gateway(tmp_path, ports=ports, cloud_port=cable.port)
    try:
        await gateway.stack.start(mapper=False)
        yield gateway
    finally:
        await gateway.stack.stop()
        gateway.power_cut()
        await cable.cut()


class Readers:
    """They read what never ends."""

    def __init__(self) -> None:
        self.got = 0
        self.tasks: list[asyncio.Task[None]] = []

    async def read(self, forwarded: Forwarding, stack: AsyncExitStack) -> None:
        reader, writer = await forwarded.connect()
        stack.callback(writer.close)
        writer.write(b"zeros\n")
        self.tasks.append(asyncio.create_task(self._read_on(reader)))
        stack.callback(self.tasks[-1].cancel)

    async def _read_on(self, reader: asyncio.StreamReader) -> None:
        while content := await reader.read(65536):
            self.got += len(content)


@pytest.mark.timeout(180)
async def test_a_value_passes_connections_that_fill_the_line(gateway: Gateway) -> None:
    port, readers = free_port(), Readers()

    async def accepted() -> bool:
        await gateway.apply(counter_model(), counter("one"), ok=False)
        return "True" in await gateway.kubectl("get", "device", "one", "-o", ACCEPTED, ok=False)

    async def has_come() -> bool:
        return await gateway.kubectl("get", "device", "one", "-o", COUNT) == "7"

    def report() -> None:
        with MqttClient(gateway.stack.ports.mqtt) as mqtt:
            mqtt.publish(topics.of_device("default/one", topics.UPDATE), board.report({"count": ("7", 0)}))

    await gateway.until(accepted, "the gateway has the device")
    await gateway.apply(server(gateway.folder, port))
    await gateway.wait_ready("web")
    async with AsyncExitStack() as stack:
        forwarded = await stack.enter_async_context(forwarding(gateway.stack.kubeconfig, "web", port))
        for _ in range(READERS):
            await readers.read(forwarded, stack)
        await gateway.until(lambda: readers.got > FILLED_BYTES, "the line is full")
        before = readers.got
        async with asyncio.timeout(SOON_S):
            await asyncio.to_thread(report)
            await gateway.until(has_come, "the value is there")
        await gateway.until(lambda: readers.got > before, "the line is still full")
        assert not any(task.done() for task in readers.tasks)
