"""What a part of the bench said, as a file that grows, and waiting for something in it."""

import contextlib
import os
import re
import time
from pathlib import Path

_LIMIT = 1 << 20


class BoardError(Exception):
    """A part of the bench did not do what was expected of it within its time; the text ends with the last it said."""


class Transcript:
    """A console's file, and what was expected of it so far. What was before a megabyte is in `<name>.1`, the rest is gone."""

    def __init__(self, path: Path) -> None:
        """The file need not exist; what is in it already is not waited for."""
        self.path = path
        self._seen = (0, 0)  # inode of a file, and how far it was read: names change when a file is set aside
        self._saw(self._files(), len(self.text()))

    def text(self) -> str:
        """All that it holds, one character a byte."""
        return "".join(text for _, text in self._files())

    def tail(self, characters: int = 2000) -> str:
        """The end of it."""
        return self.text()[-characters:]

    def write(self, data: bytes) -> None:
        """Add to it."""
        with self.path.open("ab") as file:
            file.write(data)
            full = file.tell() > _LIMIT
        if full:
            self.path.replace(self._older)

    def expect(self, pattern: str, timeout_s: float = 10.0) -> re.Match[str]:
        """Wait until it shows a regular expression, after what was expected last. BoardError when it does not."""
        wanted = re.compile(pattern)
        deadline = time.monotonic() + timeout_s
        while True:
            over = time.monotonic() > deadline
            files = self._files()
            text = "".join(text for _, text in files)
            if found := wanted.search(text, self._from(files)):
                self._saw(files, found.end())
                return found
            if over:
                raise BoardError(f"{pattern!r} not within {timeout_s:g} s in {self.path}:\n{text[-2000:]}")
            time.sleep(0.01)

    @property
    def _older(self) -> Path:
        return self.path.with_name(self.path.name + ".1")

    def _files(self) -> list[tuple[int, str]]:
        found = []
        for path in (self._older, self.path):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                found.append((os.fstat(file.fileno()).st_ino, file.read().decode("latin-1")))
        return found

    def _from(self, files: list[tuple[int, str]]) -> int:
        """Where what was not seen yet begins, in the files' text."""
        inode, offset = self._seen
        before = 0
        for number, text in files:
            if number == inode:
                return before + offset
            before += len(text)
        return 0

    def _saw(self, files: list[tuple[int, str]], end: int) -> None:
        for inode, text in files:
            if end <= len(text):
                self._seen = (inode, end)
                return
            end -= len(text)
