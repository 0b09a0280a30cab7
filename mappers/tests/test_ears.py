"""Drivers that hear: values of one round become one report, devices come and go, a bus breaks and is listened to again."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from msgspec import Struct

from mappers.driver import BusDown, DriverError, Value, Wanted
from mappers.mapped import Report
from mappers.tests.fakes import Toy
from mappers.tests.test_poller import Bench, Cells, running


class Word(Struct):
    """A visitor of what is heard."""

    cell: int
    pushed: bool = True
    silence_s: float = 0.2


class HearingCells(Cells):
    """Cells from 100 on are heard."""

    def __init__(self) -> None:
        super().__init__()
        self.listened: list[list[int]] = []
        self.written: list[tuple[int, Wanted]] = []
        self._visitors: Sequence[Word] = ()
        self._heard: Callable[[Any, Value | DriverError], None] = lambda visitor, value: None

    def listen(self, visitors: Sequence[Word], heard: Callable[[Any, Value | DriverError], None]) -> None:
        self._visitors, self._heard = visitors, heard
        self.listened.append([v.cell for v in visitors])

    async def write(self, visitor: Any, value: Wanted) -> None:
        self.written.append((visitor.cell, value))

    def say(self, **values: Value | DriverError) -> None:
        """The cells speak: `c100=5`."""
        for cell, value in values.items():
            for visitor in self._visitors:
                if visitor.cell == int(cell[1:]):
                    self._heard(visitor, value)


class _Hearing(Toy):
    def __init__(self, line: HearingCells) -> None:
        super().__init__(line)

    def visitor(self, address: Any, keys: Any, model: Any) -> Any:
        return keys.cell if keys.cell < 100 else Word(keys.cell)


def hearing(bench: Bench) -> HearingCells:
    """The bench's first line, replaced by one that is heard."""
    line = HearingCells()
    bench.mapper.drivers = _Hearing(line)
    return line


async def test_what_is_heard_in_one_round_is_one_report() -> None:
    async with running() as bench:
        line = hearing(bench)
        bench.index("a")
        bench.define("a", temp={"cell": 100}, level={"cell": 101})
        await bench.until(lambda: line.listened == [[100, 101]])
        bench.told.clear()
        line.say(c100=5, c101=6)
        await bench.until(lambda: bench.value("a", "temp") == "5")
        assert sum(isinstance(o, Report) for o in bench.told) == 1
        assert bench.value("a", "level") == "6"
        assert bench.state("a") == "online"
        assert line.reads == []


async def test_silence_is_noticed_without_a_read() -> None:
    async with running() as bench:
        line = hearing(bench)
        bench.index("a")
        bench.define("a", temp={"cell": 100})
        await bench.until(lambda: bench.state("a") == "offline")
        line.say(c100=5)
        await bench.until(lambda: bench.state("a") == "online")
        await bench.until(lambda: bench.state("a") == "offline")
        assert line.reads == []


async def test_devices_that_come_and_go_are_listened_to_as_they_are() -> None:
    async with running() as bench:
        line = hearing(bench)
        bench.index("a", "b")
        bench.define("a", temp={"cell": 100})
        bench.define("b", temp={"cell": 101}, level={"cell": 1})
        await bench.until(lambda: bool(line.listened) and line.listened[-1] == [100, 101])
        bench.define("a", temp={"cell": 102})
        await bench.until(lambda: line.listened[-1] == [101, 102] or line.listened[-1] == [102, 101])
        bench.index("b")
        await bench.until(lambda: line.listened[-1] == [101])
        line.say(c101=7)
        await bench.until(lambda: bench.value("b", "temp") == "7")
        assert bench.value("b", "level") == "1"


async def test_a_word_of_a_device_that_went_away_meanwhile_is_nobodys() -> None:
    async with running() as bench:
        line = hearing(bench)
        bench.index("a", "b")
        bench.define("a", temp={"cell": 100})
        bench.define("b", temp={"cell": 101})
        await bench.until(lambda: bool(line.listened) and line.listened[-1] == [100, 101])
        line.say(c100=5)
        bench.index("b")
        line.say(c101=6)
        await bench.until(lambda: bench.value("b", "temp") == "6")
        assert bench.value("a", "temp") == ""


async def test_a_word_lets_a_waiting_value_be_written() -> None:
    async with running() as bench:
        line = hearing(bench)
        bench.index("a")
        bench.define("a", temp={"cell": 100})
        await bench.until(lambda: bench.state("a") == "offline")
        bench.want("a", temp="9")
        line.say(c100=5)
        await bench.until(lambda: line.written == [(100, Decimal(9))])


async def test_a_bus_opened_again_is_listened_to_again() -> None:
    async with running() as bench:
        line = hearing(bench)
        bench.index("a", "b")
        bench.define("a", temp={"cell": 100})
        bench.define("b", temp={"cell": 1})
        await bench.until(lambda: bench.state("b") == "online")
        before = len(line.listened)
        line.down = True
        await bench.until(lambda: bench.state("b") == "offline")
        line.down = False
        await bench.until(lambda: len(line.listened) > before)
        line.say(c100=5)
        await bench.until(lambda: bench.state("a") == "online")


async def test_a_bus_that_its_driver_finds_gone_is_opened_again_though_nobody_asks() -> None:
    async with running() as bench:
        line = hearing(bench)
        bench.index("a")
        bench.define("a", temp={"cell": 100})
        await bench.until(lambda: len(line.listened) == 1)
        line.say(c100=5)
        await bench.until(lambda: bench.state("a") == "online")
        line.say(c100=BusDown("unplugged"))
        await bench.until(lambda: bench.state("a") == "offline")
        await bench.until(lambda: len(line.listened) == 2)
        line.say(c100=6)
        await bench.until(lambda: bench.state("a") == "online" and bench.value("a", "temp") == "6")
