"""A board on a serial line, as the firmware is one, in this process: the board's end of the link over a pseudo-terminal.

python -m hil_tests.bench.linked_board --link /tmp/board      a thermometer and a lamp, for `framing: board`
"""

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

from edgewire import board
from edgewire.board_end import BoardEnd
from edgewire.board_frames import DELTA, LOST, REPORT, STATE, TIME, WELCOME
from hil_tests.bench.serial_instrument import SerialInstrument, serve

_PERIOD_S = 0.02


class LinkedBoard(SerialInstrument):
    """Properties by name; what is desired of those in `refuses` is refused, all else is followed."""

    def __init__(self, *, link: Path | None = None, name: str = "default/board", **options: int) -> None:
        super().__init__(link=link, period_s=_PERIOD_S)
        self.values = {"temperature": "21.5", "led": "OFF"}
        self.refuses: dict[str, str] = {}
        self.at_ms = 0
        """Source time of what is reported; 0: none."""
        self.answer: Callable[[str, str], str] = lambda property, desired: desired
        """What a property holds after a value was desired of it."""
        self.messages: list[tuple[int, bytes]] = []
        """Whatever came that is no delta."""
        self.deltas: list[dict[str, str]] = []
        self.told_ms = 0
        """The gateway's time, when it was told last."""
        self.sessions = 0
        self.outbox: list[tuple[int, bytes]] = []
        self._name, self._options = name, options
        self.end = BoardEnd(name, 7, **options)

    def plug(self) -> None:
        """Be plugged in, and so switched on."""
        super().plug()
        self.reset()

    def reset(self) -> None:
        """Start anew: forget everything but the values."""
        self.end = BoardEnd(self._name, 7, **self._options)
        self.outbox.clear()
        self.end.connect(self._ms())
        self._flush()

    def report(self, *names: str) -> None:
        """Report properties, all of them without a name."""
        values = {name: (self.values[name], self.at_ms) for name in names or self.values}
        self.outbox.append((REPORT, board.report(values).encode()))
        self._flush()

    def put(self, name: str, value: str) -> None:
        """A property has another value."""
        self.values[name] = value
        self.report(name)

    def print(self, text: str) -> None:
        """Print between frames."""
        self.send(text.encode() + b"\r\n")

    def heard(self, data: bytes) -> None:
        """Take in what the gateway sends."""
        for kind, content in self.end.receive(data, self._ms()):
            if kind == WELCOME:
                self.sessions += 1
                self.outbox[:] = [(STATE, board.state("online").encode())]
                self.report()
            elif kind == LOST:
                self.end.connect(self._ms())
            elif kind == TIME:
                self.told_ms = int.from_bytes(content)
            elif kind == DELTA:
                self._obey(board.delta(content))
            elif kind > 0:
                self.messages.append((kind, content))
        self._flush()

    def tick(self) -> bytes:
        """What time brings about."""
        for kind, _ in self.end.tick(self._ms()):
            if kind == LOST:
                self.end.connect(self._ms())
        self._flush()
        return b""

    def _obey(self, desired: dict[str, str]) -> None:
        self.deltas.append(desired)
        refused = {name: self.refuses[name] for name in desired if name in self.refuses}
        if refused:
            self.outbox.append((STATE, board.state("online", refused=refused).encode()))
        for name, value in desired.items():
            if name not in refused and name in self.values:
                self.values[name] = self.answer(name, value)
                self.report(name)

    def _flush(self) -> None:
        if self.outbox and self.end.connected and self.end.idle:
            self.end.send(*self.outbox.pop(0), self._ms())
        self.send(self.end.output())

    def _ms(self) -> int:
        return int(time.monotonic() * 1000)


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m hil_tests.bench.linked_board")
    parser.add_argument("--link", type=Path, required=True, help="a name for its port")
    parser.add_argument("--values", type=json.loads, default={}, help="properties as JSON")
    options = parser.parse_args()
    made = LinkedBoard(link=options.link)
    made.values.update(options.values)
    asyncio.run(serve(made, "board"))


if __name__ == "__main__":
    main()
