"""A board made of drivers, as its properties say. It reads each at its own interval and never waits for one.

Properties with the same driver and the same options share one: a BME280 is asked once for temperature, humidity and pressure.
"""

import time

from device_fw.boards.buses import Buses
from device_fw.drivers import SensorError

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

    from device_fw.firmware.properties import Property

    Value = str | int | float | bool

FAILURES = (OSError, ValueError, MemoryError)  # of one sensor, which must not stop the board
_BUILT_IN = 2026  # an earlier year on the clock: nobody has set it


class Board:
    """One board and its drivers."""

    def __init__(
        self, name: str, properties: "dict[str, dict[str, Any]]", buses: "Any" = None, watchdog_ms: int = 0
    ) -> None:
        """A board of that name; `properties` as `config.json` has them. ValueError that names the property which is wrong.

        `watchdog_ms`: how long the watchdog waits, 0: there is none; what is more than the board's can wait is cut.
        """
        from device_fw.boards import equipment

        self._features = equipment.module("boards", name)
        if buses is None:
            import machine

            buses = Buses(machine, self._features, time.ticks_ms, time.ticks_diff)  # type: ignore[attr-defined]
        self._watchdog_ms = min(watchdog_ms, self._features.WATCHDOG_MS)
        self._watchdog: "Any" = None
        self.properties: "dict[str, Property]" = {}
        self._sources: "list[Source]" = []
        self._of: "dict[str, Source]" = {}
        for property, entry in properties.items():
            self.properties[property], self._of[property] = equipment.made(property, entry, self._sources, buses)

    def due(self, now_ms: int) -> "list[str]":
        """Which properties have a new reading, or a new failure, to be asked for by `read`. Starts conversions on its way."""
        names: "list[str]" = []
        for source in self._sources:
            if source.step(now_ms):
                names.extend(source.readings)
        return names

    def wait_ms(self, now_ms: int) -> int:
        """How long nothing will be due."""
        return max(0, min([source.wait_ms(now_ms) for source in self._sources] or [1000]))

    def read(self, name: str) -> "Value":
        """The newest reading. SensorError when the sensor failed, or was not read yet."""
        value = self._of[name].value(name)
        kind = self.properties[name]
        if kind.values and isinstance(value, bool):
            return kind.values[int(value)]
        if kind.type == "int" and isinstance(value, float):
            return int(value + 0.5) if value > 0 else -int(0.5 - value)
        return value

    def write(self, name: str, value: "Value") -> None:
        """Set an output. OSError or ValueError when that fails; what `read` then says is what the output itself says."""
        kind = self.properties[name]
        self._of[name].write(name, kind.values.index(value) == 1 if kind.values else value)  # type: ignore[arg-type]

    def unix_ms(self) -> int:
        """Milliseconds since 1970, or 0 while nobody has set the clock."""
        if hasattr(self._features, "unix_ms"):
            return int(self._features.unix_ms())
        if time.gmtime()[0] < _BUILT_IN:
            return 0
        return time.time_ns() // 1000000 + _epoch_s() * 1000

    def set_unix_ms(self, unix_ms: int) -> None:
        """Set the clock; where it cannot be set nothing happens."""
        if hasattr(self._features, "unix_ms"):
            return
        import machine

        year, month, day, hour, minute, second, weekday = time.gmtime(unix_ms // 1000 - _epoch_s())[:7]
        machine.RTC().datetime((year, month, day, weekday, hour, minute, second, 0))

    def alive(self) -> None:
        """What the board wants at every turn. The first one arms the watchdog, if the configuration wants one."""
        if hasattr(self._features, "alive"):
            self._features.alive()
        if self._watchdog_ms:
            if self._watchdog is None:
                import machine

                self._watchdog = machine.WDT(timeout=self._watchdog_ms)
            self._watchdog.feed()


def _epoch_s() -> int:
    """Where the port's count of seconds begins: in 1970, or in 2000."""
    return 946684800 if time.gmtime(0)[0] == 2000 else 0


class Source:
    """One driver, the properties that it serves, and where it stands between two readings."""

    def __init__(self, key: "tuple[str, dict[str, Any]]", driver: "Any", buses: "Any") -> None:
        self.key = key
        self._buses = buses
        self.interval_ms = 0
        self.readings: "dict[str, str]" = {}
        self._driver = driver
        self._due_ms: "int | None" = None
        self._converts_ms: "int | None" = None  # how long, while a conversion is on its way
        self._begun = 0  # ticks: what the board did since it looked at the clock must not shorten the conversion
        self._values: "dict[str, Value]" = {}
        self._failure: "Exception | None" = None

    def add(self, name: str, reading: str, interval_ms: int) -> None:
        """Serve another property; the shortest interval counts."""
        if reading not in self._driver.READINGS:
            raise ValueError("no reading {} of driver {}".format(reading, self.key[0]))
        self.readings[name] = reading
        self.interval_ms = min(self.interval_ms or interval_ms, interval_ms)

    def step(self, now_ms: int) -> bool:
        """Begin or finish a reading if it is time. Whether there is something new."""
        try:
            if self._converts_ms is None and (self._due_ms is None or now_ms >= self._due_ms):
                self._due_ms = now_ms + self.interval_ms
                self._converts_ms = self._driver.start()
                self._begun = self._buses.ticks_ms()
            if self._converts_ms is None or self._left_ms() > 0:
                return False
            self._converts_ms = None
            self._take()
        except FAILURES as error:
            self._converts_ms = None
            self._failure = error
        return True

    def wait_ms(self, now_ms: int) -> int:
        """How long there is nothing to do."""
        return (self._due_ms or 0) - now_ms if self._converts_ms is None else self._left_ms()

    def _left_ms(self) -> int:
        """Of the conversion; one more than it takes, for ticks are whole."""
        return self._converts_ms + 1 - self._buses.since_ms(self._begun) if self._converts_ms else 0

    def value(self, name: str) -> "Value":
        """A property's newest reading."""
        if self._failure is not None:
            raise self._failure
        if not self._values:
            raise SensorError("not read yet")
        return self._values[self.readings[name]]

    def write(self, name: str, value: "Value") -> None:
        """Set an output and read it back."""
        self._driver.write(self.readings[name], value)
        try:
            self._take()
        except FAILURES as error:
            self._failure = error

    def _take(self) -> None:
        self._values = self._driver.read()
        self._failure = None
