"""The processor of an emulated board, MicroPython in a process, and the watchdog beside it. Standard library only."""

import contextlib
import os
import signal
import subprocess
import time
import tty
from pathlib import Path

STEP_S = 0.05
"""How often the watchdog wants to be looked at while it is armed."""
_CHUNK = 4096


class Watchdog:
    """Bites when not fed in time. Time in which this process did not run does not count: the machine was busy, not the board."""

    def __init__(self) -> None:
        self._timeout_s = self._hungry_s = 0.0
        self._looked = time.monotonic()

    @property
    def armed(self) -> bool:
        return self._timeout_s > 0

    def arm(self, timeout_ms: int) -> None:
        """Begin; 0 ends it."""
        self._timeout_s = timeout_ms / 1000
        self.feed()

    def feed(self) -> None:
        self._hungry_s = 0.0
        self._looked = time.monotonic()

    def bites(self) -> bool:
        now = time.monotonic()
        self._hungry_s += min(now - self._looked, 2 * STEP_S)
        self._looked = now
        return self.armed and self._hungry_s > self._timeout_s


class Processor:
    """MicroPython in a process, from one reset to the next."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: str) -> None:
        self.master, slave = os.openpty()
        self.wires, far = os.pipe()
        try:
            tty.setraw(slave)
            self._process = subprocess.Popen(
                command,
                env={**environment, "HEDGEROW_BOARD_WIRES": str(far)},
                cwd=folder,
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
                pass_fds=(far,),
            )
        finally:
            os.close(slave)
            os.close(far)
        os.set_blocking(self.master, False)
        os.set_blocking(self.wires, False)
        self.ending = os.pidfd_open(self._process.pid)
        self.booted = False
        self._asked = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def interruptible(self) -> bool:
        """Whether Ctrl-C interrupts now: then it catches SIGINT."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            status = Path(f"/proc/{self.pid}/status").read_text()
            caught = int(status.split("SigCgt:")[1].split()[0], 16)
            return bool(caught >> (signal.SIGINT - 1) & 1)
        return False

    def interrupt(self) -> None:
        """Ctrl-C: seen between two instructions (`micropython_board.command`)."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGUSR1)

    def read(self) -> bytes:
        """What it printed."""
        with contextlib.suppress(OSError):
            return os.read(self.master, _CHUNK)
        return b""

    def requests(self) -> list[str]:
        """What it asked for over its wires."""
        with contextlib.suppress(OSError):
            while data := os.read(self.wires, _CHUNK):
                self._asked += data
        *lines, self._asked = self._asked.split(b"\n")
        return [line.decode() for line in lines]

    def end(self) -> tuple[bytes, list[str], int]:
        """Kill it, if it is not gone. The last it printed, the last it asked for, its exit status."""
        self._process.kill()
        status = self._process.wait()
        printed = b""
        while piece := self.read():
            printed += piece
        asked = self.requests()
        for fd in (self.master, self.wires, self.ending):
            os.close(fd)
        return printed, asked, status
