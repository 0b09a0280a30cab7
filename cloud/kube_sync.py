"""The shells between `kube.py` and the controllers: one tells them what Kubernetes says, one writes what they say, one ticks."""

import asyncio
import logging
import math
from collections.abc import Callable
from contextlib import aclosing

from cloud.kube import Kube
from cloud.objects import Event, ResourceType, Synced
from cloud.writes import TOO_MANY, Answer, Request, Writer, Writes

log = logging.getLogger(__name__)

TICK_S = 1.0
TOLD_S = 60.0
"""Between two lines about requests that are turned away."""


class Follower:
    """A service: tells a controller of every object of a type. Ready when it has told of all that exist."""

    def __init__(
        self,
        kube: Kube,
        type: ResourceType,
        *take: Callable[[Event], None],
        selector: str = "",
        metadata_only: bool = False,
    ) -> None:
        """`take` are told one after the other; with a `selector` only of objects whose labels fit, with `metadata_only` of
        nothing else in them."""
        self._metadata_only = metadata_only
        self.name = f"follow {type.plural}"
        self._kube = kube
        self._type = type
        self._take = take
        self._selector = selector

    async def run(self, ready: asyncio.Event) -> None:
        """Follow until cancelled."""
        async with aclosing(self._kube.follow(self._type, self._selector, metadata_only=self._metadata_only)) as events:
            async for event in events:
                for take in self._take:
                    take(event)
                if isinstance(event, Synced):
                    ready.set()


class WriteService:
    """A service: makes the requests of a controller when it is their turn."""

    def __init__(self, name: str, kube: Kube, writes: Writes, writer: Writer) -> None:
        self.name = name
        self._kube = kube
        self._writes = writes
        self._writer = writer
        self._away = False
        self._told_at = -math.inf

    async def run(self, ready: asyncio.Event) -> None:
        """Write until cancelled."""
        loop = asyncio.get_running_loop()
        wake = asyncio.Event()
        self._writes.wake = wake.set
        ready.set()
        async with asyncio.TaskGroup() as requests:
            while True:
                wake.clear()
                for key in self._writes.due(loop.time()):
                    if (request := self._writer.request(key)) is None:
                        self._writes.idle(key)
                    else:
                        requests.create_task(self._make(key, request, wake), name=f"{self.name} {key}")
                due = self._writes.next_due(loop.time())
                delay = None if due is None else max(0.0, due - loop.time())
                try:
                    async with asyncio.timeout(delay):
                        await wake.wait()
                except TimeoutError:
                    pass

    async def _make(self, key: str, request: Request, wake: asyncio.Event) -> None:
        log.debug("> %s path=%s bytes=%d", request.method, request.path, len(request.body))
        answer = await self._kube.send(request)
        self._note(request, answer)
        again = self._writer.answered(key, answer)
        self._writes.finished(key, answer, again, asyncio.get_running_loop().time())
        wake.set()

    def _note(self, request: Request, answer: Answer) -> None:
        if answer.status == TOO_MANY:
            now = asyncio.get_running_loop().time()
            if now - self._told_at >= TOLD_S:
                self._told_at = now
                log.warning("= api server turns requests away path=%s status=%d", request.path, answer.status)
            return
        if answer.away and not self._away:
            log.warning("= api server away path=%s status=%d reason=%r", request.path, answer.status, answer.reason)
        elif self._away and not answer.away:
            log.info("= api server back")
        self._away = answer.away


class Ticker:
    """A service: calls `tick` with the loop's time, once a second."""

    def __init__(self, name: str, tick: Callable[[float], None]) -> None:
        self.name = name
        self._tick = tick

    async def run(self, ready: asyncio.Event) -> None:
        """Tick until cancelled."""
        loop = asyncio.get_running_loop()
        ready.set()
        while True:
            self._tick(loop.time())
            await asyncio.sleep(TICK_S)
