"""Sensirion SHT30, SHT31 and SHT35 on I2C: temperature and humidity of the air, one measurement a reading.

Commands, formulas and CRC are those of the data sheet SHT3x-DIS (4.3, 4.12, 4.13). The chip has no id: one whose status does not
carry its CRC is taken for another.
"""

from device_fw.drivers import i2c_chip
from device_fw.drivers.crc8 import sensirion

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

    from device_fw.boards.buses import Buses

_STATUS = (0xF3, 0x2D)
_MEASURE = (0x24, 0x00)  # once, high repeatability, no clock stretching
_MEASURING_MS = 16  # 15.5 ms at most


class Driver:
    """`temperature` in °C and `humidity` in %."""

    READINGS = {"temperature": ("float", "°C", 2), "humidity": ("float", "%", 1)}
    OUTPUTS = ()
    OPTIONS: "dict[str, Any]" = dict(i2c_chip.OPTIONS, address=(0x44, 0x45))
    INTERVAL_MS = 10000
    SHORTEST_MS = 50
    DEADLINE_MS = 60  # 5, but for a clock that is held
    PIN = "i2c"

    def __init__(self, buses: "Buses", options: "dict[str, Any]") -> None:
        self._chip = i2c_chip.I2cChip(buses, options)
        self._known = False

    def start(self) -> int:
        """Begin a measurement, after a look at whether it is such a chip, when that is not known."""
        if not self._known:
            self._chip.write(*_STATUS)
            status = self._chip.read(3)
            if sensirion(status[:2]) != status[2]:
                raise self._chip.problem("answers, but not as an SHT3x")
        self._known = False  # until the measurement is there
        self._chip.write(*_MEASURE)
        return _MEASURING_MS

    def read(self) -> "dict[str, float]":
        """The outcome of that measurement."""
        data = self._chip.read(6)
        if sensirion(data[:2]) != data[2] or sensirion(data[3:5]) != data[5]:
            raise self._chip.problem("CRC error")
        self._known = True
        return {
            "temperature": celsius(data[0] << 8 | data[1]),
            "humidity": percent(data[3] << 8 | data[4]),
        }


def celsius(raw: int) -> float:
    """Degrees Celsius of 16 bits."""
    return 175 * raw / 65535 - 45


def percent(raw: int) -> float:
    """Percent of relative humidity of 16 bits."""
    return 100 * raw / 65535
