"""When the properties of one device are due: each collect cycle in its phase, and what is left out when its bus is too slow."""

import logging
from collections.abc import Collection, Hashable

log = logging.getLogger(__name__)

SLOT_S = 0.25
"""Cycles begin at multiples of this, shorter ones at multiples of themselves, so that devices wake the process together.

Ten devices at 150 ms that wake it one by one cost nearly twice the time. Much longer slots would make bursts of many devices.
"""

SHED_LOG_S = 60.0
"""A device that cannot be polled as often as defined says so at most this often."""


class Cycles:
    """The collect cycles of one device, in seconds, and when each is due next."""

    __slots__ = ("_device", "_due", "_shed", "_shed_logged_at")

    def __init__(self, device: str) -> None:
        self._device = device
        self._due: dict[float, float] = {}
        self._shed = 0
        self._shed_logged_at = float("-inf")

    def follow(self, cycles: Collection[float], now: float) -> None:
        """These there are from now on; those that were there keep their phase, new ones are due at once."""
        self._due = {cycle: self._due.get(cycle, now - now % min(SLOT_S, cycle)) for cycle in cycles}

    @property
    def next(self) -> float:
        """When the first is due; infinite without any."""
        return min(self._due.values(), default=float("inf"))

    @property
    def shortest(self) -> float:
        """The shortest cycle; 0 without any."""
        return min(self._due, default=0.0)

    def due(self, now: float) -> set[float]:
        """The cycles that are over."""
        return {cycle for cycle, due in self._due.items() if due <= now}

    def advance(self, now: float, bus: Hashable, *, on_time: bool) -> None:
        """Those that were due have been served: set when they are next, in phase.

        Cycles that are over already are left out; and counted and said, if the device was `on_time` and the bus was not.
        """
        for cycle, due in self._due.items():
            if due <= now:
                late = int((now - due) // cycle)
                self._shed += late if on_time else 0
                following = due + (late + 1) * cycle
                self._due[cycle] = following if following > now else following + cycle  # rounding
        if self._shed and now - self._shed_logged_at >= SHED_LOG_S:
            log.warning("= bus too slow, cycles left out device=%s bus=%s cycles=%d", self._device, bus, self._shed)
            self._shed, self._shed_logged_at = 0, now
