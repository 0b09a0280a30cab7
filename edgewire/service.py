"""One lifecycle for everything that runs: a service is ready, works until it is cancelled, and cleans up after itself."""

import asyncio
import logging
import signal
from typing import Protocol

log = logging.getLogger(__name__)


class Service(Protocol):
    """A long-running part of a process."""

    @property
    def name(self) -> str:
        """The name of its task and of its log lines."""
        ...

    async def run(self, ready: asyncio.Event) -> None:
        """Set `ready` once it serves, then work until cancelled; clean up in `finally`."""
        ...


async def serve(*services: Service) -> None:
    """Start the services in order, each after the one before is ready, and run them until cancelled.

    They stop in reverse order. The first that fails or returns stops all: its error is raised as it is, and a service
    that returns by itself is a RuntimeError.
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
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def serve_until_signalled(*services: Service) -> None:
    """`serve`, until SIGINT or SIGTERM asks the process to stop."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    serving = asyncio.create_task(serve(*services), name="serve")
    asked = asyncio.create_task(stop.wait(), name="signal")
    try:
        await asyncio.wait((serving, asked), return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
    finally:
        asked.cancel()
        serving.cancel()
        await asyncio.gather(asked, serving, return_exceptions=True)


async def _until_ready(ready: asyncio.Event, running: list[asyncio.Task[None]]) -> None:
    waiting = asyncio.create_task(ready.wait())
    try:
        await asyncio.wait((waiting, *running), return_when=asyncio.FIRST_COMPLETED)
        _raise_first_failure(running)
    finally:
        waiting.cancel()


def _raise_first_failure(running: list[asyncio.Task[None]]) -> None:
    for task in running:
        if task.done():
            task.result()
            raise RuntimeError(f"service {task.get_name()} ended by itself")
