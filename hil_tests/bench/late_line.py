"""A line that holds back once what a board says after some words: a slow board, or a computer with other things to do."""

import contextlib
import os
import select
import threading
import time
import tty
from types import TracebackType
from typing import Self


class LateLine:
    """Between the port of a board and `port`, which a program opens; a context."""

    def __init__(self, board_port: str, after: bytes, late_s: float) -> None:
        """`after` these bytes the rest comes `late_s` later, the first time that the board says them."""
        self._after = after
        self._late_s = late_s
        self._said = b""
        self._board = os.open(board_port, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self._board)
        self._near, self._far = os.openpty()
        tty.setraw(self._far)  # kept open: the program may close its end
        self.port = os.ttyname(self._far)
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._pass, name=f"late line {self.port}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._stopped)
        self._thread.join(5.0 + self._late_s)
        for fd in (self._stop, self._board, self._near, self._far):
            os.close(fd)

    def _pass(self) -> None:
        while True:
            ready = select.select([self._stop, self._board, self._near], [], [])[0]
            if self._stop in ready:
                return
            with contextlib.suppress(OSError):
                if self._near in ready:
                    os.write(self._board, os.read(self._near, 4096))
                if self._board in ready:
                    self._say(os.read(self._board, 4096))

    def _say(self, data: bytes) -> None:
        for at in range(len(data)):
            byte = data[at : at + 1]
            os.write(self._near, byte)
            if self._after:
                self._said = (self._said + byte)[-len(self._after) :]
                if self._said == self._after:
                    self._after = b""
                    time.sleep(self._late_s)
