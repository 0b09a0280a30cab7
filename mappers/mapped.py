"""One device as its mapper sees it: when it wants its bus, what to report of what was read, what to write of what is desired.

No clock and no I/O: whoever owns the bus asks `due_at`, lets the device `begin` a turn, does its writes and reads through the
driver, and says how they ended. What is to be told the gateway comes back as `Output`s.

A desired value waits here, the newest of each property, until the device is online. It is written, read back, and what was read
is reported. When the register then holds something else, that is reported too, and the same value is not tried again before
`RETRY_REFUSED_S`, for the gateway repeats what it desires with every report that differs; and not at all where the register is
only too coarse for it.
"""

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import TypeAlias

from msgspec import Struct

from edgewire import backoff
from edgewire.device import same_value
from edgewire.methods import OFFLINE as OFFLINE_CODE
from edgewire.methods import Call

from . import values
from .calls import Answer, Calls
from .cycles import Cycles
from .driver import BusDown, Dated, DriverError, NoAnswer, Value, ValueRefused, Wanted
from .health import OFFLINE, ONLINE, SILENT, Health, State
from .plan import Plan, Point, Settings
from .relays import Relayed

log = logging.getLogger(__name__)

RETRY_REFUSED_S = 60.0
"""After a device refused a value, or held another, how long the same desired value is not written again."""

HEARD_LATELY_S = 60.0
"""A device that does not answer but was heard so lately is unhealthy, not offline; where it has no `silence_s`."""


HALF = Decimal("0.5")
LARGEST_SINGLE = Decimal("3.4e38")


class Report(Struct, frozen=True):
    """Values for a device's twin: property -> (value, source time in ms since 1970)."""

    device: str
    values: dict[str, tuple[str, int]]


Output: TypeAlias = Report | State | Answer | Relayed


class Write(Struct, frozen=True):
    """A desired value on its way to the device."""

    point: Point
    desired: str
    value: Wanted
    mask: int = 0
    """The bits of an integer to be written, `value` being in their place; 0 where the whole is written."""


class _Last:
    """What is known of one property."""

    __slots__ = ("raw", "reported", "reported_at", "source_ms", "text")

    def __init__(self) -> None:
        self.raw: Value | None = None
        self.text: str | None = None
        self.reported: str | None = None
        """Differs from `text` within the dead band."""
        self.reported_at = float("-inf")
        self.source_ms = 0

    def forget(self) -> None:
        """Whatever is read next is news."""
        self.raw = self.text = self.reported = None


