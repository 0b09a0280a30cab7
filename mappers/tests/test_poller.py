"""Buses taken in turn: fairness, silence, a bus that is down, a driver that breaks, definitions that change meanwhile."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest

from edgewire import topics
from mappers.calls import Answer
from mappers.driver import BusDown, Driver, NoAnswer, Refused, Value, ValueRefused, Wanted
from mappers.health import State
from mappers.mapped import Output, Report
from mappers.mapper import Mapper
from mappers.plan import Settings
from mappers.poller import Poller
from mappers.tests.fakes import Toy, device_json, model_json, payload

MODEL = model_json(temp="FLOAT", level="FLOAT")
FAST = Settings(collect_cycle_s=0.01, attempts=1, probe_limit_s=0.02)


class Cells:
    """A driver of cells in memory, and of what a test wants to go wrong."""

    def __init__(self) -> None:
        self.cells: dict[int, Value] = {n: n for n in range(10)}
        self.silent: set[int] = set()
        self.down = False
        self.broken = False
        self.opened = 0
        self.closed = 0
        self.reads: list[list[int]] = []
        self.busy = False
        self.hold: asyncio.Event | None = None
        self.swallows = False

    async def open(self) -> None:
        self.opened += 1
        if self.down:
            raise BusDown("no such line")

    async def close(self) -> None:
        self.closed += 1

    async def read(self, visitors: Sequence[int]) -> list[Value]:
        assert not self.busy, "two calls at once"
        self.busy = True
        try:
            self.reads.append(list(visitors))
            if self.hold is not None:
                try:
                    await self.hold.wait()
                except asyncio.CancelledError:
                    if not self.swallows:
                        raise
            if self.broken:
                raise RuntimeError("a mistake in the driver")
            if self.down:
                raise BusDown("the line broke")
            if self.silent & set(visitors):
                raise NoAnswer("silence")
            await asyncio.sleep(0)
            return [self.cells[v] for v in visitors]
        finally:
            self.busy = False

    async def write(self, visitor: int, value: Wanted) -> None:
        if value == Decimal(13):
            raise Refused("not 13")
        if value == Decimal(99):
            raise ValueRefused("too much")
        if visitor in self.silent:
            raise NoAnswer("silence")
        assert isinstance(value, Decimal)
        self.cells[visitor] = int(value)


class BitCells(Cells):
    """The same, and some bits can be written."""

    async def write_bits(self, visitor: int, mask: int, bits: int) -> None:
        assert not bits & ~mask
        held = self.cells[visitor]
        assert isinstance(held, int)
        self.cells[visitor] = held & ~mask | bits


class Bench:
    """A poller on two lines of cells, and what it tells."""

    def __init__(self) -> None:
        self.lines = {"line1": Cells(), "line2": Cells()}
        self.told: list[Output] = []
        self.mapper = Mapper(_Lines(self.lines), FAST, draw=lambda: 0.5)
        self.poller = Poller(self.mapper, self.told.extend)
        self._changed = asyncio.Event()

    def define(
        self,
        name: str,
        address: dict[str, Any] | None = None,
        methods: dict[str, list[str]] | None = None,
        **properties: dict[str, Any],
    ) -> None:
        topic = topics.mapper_device("toy", f"default/{name}")
        content = payload(device_json(name, address, methods, **properties), MODEL)
        self.told += [o for o in self.mapper.received(topic, content, time.monotonic()) if isinstance(o, Answer)]
        self.poller.follow()

    def index(self, *names: str) -> None:
        content = json.dumps({"devices": [f"default/{n}" for n in names]})
        self.mapper.received(topics.mapper_index("toy"), content.encode(), time.monotonic())
        self.poller.follow()

    def want(self, name: str, **values: str) -> None:
        topic = topics.of_device(f"default/{name}", topics.DELTA)
        self.mapper.received(topic, json.dumps({"delta": values}).encode(), 0)
        self.poller.follow()

    def call(self, name: str, event: str, method: str, timeout: int = 5000, **arguments: str) -> None:
        """Call a method, as an application does."""
        content = {"event_id": event, "method": method, "arguments": arguments, "timeout": timeout}
        topic = topics.of_device(f"default/{name}", topics.METHOD)
        effects = self.mapper.received(topic, json.dumps(content).encode(), time.monotonic(), 1)
        self.told += [o for o in effects if isinstance(o, Answer)]
        self.poller.follow()

    def answers(self, event: str) -> list[dict[str, Any]]:
        """What was answered to a call."""
        found = [json.loads(o.payload) for o in self.told if isinstance(o, Answer)]
        return [content for content in found if content["event_id"] == event]

    async def answer(self, event: str) -> dict[str, Any]:
        """The one answer to a call."""
        await self.until(lambda: bool(self.answers(event)))
        (found,) = self.answers(event)
        return found

    def state(self, name: str) -> str:
        return next(
            (o.state for o in reversed(self.told) if isinstance(o, State) and o.device == f"default/{name}"), ""
        )

    def value(self, name: str, property: str) -> str:
        reports = (o for o in reversed(self.told) if isinstance(o, Report) and o.device == f"default/{name}")
        return next((o.values[property][0] for o in reports if property in o.values), "")

    async def until(self, condition: Callable[[], bool], deadline_s: float = 5.0) -> None:
        async with asyncio.timeout(deadline_s):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.001)


class _Lines(Toy):
    def __init__(self, lines: dict[str, Cells]) -> None:
        super().__init__()
        self._lines = lines

    def driver(self, bus: Any) -> Driver:
        return self._lines[bus]


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Bench]:
    bench = Bench()
    ready = asyncio.Event()
    task = asyncio.create_task(bench.poller.run(ready))
    try:
        await ready.wait()
        yield bench
    finally:
        task.cancel()
        async with asyncio.timeout(5):
            await asyncio.gather(task, return_exceptions=True)


async def test_devices_are_polled_and_their_changes_told() -> None:
    async with running() as bench:
        bench.index("a")
        bench.define("a", temp={"cell": 4})
        await bench.until(lambda: bench.value("a", "temp") == "4")
        assert bench.told[0] == State("default/a", "online")
        bench.lines["line1"].cells[4] = 5
        await bench.until(lambda: bench.value("a", "temp") == "5")


async def test_a_desired_value_is_written_without_waiting_for_the_cycle() -> None:
    async with running() as bench:
        bench.index("a")
        bench.define("a", temp={"cell": 4, "collect": 3_600_000})
        await bench.until(lambda: bench.value("a", "temp") == "4")
        bench.want("a", temp="7")
        await bench.until(lambda: bench.value("a", "temp") == "7")
        assert bench.lines["line1"].cells[4] == 7


@pytest.mark.parametrize("refused", ["13", "99"])
async def test_a_refused_value_is_answered_with_the_actual_one(refused: str, caplog: pytest.LogCaptureFixture) -> None:
    async with running() as bench:
        bench.index("a")
        bench.define("a", temp={"cell": 4, "collect": 3_600_000})
        await bench.until(lambda: bench.value("a", "temp") == "4")
        bench.told.clear()
        bench.want("a", temp=refused)
        await bench.until(lambda: bench.value("a", "temp") == "4")
    (said,) = (m for m in caplog.messages if "refused" in m)
    assert said.startswith(f"< desired value refused device=default/a property=temp value='{refused}' reason=")


async def test_some_bits_are_written_by_a_driver_that_can() -> None:
    async with running() as bench:
        line = bench.lines["line1"] = BitCells()
        line.cells[4] = 0b1010
        bench.index("a")
        bench.define("a", temp={"cell": 4, "bits": "0-1", "collect": 3_600_000})
        await bench.until(lambda: bench.value("a", "temp") == "2")
        bench.want("a", temp="1")
        await bench.until(lambda: bench.value("a", "temp") == "1")
        assert line.cells[4] == 0b1001


async def test_some_bits_are_refused_where_the_driver_cannot_write_them(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as bench:
        bench.index("a")
        bench.define("a", temp={"cell": 4, "bits": "2-3", "collect": 3_600_000})
        await bench.until(lambda: bench.value("a", "temp") == "1")
        bench.told.clear()
        bench.want("a", temp="0")
        await bench.until(lambda: bench.value("a", "temp") == "1")
        assert bench.lines["line1"].cells[4] == 4
    assert "reason=the protocol's driver cannot write some bits of a value only" in caplog.text


async def test_a_silent_device_keeps_nobody_from_being_polled_and_gets_its_value_once_it_is_back() -> None:
    async with running() as bench:
        bench.lines["line1"].silent.add(1)
        bench.index("a", "b")
        bench.define("a", temp={"cell": 1})
        bench.define("b", temp={"cell": 2})
        await bench.until(lambda: bench.state("a") == "offline" and bench.value("b", "temp") == "2")
        bench.want("a", temp="8")
        bench.want("a", temp="9")
        bench.lines["line1"].silent.clear()
        await bench.until(lambda: bench.value("a", "temp") == "9")
        assert bench.state("a") == "online"


async def test_a_write_the_device_does_not_answer_is_made_when_it_is_back() -> None:
    async with running() as bench:
        bench.index("a")
        bench.define("a", temp={"cell": 1, "collect": 3_600_000})
        await bench.until(lambda: bench.state("a") == "online")
        bench.lines["line1"].silent.add(1)
        bench.want("a", temp="9")
        await bench.until(lambda: bench.state("a") == "offline")
        bench.lines["line1"].silent.clear()
        await bench.until(lambda: bench.lines["line1"].cells[1] == 9 and bench.value("a", "temp") == "9")


async def test_a_bus_that_is_down_is_opened_again_and_the_other_goes_on() -> None:
    async with running() as bench:
        first, second = bench.lines.values()
        first.down = True
        bench.index("a", "b")
        bench.define("a", {"line": "line1"}, temp={"cell": 1})
        bench.define("b", {"line": "line2"}, temp={"cell": 2})
        await bench.until(lambda: bench.state("a") == "offline" and len(second.reads) > 3)
        first.down = False
        await bench.until(lambda: bench.state("a") == "online")
        assert first.opened == first.closed + 1
        assert second.opened == 1


async def test_a_driver_that_fails_is_logged_and_started_again(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as bench:
        line = bench.lines["line1"]
        line.broken = True
        bench.index("a")
        bench.define("a", temp={"cell": 1})
        await bench.until(lambda: bench.state("a") == "offline")
        line.broken = False
        await bench.until(lambda: bench.state("a") == "online")
    assert next(r.getMessage() for r in caplog.records if r.levelname == "ERROR") == "= driver failed bus=line1"


async def test_a_definition_that_changes_during_a_read_does_not_cut_it_short() -> None:
    async with running() as bench:
        line = bench.lines["line1"]
        line.hold = asyncio.Event()
        bench.index("a", "b")
        bench.define("b", temp={"cell": 2})
        bench.define("a", temp={"cell": 1})
        await bench.until(lambda: bool(line.reads))
        bench.define("a", temp={"cell": 3})
        bench.index("a")
        line.hold.set()
        await bench.until(lambda: bench.value("a", "temp") == "3")
        assert bench.value("b", "temp") == "", "a device was reported after it had been removed"
        assert line.closed == 0


async def test_a_bus_without_devices_is_closed() -> None:
    async with running() as bench:
        line = bench.lines["line1"]
        bench.index("a")
        bench.define("a", temp={"cell": 1})
        await bench.until(lambda: bench.state("a") == "online")
        bench.index()
        await bench.until(lambda: line.closed == 1)


async def test_a_stopped_poller_closes_its_buses() -> None:
    async with running() as bench:
        bench.index("a")
        bench.define("a", temp={"cell": 1})
        await bench.until(lambda: bench.state("a") == "online")
    assert bench.lines["line1"].closed == 1


async def test_a_stopped_poller_ends_though_a_driver_swallows_its_cancellation() -> None:
    async with running() as bench:
        line = bench.lines["line1"]
        line.hold, line.swallows = asyncio.Event(), True
        bench.index("a")
        bench.define("a", temp={"cell": 1})
        await bench.until(lambda: bool(line.reads))
    assert line.closed == 1
    assert len(line.reads) == 1


async def test_an_overloaded_bus_serves_its_devices_alike() -> None:
    async with running() as bench:
        line = bench.lines["line1"]
        bench.index("a", "b", "c")
        for number, name in enumerate("abc", 1):
            bench.define(name, temp={"cell": number, "collect": 1})
        await bench.until(lambda: len(line.reads) > 300)
        turns = [sum(read == [cell] for read in line.reads) for cell in (1, 2, 3)]
        assert max(turns) - min(turns) <= 30
