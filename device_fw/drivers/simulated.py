"""A sensor that is not there: a slow random walk, the same for the same `seed`. For boards to try out, and for tests."""

from device_fw.firmware.draw import Draw

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any


class Driver:
    """`value` wanders between `minimum` and `maximum`, by `step` at most."""

    READINGS = {"value": ("float", "", 3)}
    OUTPUTS = ()
    OPTIONS: "dict[str, Any]" = {"seed": 1, "minimum": 15.0, "maximum": 30.0, "step": 0.1}
    INTERVAL_MS = 1000
    SHORTEST_MS = 0
    DEADLINE_MS = 1
    PIN = ""

    def __init__(self, buses: object, options: "dict[str, Any]") -> None:
        self._low = options["minimum"]
        self._step = options["step"] or 1.0
        self._draw = Draw(options["seed"])
        self._steps = max(0, int((options["maximum"] - self._low) / self._step))
        self._at = self._draw.below(self._steps + 1)

    def start(self) -> int:
        """It knows at once."""
        return 0

    def read(self) -> "dict[str, float]":
        """The value, one step further."""
        self._at = min(self._steps, max(0, self._at + self._draw.below(3) - 1))
        return {"value": self._low + self._at * self._step}
