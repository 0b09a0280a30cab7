"""The serial driver's figures: fifty lines that talk, and one as fast as it can.

The lines are pseudo-terminals of another process, which numbers its frames; lost is every number that was not heard in its turn.

    python -m bench.serial_lines --lines 50 --rate 10 --seconds 20     the emulated side, started by the benchmark
"""

import argparse
import asyncio
import json
import os
import sys
import termios
import time
import tty
from contextlib import AsyncExitStack

from bench.results import Figure, Figures
from edgewire.device import ModelProperty
from mappers.driver import DriverError, Value
from mappers.serial_line import SerialLines
from mappers.serial_visitors import Address, Visitor, VisitorConfig

LINES, RATE, SECONDS = 50, 10, 20
BURST = 200_000
"""Frames of the one fast line."""
FRAME = "ST,GS,{: =+9d}kg\r\n"
_PATTERN = r"ST,GS,([+-] *\d+)kg"
_DEADLINE_S = 60.0


async def measure() -> Figures:
    """Every figure of serial lines. Takes half a minute."""
    heard, expected, busy = await _hear(LINES, RATE, SECONDS)
    lost = expected - sum(heard)
    burst, burst_expected, burst_s = await _hear(1, 0, 0)
    note = f"{LINES} lines of {RATE} frames/s for {SECONDS} s: {expected} frames of {len(FRAME.format(0))} bytes"
    one = Figure(
        sum(burst) / burst_s,
        "1/s",
        {"pyserial's readline": 2200},
        "one line, back to back, to the listener, per second of CPU",
    )
    if sum(burst) != burst_expected:
        one.note += f"; {burst_expected - sum(burst)} lost"
    return {
        "serial_frames_lost": Figure(lost, "frames", {"aim": 0}, note),
        "serial_cpu_percent": Figure(100 * busy / SECONDS, "% of a core", {}, "the driver's process during that"),
        "serial_frames_per_cpu_second": one,
    }


class _Counter:
    """Counts the numbers that come in their turn."""

    def __init__(self) -> None:
        self.heard = 0
        self._next = 0

    def take(self, visitor: Visitor, value: Value | DriverError) -> None:
        if isinstance(value, int) and value >= self._next:
            self._next = value + 1
            self.heard += 1


async def _hear(lines: int, rate: int, seconds: int) -> tuple[list[int], int, float]:
    """Frames heard on each line, how many were sent, and the seconds of CPU that the driver took."""
    arguments = ("--lines", str(lines), "--rate", str(rate), "--seconds", str(seconds))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.serial_lines", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    drivers, counters = SerialLines(), [_Counter() for _ in range(lines)]
    try:
        ports = json.loads(await process.stdout.readline())
        async with AsyncExitStack() as open_lines:
            for port, counter in zip(ports, counters, strict=True):
                at = Address(port=port)
                driver = drivers.driver(at.line)
                open_lines.push_async_callback(driver.close)
                await driver.open()
                config = VisitorConfig(pattern=_PATTERN)
                driver.listen([drivers.visitor(at, config, ModelProperty("weight", type="INT"))], counter.take)
            process.stdin.write(b"go\n")
            began = time.process_time()
            async with asyncio.timeout(seconds + _DEADLINE_S):
                sent = json.loads(await process.stdout.readline())
                while sum(counter.heard for counter in counters) < sent and await _more(counters):
                    pass
            busy = time.process_time() - began
    finally:
        process.stdin.close()
        await process.wait()
    return [counter.heard for counter in counters], sent, busy


async def _more(counters: list[_Counter]) -> bool:
    """Whether anything came in a while: the last frames are still in the kernel when the other side has sent them."""
    before = sum(counter.heard for counter in counters)
    await asyncio.sleep(0.2)
    return sum(counter.heard for counter in counters) > before


def _emulate(lines: int, rate: int, seconds: int) -> None:
    """The other side: say the ports, wait for a word, send, say how many, and keep the lines until told to go."""
    pairs = [os.openpty() for _ in range(lines)]
    for _, slave in pairs:
        tty.setraw(slave, termios.TCSANOW)
    print(json.dumps([os.ttyname(slave) for _, slave in pairs]), flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    if not rate:
        for number in range(BURST):
            _send(pairs[0][0], number)
    for number in range(rate * seconds):
        for place, (master, _) in enumerate(pairs):
            due = began + (number + place / lines) / rate  # spread, as devices are that know nothing of each other
            time.sleep(max(0.0, due - time.monotonic()))
            _send(master, number)
    print(rate * seconds * lines or BURST, flush=True)
    sys.stdin.readline()


def _send(master: int, number: int) -> None:
    data = FRAME.format(number).encode()
    while data:
        data = data[os.write(master, data) :]


def main() -> None:
    """The command line of the emulated side."""
    parser = argparse.ArgumentParser(description="Emulated serial lines that number their frames.")
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--rate", type=int, default=RATE, help="frames a second; 0: one line, back to back")
    parser.add_argument("--seconds", type=int, default=SECONDS)
    options = parser.parse_args()
    _emulate(options.lines, options.rate, options.seconds)


if __name__ == "__main__":
    main()