class _Settled(Struct):
    """A desired value that was written or refused, and until when it is not tried again."""

    desired: str
    until: float
    seen: bool = False
    """Whether what the device holds instead was logged."""


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
        self._last: dict[str, _Last] = {}
        self._at_once: set[str] = set()  # to be read without waiting for their cycle
        self._pending: dict[str, str] = {}
        self._settled: dict[str, _Settled] = {}
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
            if point.name not in self._last or before.get(point.name) is not point:
                self._settled.pop(point.name, None)
                self._health.follows(point.name)
                self._anew(point)
        names = {p.name for p in plan.points}
        withdrawn = self.plan.wanted - plan.wanted
        self._last = {n: last for n, last in self._last.items() if n in names}
        self._pending = {n: d for n, d in self._pending.items() if n in names - withdrawn}
        for name in withdrawn:
            self._health.follows(name)
        self._health.keep(names)
        self._at_once &= {p.name for p in plan.points if not p.pushed}
        self._cycles.follow([p.collect_s for p in plan.points if not p.pushed], now)
        self._polled = plan.polled
        self.plan = plan

    def due_at(self) -> float:
        """When the device wants its bus next, on the clock that `now` is of; infinite for one without anything to read."""
        if self._retry_at is not None:
            return self._retry_at
        if self.state == ONLINE and (self._pending or self._at_once):
            return float("-inf")
        return min(self.calls.due_at, self._next_turn())

    def _next_turn(self) -> float:
        if self._polled or not self.plan.points:
            return self._cycles.next
        if not self.plan.silence_s:
            return float("inf") if self.state == ONLINE or self._gone else float("-inf")
        return float("inf") if self.state == OFFLINE else self._heard_at + self.plan.silence_s

    def want(self, desired: dict[str, str]) -> None:
        """Take in desired values; the newest of each property waits until it can be written."""
        for name, value in desired.items():
            if name in self._last:
                self._pending[name] = value
            else:
                log.warning("< desired value of an unknown property device=%s property=%s", self.id, name)

    def writes(self, now: float) -> list[Write]:
        """What is to be written now; empty unless the device is online. What cannot be written is refused here."""
        if self.state != ONLINE or not self._pending:
            return []
        found = []
        for point in self.plan.points:
            desired = self._pending.pop(point.name, None)
            if desired is None or not self._worth_writing(point, desired, now):
                continue
            try:
                found.append(make_write(point, desired))
            except ValueRefused as error:
                self.refused(point, desired, str(error), float("inf"))
        return found

    def reads(self, now: float) -> list[Point]:
        """The points to read now: those whose cycle is over, and those written or refused just before.

        All of them when the device did not answer last time.
        """
        if not self._polled:
            return []
        if self._retry_at is not None:
            return [p for p in self.plan.points if not p.pushed]
        cycles = self._cycles.due(now)
        return [p for p in self.plan.points if (p.collect_s in cycles or p.name in self._at_once) and not p.pushed]

    def call(self, call: Call, now: float, now_ms: int) -> list[Answer]:
        """A method is called: now, or not at all."""
        answers = self.calls.put(call, now, now_ms)
        return answers if self.state == ONLINE else [*answers, *self.give_up_calls(now_ms)]

    def give_up_calls(self, now_ms: int, why: str = "") -> list[Answer]:
        """None of the calls that wait can be carried out: the device is not online, or `why`."""
        return self.calls.give_up(OFFLINE_CODE, why or f"the device is {self.state or 'not known yet'}", now_ms)

    def touched(self, point: Point) -> None:
        """A method wrote a property: it is read back next."""
        self._anew(point)

    def wrote(self, write: Write, now: float) -> None:
        """A write succeeded; the property is read back next."""
        log.info("> written device=%s property=%s value=%s", self.id, write.point.name, write.desired)
        self._settled[write.point.name] = _Settled(write.desired, now + RETRY_REFUSED_S)
        self._health.follows(write.point.name)
        self._anew(write.point)

    def unwritten(self, writes: Sequence[Write]) -> None:
        """The device went away before these were written: they wait again, unless something newer does."""
        for write in writes:
            self._pending.setdefault(write.point.name, write.desired)

    def refused(self, point: Point, desired: str, reason: str, until: float) -> None:
        """A desired value cannot be written; the actual value is read and reported. Not tried again before `until`."""
        log.warning(
            "< desired value refused device=%s property=%s value=%s reason=%s",
            self.id, point.name, _short(desired), reason,
        )  # fmt: skip
        self._settled[point.name] = _Settled(desired, until, seen=True)
        self._health.refused(point.name, f"{_short(desired)}: {reason}")
        self._anew(point)

    def answered(
        self, points: Sequence[Point], results: Sequence[Value | DriverError], now: float, now_ms: int
    ) -> list[Output]:
        """The device answered a read; `results` stand in the order of `points`."""
        self._cycles.advance(now, self.plan.bus, on_time=self.state == ONLINE and not self._misses)
        if self._at_once:
            self._at_once.difference_update(p.name for p in points)
        self._misses, self._retry_at, self._away = 0, None, False
        changed, failures = self._take_all(points, results, now, now_ms)
        self._health.answers(at_all=failures < len(points) or self._knows_any())
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
        changed, failures = self._take_all(points, results, now, now_ms)
        if self._away and self._polled:
            self._health.silent("heard, but does not answer", NoAnswer.reason, alive=True)
        else:
            self._health.answers(at_all=failures < len(points) or self._knows_any())
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

    def _take_all(
        self, points: Sequence[Point], results: Sequence[Value | Dated | DriverError], now: float, now_ms: int
    ) -> tuple[list[Report], int]:
        """The report of what is to be reported, if anything, and how many results are no values."""
        changed: dict[str, tuple[str, int]] = {}
        failures, known = 0, self._last
        for point, result in zip(points, results, strict=True):
            last = known.get(point.name)
            if last is None:
                continue  # the definition changed meanwhile
            made_ms = now_ms
            if isinstance(result, Dated):
                made_ms, result = min(result.at_ms, now_ms), result.value
            try:
                if self._take(point, last, result, now):
                    at_ms = last.source_ms = made_ms if made_ms > last.source_ms else last.source_ms + 1
                    last.reported_at = now
                    changed[point.name] = (last.text or "", at_ms)
            except DriverError as error:
                failures += 1
                last.forget()
                self._health.unreadable(point.name, error)
        return [Report(self.id, changed)] if changed else [], failures

    def _take(self, point: Point, last: _Last, result: Value | DriverError, now: float) -> bool:
        """Note what was read; whether it is to be reported."""
        if isinstance(result, DriverError):
            raise result
        overdue = now - last.reported_at >= point.report_s
        if not overdue and result == last.raw and type(result) is type(last.raw):
            return False
        text = point.text(result)
        changed = text != last.reported and (point.dead_band is None or not _within_band(point, last, text))
        last.raw, last.text = result, text
        if self._health.troubled:
            self._health.readable(point.name)
        if self._settled and point.name in self._settled:
            self._read_back(point, text)
        if changed or overdue:
            last.reported = text
            return True
        return False

    def _read_back(self, point: Point, text: str) -> None:
        settled = self._settled[point.name]
        if same_value(text, settled.desired, point.type):
            del self._settled[point.name]
            self._health.follows(point.name)
        elif _as_near_as_can_be(point, settled.desired, self._last[point.name].raw):
            settled.until, settled.seen = float("inf"), True
            self._health.follows(point.name)
        elif not settled.seen:
            log.warning(
                "< device holds another value than desired device=%s property=%s desired=%s held=%s",
                self.id, point.name, _short(settled.desired), _short(text),
            )  # fmt: skip
            self._health.refused(point.name, f"{_short(settled.desired)}: the device holds {_short(text)}")
        settled.seen = True

    def _worth_writing(self, point: Point, desired: str, now: float) -> bool:
        held = self._last[point.name].text
        if held is not None and same_value(held, desired, point.type):
            self._health.follows(point.name)
            self._settled.pop(point.name, None)
            return False
        settled = self._settled.get(point.name)
        return settled is None or settled.desired != desired or now >= settled.until

    def _anew(self, point: Point) -> None:
        """A property is to be read at once, unless it is one that is heard, and reported whatever it holds."""
        self._last.setdefault(point.name, _Last()).forget()
        if not point.pushed:
            self._at_once.add(point.name)

    def _knows_any(self) -> bool:
        """Whether any property has a value; those of longer cycles were not asked for just now."""
        return not self._last or any(last.text is not None for last in self._last.values())

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


