"""A board on a serial line of 115,200 baud: how fast it reports, how fast it gets firmware, and what that costs the mapper.

The board is another process: the board's end of the link on a pseudo-terminal, which takes 10 bits a byte both ways.

    python -m bench.serial_link --reports 10 --seconds 10      the emulated side, started by the benchmark
"""

import argparse
import asyncio
import json
import os
import select
import sys
import termios
import time
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from bench.results import Figure, Figures
from edgewire import board, topics
from edgewire.board_end import BoardEnd
from edgewire.board_frames import LOST, OTA_CHUNK, OTA_GET, REPORT
from edgewire.device import ModelProperty
from mappers.driver import Dated, DriverError, Value
from mappers.serial_board import BoardVisitor
from mappers.serial_board_line import BoardLine
from mappers.serial_line import SerialLines
from mappers.serial_visitors import Address, VisitorConfig

BAUD = 115_200
SECONDS = 10
CHUNK = 1024
_DEADLINE_S = 30.0


async def measure() -> Figures:
    """Every figure of a board's serial link. Takes half a minute."""
    steady, steady_cpu = await _reports(10)
    flat, flat_cpu = await _reports(0)
    rate, download_cpu = await _download()
    line = f"{BAUD} baud, one board"
    return {
        "serial_link_report_ms": Figure(
            _median(steady) * 1000,
            "ms",
            {},
            f"{line}, 10 reports/s: from the board's reading to the mapper's listener, median",
        ),
        "serial_link_cpu_percent": Figure(
            100 * steady_cpu / SECONDS, "% of a core", {}, "the driver's process during that"
        ),
        "serial_link_reports": Figure(
            len(flat) / SECONDS, "1/s", {}, f"{line}, one after the other; {100 * flat_cpu / SECONDS:.1f} % of a core"
        ),
        "serial_link_firmware": Figure(
            rate / 1000,
            "kB/s",
            {"the line alone": BAUD / 10 / 1000},
            f"{line}, pieces of {CHUNK} bytes, each asked for; {100 * download_cpu / SECONDS:.1f} % of a core",
        ),
    }


async def _reports(rate: int) -> tuple[list[float], float]:
    """Seconds that each report took, and seconds of CPU."""
    took: list[float] = []
    first = asyncio.Event()

    def take(visitor: BoardVisitor, value: Value | Dated | DriverError) -> None:
        if isinstance(value, int):
            took.append((time.monotonic_ns() - value) / 1e9)
            first.set()

    async with _line("--reports", str(rate)) as (driver, visitor):
        driver.listen([visitor], take)
        await first.wait()
        took.clear()
        began = time.process_time()
        await asyncio.sleep(SECONDS)
        return list(took), time.process_time() - began


async def _download() -> tuple[float, float]:
    """Bytes a second, and seconds of CPU."""
    got, first = 0, asyncio.Event()
    async with _line("--reports", "-1") as (driver, visitor):

        def said(kind: str, payload: bytes) -> None:
            nonlocal got
            got += CHUNK
            first.set()
            driver.hand_over(visitor.at, topics.OTA_CHUNK, bytes(12) + os.urandom(CHUNK))

        driver.relay(said)
        await first.wait()
        got, began = 0, time.process_time()
        await asyncio.sleep(SECONDS)
        return got / SECONDS, time.process_time() - began


@asynccontextmanager
async def _line(*arguments: str) -> AsyncIterator[tuple[BoardLine, BoardVisitor]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.serial_link", *arguments, "--seconds", str(SECONDS + 5)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    drivers = SerialLines()
    at = Address(port=json.loads(await process.stdout.readline()), framing="board")
    driver: BoardLine = drivers.driver(at.line)
    try:
        async with asyncio.timeout(SECONDS + _DEADLINE_S):
            await driver.open()
            yield driver, drivers.visitor(at, VisitorConfig(), ModelProperty("at", type="INT"))
    finally:
        await driver.close()
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class _Emulated:
    """The board, at the line's pace."""

    def __init__(self) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave, termios.TCSANOW)
        self.end = BoardEnd("default/board", 7, limit=4096)

    @property
    def port(self) -> str:
        return os.ttyname(self._slave)

    def turn(self, wait_s: float) -> list[int]:
        """Send, wait for what comes, and give the kinds of whole messages; every byte takes its time."""
        self._pace(out := self.end.output())
        os.write(self._master, out)
        if not select.select([self._master], [], [], wait_s)[0]:
            return self._done(self.end.tick(_ms()))
        data = os.read(self._master, 4096)
        self._pace(data)
        return self._done(self.end.receive(data, _ms()))

    def _done(self, events: list[tuple[int, bytes]]) -> list[int]:
        if any(kind == LOST for kind, _ in events):
            self.end.connect(_ms())
        return [kind for kind, _ in events]

    def _pace(self, data: bytes) -> None:
        if data:
            time.sleep(len(data) * 10 / BAUD)


def _emulate(reports: int, seconds: int) -> None:
    """Report so often a second, as fast as can be (0), or ask for firmware (-1)."""
    made = _Emulated()
    print(json.dumps(made.port), flush=True)
    made.end.connect(_ms())
    until, due, asked = time.monotonic() + seconds, 0.0, False
    while time.monotonic() < until:
        if made.end.connected and made.end.idle:
            if reports < 0 and not asked:
                asked = True
                made.end.send(OTA_GET, json.dumps({"id": "0" * 64, "offset": 0, "length": CHUNK}).encode(), _ms())
            elif reports >= 0 and time.monotonic() >= due:
                due = time.monotonic() + (1 / reports if reports else 0)
                report = board.report({"at": (str(time.monotonic_ns()), 0)}, "1", 1_750_000_000_000)
                made.end.send(REPORT, report.encode(), _ms())
        if OTA_CHUNK in made.turn(0.002):
            asked = False


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _ms() -> int:
    return int(time.monotonic() * 1000)


def main() -> None:
    """The command line of the emulated side."""
    parser = argparse.ArgumentParser(description="An emulated board on a line with a pace.")
    parser.add_argument(
        "--reports", type=int, default=10, help="a second; 0: one after the other; -1: ask for firmware"
    )
    parser.add_argument("--seconds", type=int, default=SECONDS)
    options = parser.parse_args()
    _emulate(options.reports, options.seconds)


if __name__ == "__main__":
    main()
