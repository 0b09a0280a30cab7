"""What a board says on its console after its reset: for the error when the gateway hears nothing of it."""

import contextlib
import os
import threading
from collections import deque
from types import TracebackType
from typing import Self

import serial

from device_fw.tools import said

LINES = 8
_POLL_S = 0.2
_STOP_S = 5.0
_LONGEST = 200


class Console:
    """Listens on a port while it is a context, over the port's going and coming as USB ports do."""

    def __init__(self, port: str) -> None:
        self._port = port
        self._lines: deque[str] = deque(maxlen=LINES)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, name=f"console {port}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(_STOP_S)

    def last(self) -> list[str]:
        """The last lines."""
        return list(self._lines)

    def _listen(self) -> None:
        while not self._stop.is_set():
            with (
                contextlib.suppress(OSError),  # pyserial's errors are; the port may be away
                serial.Serial(os.path.realpath(self._port), 115_200, timeout=_POLL_S) as port,
            ):
                self._hear(port)
            self._stop.wait(_POLL_S)

    def _hear(self, port: serial.Serial) -> None:
        rest = ""
        while not self._stop.is_set():
            *lines, rest = (rest + port.read(max(1, port.in_waiting)).decode(errors="replace")).split("\n")
            rest = rest[-_LONGEST:]
            self._lines.extend(said.plain(line.strip(), _LONGEST) for line in lines if line.strip())
