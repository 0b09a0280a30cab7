"""The desired values of a device: what waits, what is written, what was written or refused and is not tried again.

The newest value of each property waits until the device is online. It is written and read back. When the register then holds
something else, the same value is not tried again before `RETRY_REFUSED_S`, for the gateway repeats what it desires with every
report that differs; and not at all where the register is only too coarse for it. No clock and no I/O.
"""

import logging
from collections.abc import Iterable, Sequence
from decimal import Decimal

from msgspec import Struct

from edgewire.device import same_value

from . import values
from .driver import Value, ValueRefused, Wanted
from .health import Health
from .plan import Point
from .readings import Readings

log = logging.getLogger(__name__)

RETRY_REFUSED_S = 60.0
"""After a device refused a value, or held another, how long the same desired value is not written again."""
HALF = Decimal("0.5")
LARGEST_SINGLE = Decimal("3.4e38")


class Write(Struct, frozen=True):
    """A desired value on its way to the device."""

    point: Point
    desired: str
    value: Wanted
    mask: int = 0
    """The bits of an integer to be written, `value` being in their place; 0 where the whole is written."""


class _Settled(Struct):
    """A desired value that was written or refused, and until when it is not tried again."""

    desired: str
    until: float
    seen: bool = False
    """Whether what the device holds instead was logged."""


class Wishes:
    """Of one device."""

    __slots__ = ("_health", "_id", "_pending", "_readings", "_settled")

    def __init__(self, id: str, health: Health, readings: Readings) -> None:
        self._id = id
        self._health = health
        self._readings = readings
        self._pending: dict[str, str] = {}
        self._settled: dict[str, _Settled] = {}

    @property
    def waiting(self) -> bool:
        """Whether any is to be written."""
        return bool(self._pending)

    @property
    def tried(self) -> bool:
        """Whether any was written or refused and is not known to be followed."""
        return bool(self._settled)

    def want(self, desired: dict[str, str]) -> None:
        """Take in desired values; the newest of each property waits until it can be written."""
        for name, value in desired.items():
            if name in self._readings:
                self._pending[name] = value
            else:
                log.warning("< desired value of an unknown property device=%s property=%s", self._id, name)

    def forget(self, name: str) -> None:
        """A property is another now: nothing was tried of it."""
        self._settled.pop(name, None)
        self._health.follows(name)

    def keep(self, names: set[str], withdrawn: Iterable[str]) -> None:
        """Forget properties that are there no more, and what is desired no more."""
        gone = set(withdrawn)
        self._pending = {n: d for n, d in self._pending.items() if n in names - gone}
        for name in gone:
            self._health.follows(name)

    def take(self, points: Sequence[Point], now: float) -> list[Write]:
        """What is to be written now, which waits no more. What cannot be written is refused here."""
        if not self._pending:
            return []
        found = []
        for point in points:
            desired = self._pending.pop(point.name, None)
            if desired is None or not self._worth_writing(point, desired, now):
                continue
            try:
                found.append(make_write(point, desired))
            except ValueRefused as error:
                self.refused(point, desired, str(error), float("inf"))
        return found

    def wrote(self, write: Write, now: float) -> None:
        """A write succeeded; the property is read back next."""
        log.info("> written device=%s property=%s value=%s", self._id, write.point.name, write.desired)
        self._settled[write.point.name] = _Settled(write.desired, now + RETRY_REFUSED_S)
        self._health.follows(write.point.name)
        self._readings.anew(write.point)

    def unwritten(self, writes: Sequence[Write]) -> None:
        """The device went away before these were written: they wait again, unless something newer does."""
        for write in writes:
            self._pending.setdefault(write.point.name, write.desired)

    def refused(self, point: Point, desired: str, reason: str, until: float) -> None:
        """A desired value cannot be written; the actual value is read and reported. Not tried again before `until`."""
        log.warning(
            "< desired value refused device=%s property=%s value=%s reason=%s",
            self._id, point.name, _short(desired), reason,
        )  # fmt: skip
        self._settled[point.name] = _Settled(desired, until, seen=True)
        self._health.refused(point.name, f"{_short(desired)}: {reason}")
        self._readings.anew(point)

    def read_back(self, point: Point, text: str, raw: Value) -> None:
        """A property was read, and is not as before: whether a desired value was followed."""
        settled = self._settled.get(point.name)
        if settled is None:
            return
        if same_value(text, settled.desired, point.type):
            del self._settled[point.name]
            self._health.follows(point.name)
        elif _as_near_as_can_be(point, settled.desired, raw):
            settled.until, settled.seen = float("inf"), True
            self._health.follows(point.name)
        elif not settled.seen:
            log.warning(
                "< device holds another value than desired device=%s property=%s desired=%s held=%s",
                self._id, point.name, _short(settled.desired), _short(text),
            )  # fmt: skip
            self._health.refused(point.name, f"{_short(settled.desired)}: the device holds {_short(text)}")
        settled.seen = True

    def _worth_writing(self, point: Point, desired: str, now: float) -> bool:
        held = self._readings.held(point.name)
        if held is not None and same_value(held, desired, point.type):
            self._health.follows(point.name)
            self._settled.pop(point.name, None)
            return False
        settled = self._settled.get(point.name)
        return settled is None or settled.desired != desired or now >= settled.until


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


def _short(value: str) -> str:
    return repr(value if len(value) <= 40 else value[:37] + "...")
