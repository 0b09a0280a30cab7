"""An SHT3x at command level, after the data sheet SHT3x-DIS: status, reset, and single measurements without clock stretching."""

_MEASURE = {b"\x24\x00": 15, b"\x24\x0b": 6, b"\x24\x16": 4}  # command: milliseconds at most


class NoAnswer(Exception):
    """The chip does not acknowledge."""


class Sht3x:
    """One chip. `said` is what the file says of it now: temperature (°C), humidity (%), fault."""

    def __init__(self, now_ms):
        self._now_ms = now_ms
        self._answer = b""
        self._ready_ms = None

    def write(self, data, said):
        """A command of two bytes."""
        command = bytes(data)
        if command == b"\xf3\x2d":
            self._answer, self._ready_ms = words((0x8010,), said), None
        elif command in _MEASURE:
            celsius = int((said.get("temperature", 20.0) + 45) * 65535 / 175 + 0.5)
            humidity = int(said.get("humidity", 50.0) * 655.35 + 0.5)
            self._answer, self._ready_ms = words((celsius, humidity), said), self._now_ms() + _MEASURE[command]
        elif command == b"\x30\xa2":
            self._answer = b""
        else:
            raise NoAnswer

    def read(self, count, said):
        """The answer to the last command, once."""
        if not self._answer or self._ready_ms is not None and self._now_ms() < self._ready_ms:
            raise NoAnswer
        answer, self._answer = self._answer, b""
        return (answer + b"\xff" * count)[:count]


def words(numbers, said):
    """Words, each with its CRC (data sheet, 4.12), calculated bit by bit over the polynomial x^8 + x^5 + x^4 + 1."""
    found = b""
    for number in numbers:
        rest = number << 8 ^ 0xFF0000  # begins with 0xFF
        for bit in range(23, 7, -1):
            if rest >> bit & 1:
                rest ^= 0x131 << (bit - 8)
        crc = rest & 0xFF
        if said.get("fault") == "crc" or said.get("fault") == "wrong-id":
            crc ^= 1
        found += bytes((number >> 8, number & 0xFF, crc))
    return found
