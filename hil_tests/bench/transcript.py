"""What a part of the bench said, as a file that grows, and waiting for something in it."""

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
        self._seen = len(self.text())

    def text(self) -> str:
        """All that it holds, one character a byte."""
        older = self.path.with_name(self.path.name + ".1")
        data = b"".join(file.read_bytes() for file in (older, self.path) if file.exists())
        return data.decode("latin-1")

    def tail(self, characters: int = 2000) -> str:
        """The end of it."""
        return self.text()[-characters:]

    def write(self, data: bytes) -> None:
        """Add to it."""
        with self.path.open("ab") as file:
            file.write(data)
            full = file.tell() > _LIMIT
        if full:
            self.path.replace(self.path.with_name(self.path.name + ".1"))

    def expect(self, pattern: str, timeout_s: float = 10.0) -> re.Match[str]:
        """Wait until it shows a regular expression, after what was expected last. BoardError when it does not."""
        wanted = re.compile(pattern)
        deadline = time.monotonic() + timeout_s
        while True:
            over = time.monotonic() > deadline
            text = self.text()
            if found := wanted.search(text, min(self._seen, len(text))):
                self._seen = found.end()
                return found
            if over:
                raise BoardError(f"{pattern!r} not within {timeout_s:g} s in {self.path}:\n{text[-2000:]}")
            time.sleep(0.01)
