"""Bosch BME280 on I2C: temperature, humidity and pressure of the air, one forced measurement a reading, then the chip sleeps.

Registers, calibration and the compensation in whole numbers are those of the data sheet BST-BME280-DS002 (4.2.3, 5.3, 5.4, 9.1).
"""

import struct

from device_fw.drivers import i2c_chip

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

    from device_fw.boards.buses import Buses

_ID = 0xD0
_STATUS = 0xF3
_HUMIDITY_CONTROL = 0xF2
_CONTROL = 0xF4
_DATA = 0xF7
_IDS = {0x60: "BME280", 0x58: "BMP280", 0x56: "BMP280", 0x57: "BMP280", 0x61: "BME680", 0x50: "BMP388", 0x55: "BMP180"}
_MEASURING_MS = 10  # all three once: 9.3 ms at most


class Driver:
    """`temperature` in °C, `humidity` in % and `pressure` in hPa."""

    READINGS = {"temperature": ("float", "°C", 2), "humidity": ("float", "%", 1), "pressure": ("float", "hPa", 2)}
    OUTPUTS = ()
    OPTIONS: "dict[str, Any]" = dict(i2c_chip.OPTIONS, address=(0x76, 0x77))
    INTERVAL_MS = 10000
    SHORTEST_MS = 50
    DEADLINE_MS = 60  # 5, but for a clock that is held
    PIN = "i2c"

    def __init__(self, buses: "Buses", options: "dict[str, Any]") -> None:
        self._chip = i2c_chip.I2cChip(buses, options)
        self._calibration: "Calibration | None" = None

    def start(self) -> int:
        """Begin a measurement, after a look at which chip it is, when that is not known."""
        try:
            if self._calibration is None:
                self._calibration = self._identify()
            self._chip.write(_HUMIDITY_CONTROL, 1)  # counts from the next write of _CONTROL on
            self._chip.write(_CONTROL, 1 << 5 | 1 << 2 | 1)  # each once, forced mode
        except OSError:
            self._calibration = None  # another chip may be plugged in
            raise
        return _MEASURING_MS

    def read(self) -> "dict[str, float]":
        """The outcome of that measurement."""
        calibration = self._calibration
        if calibration is None:
            raise self._chip.problem("not measured")
        self._calibration = None
        if self._chip.read_at(_STATUS, 1)[0] & 0x08:
            raise self._chip.problem("still measures")
        data = self._chip.read_at(_DATA, 8)
        raw_pressure = data[0] << 12 | data[1] << 4 | data[2] >> 4
        raw_temperature = data[3] << 12 | data[4] << 4 | data[5] >> 4
        raw_humidity = data[6] << 8 | data[7]
        if raw_temperature in (0, 0x80000) or raw_humidity == 0x8000:  # what stands there after a reset
            raise self._chip.problem("has not measured; its power may have failed")
        self._calibration = calibration
        fine = calibration.fine(raw_temperature)
        return {
            "temperature": calibration.centidegrees(fine) / 100,
            "humidity": calibration.humidity_1024(raw_humidity, fine) / 1024,
            "pressure": calibration.pressure_256(raw_pressure, fine) / 25600,
        }

    def _identify(self) -> "Calibration":
        found = self._chip.read_at(_ID, 1)[0]
        if found != 0x60:
            name = _IDS.get(found)
            raise self._chip.problem("chip id {:#04x}{} is no BME280's".format(found, " of a " + name if name else ""))
        return Calibration(self._chip.read_at(0x88, 26), self._chip.read_at(0xE1, 7))


class Calibration:
    """What each chip was given in the factory, and the formulas that use it."""

    def __init__(self, low: bytes, high: bytes) -> None:
        """`low` are the registers from 0x88 to 0xA1, `high` those from 0xE1 to 0xE7."""
        self._temperature: "tuple[int, ...]" = struct.unpack("<Hhh", low[:6])
        self._pressure: "tuple[int, ...]" = struct.unpack("<Hhhhhhhhh", low[6:24])
        h2, h3, msb4, shared, msb5, h6 = struct.unpack("<hBbBbb", high)
        self._humidity: "tuple[int, ...]" = (low[25], h2, h3, msb4 << 4 | shared & 0x0F, msb5 << 4 | shared >> 4, h6)

    def fine(self, raw: int) -> int:
        """The temperature that the other formulas want."""
        t1, t2, t3 = self._temperature
        near = (raw >> 4) - t1
        return (((raw >> 3) - (t1 << 1)) * t2 >> 11) + ((near * near >> 12) * t3 >> 14)

    def centidegrees(self, fine: int) -> int:
        """Hundredths of a degree Celsius."""
        return fine * 5 + 128 >> 8

    def pressure_256(self, raw: int, fine: int) -> int:
        """256ths of a pascal; 0 when the calibration is nonsense."""
        p1, p2, p3, p4, p5, p6, p7, p8, p9 = self._pressure
        a = fine - 128000
        b = a * a * p6 + (a * p5 << 17) + (p4 << 35)
        a = (a * a * p3 >> 8) + (a * p2 << 12)
        a = ((1 << 47) + a) * p1 >> 33
        if a == 0:
            return 0
        p = ((1048576 - raw << 31) - b) * 3125 // a
        a = p9 * (p >> 13) * (p >> 13) >> 25
        b = p8 * p >> 19
        return (p + a + b >> 8) + (p7 << 4)

    def humidity_1024(self, raw: int, fine: int) -> int:
        """1024ths of a percent of relative humidity, from 0 to 100 %."""
        h1, h2, h3, h4, h5, h6 = self._humidity
        v = fine - 76800
        slope = ((v * h6 >> 10) * ((v * h3 >> 11) + 32768) >> 10) + 2097152
        v = ((raw << 14) - (h4 << 20) - h5 * v + 16384 >> 15) * (slope * h2 + 8192 >> 14)
        v -= ((v >> 15) * (v >> 15) >> 7) * h1 >> 4
        return min(max(v, 0), 419430400) >> 12
