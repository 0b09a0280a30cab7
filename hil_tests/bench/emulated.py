"""The emulated parts of a bench, as tests ask for them (`boards.py`)."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from hedgerow.instruments import KINDS, WELL, write_fault
from hil_tests.bench.boards import BoardError, Transcript
from hil_tests.bench.mosquitto import free_port
from hil_tests.bench.unix_board import UnixBoard

_START_S = 20.0
_STOP_S = 5.0
_FULL = "full.bin"


class EmulatedUnixBoard(UnixBoard):
    """MicroPython's Unix port."""

    kind = "micropython-unix"
    board_file: Path | None = None

    def __init__(self, name: str, folder: Path, *, heap_kb: int = 96, flash_bytes: int = 1 << 20) -> None:
        super().__init__(folder, heap_kb=heap_kb, flash_bytes=flash_bytes)
        self.name = name

    @property
    def faults(self) -> tuple[str, ...]:
        """Names for `fault`."""
        return ("none", "frozen", "power-cut-in-write", "full-flash", "erased-flash")

    def fault(self, name: str, value: int = 1) -> None:
        """`power-cut-in-write`: in so manieth step from the next start on; `full-flash`: all but so many kilobytes."""
        if name not in self.faults:
            raise KeyError(name)
        if name in ("none", "frozen"):
            pid = self.pid
            if pid is not None:
                os.kill(pid, signal.SIGCONT if name == "none" else signal.SIGSTOP)
            if name == "none":
                self.cut_power_after(0)
        elif name == "power-cut-in-write":
            self.cut_power_after(value)
        else:
            was_on = self.powered
            self.power_off()
            if name == "erased-flash":
                self.erase()
            else:
                self.fill(_FULL, value << 10)
            if was_on:
                self.power_on()

    def flash(self, image: bytes) -> None:
        """Take a whole flash image."""
        if len(image) != self.flash_image.stat().st_size:
            raise BoardError(f"the image has {len(image)} bytes, the flash {self.flash_image.stat().st_size}")
        was_on = self.powered
        self.power_off()
        self.flash_image.write_bytes(image)
        if was_on:
            self.power_on()


class EmulatedInstrument:
    """An instrument of `hedgerow bench up`, as a process."""

    def __init__(self, name: str, kind: str, emulates: str, folder: Path) -> None:
        """`emulates` is its name in `hedgerow/instruments.py`."""
        self.name, self.kind = name, kind
        self._model = KINDS[emulates]
        folder.mkdir(parents=True, exist_ok=True)
        self._link = folder / "port"
        self._faults_file = folder / "faults"
        self._tcp_port = free_port() if self._model.tcp_port else 0
        self._process: subprocess.Popen[bytes] | None = None
        self.transcript = Transcript(folder / "console.log")

    @property
    def address(self) -> str:
        """`host:port`; a device file; of Bluetooth the D-Bus socket with the adapter behind it."""
        return f"127.0.0.1:{self._tcp_port}" if self._tcp_port else str(self._link)

    @property
    def faults(self) -> tuple[str, ...]:
        """Those of `hedgerow bench fault`."""
        return (WELL, *self._model.faults)

    @property
    def running(self) -> bool:
        """Whether it is on."""
        return self._process is not None and self._process.poll() is None

    def power_on(self) -> None:
        """Start it, and wait for its port."""
        if self.running:
            return
        where = ("--port", str(self._tcp_port)) if self._tcp_port else ("--link", str(self._link))
        command = [sys.executable, "-m", self._model.module, *where, *self._model.options]
        with self.transcript.path.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--faults-file", str(self._faults_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_S
        while not self._is_there():
            if time.monotonic() > deadline or not self.running:
                raise BoardError(f"{self.name} does not start:\n{self.transcript.tail()}")
            time.sleep(0.01)

    def power_off(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    def cycle(self) -> None:
        """Power off and on."""
        self.power_off()
        self.power_on()

    def fault(self, name: str, value: int = 1) -> None:
        """Within 0.2 s; `value` means nothing."""
        write_fault(self._faults_file, {} if name == WELL else self._model.faults[name])

    def expect(self, pattern: str, timeout_s: float = 10.0) -> re.Match[str]:
        """Wait for something in its log."""
        return self.transcript.expect(pattern, timeout_s)

    def close(self) -> None:
        """Stop it in order."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._link.unlink(missing_ok=True)
        self._faults_file.unlink(missing_ok=True)

    def _is_there(self) -> bool:
        if not self._tcp_port:
            return self._link.exists()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._tcp_port), 0.2):
            return True
        return False
