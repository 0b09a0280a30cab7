"""What a test may ask of the parts of a bench: boards and instruments, emulated or real.

A capability is a word such as `board.reset` or `modbus-tcp`. A test names those it needs; the bench knows which part has them.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from hil_tests.bench.transcript import BoardError, Transcript

__all__ = ["CAPABILITIES", "Board", "BoardError", "Instrument", "Part", "Transcript"]

CAPABILITIES = {
    "board.console": "what it prints is heard, what is typed reaches it",
    "board.repl": "mpremote works on its port",
    "board.push": "files are written to its file system",
    "board.reset": "its reset button",
    "board.power": "its power goes on and off; off is at once, whatever it does",
    "board.network": "its programs reach this machine by TCP",
    "board.firmware": "the project's firmware runs on it",
    "board.tls": "MQTT over TLS fits into its memory",
    "board.watchdog": "`machine.WDT` resets it",
    "board.serial-link": "that firmware speaks the serial link on its port",
    "board.rom-loader": "esptool flashes it",
    "board.uf2": "it takes a .uf2 on its drive",
    "board.fault.frozen": "it stops in the middle of what it does, and goes on later",
    "board.fault.power-cut-in-write": "its power fails within a step of its flash",
    "board.fault.full-flash": "its flash has no room left",
    "board.fault.erased-flash": "its flash is empty",
    "modbus-tcp": "a Modbus TCP server",
    "modbus-rtu": "Modbus units on a serial line",
    "serial": "an instrument that speaks text on a serial port",
    "ble": "Bluetooth instruments in reach, and an adapter to hear them with",
    "instrument.power": "the instrument is switched off and on",
    "instrument.faults": "the instrument misbehaves as told",
}
"""Capability -> what it means."""


class Part(Protocol):
    """What boards and instruments have in common."""

    name: str
    kind: str
    transcript: Transcript

    @property
    def faults(self) -> tuple[str, ...]:
        """The names of the faults it can be given."""

    def power_on(self) -> None:
        """Power on, and wait until it is there; nothing happens when it is."""

    def power_off(self) -> None:
        """Power off at once; of what is emulated by a process, SIGKILL."""

    def cycle(self) -> None:
        """Power off and on."""

    def fault(self, name: str, value: int = 1) -> None:
        """Let it misbehave; `none`: well again. KeyError for a fault it cannot have."""

    def expect(self, pattern: str, timeout_s: float = 10.0) -> re.Match[str]:
        """Wait until its transcript shows a pattern, after what was expected last. BoardError when it does not."""

    def close(self) -> None:
        """Let go of it."""


class Instrument(Part, Protocol):
    """Something to measure with, or to switch."""

    @property
    def address(self) -> str:
        """Where it is: `host:port`, a device file, or an adapter."""


class Board(Part, Protocol):
    """A microcontroller board."""

    @property
    def board_file(self) -> Path | None:
        """Describes it for the project's firmware (docs/sensors.md); None: it is one of the demo's."""

    @property
    def port(self) -> str:
        """Its serial port."""

    def reset(self) -> None:
        """Press its reset button."""

    def write(self, data: bytes) -> None:
        """Type on its console; 0x03 is Ctrl-C."""

    def push(self, files: Mapping[str, bytes]) -> None:
        """Write files, by path, to its file system; if it is on, it starts anew with them. BoardError for what does not fit."""

    def flash(self, image: bytes) -> None:
        """Write its runtime, as an image of its kind. BoardError for one it cannot take."""
