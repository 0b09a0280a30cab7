"""A pty pair with the pace of a serial line: what a peer sends takes as long as it would at its baud rate.

A pty carries bytes at once; here each takes its 10 or 11 bits, both ways, and what a real RS-485 line forbids is noted: a master
that talks while the peer does, or before the silence that ends a frame.
"""

import asyncio
import contextlib
import os
import pty
import tty
from collections.abc import Callable

_CHARACTERS_AT_ONCE = 4


class PacedPty:
    """The peer's end; the program under test opens `path`."""

    def __init__(self, heard: Callable[[bytes], None], baud: int = 9600, bits: int = 11) -> None:
        """`heard` is called with what the program sent, once it would have been on the wire."""
        self.character_s = bits / baud
        self.collisions = 0
        """How often the program sent while the peer did."""
        self.silences: list[float] = []
        """Seconds between the peer's last character and the program's next; only of what followed at once."""
        self._heard = heard
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)  # kept open, so that the program may close and open its end
        self.path = os.ttyname(self._slave)
        os.set_blocking(self._master, False)
        self._sending = False
        self._sent_at: float | None = None
        self._arriving: asyncio.TimerHandle | None = None
        self._arrived = b""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._master, self._read)

    async def send(self, data: bytes) -> None:
        """Send bytes at the line's pace."""
        self._sending = True
        begins = self._loop.time()
        for start in range(0, len(data), _CHARACTERS_AT_ONCE):
            piece = data[start : start + _CHARACTERS_AT_ONCE]
            due = begins + (start + len(piece)) * self.character_s
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            with contextlib.suppress(BlockingIOError, OSError):
                os.write(self._master, piece)
        self._sending = False
        self._sent_at = self._loop.time()

    def close(self) -> None:
        """Pull the plug; harmless when it is out."""
        if self._master < 0:
            return
        self._loop.remove_reader(self._master)
        if self._arriving is not None:
            self._arriving.cancel()
        os.close(self._slave)
        os.close(self._master)
        self._master = -1

    def _read(self) -> None:
        try:
            data = os.read(self._master, 4096)
        except (BlockingIOError, OSError):
            return
        self.collisions += self._sending
        if self._sent_at is not None and not self._arrived:
            self.silences.append(self._loop.time() - self._sent_at)
            self._sent_at = None
        self._arrived += data
        if self._arriving is None:
            self._arriving = self._loop.call_later(len(data) * self.character_s, self._tell)

    def _tell(self) -> None:
        data, self._arrived, self._arriving = self._arrived, b"", None
        self._heard(data)
