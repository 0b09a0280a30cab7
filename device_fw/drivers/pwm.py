"""A pulse-width modulated output: a dimmed lamp, a fan, a servo."""

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

    from device_fw.boards.buses import Buses

_FULL = 65535
_NEAR = 656  # a hundredth of _FULL: hardware has coarser steps at high frequencies


class Driver:
    """How long the pin is high: `percent`, or `duty` from 0 to 65535; `frequency` in Hz. `inverted`: how long it is low."""

    READINGS = {"percent": ("float", "%", 1), "duty": ("int", "", 0), "frequency": ("int", "Hz", 0)}
    OUTPUTS = ("percent", "duty", "frequency")
    OPTIONS: "dict[str, Any]" = {"pin": None, "frequency_hz": 1000, "initial": 0.0, "inverted": False}
    INTERVAL_MS = 1000
    SHORTEST_MS = 0
    DEADLINE_MS = 1
    PIN = "pwm"

    @staticmethod
    def check(options: "dict[str, Any]") -> None:
        """ValueError for an `initial` percentage that is none."""
        _duty(options["initial"])

    def __init__(self, buses: "Buses", options: "dict[str, Any]") -> None:
        """ValueError for a frequency that the board cannot."""
        self._inverted = options["inverted"]
        self._wanted = _duty(options["initial"])
        pin = buses.machine.Pin(options["pin"])
        self._pwm = buses.machine.PWM(pin, freq=options["frequency_hz"], duty_u16=self._raw(self._wanted))

    def start(self) -> int:
        """It is there at once."""
        return 0

    def read(self) -> "dict[str, float | int]":
        """What the hardware says: as it was written, when that is the nearest it can."""
        duty = self._raw(self._pwm.duty_u16())
        if abs(duty - self._wanted) < _NEAR:
            duty = self._wanted
        return {"percent": duty * 100 / _FULL, "duty": duty, "frequency": self._pwm.freq()}

    def write(self, reading: str, value: "float | int") -> None:
        """ValueError for what is out of range; then it stays as it is."""
        if reading == "frequency":
            if value < 1:
                raise ValueError("frequency {} is not above 0".format(value))
            self._pwm.freq(int(value))  # the ports raise ValueError for one they cannot
        elif reading == "percent":
            self._wanted = _duty(value)
        elif 0 <= value <= _FULL:
            self._wanted = int(value)
        else:
            raise ValueError("duty {} is not from 0 to {}".format(value, _FULL))
        self._pwm.duty_u16(self._raw(self._wanted))

    def _raw(self, duty: int) -> int:
        return _FULL - duty if self._inverted else duty


def _duty(percent: float) -> int:
    if not 0 <= percent <= 100:
        raise ValueError("{} % is not from 0 to 100".format(percent))
    return int(percent * _FULL / 100 + 0.5)
