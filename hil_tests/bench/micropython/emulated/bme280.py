"""A BME280 at register level, after the data sheet BST-BME280-DS002: it measures what it is told.

Temperature and pressure are calibrated as the example of BST-BMP280-DS001. It inverts the formulas that the data sheet gives for
floating point, while drivers use those for whole numbers.
"""

import struct

_ID = 0xD0
_RESET = 0xE0
_CONTROL_HUMIDITY = 0xF2
_STATUS = 0xF3
_CONTROL = 0xF4
_DATA = 0xF7

T = (27504, 26435, -1000)
P = (36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000)
H = (75, 362, 0, 313, 50, 30)


class Bme280:
    """One chip. `said` is what the file says of it now: temperature (°C), humidity (%), pressure (hPa), fault."""

    def __init__(self, now_ms):
        self._now_ms = now_ms
        self._registers = bytearray(256)
        self._at = 0
        self._ready_ms = None
        self._power_on()

    def write(self, data, said):
        """Bytes from the bus: a register, then pairs of value and register."""
        self._at = data[0]
        for i in range(1, len(data), 2):
            self._set(data[i - 1], data[i], said)

    def read(self, count, said):
        """Bytes to the bus, from the register on."""
        self._finish(said)
        self._registers[_ID] = 0x58 if said.get("fault") == "wrong-id" else 0x60
        start, self._at = self._at, self._at + count
        return bytes(self._registers[start : start + count])

    def _set(self, register, value, said):
        if register == _RESET and value == 0xB6:
            self._power_on()
        elif register in (_CONTROL_HUMIDITY, _CONTROL, 0xF5):
            self._registers[register] = value
        if register == _CONTROL and value & 3:
            once = [1 << (bits - 1) if bits else 0 for bits in (value >> 5, value >> 2 & 7, self._registers[0xF2] & 7)]
            busy_ms = 1.25 + 2.3 * sum(once) + 0.575 * (bool(once[1]) + bool(once[2]))
            self._registers[_STATUS] = 0x08
            self._ready_ms = self._now_ms() + (1000000 if said.get("fault") == "never-ready" else int(busy_ms))

    def _finish(self, said):
        if self._ready_ms is None or self._now_ms() < self._ready_ms:
            return
        self._ready_ms = None
        self._registers[_STATUS] = 0
        self._registers[_CONTROL] &= 0xFC  # forced mode ends in sleep mode
        celsius = said.get("temperature", 20.0)
        t = raw(lambda adc: fine(adc) / 5120, celsius, 20, 1)
        p = raw(lambda adc: pascal(adc, fine(t)), said.get("pressure", 1013.25) * 100, 20, -1)
        h = raw(lambda adc: percent(adc, fine(t)), said.get("humidity", 50.0), 16, 1)
        self._registers[_DATA : _DATA + 8] = bytes(
            (p >> 12, p >> 4 & 0xFF, p << 4 & 0xF0, t >> 12, t >> 4 & 0xFF, t << 4 & 0xF0, h >> 8, h & 0xFF)
        )

    def _power_on(self):
        self._registers[0x88:0xA0] = struct.pack("<Hhh", *T) + struct.pack("<Hhhhhhhhh", *P)
        self._registers[0xA1] = H[0]
        high = struct.pack("<hBbBbb", H[1], H[2], H[3] >> 4, H[3] & 15 | (H[4] & 15) << 4, H[4] >> 4, H[5])
        self._registers[0xE1:0xE8] = high
        self._registers[_CONTROL_HUMIDITY : _DATA + 8] = bytes((0, 0, 0, 0, 0, 0x80, 0, 0, 0x80, 0, 0, 0x80, 0))
        self._ready_ms = None


def raw(formula, wanted, bits, sign):
    """The raw value whose formula comes nearest to what is wanted; it rises with the raw value, or falls (`sign`)."""
    low, high = 1, (1 << bits) - 1
    while low < high:
        middle = (low + high) // 2
        if (formula(middle) - wanted) * sign < 0:
            low = middle + 1
        else:
            high = middle
    return low


def fine(adc):
    """The data sheet's t_fine, in floating point; 5120 of it are a degree."""
    a = (adc / 16384.0 - T[0] / 1024.0) * T[1]
    b = (adc / 131072.0 - T[0] / 8192.0) ** 2 * T[2]
    return a + b


def pascal(adc, t_fine):
    """Pressure, in floating point."""
    a = t_fine / 2.0 - 64000.0
    b = a * a * P[5] / 32768.0
    b = b + a * P[4] * 2.0
    b = b / 4.0 + P[3] * 65536.0
    a = (P[2] * a * a / 524288.0 + P[1] * a) / 524288.0
    a = (1.0 + a / 32768.0) * P[0]
    p = (1048576.0 - adc - b / 4096.0) * 6250.0 / a
    a = P[8] * p * p / 2147483648.0
    b = p * P[7] / 32768.0
    return p + (a + b + P[6]) / 16.0


def percent(adc, t_fine):
    """Relative humidity, in floating point."""
    h = t_fine - 76800.0
    h = (adc - (H[3] * 64.0 + H[4] / 16384.0 * h)) * (
        H[1] / 65536.0 * (1.0 + H[5] / 67108864.0 * h * (1.0 + H[2] / 67108864.0 * h))
    )
    return h * (1.0 - H[0] * h / 524288.0)
