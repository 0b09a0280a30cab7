"""Mappers that edgecore runs itself: one process for all of them, started again when it ends, and stopped with edgecore.

It is `python -m mappers` of the same installation; nothing of it is imported here. What it logs goes where edgecore's own log
goes. It is told the broker, and a password made for it, by its environment, and ends with its standard input, which is closed
when edgecore is killed.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from edgewire import backoff

log = logging.getLogger(__name__)

RETRY_LIMIT_S = 60.0
CALM_S = 60.0
"""A process that ran for so long has recovered: the waits begin small again."""
STOP_DEADLINE_S = 5.0
_CANNOT_BE_USED = 2
"""The mappers' exit status for a configuration; the line before says why."""


def command(mappers: Iterable[str], folder: Path) -> list[str]:
    """How to run what `edgecore.yaml` lists: names with a dot or slash are files, relative to `folder`; others protocols."""
    found = [str(folder.absolute() / name) if {"/", "."} & set(name) else name for name in mappers]
    return [sys.executable, "-m", "mappers", "--stop-with-stdin", *found]


def broker_environment(host: str, port: int, user: str = "", password: str = "") -> dict[str, str]:
    """Where the broker is, as mappers read it; of a broker that listens on all addresses, the loopback one."""
    reached = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    place = {"HEDGEROW_BROKER_HOST": reached, "HEDGEROW_BROKER_PORT": str(port)}
    return {**place, "HEDGEROW_BROKER_USER": user, "HEDGEROW_BROKER_PASSWORD": password}


class MapperProcess:
    """Keeps the process running; a service."""

    name = "mappers"

    def __init__(
        self,
        command: list[str],
        environment: Callable[[], Mapping[str, str]],
        retry_limit_s: float = RETRY_LIMIT_S,
    ) -> None:
        """`environment` is asked before each start: a port may be known only then."""
        self._command = command
        self._environment = environment
        self._retry_limit_s = retry_limit_s

    async def run(self, ready: asyncio.Event) -> None:
        """Keep it running until cancelled. Ready at once: nobody waits for mappers."""
        ready.set()
        now = asyncio.get_running_loop().time
        delays = backoff.delays(limit_s=self._retry_limit_s)
        while True:
            began = now()
            ended = await self._once()
            if now() - began >= CALM_S:
                delays = backoff.delays(limit_s=self._retry_limit_s)
            delay = next(delays)
            log.error("= mappers ended %s retry_s=%.1f", ended, delay)
            await asyncio.sleep(delay)

    async def _once(self) -> str:
        """Run it to its end; how it ended."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                env={**os.environ, **self._environment()},
                stdin=asyncio.subprocess.PIPE,
                process_group=0,  # Ctrl-C is edgecore's: it stops this one in its turn
            )
        except OSError as error:
            return f"reason={error.strerror!r}"
        log.info("= mappers started pid=%d", process.pid)
        try:
            status = await process.wait()
        finally:
            await _stop(process)
        return f"status={status}" + (" reason='configuration cannot be used'" if status == _CANNOT_BE_USED else "")


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_DEADLINE_S):
            await process.wait()
    except TimeoutError:
        log.warning("= mappers killed, they did not stop pid=%d", process.pid)
        process.kill()
        await process.wait()
