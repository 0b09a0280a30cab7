"""One lifecycle for everything that runs: a service is ready, works until it is cancelled, and cleans up after itself."""

import asyncio
import logging
import signal
from typing import Protocol

log = logging.getLogger(__name__)

STOP_DEADLINE_S = 15.0
"""How long a cancelled service may clean up; the store alone may take ten seconds."""


class Service(Protocol):
    """A long-running part of a process."""

    @property
    def name(self) -> str:
        """The name of its task and of its log lines."""
        ...

    async def run(self, ready: asyncio.Event) -> None:
        """Set `ready` once it serves, then work until cancelled; clean up in `finally`."""
        ...


async def serve(*services: Service, stop_deadline_s: float = STOP_DEADLINE_S) -> None:
    """Start the services in order, each after the one before is ready, and run them until cancelled.

    They stop in reverse order. The first that fails or returns stops all: its error is raised as it is, and a service
    that returns by itself is a RuntimeError. One that fails while it stops, or does not stop in time, is logged.
    """
    running: list[asyncio.Task[None]] = []
    try:
        for service in services:
            ready = asyncio.Event()
            running.append(asyncio.create_task(service.run(ready), name=service.name))
            await _until_ready(ready, running)
            log.debug("= service ready name=%s", service.name)
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        _raise_first_failure(running)
    finally:
        for task in reversed(running):
            if not task.done():
                await _stop(task, stop_deadline_s)


async def serve_until_signalled(*services: Service) -> None:
    """`serve`, until SIGINT or SIGTERM asks the process to stop; further signals do not disturb the stopping."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    serving = asyncio.create_task(serve(*services), name="serve")
    asked = asyncio.create_task(stop.wait(), name="signal")
    try:
        await asyncio.wait((serving, asked), return_when=asyncio.FIRST_COMPLETED)
    finally:
        asked.cancel()
        serving.cancel()
        await asyncio.wait((asked, serving))
        for number in signals:
            loop.remove_signal_handler(number)
    if not serving.cancelled():
        serving.result()


async def _until_ready(ready: asyncio.Event, running: list[asyncio.Task[None]]) -> None:
    waiting = asyncio.create_task(ready.wait())
    try:
        await asyncio.wait((waiting, *running), return_when=asyncio.FIRST_COMPLETED)
        _raise_first_failure(running)
    finally:
        waiting.cancel()


async def _stop(task: asyncio.Task[None], deadline_s: float) -> None:
    task.cancel()
    await asyncio.wait((task,), timeout=deadline_s)
    if not task.done():
        log.error("= service does not stop name=%s waited_s=%.0f", task.get_name(), deadline_s)
    elif not task.cancelled() and (error := task.exception()) is not None:
        log.error("= service failed while stopping name=%s", task.get_name(), exc_info=error)


def _raise_first_failure(running: list[asyncio.Task[None]]) -> None:
    for task in running:
        if task.done():
            if not task.cancelled():
                task.result()
            raise RuntimeError(f"service {task.get_name()} ended by itself")
