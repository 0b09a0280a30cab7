"""A plain process that somebody talks to: its pipes, or its terminal, read only when asked, so that it waits for who listens."""

import asyncio
import fcntl
import os
import pty
import signal
import struct
import termios
from contextlib import suppress

from edge_gateway.edged import keeper
from edge_gateway.edged.runtime import CannotStart

GRACE_S = 1.0
"""For a process that says no more to end by itself."""
END_S = 5.0
"""For a process that is killed to be gone."""
# Whoever leads a session gets the first terminal that it opens.
_ON_TERMINAL = ["sh", "-c", 'exec <"$0" >"$0" 2>&1 && exec "$@"']


class ProcessSession:
    """A `runtime.Session`."""

    def __init__(self, process: asyncio.subprocess.Process, input: int, outputs: dict[int, bool], *, tty: bool) -> None:
        """`input` is -1 without one; `outputs` says which of the descriptors are for errors. They are closed here."""
        self._process = process
        self._input = input
        self._outputs = outputs
        self._tty = tty
        self._ended = asyncio.create_task(process.wait(), name=f"exec {process.pid}")
        for fd in {input, *outputs} - {-1}:
            os.set_blocking(fd, False)

    @classmethod
    async def start(
        cls, argv: list[str], env: dict[str, str], folder: str, *, stdin: bool, tty: bool
    ) -> "ProcessSession":
        """Start a process, in a session of its own. Raises CannotStart."""
        theirs: list[int] = []
        ours: list[int] = []
        try:
            if tty:
                master, slave = pty.openpty()
                ours, theirs = [os.dup(master), master], [slave]
                argv = [*_ON_TERMINAL[:3], os.ttyname(slave), *argv]
                env = {"TERM": "xterm", **env}
                streams = (slave, slave, slave)
                input, outputs = ours[0], {master: False}
            else:
                pipes = [os.pipe() for _ in range(3)]
                theirs, ours = [pipes[0][0], pipes[1][1], pipes[2][1]], [pipes[0][1], pipes[1][0], pipes[2][0]]
                streams = (theirs[0], theirs[1], theirs[2])
                input, outputs = ours[0], {ours[1]: False, ours[2]: True}
            process = await asyncio.create_subprocess_exec(
                *argv,
                env=env,
                cwd=folder,
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                start_new_session=True,
            )
            ours = []
        except (OSError, ValueError) as error:
            code = keeper.NOT_FOUND if isinstance(error, FileNotFoundError) else keeper.CANNOT
            raise CannotStart(f"exec: {argv[0]!r}: {error}", code) from error
        finally:
            for fd in (*theirs, *ours):
                os.close(fd)
        made = cls(process, input, outputs, tty=tty)
        if not stdin and not tty:
            made.end_input()
        return made

    async def read(self, size: int) -> tuple[bool, bytes] | None:
        """What it says next; None when it says no more: what it left running may go on talking, to nobody."""
        while self._outputs:
            for fd, is_error in list(self._outputs.items()):
                try:
                    content = os.read(fd, size)
                except BlockingIOError:
                    continue
                except OSError:  # a terminal that nobody has open any more
                    content = b""
                if content:
                    return is_error, content
                del self._outputs[fd]
                os.close(fd)
            if self._outputs:
                if self._ended.done():
                    break
                await self._something()
        return None

    async def _something(self) -> None:
        """Wait for output, or for the end."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        watched = list(self._outputs)
        for fd in watched:
            loop.add_reader(fd, readable.set)
        try:
            await self._first_of(readable)
        finally:
            for fd in watched:
                loop.remove_reader(fd)

    async def _first_of(self, event: asyncio.Event) -> None:
        """Wait for an event, or for the end."""
        waiting = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait((waiting, self._ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()

    async def write(self, content: bytes) -> None:
        """Give it input; what it does not want is dropped."""
        loop = asyncio.get_running_loop()
        while content and self._input >= 0:
            try:
                content = content[os.write(self._input, content) :]
            except BlockingIOError:
                writable, fd = asyncio.Event(), self._input
                loop.add_writer(fd, writable.set)
                try:
                    await self._first_of(writable)
                finally:
                    loop.remove_writer(fd)
                if self._ended.done():
                    return
            except OSError:
                self._close_input()

    def end_input(self) -> None:
        """There is no more input. A terminal is told so as by its user."""
        if self._tty and self._input >= 0:
            with suppress(OSError):
                os.write(self._input, b"\x04")
        else:
            self._close_input()

    def _close_input(self) -> None:
        if self._input >= 0:
            os.close(self._input)
            self._input = -1

    def resize(self, columns: int, rows: int) -> None:
        """Its terminal has another size."""
        if self._tty and self._input >= 0:
            with suppress(OSError, struct.error):
                fcntl.ioctl(self._input, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def close(self) -> int:
        """End it and what it left running: its exit code."""
        self._close_input()
        for fd in self._outputs:
            os.close(fd)
        self._outputs.clear()
        if self._ended.done():
            keeper.kill_all(self._process.pid, "", signal.SIGKILL)
        else:
            # It may have closed its output on its way to its end, which is not ours to hurry.
            await asyncio.wait((self._ended,), timeout=GRACE_S)
            keeper.kill_all(self._process.pid, "", signal.SIGKILL)
            await asyncio.wait((self._ended,), timeout=END_S)
        code = self._ended.result() if self._ended.done() else -signal.SIGKILL
        return code if code >= 0 else 128 - code
