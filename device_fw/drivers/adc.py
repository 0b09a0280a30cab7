"""An analog input: volts at a pin, averaged, and what they stand for."""

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

    from device_fw.boards.buses import Buses

_MOST = 64  # samples a reading


class Driver:
    """`volts` at the pin; `value` is `volts` * `scale` + `offset`, for a sensor or a voltage divider."""

    READINGS = {"value": ("float", "", 3), "volts": ("float", "V", 3)}
    OUTPUTS = ()
    OPTIONS: "dict[str, Any]" = {"pin": None, "average": 8, "scale": 1.0, "offset": 0.0}
    INTERVAL_MS = 1000
    SHORTEST_MS = 0
    DEADLINE_MS = 10
    PIN = "analog"

    @staticmethod
    def check(options: "dict[str, Any]") -> None:
        """ValueError for an average over none or over more than 64 samples."""
        if not 1 <= options["average"] <= _MOST:
            raise ValueError("option average: {} is not from 1 to {}".format(options["average"], _MOST))

    def __init__(self, buses: "Buses", options: "dict[str, Any]") -> None:
        self._samples = options["average"]
        self._scale = options["scale"]
        self._offset = options["offset"]
        self._volts = buses.features.ADC_VOLTS / 65535
        adc = buses.machine.ADC
        pin = buses.machine.Pin(options["pin"])
        self._adc = adc(pin, atten=adc.ATTN_11DB) if hasattr(adc, "ATTN_11DB") else adc(pin)  # ESP32: the whole range

    def start(self) -> int:
        """It measures when it is read."""
        return 0

    def read(self) -> "dict[str, float]":
        """Some tens of microseconds a sample."""
        if hasattr(self._adc, "read_uv"):  # calibrated in the factory
            volts = sum([self._adc.read_uv() for _ in range(self._samples)]) / self._samples / 1000000
        else:
            volts = sum([self._adc.read_u16() for _ in range(self._samples)]) / self._samples * self._volts
        return {"value": volts * self._scale + self._offset, "volts": volts}
