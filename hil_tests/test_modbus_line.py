"""The mapper on a serial line: units that take turns, one that is dead, one write for all of them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from msgspec import json

from edgewire import topics
from hil_tests.bench.rtu_meter import HOLDING, RtuMeters
from mappers.health import State
from mappers.mapped import Output, Report
from mappers.mapper import Mapper
from mappers.modbus import Modbus
from mappers.plan import Settings
from mappers.poller import Poller

BAUD = 38400
FAST = Settings(collect_cycle_s=0.05, attempts=2, probe_limit_s=0.2)
MODEL = {"metadata": {"name": "m"}, "spec": {"properties": [{"name": "p", "type": "INT", "accessMode": "ReadWrite"}]}}


class Line:
    """The mapper's devices on a line, and what is told of them."""

    def __init__(self, meters: RtuMeters, units: dict[str, int]) -> None:
        self.mapper = Mapper(Modbus(), FAST)
        self.states: dict[str, str] = {}
        self.values: dict[str, str] = {}
        self.poller = Poller(self.mapper, self._told)
        for name, slave_id in units.items():
            keys = {"serialPort": meters.pty.path, "baudRate": BAUD, "slaveID": slave_id, "timeout": 100}
            visitor = {"protocolName": "modbus", "configData": {"register": "HoldingRegister", "offset": 9}}
            spec = {
                "deviceModelRef": {"name": "m"},
                "protocol": {"protocolName": "modbus", "configData": keys},
                "properties": [{"name": "p", "visitors": visitor}],
            }
            device = {"metadata": {"name": name, "namespace": "default", "uid": name}, "spec": spec}
            self.say(topics.mapper_device("modbus", f"default/{name}"), {"device": device, "model": MODEL})
        self.say(topics.mapper_index("modbus"), {"devices": [f"default/{name}" for name in units]})

    def say(self, topic: str, content: Any) -> None:
        self._told(
            [e for e in self.mapper.received(topic, json.encode(content), time.monotonic(), 0) if isinstance(e, Output)]
        )
        self.poller.follow()

    def desire(self, name: str, value: str) -> None:
        self.say(topics.of_device(f"default/{name}", topics.DELTA), {"delta": {"p": value}})

    def _told(self, outputs: Sequence[Output]) -> None:
        for output in outputs:
            name = output.device.partition("/")[2]
            if isinstance(output, State):
                self.states[name] = output.state
            elif isinstance(output, Report):
                self.values[name] = output.values["p"][0]


@pytest.fixture
async def meters() -> AsyncIterator[RtuMeters]:
    meters = RtuMeters(BAUD, moving=False)
    try:
        yield meters
    finally:
        meters.close()


@contextlib.asynccontextmanager
async def serving(line: Line) -> AsyncIterator[Line]:
    task = asyncio.create_task(line.poller.run(asyncio.Event()))
    try:
        yield line
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_units_of_a_line_take_turns_and_a_dead_one_goes_offline_alone(meters: RtuMeters) -> None:
    async with serving(Line(meters, {"one": 1, "two": 2})) as line:
        await until(lambda: line.values == {"one": "1009", "two": "2009"})
        meters.faults[1].silent = True
        await until(lambda: line.states["one"] == "offline")
        for n in range(3):
            meters.tables[2][HOLDING][9] = n
            await until(lambda n=n: line.values["two"] == str(n))  # type: ignore[misc]
        assert line.states["two"] == "online"
        meters.faults[1].silent = False
        await until(lambda: line.states["one"] == "online")
    assert meters.pty.collisions == 0


async def test_a_value_desired_of_unit_0_is_written_to_all_and_reported_as_written(meters: RtuMeters) -> None:
    async with serving(Line(meters, {"all": 0, "two": 2})) as line:
        await until(lambda: line.states.get("all") == "online" and line.values.get("two"))
        line.desire("all", "42")
        await until(lambda: line.values.get("all") == "42" and line.values["two"] == "42")
        assert [meters.tables[unit][HOLDING][9] for unit in (1, 2)] == [42, 42]
    assert [r for r in meters.requests if r[0] == 0] == [(0, 6, 9, 42)]
