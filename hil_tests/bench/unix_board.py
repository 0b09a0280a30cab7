"""MicroPython's Unix port as a board on the desk: a serial port with the REPL, flash that survives the power, resets, a watchdog.

`folder` is the board: `port` (mpremote and the rest open it), `flash.img` (LittleFS 2, mounted at `/`), `console.log` (what it
printed, with a line for each start), `usb.json` (what a USB host would know of it), `hardware.json` and `pins.json` (what is
around its pins, docs/sensors.md). What it does not prove stands in docs/hil.md.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from msgspec import Struct, structs

from hil_tests.bench import board_rom, micropython_board
from hil_tests.bench.flash_chip import FlashChip
from hil_tests.bench.micropython_board import Unavailable
from hil_tests.bench.supervised_board import SupervisedBoard
from hil_tests.bench.supervisor import Supervisor
from hil_tests.bench.transcript import BoardError, Transcript

__all__ = ["BoardError", "Unavailable", "UnixBoard", "UsbIdentity"]

_BOOT = "import emulated.power_on\nemulated.power_on.start(lambda name: execfile(name))\ndel emulated\n"


class UsbIdentity(Struct, kw_only=True, frozen=True):
    """What a USB host knows of a serial port."""

    vid: int = 0x2E8A
    """Raspberry Pi's, as of a Pico."""
    pid: int = 0x0005
    """MicroPython on a Pico."""
    serial_number: str
    manufacturer: str = "MicroPython"
    product: str = "Board in FS mode"
    description: str = "Board in FS mode - Board CDC"


class UnixBoard(SupervisedBoard):
    """One board. Off when made; `close` ends it for good, and so does the end of this process."""

    def __init__(
        self,
        folder: Path,
        *,
        heap_kb: int = 96,
        flash_bytes: int = 1 << 20,
        unique_id: bytes | None = None,
        usb: UsbIdentity | None = None,
        clock_s: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Make a board in a folder, or take the one that is there, with its flash.

        `heap_kb` is what programs have of it. `unique_id` is told by `machine.unique_id()`; by default it follows from the
        folder's path. `clock_s`: how far its clock is ahead of the true time at power-on, in seconds.
        `environment`: for what reads variables below the board, such as emulated pins.
        Raises Unavailable where there is no MicroPython.
        """
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.unique_id = unique_id or hashlib.sha256(str(self.folder).encode()).digest()[:8]
        self.usb = usb or UsbIdentity(serial_number=self.unique_id.hex())
        rom = str(board_rom.written(self.folder / "rom"))
        modules = {
            **micropython_board.environment([rom]),
            "HEDGEROW_BOARD_HARDWARE": str(self.folder),
            **(environment or {}),
            "HEDGEROW_BOARD_ROM": rom,
            "HEDGEROW_BOARD_ID": self.unique_id.hex(),
        }
        self._chip = FlashChip(self.flash_image, flash_bytes, modules, board_rom.SOURCES / "emulated" / "programmer.py")
        heap = f"{heap_kb + board_rom.HEAP_KB}k"
        supervisor = Supervisor(
            self.folder,
            {
                "command": micropython_board.command("-i", "-c", _BOOT, heap=heap, terminal=True),
                "environment": self._chip.environment,
                "folder": str(
                    self.folder
                ),  # files below the board are found in it: VfsPosix renames by relative paths only
                "port": str(self.folder / "port"),
                "console": str(self.console),
                "clock_s": clock_s,
            },
        )
        super().__init__(supervisor)
        self.transcript = Transcript(self.console)

    # --- the board from outside

    @property
    def port(self) -> str:
        """The path of its serial port; it stays over resets and power cuts, as behind a USB bridge."""
        self._order("state")
        return str(self.folder / "port")

    @property
    def console(self) -> Path:
        """The transcript of all that it printed; the older half is in `console.log.1` after a megabyte."""
        return self.folder / "console.log"

    @property
    def flash_image(self) -> Path:
        """Its flash, as a file."""
        return self.folder / "flash.img"

    @property
    def running(self) -> bool:
        """Whether it has power, and is neither asleep nor in its boot loader."""
        return self.pid is not None

    def __enter__(self) -> Self:
        self.power_on()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- console

    def write(self, data: bytes) -> None:
        """Type on its console; 0x03 is Ctrl-C."""
        self._order("type", text=data.decode("latin-1"))

    def expect(self, pattern: str, timeout_s: float = 10.0) -> re.Match[str]:
        """Wait until its console shows a regular expression, after what was expected last. BoardError when it does not."""
        return self.transcript.expect(pattern, timeout_s)

    def printed(self) -> str:
        """All that it printed, as far as the transcript reaches back."""
        return self.transcript.text()

    def until(self, condition: Callable[[Self], object], what: str, timeout_s: float = 10.0) -> None:
        """Wait for a condition on the board, `lambda board: board.starts == 3`. BoardError when it does not come true."""
        deadline = time.monotonic() + timeout_s
        while not condition(self):
            if time.monotonic() > deadline:
                raise BoardError(f"{self.folder}: not within {timeout_s:g} s: {what}\n{self.printed()[-2000:]}")
            time.sleep(0.01)

    # --- flash

    def push(self, files: Mapping[str, bytes]) -> None:
        """Write files, by path, as a programmer clipped to its flash would. BoardError for what does not fit.

        A board that is on loses its power for that, and starts anew.
        """
        was_on = self.powered
        self.power_off()
        self._chip.write(files)
        if was_on:
            self.power_on()

    def files(self) -> dict[str, bytes]:
        """Every file in its flash, by path, read while it is off. BoardError when there is no file system."""
        self._needs_off()
        return self._chip.read()

    def fill(self, path: str, left: int) -> None:
        """Write a file until no more than so many bytes of its flash are left; while it is off."""
        self._needs_off()
        self._chip.fill(path, left)

    def erase(self) -> None:
        """Erase its flash; while it is off."""
        self._needs_off()
        self._chip.erase()

    def _needs_off(self) -> None:
        if self.powered:
            raise BoardError(f"{self.folder} is on; its flash belongs to it")

    def _plug_in(self) -> None:
        identity = {"device": str(self.folder / "port"), **structs.asdict(self.usb)}
        (self.folder / "usb.json").write_text(json.dumps(identity))


def listed(folder: Path) -> list[dict[str, object]]:
    """The USB identities of the boards below a folder, as a port finder wants them: `device`, `vid`, `pid`, `serial_number`, …"""
    found = [dict(json.loads(file.read_bytes())) for file in sorted(folder.glob("*/usb.json"))]
    return [one for one in found if os.path.exists(str(one["device"]))]
