"""More desired values than a micro:bit can take at its ease: it neither fails nor begins anew, it takes one after the other."""

import os
import select
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewire.board_frames import ACK, DELTA, HELLO, MORE, REPORT, STATE, WELCOME, decode, encode
from hil_tests.bench.qemu_microbit import QemuMicrobit, Unavailable
from hil_tests.conftest import missing

PARTS = 200
ROOM = 32
DEADLINE_S = 60.0
AGAIN_S = 0.5


@pytest.fixture
def board(tmp_path: Path) -> Iterator[QemuMicrobit]:
    """A micro:bit that waits for its gateway."""
    try:
        made = QemuMicrobit("microbit", tmp_path / "microbit")
    except Unavailable as error:
        missing(str(error))
        return
    with made:
        made.expect("event=started", 30)
        yield made


class Hurry:
    """A gateway that sends the next part as soon as the last one is acknowledged."""

    def __init__(self, port: str) -> None:
        self._line = os.open(port, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self._line)
        self._rest = b""
        self._tag = self._number = 0
        self._waiting: list[bytes] = []
        self._sent_at = 0.0
        self.acknowledged = 0
        self.reports = b""

    def close(self) -> None:
        """Let the line go."""
        os.close(self._line)

    def send(self, parts: int) -> None:
        """Until so many are acknowledged."""
        deadline = time.monotonic() + DEADLINE_S
        while self.acknowledged < parts:
            assert time.monotonic() < deadline, f"{self.acknowledged} of {parts}"
            if self._tag and time.monotonic() - self._sent_at > AGAIN_S:
                self._say()
            if select.select([self._line], [], [], 0.01)[0]:
                *pieces, self._rest = (self._rest + os.read(self._line, 4096)).split(b"\0")
                for body in filter(None, map(decode, filter(None, pieces))):
                    self._take(body[0], body[1] << 8 | body[2], body[3], body[4:])

    def _take(self, kind: int, tag: int, number: int, content: bytes) -> None:
        if kind == HELLO:
            self._tag, self._number, self._waiting = self._tag + 1, 0, []
            self._write(encode(WELCOME, self._tag, 0, bytes((1, *content[1:3], 0, 255, 0, 255, 10))))
            self._sent_at = time.monotonic()
        elif tag == self._tag and kind & ~MORE in (STATE, REPORT):
            self.reports += content
            self._write(encode(ACK, tag, number, b""))
        elif tag == self._tag and kind == ACK and self._waiting and number == self._number:
            self._waiting.pop(0)
            self._number = (self._number + 1) & 255
            self.acknowledged += 1
            self._say()

    def _say(self) -> None:
        if not self._waiting:
            led = b"ON" if self.acknowledged % 2 else b"OFF"
            interval = 100 + self.acknowledged
            message = b'{"delta":{"led":"%s","interval":"%d","temperature":"1","button":"7"},"x":"%s"}'
            message %= (led, interval, b"y" * 60)
            self._waiting = [message[at : at + ROOM] for at in range(0, len(message), ROOM)]
        kind = DELTA | MORE if len(self._waiting) > 1 else DELTA
        self._write(encode(kind, self._tag, self._number, self._waiting[0]))
        self._sent_at = time.monotonic()

    def _write(self, frame: bytes) -> None:
        os.write(self._line, frame)


@pytest.mark.timeout(120)
def test_a_microbit_takes_long_messages_one_after_the_other_without_beginning_anew(board: QemuMicrobit) -> None:
    hurry = Hurry(board.port)
    try:
        hurry.send(PARTS)
    finally:
        hurry.close()
    said = board.console.read_bytes()
    assert b"event=failed" not in said
    assert said.count(b"event=started") == 1
    assert b'"refused":{"button":"read only"}' in hurry.reports
