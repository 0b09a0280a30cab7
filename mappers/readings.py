"""What is known of a device's properties: what was read last of each, what of it was reported, what is to be read at once.

No clock and no I/O, as all of a device (`mapped.py`).
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .driver import Dated, DriverError, Value
from .health import Health
from .plan import Point


class Last:
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


class Taken(NamedTuple):
    """What came of a read."""

    changed: dict[str, tuple[str, int]]
    """To be reported: property -> (value, source time in ms since 1970)."""
    read: list[tuple[Point, str, Value]]
    """What was not as before: its text, and what the driver said."""
    failures: int
    """How many results are no values."""


class Readings:
    """Of one device."""

    __slots__ = ("_health", "_last", "at_once")

    def __init__(self, health: Health) -> None:
        self.at_once: set[str] = set()
        """Properties to be read without waiting for their cycle."""
        self._health = health
        self._last: dict[str, Last] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._last

    def held(self, name: str) -> str | None:
        """What a property holds, as text; None while it is not known."""
        return self._last[name].text

    def anew(self, point: Point) -> None:
        """A property is to be read at once, unless it is one that is heard, and reported whatever it holds."""
        self._last.setdefault(point.name, Last()).forget()
        if not point.pushed:
            self.at_once.add(point.name)

    def keep(self, points: Iterable[Point]) -> None:
        """Forget properties that are there no more."""
        points = list(points)
        names = {p.name for p in points}
        self._last = {n: last for n, last in self._last.items() if n in names}
        self.at_once &= {p.name for p in points if not p.pushed}

    def knows_any(self) -> bool:
        """Whether any property has a value; those of longer cycles were not asked for just now."""
        return not self._last or any(last.text is not None for last in self._last.values())

    def take(
        self, points: Sequence[Point], results: Sequence[Value | Dated | DriverError], now: float, now_ms: int
    ) -> Taken:
        """Take in what was read; `results` stand in the order of `points`."""
        taken, known = Taken({}, [], 0), self._last
        failures = 0
        for point, result in zip(points, results, strict=True):
            last = known.get(point.name)
            if last is None:
                continue  # the definition changed meanwhile
            made_ms = now_ms
            if isinstance(result, Dated):
                made_ms, result = min(result.at_ms, now_ms), result.value
            try:
                if self._take(point, last, result, now, taken):
                    at_ms = last.source_ms = made_ms if made_ms > last.source_ms else last.source_ms + 1
                    last.reported_at = now
                    taken.changed[point.name] = (last.text or "", at_ms)
            except DriverError as error:
                failures += 1
                last.forget()
                self._health.unreadable(point.name, error)
        return taken._replace(failures=failures)

    def _take(self, point: Point, last: Last, result: Value | DriverError, now: float, taken: Taken) -> bool:
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
        taken.read.append((point, text, result))
        if changed or overdue:
            last.reported = text
            return True
        return False


def _within_band(point: Point, last: Last, text: str) -> bool:
    return point.dead_band is not None and last.reported is not None and point.dead_band.holds(last.reported, text)
