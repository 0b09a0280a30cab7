"""Containers' logs as `kubectl logs` wants them: from the end or a time, followed or not, from files that rotate meanwhile.

A log is the file before (`.1`), if there is one, and the file; each line is `<time> <stream> <F or P> <text>`, P for a part of a
line that goes on.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edge_gateway.stream_server import StreamError
from edgewire.streams import LogRequest

BLOCK = 64 * 1024
POLL_S = 0.2
"""Between two looks at a file that is followed: it tells nobody that it has grown."""


async def read(file: Path, asked: LogRequest, goes_on: Callable[[], bool]) -> AsyncGenerator[bytes]:
    """The text of a log; of one that is followed, until `goes_on` says that nothing more comes. Raises StreamError."""
    since = _since(asked)
    left = asked.limit_bytes
    start = await asyncio.to_thread(_tail_start, _both(file), asked.tail_lines)
    lines = _Lines(asked.timestamps, since)
    async for block in _blocks(file, start, asked.follow, goes_on):
        text = lines.text(block)
        if left is not None:
            text = text[:left]
            left -= len(text)
        if text:
            yield text
        if left == 0:
            return


class _Lines:
    """Turns blocks of a log file into what was said."""

    def __init__(self, timestamps: bool, since: bytes) -> None:
        self._timestamps, self._since = timestamps, since
        self._rest = b""
        self._begins = True

    def text(self, block: bytes) -> bytes:
        *lines, self._rest = (self._rest + block).split(b"\n")
        return b"".join(part for line in lines for part in self._said(line))

    def _said(self, line: bytes) -> Iterator[bytes]:
        parts = line.split(b" ", 3)
        if len(parts) < 4 or parts[0] < self._since:
            return
        if self._timestamps and self._begins:
            yield parts[0] + b" "
        self._begins = parts[2] != b"P"
        yield parts[3] + (b"\n" if self._begins else b"")


def _both(file: Path) -> list[Path]:
    return [path for path in (file.with_name(file.name + ".1"), file) if path.exists()]


def _since(asked: LogRequest) -> bytes:
    """The time before which nothing is wanted, as it stands in a log: such times compare as text."""
    if asked.since_seconds is not None:
        try:
            at = datetime.now(UTC) - timedelta(seconds=asked.since_seconds)
        except OverflowError:
            return b""  # since before there was time
    elif asked.since_time:
        try:
            at = datetime.fromisoformat(asked.since_time)
        except ValueError as error:
            raise StreamError(400, f"sinceTime: {error}") from error
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    else:
        return b""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f").encode()


def _tail_start(files: list[Path], lines: int | None) -> tuple[int, int]:
    """Where the last lines begin: which of the files, and the offset there."""
    if lines is None or not files:
        return 0, 0
    for number in range(len(files) - 1, -1, -1):
        offset, found = _back(files[number], lines)
        if found >= lines or number == 0:
            return number, offset
        lines -= found
    return 0, 0


def _back(file: Path, lines: int) -> tuple[int, int]:
    """The offset at which the last lines of a file begin, and how many there are from it on; a line in parts is one."""
    found = 0
    with file.open("rb") as opened:
        position = opened.seek(0, os.SEEK_END)
        block = b""
        while position > 0:
            step = min(BLOCK, position)
            position -= step
            opened.seek(position)
            block = opened.read(step) + block
            end = len(block)
            while (begin := block.rfind(b"\n", 0, max(0, end - 1)) + 1) or (position == 0 and end):
                if block[begin:end].split(b" ", 3)[2:3] != [b"P"]:
                    if found == lines:
                        return position + end, found
                    found += 1
                end = begin
            block = block[:end]
    return 0, found


async def _blocks(
    file: Path, start: tuple[int, int], follow: bool, goes_on: Callable[[], bool]
) -> AsyncGenerator[bytes]:
    files = _both(file)
    number, offset = start
    for path in files[number:-1]:
        with path.open("rb") as before:
            before.seek(offset)
            while block := before.read(BLOCK):
                yield block
        offset = 0
    while True:
        try:
            opened = file.open("rb")
        except FileNotFoundError:
            if not follow or not goes_on():
                return
            await asyncio.sleep(POLL_S)
            continue
        with opened:
            opened.seek(offset)
            offset = 0
            while True:
                last = not (follow and goes_on())
                if block := opened.read(BLOCK):
                    yield block
                elif _rotated(file, opened.fileno()):
                    yield opened.read()  # what came between the two looks
                    break
                elif last:
                    return
                else:
                    await asyncio.sleep(POLL_S)


def _rotated(file: Path, descriptor: int) -> bool:
    try:
        return file.stat().st_ino != os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
