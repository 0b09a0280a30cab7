"""Lets time pass for firmware rollouts: waits between waves end, devices that vanished are given up, offers are repeated."""

import asyncio
from collections.abc import Callable

from edge_gateway.edge_core import EdgeCore
from edge_gateway.effects import Effects
from edgewire.message import now_ms

PERIOD_S = 1.0


class FirmwareClock:
    """Ticks; a service."""

    name = "firmware clock"

    def __init__(self, core: EdgeCore, perform: Callable[[Effects], None], period_s: float = PERIOD_S) -> None:
        self._core = core
        self._perform = perform
        self._period_s = period_s

    async def run(self, ready: asyncio.Event) -> None:
        """Tick until cancelled."""
        ready.set()
        while True:
            effects = self._core.tick_firmware(now_ms())
            if effects is not None:
                self._perform(effects)
            await asyncio.sleep(self._period_s)
