"""A digital input: a switch, a door contact, a meter with a pulse output. It is debounced, and its edges are counted.

With `debounce_ms`, the state changes when the pin was quiet for so long, so that neither bounces nor spikes count. Without, each
edge counts that the board's interrupt sees.
"""

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

    from device_fw.boards.buses import Buses


class Driver:
    """`state` is true while the pin is high (`inverted`: low); `count` counts its edges since the start of the board."""

    READINGS = {"state": ("boolean", "", 0), "count": ("int", "", 0)}
    OUTPUTS = ()
    OPTIONS: "dict[str, Any]" = {
        "pin": None,
        "pull": ("none", "up", "down"),
        "inverted": False,
        "debounce_ms": 20,
        "edges": ("rising", "falling", "both"),
    }
    INTERVAL_MS = 100
    SHORTEST_MS = 0
    DEADLINE_MS = 1
    PIN = "in"

    def __init__(self, buses: "Buses", options: "dict[str, Any]") -> None:
        self._buses = buses
        self._inverted: bool = options["inverted"]
        self._quiet_ms = options["debounce_ms"]
        self._counted = {"rising": (True,), "falling": (False,), "both": (True, False)}[options["edges"]]
        self._pin = buses.pin_in(options["pin"], options["pull"])
        self._count = 0
        self._state = self._seen = self._level()
        self._edge_ms = buses.ticks_ms()
        self._moving = False  # since that edge
        self._pin.irq(self._edge if self._quiet_ms else self._pulse, self._trigger())

    def start(self) -> int:
        """It is there at once."""
        return 0

    def read(self) -> "dict[str, bool | int]":
        """The state that lasted, and the edges so far."""
        level = self._level()
        if not self._quiet_ms:
            self._state = level
        elif self._is_quiet():  # asked after the level: an edge since then shows here
            self._settle(level)
        return {"state": self._state, "count": self._count}

    def _trigger(self) -> int:
        rising, falling = self._pin.IRQ_RISING, self._pin.IRQ_FALLING
        if self._quiet_ms or len(self._counted) == 2:
            return int(rising | falling)
        return int(falling if (True in self._counted) == self._inverted else rising)

    def _level(self) -> bool:
        return bool(self._pin.value()) != self._inverted

    def _is_quiet(self) -> bool:
        return not self._moving or self._buses.since_ms(self._edge_ms) >= self._quiet_ms

    def _settle(self, level: bool) -> None:
        self._moving = False
        if level != self._state:
            self._state = level
            if level in self._counted:
                self._count += 1

    def _edge(self, _pin: object) -> None:
        if self._is_quiet():
            self._settle(self._seen)
        self._seen = self._level()
        self._edge_ms = self._buses.ticks_ms()
        self._moving = True

    def _pulse(self, _pin: object) -> None:
        self._count += 1
