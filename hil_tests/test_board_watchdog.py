"""The firmware's watchdog on the bench's board: it bites what hangs, and nothing that waits for somebody else."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from device_fw.tools.errors import FirmwareError
from hil_tests.bench import board_firmware
from hil_tests.bench.broker import BenchBroker
from hil_tests.bench.unix_board import Unavailable, UnixBoard
from hil_tests.conftest import missing

NAME = "default/b1"
D = f"$hw/events/device/{NAME}/"
COMES_S = 30.0
HEAP_KB = 160  # with the emulated hardware, which is no part of a board's heap
CONFIG: dict[str, Any] = {
    "name": NAME,
    "board": "unix",
    "timeout_ms": 4000,
    "watchdog_ms": 2000,
    "properties": {
        "level": {"type": "float", "driver": "simulated", "reading": "value", "interval_ms": 200},
    },
}

# In the place of the simulated sensor: it hangs at its twentieth reading, once.
HANGING = b"""
import os

class Driver:
    READINGS = {"value": ("float", "", 3)}
    OUTPUTS = ()
    OPTIONS = {}
    INTERVAL_MS = 200
    reads = 0

    def __init__(self, buses, options):
        pass

    def start(self):
        return 0

    def read(self):
        self.reads += 1
        if self.reads == 20 and "hung" not in os.listdir():
            open("hung", "w").close()
            while True:
                pass
        return {"value": float(self.reads)}
"""


@pytest.fixture
def board(tmp_path: Path) -> Iterator[UnixBoard]:
    try:
        made = UnixBoard(tmp_path / "board", heap_kb=HEAP_KB)
    except Unavailable as error:
        missing(str(error))
        raise
    yield made
    made.close()


def files(instead: Mapping[str, bytes] | None = None, **config: object) -> dict[str, bytes]:
    try:
        return board_firmware.files({**CONFIG, **config}, instead)
    except FirmwareError as error:
        missing(str(error))
        raise


def test_a_sensor_that_hangs_costs_a_reset_and_the_board_reports_again(
    board: UnixBoard, bench_broker: BenchBroker
) -> None:
    hanging = {"device_fw/drivers/simulated.py": HANGING}
    board.push(files(hanging, host=bench_broker.host, port=bench_broker.port))
    board.power_on()
    online = re.escape(D) + 'state/update .*"online"'
    bench_broker.expect(online, COMES_S)
    bench_broker.expect('"offline"', COMES_S)  # the last will: it hangs, and is reset
    bench_broker.expect(online, COMES_S)
    bench_broker.expect(re.escape(D) + 'twin/update .*"level"', COMES_S)


async def test_a_broker_that_never_answers_is_no_reason_for_a_reset(board: UnixBoard) -> None:
    heard = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await asyncio.to_thread(board.push, files(host="127.0.0.1", port=port))
        board.power_on()
        async with asyncio.timeout(COMES_S):
            await heard.wait()
        said = await asyncio.to_thread(board.expect, "(event=started.*)(?s:.)*?reason='no CONNACK'", COMES_S)
        assert said[0].count("event=started") == 1