def make_write(point: Point, desired: str) -> Write:
    """What to write for a desired value. Raises ValueRefused."""
    if not point.writable:
        raise ValueRefused("the property is ReadOnly")
    coding = point.coding
    if coding is not None and coding.names is not None:
        value = coding.names.raw(desired, point.type)
    else:
        value = values.parse(desired, point.type, point.scaling, point.minimum, point.maximum)
    if coding is None or coding.bits is None:
        return Write(point, desired, value)
    return Write(point, desired, Decimal(coding.bits.place(value)), coding.bits.mask)


def _as_near_as_can_be(point: Point, desired: str, raw: Value | None) -> bool:
    """Whether a register holds what is nearest to a desired value: an integer rounded, or a float of single precision."""
    if point.coding is not None or not isinstance(raw, int | float) or isinstance(raw, bool):
        return False
    try:
        wanted = values.parse(desired, point.type, point.scaling, point.minimum, point.maximum)
    except ValueRefused:
        return False
    if not isinstance(wanted, Decimal):
        return False
    if isinstance(raw, int):
        return abs(wanted - raw) <= HALF
    return abs(wanted) < LARGEST_SINGLE and values.shortest(float(wanted)) == raw


def _within_band(point: Point, last: _Last, text: str) -> bool:
    return point.dead_band is not None and last.reported is not None and point.dead_band.holds(last.reported, text)


def _short(value: str) -> str:
    return repr(value if len(value) <= 40 else value[:37] + "...")
