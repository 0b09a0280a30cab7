"""The processes `hedgerow up` runs: started, watched, started again when they die, stopped by their own pid.

Each writes its log to a file of its own. They sit in process groups of their own, so that Ctrl-C reaches only us and we stop
them in order; should we be killed, the kernel (Linux's PR_SET_PDEATHSIG) stops them.
"""

import asyncio
import ctypes
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from edgewire import backoff

log = logging.getLogger(__name__)

STOP_DEADLINE_S = 5.0
SETTLED_S = 30.0
"""Of a process that lived so long, the delays between restarts begin anew."""
LOG_BYTES = 8 << 20
"""A log that has grown larger becomes `<name>.log.1`, in place of an earlier one, within `LOG_CHECK_S`."""
LOG_CHECK_S = 60.0
_PR_SET_PDEATHSIG = 1


class ChildError(Exception):
    """A process that does not come up; the text holds the end of its log."""


class Child:
    """One process that shall run until `stop`."""

    def __init__(self, name: str, command: Sequence[str], log_file: Path, *, cwd: Path | None = None) -> None:
        self.name = name
        self._command = command
        self._log_file = log_file
        self._cwd = cwd
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> None:
        """Start the process and watch over it. Raises ChildError when there is no such command."""
        try:
            await self._spawn()
        except OSError as error:
            raise ChildError(f"{self.name} cannot be started: {error}") from error
        self._watcher = asyncio.create_task(self._watch(), name=f"watch-{self.name}")

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL when that does not help within `STOP_DEADLINE_S`, or when this is cancelled."""
        await self._stop_watching()
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_DEADLINE_S):
                await process.wait()
        except TimeoutError:
            log.warning("process killed, it did not stop name=%s pid=%d", self.name, process.pid)
            await self.kill()
        except asyncio.CancelledError:
            await self.kill()
            raise

    async def kill(self) -> None:
        """SIGKILL, and no restart."""
        await self._stop_watching()
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def last_words(self, lines: int = 5) -> str:
        """The end of its log."""
        if not self._log_file.exists():
            return ""
        return "\n".join(self._log_file.read_text(errors="replace").splitlines()[-lines:])

    async def _spawn(self) -> None:
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        with self._log_file.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                cwd=self._cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
                preexec_fn=die_with_parent(),
            )

    async def _stop_watching(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)

    async def _watch(self) -> None:
        now = asyncio.get_running_loop().time
        delays = backoff.delays()
        while True:
            assert self._process is not None
            began = now()
            code = await self._end_of(self._process)
            if now() - began >= SETTLED_S:
                delays = backoff.delays()
            delay = next(delays)
            log.warning("process ended name=%s code=%d restart_s=%.1f log=%s", self.name, code, delay, self._log_file)
            await asyncio.sleep(delay)
            self.restarts += 1
            await self._spawn_again(delays)

    async def _end_of(self, process: asyncio.subprocess.Process) -> int:
        """The status of the process once it has ended; its log is kept small meanwhile."""
        while True:
            try:
                async with asyncio.timeout(LOG_CHECK_S):
                    return await process.wait()
            except TimeoutError:
                await asyncio.to_thread(_turn_over, self._log_file)

    async def _spawn_again(self, delays: Iterator[float]) -> None:
        while True:
            try:
                return await self._spawn()
            except OSError as error:
                delay = next(delays)
                log.warning("process not started name=%s restart_s=%.1f error=%s", self.name, delay, error)
                await asyncio.sleep(delay)


def _turn_over(log_file: Path) -> None:
    """Set a large log aside. Its writer appends and goes on in the emptied file; what it writes between copy and cut is lost."""
    try:
        if log_file.stat().st_size > LOG_BYTES:
            aside = log_file.with_name(f"{log_file.name}.1")
            shutil.copyfile(log_file, aside)
            os.truncate(log_file, 0)
    except OSError as error:  # a full disk, or somebody moved the log: no reason to end
        log.warning("log not turned over file=%s error=%s", log_file, error)


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent() -> Callable[[], None] | None:
    """What a new process does before its command so that it gets SIGTERM when this one dies; None where there is no way."""
    return None if _libc is None else partial(_ask_to_die_with, os.getpid())


def _ask_to_die_with(parent: int) -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)
