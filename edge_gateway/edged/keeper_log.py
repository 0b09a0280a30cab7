"""Containers' logs as the keeper writes them: limited in size, each line with its time, in the format of container runtimes."""

import os
import time

CHUNK = 65_536
LINE_LIMIT = 16_384
"""Bytes of a log line; a longer one is cut and marked as partial (the container runtimes' figure)."""


class LogFile:
    """One container's log, limited in size: the file, and the one before it with `.1` at its name's end."""

    def __init__(self, path: str, limit: int) -> None:
        self._path, self._limit = path, limit
        self._fd, self._size = -1, 0
        self._open()

    def _open(self) -> None:
        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
            self._size = os.fstat(self._fd).st_size
        except OSError:
            self._fd = -1

    def write(self, content: bytes) -> None:
        """Append; a disk that is full loses lines, not containers."""
        if self._size + len(content) > self._limit // 2 and self._size:
            self._rotate()
        if self._fd < 0:
            self._open()
        try:
            self._size += os.write(self._fd, content)
        except OSError:
            self.close()

    def _rotate(self) -> None:
        self.close()
        try:
            os.replace(self._path, self._path + ".1")
        except OSError:
            return
        self._open()

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Stream:
    """A container's stdout or stderr on its way into the log."""

    def __init__(self, fd: int, name: bytes, log: LogFile) -> None:
        self.fd, self._name, self._log = fd, name, log
        self._rest = b""

    def read(self) -> bool:
        """Take what there is; False at the end."""
        try:
            chunk = os.read(self.fd, CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            chunk = b""
        if not chunk:
            if self._rest:
                self._log.write(self._line(b"P", self._rest, _stamp()))
                self._rest = b""
            return False
        *lines, rest = (self._rest + chunk).split(b"\n")
        stamp, out = _stamp(), []
        for line in lines:
            while len(line) > LINE_LIMIT:
                out.append(self._line(b"P", line[:LINE_LIMIT], stamp))
                line = line[LINE_LIMIT:]
            out.append(self._line(b"F", line, stamp))
        while len(rest) > LINE_LIMIT:
            out.append(self._line(b"P", rest[:LINE_LIMIT], stamp))
            rest = rest[LINE_LIMIT:]
        self._rest = rest
        if out:
            self._log.write(b"".join(out))
        return True

    def _line(self, tag: bytes, text: bytes, stamp: bytes) -> bytes:
        return b"%b %b %b %b\n" % (stamp, self._name, tag, text)


def _stamp() -> bytes:
    now = time.time_ns()
    seconds, rest = divmod(now, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode() + b".%09dZ" % rest
