"""Who of an adapter's peripherals has one of its few connections. Pure: no clock, no I/O.

Whoever wants a connection waits; who was served longest ago goes first, so that a budget of two serves eight in turn. A
connection that is idle is left to its holder until another waits; then the one that has been idle longest is told to leave. A
holder that is busy, or has been promised its connection until some time, is left alone.
"""

from collections.abc import Hashable

from msgspec import Struct


class _Held(Struct):
    busy: bool = True
    free_at: float = 0.0
    leaving: bool = False


class Slots:
    """The connections of one adapter. `who` is anything hashable."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._held: dict[Hashable, _Held] = {}
        self._waiting: list[Hashable] = []
        self._served: dict[Hashable, float] = {}

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def want(self, who: Hashable) -> None:
        """Wait for a connection. `who` has none."""
        self._waiting.append(who)

    def withdraw(self, who: Hashable) -> None:
        """Wait no longer; harmless for one that does not."""
        if who in self._waiting:
            self._waiting.remove(who)

    def grants(self) -> list[Hashable]:
        """Those who wait and get a connection now, busy at first."""
        granted: list[Hashable] = []
        while self._waiting and len(self._held) < self.budget:
            first = min(self._waiting, key=lambda who: self._served.get(who, float("-inf")))
            self._waiting.remove(first)
            self._held[first] = _Held()
            granted.append(first)
        return granted

    def busy(self, who: Hashable) -> None:
        """Its holder uses the connection; from now on it is not taken away."""
        self._held[who].busy = True

    def idle(self, who: Hashable, free_at: float) -> None:
        """Its holder does not need the connection at the moment, and gives it up from `free_at` on when another waits."""
        held = self._held.get(who)
        if held is not None:
            held.busy, held.free_at = False, free_at

    def leaving(self, who: Hashable) -> bool:
        """Whether its holder was told to leave, and has not yet."""
        held = self._held.get(who)
        return held is not None and held.leaving

    def victims(self, now: float) -> list[Hashable]:
        """Those who must leave now, for others wait: each is named once and then releases its connection."""
        needed = self.waiting - (self.budget - len(self._held)) - sum(held.leaving for held in self._held.values())
        free = [(held.free_at, n, who) for n, (who, held) in enumerate(self._held.items()) if _free(held, now)]
        chosen = [who for _, _, who in sorted(free, key=lambda one: one[:2])[: max(0, needed)]]
        for who in chosen:
            self._held[who].leaving = True
        return chosen

    def next_at(self, now: float) -> float | None:
        """When `victims` may say something new by the mere passing of time; None when it will not."""
        if not self._waiting:
            return None
        promised = [h.free_at for h in self._held.values() if not h.busy and not h.leaving and h.free_at > now]
        return min(promised, default=None)

    def release(self, who: Hashable, now: float) -> None:
        """Its holder has no connection any more; harmless for one that had none."""
        if self._held.pop(who, None) is not None:
            self._served[who] = now

    def forget(self, who: Hashable) -> None:
        """It will not come back."""
        self.withdraw(who)
        self._held.pop(who, None)
        self._served.pop(who, None)


def _free(held: _Held, now: float) -> bool:
    return not held.busy and not held.leaving and held.free_at <= now
