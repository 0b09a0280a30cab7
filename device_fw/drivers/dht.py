"""Aosong DHT11 and DHT22 (AM2302): temperature and humidity of the air, over one wire that is not 1-Wire.

Formats are those of the data sheets DHT11 and AM2302; MicroPython's own `dht_readinto` keeps the timing of the bits.
"""

from device_fw.drivers import SensorError

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

    from device_fw.boards.buses import Buses

_WAKING_MS = 1000  # after power-on it must not be asked


class Driver:
    """`temperature` in °C and `humidity` in %."""

    READINGS = {"temperature": ("float", "°C", 1), "humidity": ("float", "%", 1)}
    OUTPUTS = ()
    OPTIONS: "dict[str, Any]" = {"pin": None, "kind": ("dht22", "dht11")}
    INTERVAL_MS = 10000
    SHORTEST_MS = 2000
    DEADLINE_MS = 300  # MicroPython holds the line high for 250 ms before it asks
    PIN = "onewire"

    def __init__(self, buses: "Buses", options: "dict[str, Any]") -> None:
        self._buses = buses
        self._number = options["pin"]
        self._decode = dht11 if options["kind"] == "dht11" else dht22
        self._pin = buses.machine.Pin(self._number)
        self._buffer = bytearray(5)
        self._awake = False

    def start(self) -> int:
        """It measures when it is asked; only after power-on it wants time."""
        wait_ms = 0 if self._awake else _WAKING_MS
        self._awake = True
        return wait_ms

    def read(self) -> "dict[str, float]":
        """Ask it."""
        try:
            self._buses.dht(self._pin, self._buffer)
        except OSError:
            raise SensorError("no answer (DHT on pin {})".format(self._number))  # noqa: B904, MicroPython has no "from"
        if sum(self._buffer[:4]) & 0xFF != self._buffer[4]:
            raise SensorError("checksum error (DHT on pin {})".format(self._number))
        temperature, humidity = self._decode(self._buffer)
        return {"temperature": temperature, "humidity": humidity}


def dht22(data: "bytes | bytearray") -> "tuple[float, float]":
    """Temperature in °C, humidity in %: tenths in 16 bits, the temperature with a sign of its own."""
    tenths = (data[2] & 0x7F) << 8 | data[3]
    return (-tenths if data[2] & 0x80 else tenths) / 10, (data[0] << 8 | data[1]) / 10


def dht11(data: "bytes | bytearray") -> "tuple[float, float]":
    """Temperature in °C, humidity in %: a byte of whole numbers and one of tenths each."""
    tenths = data[2] * 10 + (data[3] & 0x7F)
    return (-tenths if data[3] & 0x80 else tenths) / 10, (data[0] * 10 + data[1]) / 10
