"""The port of an emulated board, seen by who plugs it in, and the transcript of what went out there. Standard library only."""

import contextlib
import os
import select
import termios
import time
import tty
from pathlib import Path

_CHUNK = 4096
_CONSOLE_LIMIT = 1 << 20
_STALLED_S = 1.0


class Console:
    """The transcript: the file grows to a limit, then begins anew, with what there was in `<name>.1`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        if self._file.tell() > _CONSOLE_LIMIT:
            self._file.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._file = self._path.open("ab", buffering=0)
        self._file.write(data)


class Outside:
    """The outer pty: the board's port."""

    def __init__(self, link: Path) -> None:
        self.master, slave = os.openpty()
        tty.setraw(slave)
        self._settings = termios.tcgetattr(slave)
        fresh = link.with_name(link.name + ".new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(os.ttyname(slave))
        fresh.replace(link)
        os.close(slave)
        os.set_blocking(self.master, False)
        self._waiting = bytearray()
        self._stalled_since: float | None = None

    @property
    def full(self) -> bool:
        """Whether who reads the port is behind."""
        return len(self._waiting) > _CHUNK

    def read(self) -> bytes:
        """What was typed; empty when nobody is there."""
        data = bytearray()
        with contextlib.suppress(OSError):
            while piece := os.read(self.master, _CHUNK):
                data += piece
        return bytes(data)

    def write(self, data: bytes) -> None:
        """Show something; lost when nobody is there, or does not read for a second."""
        self._waiting += data
        self.flush()

    def flush(self) -> None:
        """Write what waits, as far as there is room."""
        if self._is_open():
            with contextlib.suppress(OSError):
                while self._waiting:
                    del self._waiting[: os.write(self.master, self._waiting)]
                    self._stalled_since = None
        else:
            self._waiting.clear()
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self.master, termios.TCSANOW, self._settings)  # the next one finds it raw
        if not self._waiting:
            self._stalled_since = None
        elif self._stalled_since is None:
            self._stalled_since = time.monotonic()
        elif time.monotonic() - self._stalled_since > _STALLED_S:
            self._waiting.clear()

    def _is_open(self) -> bool:
        poll = select.poll()
        poll.register(self.master, select.POLLOUT)
        return not any(event & select.POLLHUP for _, event in poll.poll(0))
