"""A chip on an I2C bus, as drivers see it: bytes to and fro, and errors that say which chip and what is the matter."""

from device_fw.drivers import SensorError

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

    from device_fw.boards.buses import Buses

OPTIONS: "dict[str, Any]" = {"sda": "", "scl": "", "frequency_hz": 100000}
"""Options of every driver on I2C; empty pins are the board's own."""

_ETIMEDOUT = (110, 116)  # of Linux and rp2, of the ESP32's


class I2cChip:
    """One address on one bus."""

    def __init__(self, buses: "Buses", options: "dict[str, Any]") -> None:
        self._buses = buses
        self._options = options
        self._address = options["address"]

    def write(self, *data: int) -> None:
        """Send bytes. SensorError when nobody takes them."""
        try:
            self._buses.i2c(self._options).writeto(self._address, bytes(data))
        except OSError as error:
            raise self._silent(error)  # noqa: B904, MicroPython has no "from"

    def read(self, count: int) -> bytes:
        """Ask for bytes. SensorError when nobody has them."""
        try:
            found: bytes = self._buses.i2c(self._options).readfrom(self._address, count)
            return found
        except OSError as error:
            raise self._silent(error)  # noqa: B904, MicroPython has no "from"

    def read_at(self, register: int, count: int) -> bytes:
        """The bytes from a register on."""
        self.write(register)
        return self.read(count)

    def problem(self, text: str) -> SensorError:
        """An error that names the chip; and the bus, when that is what is wrong: a line held low reads as zeros."""
        if self._buses.i2c_held(self._options):
            self._buses.free_i2c(self._options)
            text = "sda is held low"
        return SensorError("{} ({:#04x} on {})".format(text, self._address, self._buses.i2c_name(self._options)))

    def _silent(self, error: OSError) -> SensorError:
        if error.errno in _ETIMEDOUT:
            self._buses.free_i2c(self._options)
            return self.problem("the bus is held")
        return self.problem("no answer")
