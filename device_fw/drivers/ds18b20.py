"""Maxim DS18B20 on 1-Wire: temperature. Several share a pin, each told by its ROM id; each needs power on its own pin (VDD).

A conversion takes up to 750 ms, in which the board goes on. Commands, scratchpad and CRC are those of the data sheet DS18B20.
"""

from device_fw.drivers import SensorError
from device_fw.drivers.crc8 import maxim

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

    from device_fw.boards.buses import Buses

_FAMILY = 0x28
_FAMILIES = {0x10: "DS18S20", 0x22: "DS1822", 0x3B: "DS1825", 0x42: "DS28EA00"}
_SKIP_ROM, _MATCH_ROM = 0xCC, 0x55
_CONVERT, _READ, _WRITE = 0x44, 0xBE, 0x4E


class Driver:
    """`temperature` in °C. `rom` is the id as 16 hexadecimal digits; without it, the sensor is alone on its pin."""

    READINGS = {"temperature": ("float", "°C", 4)}
    OUTPUTS = ()
    OPTIONS: "dict[str, Any]" = {"pin": None, "rom": "", "resolution_bits": (12, 11, 10, 9)}
    INTERVAL_MS = 10000
    SHORTEST_MS = 1000
    DEADLINE_MS = 20  # a search for who is there 15 ms a sensor, only when one is missing
    PIN = "onewire"

    @staticmethod
    def check(options: "dict[str, Any]") -> None:
        """ValueError for a ROM id that is none."""
        if options["rom"]:
            rom(options["rom"])

    def __init__(self, buses: "Buses", options: "dict[str, Any]") -> None:
        self._buses = buses
        self._pin = options["pin"]
        self._bits: int = options["resolution_bits"]
        self._rom = rom(options["rom"]) if options["rom"] else b""

    def start(self) -> int:
        """Begin a conversion."""
        self._select(_WRITE, 0, 0, (self._bits - 9) << 5 | 0x1F)  # no alarms; only the chip's memory, not its EEPROM
        self._select(_CONVERT)
        return 750 >> (12 - self._bits)

    def read(self) -> "dict[str, float]":
        """The outcome of that conversion."""
        self._select(_READ)
        wire = self._buses.one_wire(self._pin)
        scratchpad = bytes([wire.readbyte() for _ in range(9)])
        if scratchpad == b"\xff" * 9:
            raise self._problem("no answer")
        if scratchpad == b"\x00" * 9:
            raise self._problem("the line is held low")
        if maxim(scratchpad):
            raise self._problem(
                "CRC error" if self._rom else "CRC error; if there are several on this pin, each needs its rom"
            )
        if scratchpad[:2] == b"\x50\x05" and scratchpad[6] == 0x0C:  # 85 °C, and not by a conversion
            raise self._problem("was without power during the conversion")
        return {"temperature": celsius(scratchpad[0], scratchpad[1])}

    def _select(self, *command: int) -> None:
        """Reset the bus, and speak to this sensor alone."""
        wire = self._buses.one_wire(self._pin)
        if not wire.reset():
            raise SensorError("no answer (DS18B20 on pin {}): nothing on the line".format(self._pin))
        if self._rom:
            wire.writebyte(_MATCH_ROM)
            for byte in self._rom:
                wire.writebyte(byte)
        else:
            wire.writebyte(_SKIP_ROM)
        for byte in command:
            wire.writebyte(byte)

    def _problem(self, text: str) -> SensorError:
        there = [bytes(rom).hex() for rom in self._buses.one_wire(self._pin).scan()]
        name = self._rom.hex() if self._rom else "DS18B20"
        return SensorError("{} ({} on pin {}); there: {}".format(text, name, self._pin, " ".join(there) or "none"))


def rom(text: str) -> bytes:
    """A ROM id from its 16 digits, as in `28ff641f75160419`. ValueError when it is misspelt (it has a CRC) or of another chip."""
    try:
        found = bytes([int(text[i : i + 2], 16) for i in range(0, 16, 2)])
    except ValueError:
        found = b""
    if len(text) != 16 or len(found) != 8:
        raise ValueError("rom {} is not 16 hexadecimal digits".format(text))
    if maxim(found):
        raise ValueError("rom {} is misspelt: its CRC is {:02x}".format(text, maxim(found[:7])))
    if found[0] != _FAMILY:
        raise ValueError("rom {} is of a {}, not of a DS18B20".format(text, _FAMILIES.get(found[0], "other chip")))
    return found


def celsius(low: int, high: int) -> float:
    """Degrees Celsius of the scratchpad's first two bytes, sixteenths in two's complement."""
    raw = high << 8 | low
    return (raw - 0x10000 if raw & 0x8000 else raw) / 16
