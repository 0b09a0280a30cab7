"""The temperature of the microcontroller itself: a few degrees above the air, and good for trends."""

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

    from device_fw.boards.buses import Buses


class Driver:
    """`temperature` in °C."""

    READINGS = {"temperature": ("float", "°C", 1)}
    OUTPUTS = ()
    OPTIONS: "dict[str, Any]" = {}
    INTERVAL_MS = 10000
    SHORTEST_MS = 0
    DEADLINE_MS = 2
    PIN = ""

    def __init__(self, buses: "Buses", options: "dict[str, Any]") -> None:
        self._features = buses.features

    def start(self) -> int:
        """It is there at once."""
        return 0

    def read(self) -> "dict[str, float]":
        """What the chip says of itself."""
        return {"temperature": float(self._features.temperature())}
