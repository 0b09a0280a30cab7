"""What a bus's driver hears unasked, on its way to the devices it is of.

The values of one advertisement or one frame come one by one, and in one round of the event loop: they become one report.
"""

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from .driver import BusDown, Dated, DriverError, Listener, Value
from .mapped import MappedDevice, Output
from .mapper import Mapper
from .plan import Point


class Ears:
    """Listens through one driver that is open, to all devices of its bus."""

    def __init__(
        self,
        mapper: Mapper,
        bus: Hashable,
        driver: Listener,
        emit: Callable[[Sequence[Output]], None],
        wake: Callable[[], None],
    ) -> None:
        """`emit` takes what is to be told the gateway; `wake` is called when a device is due sooner by what was heard."""
        self._mapper = mapper
        self._bus = bus
        self._driver = driver
        self._emit = emit
        self._wake = wake
        self._followed = -1
        self._down: BusDown | None = None
        self._of: dict[int, list[tuple[MappedDevice, Point]]] = {}
        self._heard: dict[MappedDevice, list[tuple[Point, Value | Dated | DriverError]]] = {}

    def follow(self) -> None:
        """Listen to the devices that are on the bus now, and to no others. Cheap when nothing changed.

        Raises BusDown when the driver says so, now or since: nobody may be asking it for anything that would.
        """
        if self._down is not None:
            raise self._down
        if self._followed == self._mapper.changes:
            return
        visitors = []
        of: dict[int, list[tuple[MappedDevice, Point]]] = {}
        for device in self._mapper.on_bus(self._bus):
            for point in device.plan.points:
                if point.pushed:
                    visitors.append(point.visitor)
                    of.setdefault(id(point.visitor), []).append((device, point))
        if visitors or self._of:
            self._of = of
            self._driver.listen(visitors, self._take)
        self._followed = self._mapper.changes

    def _take(self, visitor: Any, value: Value | Dated | DriverError) -> None:
        if isinstance(value, BusDown):
            self._down = value
            self._wake()
        for device, point in self._of.get(id(visitor), ()):
            if not self._heard:
                asyncio.get_running_loop().call_soon(self._tell)
            self._heard.setdefault(device, []).append((point, value))

    def _tell(self) -> None:
        heard, self._heard = self._heard, {}
        for device, values in heard.items():
            if not self._mapper.serves(device):
                continue
            points = [point for point, _ in values]
            due, now, now_ms = device.due_at(), time.monotonic(), time.time_ns() // 1_000_000
            self._emit(device.heard(points, [value for _, value in values], now, now_ms))
            if device.due_at() < due:
                self._wake()
