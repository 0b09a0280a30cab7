"""Which pins a board file uses: that the board has them, that they can do it, and that no two drivers fight over one."""

from collections.abc import Iterable
from types import ModuleType
from typing import Any

from device_fw import drivers
from device_fw.tools import catalogue
from device_fw.tools.errors import FirmwareError

_SHARED = ("i2c", "onewire")  # one bus may serve many drivers


class PinPlan:
    """The pins of one board, given out one by one."""

    def __init__(self, features: ModuleType, transport: str) -> None:
        self._features = features
        self._transport = transport
        self._used: dict[Any, tuple[Any, str]] = {}

    def add(self, property: str, driver: str, options: dict[str, Any]) -> None:
        """Give a property's driver the pins of its options. FirmwareError when that cannot be."""
        kind = catalogue.drivers()[driver]
        complete = drivers.complete(kind.OPTIONS, options)
        for role in drivers.PINS:
            if role in complete:
                pin = complete[role] if complete[role] != "" else self._default(role)
                self._able(pin, kind.PIN)
                same = (driver, complete) if kind.PIN not in _SHARED else (kind.PIN, role)
                other, by = self._used.setdefault(pin, (same, property))
                if other != same:
                    raise FirmwareError(f"pin {pin} is used by {by!r} already")

    def _default(self, role: str) -> Any:
        if not self._features.I2C:
            raise FirmwareError(f"the board has no I2C of its own; say which pin is {role}")
        return self._features.I2C[("sda", "scl").index(role)]

    def _able(self, pin: Any, use: str) -> None:
        f = self._features
        if pin not in f.PINS:
            raise FirmwareError(f"the board has no pin {pin!r} to use; it has {listed(f.PINS)}")
        if isinstance(pin, str) and use != "out":  # it may hang on another chip, as the LED of a Pico W
            raise FirmwareError(f"pin {pin} can be switched and nothing else")
        if use == "analog" and pin not in f.ANALOG:
            raise FirmwareError(f"pin {pin} cannot measure voltages; {listed(f.ANALOG)} can")
        if use in ("out", "pwm", *_SHARED) and pin not in f.OUTPUTS:
            raise FirmwareError(f"pin {pin} is an input only")


def listed(pins: Iterable[Any]) -> str:
    """`0-22, 26-28, LED`."""
    runs: list[list[Any]] = []
    for pin in pins:
        if runs and isinstance(pin, int) and runs[-1][-1] == pin - 1:
            runs[-1].append(pin)
        else:
            runs.append([pin])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs) or "none"
