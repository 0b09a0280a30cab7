"""One device as its mapper sees it: when it wants its bus, what to report of what was read, what to write of what is desired.

No clock and no I/O: whoever owns the bus asks `due_at`, lets the device `begin` a turn, does its writes and reads through the
driver, and says how they ended. What is to be told the gateway comes back as `Output`s.
What is known of its properties is in `readings`, what is desired of them in `wishes`; here is when it has its turn.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from msgspec import Struct

from edgewire import backoff
from edgewire.methods import OFFLINE as OFFLINE_CODE
from edgewire.methods import Call

from .calls import Answer, Calls
from .cycles import Cycles
from .driver import BusDown, Dated, DriverError, NoAnswer, Value
from .health import OFFLINE, ONLINE, SILENT, Health, State
from .plan import Plan, Point, Settings
from .readings import Readings
from .relays import Relayed
from .wishes import Wishes, Write

HEARD_LATELY_S = 60.0
"""A device that does not answer but was heard so lately is unhealthy, not offline; where it has no `silence_s`."""


class Report(Struct, frozen=True):
    """Values for a device's twin: property -> (value, source time in ms since 1970)."""

    device: str
    values: dict[str, tuple[str, int]]


Output: TypeAlias = Report | State | Answer | Relayed


class MappedDevice:
    """One device with a usable definition."""

    def __init__(
        self, id: str, plan: Plan, settings: Settings, now: float, draw: Callable[[], float] = random.random
    ) -> None:
        self.id = id
        self.plan = plan
        self.calls = Calls(id)
        self._health = Health(id)
        self._settings = settings
        self._draw = draw
        self.readings = Readings(self._health)
        self.wishes = Wishes(id, self._health, self.readings)
        self._cycles = Cycles(id)
        self._misses = 0
        self._away = False
        """It did not answer, and is probed."""
        self._retry_at: float | None = None
        self._heard_at = now
        self._gone = False
        """Its driver says that it cannot speak."""
        self._probes = self._new_probes()
        self.follow(plan, now)

    @property
    def state(self) -> str:
        """online, offline or unhealthy; empty before the first turn."""
        return self._health.state

    def follow(self, plan: Plan, now: float) -> None:
        """Go on by a changed plan for the same address: points that are the same objects keep what is known of them."""
        before = {p.name: p for p in self.plan.points}
        for point in plan.points:
            if point.name not in self.readings or before.get(point.name) is not point:
                self.wishes.forget(point.name)
                self.readings.anew(point)
        names = {p.name for p in plan.points}
        self.readings.keep(plan.points)
        self.wishes.keep(names, self.plan.wanted - plan.wanted)
        self._health.keep(names)
        self._cycles.follow([p.collect_s for p in plan.points if not p.pushed], now)
        self._polled = plan.polled
        self.plan = plan

    def due_at(self) -> float:
        """When the device wants its bus next, on the clock that `now` is of; infinite for one without anything to read."""
        if self._retry_at is not None:
            return self._retry_at
        if self.state == ONLINE and (self.wishes.waiting or self.readings.at_once):
            return float("-inf")
        return min(self.calls.due_at, self._next_turn())

    def _next_turn(self) -> float:
        if self._polled or not self.plan.points:
            return self._cycles.next
        if not self.plan.silence_s:
            return float("inf") if self.state == ONLINE or self._gone else float("-inf")
        return float("inf") if self.state == OFFLINE else self._heard_at + self.plan.silence_s

    def writes(self, now: float) -> list[Write]:
        """What is to be written now; empty unless the device is online."""
        return self.wishes.take(self.plan.points, now) if self.state == ONLINE else []

    def reads(self, now: float) -> list[Point]:
        """The points to read now: those whose cycle is over, and those written or refused just before.

        All of them when the device did not answer last time.
        """
        if not self._polled:
            return []
        if self._retry_at is not None:
            return [p for p in self.plan.points if not p.pushed]
        cycles = self._cycles.due(now)
        return [
            p for p in self.plan.points if (p.collect_s in cycles or p.name in self.readings.at_once) and not p.pushed
        ]

    def call(self, call: Call, now: float, now_ms: int) -> list[Answer]:
        """A method is called: now, or not at all."""
        answers = self.calls.put(call, now, now_ms)
        return answers if self.state == ONLINE else [*answers, *self.give_up_calls(now_ms)]

    def give_up_calls(self, now_ms: int, why: str = "") -> list[Answer]:
        """None of the calls that wait can be carried out: the device is not online, or `why`."""
        return self.calls.give_up(OFFLINE_CODE, why or f"the device is {self.state or 'not known yet'}", now_ms)

    def answered(
        self, points: Sequence[Point], results: Sequence[Value | DriverError], now: float, now_ms: int
    ) -> list[Output]:
        """The device answered a read; `results` stand in the order of `points`."""
        self._cycles.advance(now, self.plan.bus, on_time=self.state == ONLINE and not self._misses)
        if self.readings.at_once:
            self.readings.at_once.difference_update(p.name for p in points)
        self._misses, self._retry_at, self._away = 0, None, False
        changed, failures = self._take(points, results, now, now_ms)
        self._health.answers(at_all=failures < len(points) or self.readings.knows_any())
        return [*self._health.news(now), *changed]

    def heard(
        self, points: Sequence[Point], results: Sequence[Value | Dated | DriverError], now: float, now_ms: int
    ) -> list[Output]:
        """The device spoke unasked; `results` stand in the order of `points`, in which one may stand twice.

        NoAnswer and BusDown among them are no words of it: the driver knows that it cannot speak.
        """
        gone = next((result for result in results if isinstance(result, NoAnswer | BusDown)), None)
        if gone is not None:
            return self._cannot_speak(gone, now)
        self._heard_at, self._gone = now, False
        changed, failures = self._take(points, results, now, now_ms)
        if self._away and self._polled:
            self._health.silent("heard, but does not answer", NoAnswer.reason, alive=True)
        else:
            self._health.answers(at_all=failures < len(points) or self.readings.knows_any())
        return [*self._health.news(now), *changed]

    def idle(self, now: float) -> list[Output]:
        """A turn in which there was nothing to read: the bus is open, and time has passed."""
        if self._retry_at is not None:  # the bus is back, and the device may take its time to speak
            self._retry_at, self._away, self._heard_at, self._gone = None, False, now, False
        if not self._polled and self.plan.points:
            silence_s = self.plan.silence_s
            if not silence_s:
                if not self._gone:
                    self._health.answers(at_all=True)
            elif now >= self._heard_at + silence_s and self.state != OFFLINE:
                self._health.silent(f"nothing was heard for {silence_s:g} s", SILENT)
        return [*self._health.news(now)]

    def missed(self, error: DriverError, now: float, *, bus_down: bool = False) -> list[Output]:
        """The device did not answer; after `attempts` misses, or at once when its whole bus is down, it is offline."""
        self._misses += 1
        if self._misses < self._settings.attempts and not bus_down and not self._away:
            self._retry_at = now
            return []
        if not self._away:
            self._away, self._probes = True, self._new_probes()
        # The bus's own task waits before it opens a bus that is down.
        pause = min(self._settings.probe_limit_s, self._cycles.shortest)
        self._retry_at = now if bus_down else now + max(next(self._probes), pause)
        alive = not bus_down and self._heard_lately(now)
        self._health.silent(str(error), error.reason, alive=alive)
        return [*self._health.news(now)]

    def reconnected(self) -> list[Output]:
        """The broker was away: the gateway may not know the state, and answers it with what it desires."""
        return [*self._health.told()]

    def _take(
        self, points: Sequence[Point], results: Sequence[Value | Dated | DriverError], now: float, now_ms: int
    ) -> tuple[list[Report], int]:
        """The report of what is to be reported, if anything, and how many results are no values."""
        taken = self.readings.take(points, results, now, now_ms)
        if self.wishes.tried:
            for point, text, raw in taken.read:
                self.wishes.read_back(point, text, raw)
        return [Report(self.id, taken.changed)] if taken.changed else [], taken.failures

    def _cannot_speak(self, error: DriverError, now: float) -> list[Output]:
        self._heard_at, self._gone = float("-inf"), True
        if not self._polled:  # else the next poll tells
            self._health.silent(str(error), error.reason)
        return [*self._health.news(now)]

    def _heard_lately(self, now: float) -> bool:
        """Whether a device that is both asked and heard has spoken."""
        if not self._polled or all(not p.pushed for p in self.plan.points):
            return False
        return now - self._heard_at < (self.plan.silence_s or HEARD_LATELY_S)

    def _new_probes(self) -> Iterator[float]:
        return backoff.delays(limit_s=self._settings.probe_limit_s, draw=self._draw)
