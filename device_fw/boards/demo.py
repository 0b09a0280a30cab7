"""The demo's board on MicroPython's Unix port: a simulated thermometer, and outputs that a bench can look at.

`temperature` wanders slowly, the same way for the same `seed`. `led` (ON, OFF) and `interval` (milliseconds between readings)
are outputs; after each change all of them are written to `outputs.json` in the working folder, whole or not at all. As on a
real board they are at their defaults after a start.
"""

import json
import os

from device_fw.boards import unix
from device_fw.firmware.draw import Draw
from device_fw.firmware.properties import Property

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

OUTPUTS = "outputs.json"


class Board:
    """A board made of a random walk and a file."""

    def __init__(self, config: "dict[str, Any]") -> None:
        """`seed` and `properties` of the configuration count here. ValueError for a property this board has not."""
        own: dict[str, dict[str, Any]] = {
            "temperature": {"type": "float", "digits": 1},
            "led": {"type": "string", "writable": True, "values": ["OFF", "ON"]},
            "interval": {"type": "int", "writable": True, "minimum": 50, "maximum": 3600000},
        }
        for name, changes in config["properties"].items():
            if name not in own:
                raise ValueError("this board has no property {}; it has {}".format(name, ", ".join(sorted(own))))
            own[name].update(changes)
        self.properties = {name: Property(**kind) for name, kind in own.items()}
        self._draw = Draw(config["seed"])
        self._tenths = 180 + self._draw.below(60)
        self._outputs: dict[str, str | int | float | bool] = {"led": "OFF", "interval": 1000}
        self._read_ms: "int | None" = None
        self._save()

    def due(self, now_ms: int) -> "list[str]":
        """All properties, once an `interval`."""
        if self._read_ms is not None and now_ms < self._read_ms + self._interval_ms:
            return []
        self._read_ms = now_ms
        return list(self.properties)

    def wait_ms(self, now_ms: int) -> int:
        """Until the interval is over; it may have changed meanwhile."""
        return (self._read_ms or 0) + self._interval_ms - now_ms

    @property
    def _interval_ms(self) -> int:
        return int(self._outputs["interval"])

    def read(self, name: str) -> "str | int | float | bool":
        """A property's value now; the temperature moves a tenth at most, between 15 and 30 degrees Celsius."""
        if name != "temperature":
            return self._outputs[name]
        self._tenths = min(300, max(150, self._tenths + self._draw.below(3) - 1))
        return self._tenths / 10

    def write(self, name: str, value: "str | int | float | bool") -> None:
        """Set an output. OSError when the file cannot be written; then the output stays as it is."""
        before = self._outputs[name]
        self._outputs[name] = value
        try:
            self._save()
        except OSError:
            self._outputs[name] = before
            raise

    def unix_ms(self) -> int:
        """Milliseconds since 1970."""
        return unix.unix_ms()

    def set_unix_ms(self, unix_ms: int) -> None:
        """The machine's clock is not ours to set."""

    def alive(self) -> None:
        """End with whoever started this board."""
        unix.alive()

    def _save(self) -> None:
        with open(OUTPUTS + ".new", "w") as file:
            json.dump(self._outputs, file)
        os.rename(OUTPUTS + ".new", OUTPUTS)
