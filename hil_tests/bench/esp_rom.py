"""An emulated ESP32 on a pty: real esptool flashes it (`--no-stub --before no-reset`).

It powers on into its boot loader as long as its flash holds no whole image, or while its button is held (`boot_button`). When the
loader is told to start the user's code, or the chip is reset, a whole image runs: the board says so on its console, and, given
another board's port (`runs`), becomes that one: its bytes pass through, on the same pty.

What it cannot prove: the flasher stub (it is code of the chip), baud rates, the reset by DTR and RTS (a pty has no such lines),
real times of erasing and writing.
"""

import contextlib
import errno
import os
import pty
import select
import threading
import time
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Self

from hil_tests.bench import esp_image
from hil_tests.bench.esp_loader import Faults, NorFlash, RomLoader

_JOIN_S = 10.0
_CHUNK = 65536


class EspRom:
    """The chip, its flash and its USB bridge. Its thread serves the pty from `plug` to `unplug`."""

    def __init__(self, runs: Callable[[], str] | None = None, link: Path | None = None) -> None:
        """`runs` is called when the image starts, and returns the pty of the board that it is then.

        `link` is where its port is while it is plugged in: a pty's own name may be another's a moment later.
        """
        self.flash = NorFlash()
        self.faults = Faults()
        self.boot_button = False
        self.starts = 0
        """How often a whole image was started."""
        self.recording: bytearray | None = None
        """What the loader was sent, if it is kept."""
        self._runs = runs
        self._blocks = 0
        self._loader: RomLoader | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._master = self._slave = self._application = -1
        self._wake = (-1, -1)
        self._link = link
        self.port = ""
        """`link`, or the pty: another one after each `plug`."""

    @property
    def commands(self) -> int:
        """How many commands the loader took since power-on."""
        return self._loader.commands if self._loader is not None else 0

    @property
    def blocks(self) -> int:
        """How many blocks of data it took since power-on."""
        return self._loader.blocks if self._loader is not None else self._blocks

    @property
    def running(self) -> bool:
        """Whether the image runs, rather than the loader."""
        return self._loader is None

    def plug(self) -> None:
        """Plug the cable in, which is power too."""
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        if self._link is not None:
            self._link.symlink_to(self.port)
            self.port = str(self._link)
        self._wake = os.pipe()
        self.reset()
        self._thread = threading.Thread(target=self._serve, name=f"esp-rom {self.port}", daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        """Pull the cable; harmless when it is out."""
        if self._thread is None:
            return
        if self._link is not None:
            self._link.unlink(missing_ok=True)
        os.write(self._wake[1], b"x")
        self._thread.join(_JOIN_S)
        self._thread = None
        for fd in (self._slave, self._master, *self._wake, self._application):
            if fd >= 0:
                os.close(fd)
        self._application = -1

    def reset(self) -> None:
        """Press the reset button, or cycle the chip's power: what the loader knew is gone, the flash stays."""
        with self._lock:
            self._loader = RomLoader(self.flash, self.faults)
            if not self.boot_button and esp_image.boots(bytes(self.flash.cells)):
                self._start()

    def __enter__(self) -> Self:
        self.plug()
        return self

    def __exit__(self, *_: object) -> None:
        self.unplug()

    def _serve(self) -> None:
        while True:
            watched = [self._master, self._wake[0], *([self._application] if self._application >= 0 else [])]
            ready, _, _ = select.select(watched, [], [])
            if self._wake[0] in ready:
                return
            if self._application in ready:
                self._pass(self._application, self._master)
            if self._master in ready:
                self._hear()

    def _hear(self) -> None:
        with self._lock:
            loader = self._loader
        if loader is None and self._application >= 0:
            self._pass(self._master, self._application)
            return
        data = _read(self._master)
        if loader is None:
            return
        if self.recording is not None:
            self.recording += data
        answer = loader.receive(data)
        if self.faults.slow_s:
            time.sleep(self.faults.slow_s)  # its slowness is what is asked for
        if loader.started:
            with self._lock:
                if esp_image.boots(bytes(self.flash.cells)):
                    self._start()
                else:
                    self._loader = RomLoader(self.flash, self.faults)  # a chip without a whole image comes back here
        _write(self._master, answer)  # last: who hears it may look at the chip

    def _start(self) -> None:
        self._blocks = self._loader.blocks if self._loader is not None else 0
        self._loader = None
        self.starts += 1
        if self._runs is not None and self._application < 0:
            self._application = os.open(self._runs(), os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)

    def _pass(self, source: int, target: int) -> None:
        data = _read(source)
        if not data and source == self._application:
            os.close(self._application)
            self._application = -1
        _write(target, data)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _CHUNK)
    except BlockingIOError:
        return b""
    except OSError as error:
        if error.errno != errno.EIO:  # the other end of a pty is gone
            raise
        return b""


def _write(fd: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            with contextlib.suppress(OSError):
                select.select([], [fd], [], 1.0)
        except OSError:
            return
