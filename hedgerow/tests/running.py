"""The real command as a process: `hedgerow up` in a pipe or in a terminal of its own, and what it leaves behind."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

DEADLINE_S = 30.0
RUNNING = "Ctrl-C stops everything."
COMMAND = (sys.executable, "-m", "hedgerow")


class Up:
    """A `hedgerow` process and all that it printed, both streams together."""

    def __init__(self, process: subprocess.Popen[bytes], output: int) -> None:
        self.process = process
        self._output = output
        self.said = ""
        self.family: list[psutil.Process] = []
        """Every process it had when it was last asked."""

    def wait_for(self, text: str, deadline_s: float = DEADLINE_S) -> None:
        """Wait until it printed this."""
        until = time.monotonic() + deadline_s
        while text not in self.said:
            assert self._read(until), f"no {text!r} within {deadline_s:.0f} s, but:\n{self.said}"

    def ended(self, deadline_s: float = DEADLINE_S) -> int:
        """Wait until it has ended; its exit status, negative for a signal."""
        until = time.monotonic() + deadline_s
        while self._read(until):
            pass
        return self.process.wait(max(0.1, until - time.monotonic()))

    def meet_family(self) -> list[psutil.Process]:
        """Its children now."""
        self.family = psutil.Process(self.process.pid).children(recursive=True)
        return self.family

    @property
    def plain(self) -> str:
        """What it printed, without colours and movements of the cursor."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.said)

    def child(self, part_of_command: str, deadline_s: float = DEADLINE_S) -> psutil.Process:
        """One child, as soon as it is there."""
        until = time.monotonic() + deadline_s
        while time.monotonic() < until:
            for process in self.meet_family():
                with contextlib.suppress(psutil.NoSuchProcess):
                    if part_of_command in " ".join(process.cmdline()):
                        return process
            time.sleep(0.01)
        raise AssertionError(f"no child {part_of_command!r} within {deadline_s:.0f} s, but:\n{self.said}")

    def left_behind(self, deadline_s: float = 5.0) -> list[psutil.Process]:
        """Those of the family that live on after the deadline."""
        return psutil.wait_procs(self.family, deadline_s)[1]

    def press_ctrl_c(self) -> None:
        """As at the keyboard of its terminal."""
        os.write(self._output, b"\x03")

    def hang_up(self) -> None:
        """Close the terminal."""
        if self._output >= 0:
            os.close(self._output)
            self._output = -1

    def _read(self, until: float) -> bool:
        """Take what it prints next; False when there is no more, or not in time."""
        left = until - time.monotonic()
        if self._output < 0 or left <= 0 or not select.select([self._output], [], [], left)[0]:
            return False
        try:
            found = os.read(self._output, 65536)
        except OSError:  # how a terminal says that nobody is there any more
            return False
        self.said += found.decode(errors="replace")
        return bool(found)


@contextlib.contextmanager
def started(*arguments: str | Path) -> Iterator[Up]:
    """`hedgerow` with these arguments and its output in a pipe."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    with process.stdout, _ended(Up(process, process.stdout.fileno())) as running:
        yield running


def up(*arguments: str | Path) -> contextlib.AbstractContextManager[Up]:
    """`hedgerow up` with these arguments and its output in a pipe."""
    return started("up", *arguments)


def up_in_terminal(*arguments: str | Path) -> contextlib.AbstractContextManager[Up]:
    """`hedgerow up` in a terminal of its own."""
    return started_in_terminal("up", *arguments)


@contextlib.contextmanager
def started_in_terminal(*arguments: str | Path, columns: int = 80, lines: int = 24) -> Iterator[Up]:
    """`hedgerow` in a terminal of its own."""
    master, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (lines, columns))
    try:
        process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env={**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"},
            start_new_session=True,
            preexec_fn=_at_a_terminal,
        )
    finally:
        os.close(terminal)
    running = Up(process, master)
    try:
        with _ended(running):
            yield running
    finally:
        running.hang_up()


def _at_a_terminal() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextlib.contextmanager
def _ended(running: Up) -> Iterator[Up]:
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGTERM)
            try:
                running.process.wait(10)
            except subprocess.TimeoutExpired:
                running.process.kill()  # its children go with it
                running.process.wait()
