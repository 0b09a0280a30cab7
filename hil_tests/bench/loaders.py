"""Boards in their boot loaders, as tests ask for them (`boards.py`): an ESP32 for esptool, an RP2 drive that takes a .uf2."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from hil_tests.bench.boards import BoardError, Transcript
from hil_tests.bench.esp_loader import Faults
from hil_tests.bench.esp_rom import EspRom
from hil_tests.bench.uf2_drive import Uf2Drive

_FLASH_S = 120.0


class _Loader:
    """What both have in common: neither has a console before it has a runtime."""

    kind: str
    board_file: Path | None = None

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.transcript = Transcript(folder / "flashing.log")

    def power_on(self) -> None:
        raise NotImplementedError

    def power_off(self) -> None:
        raise NotImplementedError

    def cycle(self) -> None:
        """Power off and on."""
        self.power_off()
        self.power_on()

    def reset(self) -> None:
        """As a power cycle: the loader comes, or the image in the flash."""
        self.cycle()

    def expect(self, pattern: str, timeout_s: float = 10.0) -> re.Match[str]:
        """Wait for something in what was said while it was flashed."""
        return self.transcript.expect(pattern, timeout_s)

    def write(self, data: bytes) -> None:
        """There is no console."""
        raise BoardError(f"{self.name} is a boot loader: it has no console")

    def push(self, files: Mapping[str, bytes]) -> None:
        """There is no file system."""
        raise BoardError(f"{self.name} is a boot loader: it has no file system")

    def close(self) -> None:
        """Unplug it."""
        self.power_off()


class EspRomBoard(_Loader):
    """An ESP32's ROM loader; `chip` is the double itself, with its flash and finer faults."""

    kind = "esp-rom"

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, folder)
        self.chip = EspRom()

    @property
    def port(self) -> str:
        """Another one after each power-on."""
        return self.chip.port

    @property
    def faults(self) -> tuple[str, ...]:
        """Names for `fault`; its value is a number of commands, or of blocks."""
        return ("none", "dead", "garbage", "power-cut-in-write", "checksum")

    def power_on(self) -> None:
        """Plug it in."""
        self.chip.plug()

    def power_off(self) -> None:
        """Unplug it."""
        self.chip.unplug()

    def fault(self, name: str, value: int = 1) -> None:
        """One of the loader's (`esp_loader.Faults`)."""
        chosen = {
            "dead": "dead_at",
            "garbage": "garbage_at",
            "power-cut-in-write": "power_cut_at",
            "checksum": "checksum_block",
        }
        faults = Faults() if name == "none" else Faults(**{chosen[name]: value})
        for field in ("checksum_block", "dead_at", "garbage_at", "power_cut_at"):
            setattr(self.chip.faults, field, getattr(faults, field))

    def flash(self, image: bytes) -> None:
        """By esptool, at 0x1000. BoardError with its last words."""
        file = self.folder / "image.bin"
        file.write_bytes(image)
        command = ["--chip", "esp32", "--port", self.port, "--no-stub", "--before", "no-reset", "--after", "no-reset"]
        done = subprocess.run(
            [sys.executable, "-m", "esptool", *command, "write-flash", "0x1000", str(file)],
            capture_output=True,
            timeout=_FLASH_S,
            check=False,
        )
        self.transcript.write(done.stdout + done.stderr)
        if done.returncode:
            raise BoardError(f"{self.name}: {self.transcript.tail(500)}")


class Uf2Board(_Loader):
    """An RP2 board's drive; `drive` is the double itself."""

    kind = "uf2-drive"

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, folder)
        self.drive = Uf2Drive(folder / "RPI-RP2")

    @property
    def port(self) -> str:
        """The drive's folder."""
        return str(self.drive.folder)

    @property
    def faults(self) -> tuple[str, ...]:
        """Names for `fault`; the value of `unplug` is a number of blocks."""
        return ("none", "unplug", "full")

    def power_on(self) -> None:
        """Plug it in, BOOTSEL held."""
        self.drive.boot()

    def power_off(self) -> None:
        """Unplug it."""
        self.drive.unplug()

    def fault(self, name: str, value: int = 1) -> None:
        """From the next power-on."""
        if name not in self.faults:
            raise KeyError(name)
        self.drive.unplug_after = value if name == "unplug" else None
        self.drive.full = name == "full"

    def flash(self, image: bytes) -> None:
        """Copy the .uf2 to the drive. BoardError when it cannot be written."""
        try:
            (self.drive.folder / "image.uf2").write_bytes(image)
        except OSError as error:
            raise BoardError(f"{self.name}: {error}") from error
        self.transcript.write(b"%d bytes written\n" % len(image))
