"""Notices devices that no mapper serves: a protocol that is misspelt, or a mapper that is not there any more.

Mappers subscribe to the index of their protocol's devices; where nobody has for a while (`unserved.PATIENCE_MS`), its devices are
told to be `unknown`, for the reason NoMapper. Only the built-in broker says who subscribes: with an external one nothing is seen.
"""

import asyncio
from collections.abc import Callable

from edge_gateway.edge_core import EdgeCore
from edge_gateway.effects import Effects
from edgewire.message import now_ms

PERIOD_S = 5.0


class MapperWatch:
    """Looks now and then; a service."""

    name = "mapper watch"

    def __init__(self, core: EdgeCore, perform: Callable[[Effects], None], period_s: float = PERIOD_S) -> None:
        self._core = core
        self._perform = perform
        self._period_s = period_s

    async def run(self, ready: asyncio.Event) -> None:
        """Look until cancelled."""
        ready.set()
        while True:
            await asyncio.sleep(self._period_s)
            effects = self._core.without_mapper(now_ms())
            if effects:
                self._perform(effects)
