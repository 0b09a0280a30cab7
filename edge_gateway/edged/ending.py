"""How runs end that no pod's life ends: those of pods that nobody wants any more, and all of them where they go with edgecore."""

import asyncio
import logging
import signal
import time
from collections.abc import Callable

from edge_gateway.edged.runtime import RunId, Running, Runtime, RuntimeTrouble
from edge_gateway.edged.volumes import Volumes

log = logging.getLogger(__name__)

ORPHAN_GRACE_S, ORPHAN_KILL_S = 10.0, 1.0
"""For a run of a pod that nobody wants: to stop, and to be gone after it was killed."""
STOP_S, KILL_S = 3.0, 1.0
"""The same for all runs together, when they are to stop with edgecore."""


async def end_orphan(runtime: Runtime, volumes: Volumes, run: Running) -> None:
    """End a run of a pod that was deleted while edgecore was away, and forget it. Raises RuntimeTrouble."""
    log.info("= orphan is ended run=%s", run.id)
    if run.exit is None:
        await runtime.signal(run.id, signal.SIGTERM)
        await asyncio.sleep(ORPHAN_GRACE_S)
        await runtime.signal(run.id, signal.SIGKILL, everything=True)
        await asyncio.sleep(ORPHAN_KILL_S)
    await runtime.forget(run.id)
    await remove(runtime, run.id.uid)
    volumes.remove(run.id.uid)


async def remove(runtime: Runtime, uid: str) -> None:
    """Drop what a pod's containers shared."""
    try:
        await runtime.remove(uid)
    except RuntimeTrouble as trouble:
        log.warning("= what a pod shared is left uid=%s reason=%s", uid, trouble)


async def stop_all(runtime: Runtime, alive: Callable[[], list[RunId]]) -> None:
    """Stop every run that is alive, and kill those that do not stop. Raises RuntimeTrouble."""
    for number, wait_s in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, KILL_S)):
        everything = number == signal.SIGKILL
        await asyncio.gather(*(runtime.signal(id, number, everything=everything) for id in alive()))
        deadline = time.monotonic() + wait_s
        while alive() and time.monotonic() < deadline:  # noqa: ASYNC110 (ends come one by one)
            await asyncio.sleep(0.02)
