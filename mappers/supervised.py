"""One mapper among several in a process: whatever breaks it, it is started anew, and the others notice nothing.

Each has its own connection to the broker. Sharing one would save 11 kB a mapper (measured with a hundred), and would tie them
together: one client id, one queue, one reconnection for all.
"""

import asyncio
import logging
from collections.abc import Callable
from itertools import count
from typing import Protocol

from edgewire import backoff
from edgewire.service import Service, serve

log = logging.getLogger(__name__)

RETRY_LIMIT_S = 60.0
"""The longest wait before a mapper that broke is started again."""
CALM_S = 60.0
"""A mapper that ran for so long has recovered: the waits begin small again."""


class Parts(Protocol):
    """What a mapper consists of."""

    @property
    def services(self) -> tuple[Service, ...]:
        """To be served together; they are of no use when one of them has ended."""
        ...


class SupervisedMapper:
    """Runs one mapper, made anew each time it broke; a service."""

    def __init__(self, protocol: str, make: Callable[[], Parts], retry_limit_s: float = RETRY_LIMIT_S) -> None:
        self.name = f"mapper {protocol}"
        self._protocol = protocol
        self._make = make
        self._retry_limit_s = retry_limit_s

    async def run(self, ready: asyncio.Event) -> None:
        """Keep the mapper running until cancelled. Ready at once: the others need not wait for its broker."""
        ready.set()
        loop = asyncio.get_running_loop()
        delays = backoff.delays(limit_s=self._retry_limit_s)
        for attempt in count(1):
            began = loop.time()
            try:
                await serve(*self._make().services)
            except Exception:
                if loop.time() - began > CALM_S:
                    delays = backoff.delays(limit_s=self._retry_limit_s)
                delay = next(delays)
                log.exception("= mapper failed protocol=%s attempt=%d retry_s=%.1f", self._protocol, attempt, delay)
                await asyncio.sleep(delay)
