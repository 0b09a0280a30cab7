"""A digital output: a relay, a valve, a lamp. It has its `initial` state from the first moment on."""

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

    from device_fw.boards.buses import Buses


class Driver:
    """`state` true drives the pin high (`inverted`: low)."""

    READINGS = {"state": ("boolean", "", 0)}
    OUTPUTS = ("state",)
    OPTIONS: "dict[str, Any]" = {"pin": None, "inverted": False, "initial": False}
    INTERVAL_MS = 1000
    SHORTEST_MS = 0
    DEADLINE_MS = 1
    PIN = "out"

    def __init__(self, buses: "Buses", options: "dict[str, Any]") -> None:
        self._inverted = options["inverted"]
        self._pin = buses.pin_out(options["pin"], int(options["initial"] != self._inverted))

    def start(self) -> int:
        """It is there at once."""
        return 0

    def read(self) -> "dict[str, bool]":
        """What the pin itself says."""
        return {"state": bool(self._pin.value()) != self._inverted}

    def write(self, reading: str, value: bool) -> None:
        """Drive the pin."""
        self._pin.value(int(value != self._inverted))
