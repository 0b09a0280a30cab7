"""MicroPython's Unix port on a bench: emulated pins (`machine` is the bench's), and the time of the machine it runs on."""

import select
import sys
import time

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

PLATFORM = "linux"
ARCH = "x64"
PINS = range(32)
ANALOG = (26, 27, 28, 29)
OUTPUTS = PINS
I2C = (4, 5)
NETWORK = True
ADC_VOLTS = 3.3
WATCHDOG_MS = 60000

_parent: "list[Any]" = []


def temperature() -> float:
    """Of the emulated chip, in degrees Celsius."""
    from emulated_pins import chip_temperature

    return float(chip_temperature())


def unix_ms() -> int:
    """Milliseconds since 1970: the machine knows the time."""
    return time.time_ns() // 1000000


def alive() -> None:
    """End with whoever started this board and holds its standard input: a pipe that hangs up ends it, a terminal never."""
    if not _parent:
        _parent.append(select.poll())
        _parent[0].register(sys.stdin, select.POLLIN)
    for _, event in _parent[0].poll(0):
        if event & select.POLLHUP:
            raise SystemExit
