"""The processes `hedgerow up` runs: started, watched, started again when they die, stopped by their own pid.

Each writes its log to a file of its own. They sit in process groups of their own, so that Ctrl-C reaches only us and we stop
them in order; should we be killed, the kernel (Linux's PR_SET_PDEATHSIG) stops them.
"""

import asyncio
import ctypes
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from edgewire import backoff

log = logging.getLogger(__name__)

STOP_DEADLINE_S = 5.0
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
        """Start the process and watch over it."""
        await self._spawn()
        self._watcher = asyncio.create_task(self._watch(), name=f"watch-{self.name}")

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL when that does not help within `STOP_DEADLINE_S`."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_DEADLINE_S):
                await process.wait()
        except TimeoutError:
            log.warning("process killed, it did not stop name=%s pid=%d", self.name, process.pid)
            process.kill()
            await process.wait()

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
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )

    async def _watch(self) -> None:
        delays = backoff.delays()
        while True:
            assert self._process is not None
            code = await self._process.wait()
            delay = next(delays)
            log.warning("process ended name=%s code=%d restart_s=%.1f log=%s", self.name, code, delay, self._log_file)
            await asyncio.sleep(delay)
            self.restarts += 1
            await self._spawn()


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
