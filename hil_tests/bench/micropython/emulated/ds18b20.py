"""A DS18B20 at bit level, after its data sheet: ROM commands with the search, scratchpad, conversion."""

_IDLE, _ROM, _MATCH, _SEARCH, _FUNCTION, _WRITE, _SEND = range(7)


class Ds18b20:
    """One sensor. `said` is what the file says of it now: rom, temperature (°C), fault."""

    def __init__(self, now_ms, rom):
        self._now_ms = now_ms
        self._rom = _bits(rom)
        self._state = _IDLE
        self._got = []
        self._send = []
        self._scratchpad = bytearray(b"\x50\x05\x4b\x46\x7f\xff\x0c\x10")  # at power-on: 85 °C, 12 bits
        self._ready_ms = None

    def reset(self, said):
        """A reset pulse. Whether the sensor answers with its presence."""
        if said.get("fault") == "silent":
            self._state = _IDLE
            return False
        self._finish(said)
        self._state, self._got = _ROM, []
        return True

    def write(self, bit):
        """A bit from the bus."""
        self._got.append(bit)
        if self._state == _ROM and len(self._got) == 8:
            self._rom_command(_byte(self._got))
        elif self._state == _MATCH and len(self._got) == 64:
            self._go(_FUNCTION if self._got == self._rom else _IDLE)
        elif self._state == _SEARCH:
            self._search(bit)
        elif self._state == _FUNCTION and len(self._got) == 8:
            self._function(_byte(self._got))
        elif self._state == _WRITE and len(self._got) == 24:
            self._scratchpad[2:5] = bytes(_byte(self._got[i : i + 8]) for i in (0, 8, 16))
            self._scratchpad[4] |= 0x1F
            self._go(_IDLE)

    def read(self):
        """The bit that it puts on the bus; 1 leaves the line high."""
        if self._state in (_SEND, _SEARCH) and self._send:
            return self._send.pop(0)
        return 1

    def _go(self, state, send=()):
        self._state, self._got, self._send = state, [], list(send)

    def _rom_command(self, command):
        if command == 0xCC:
            self._go(_FUNCTION)
        elif command == 0x55:
            self._go(_MATCH)
        elif command == 0x33:
            self._go(_SEND, self._rom)
        elif command == 0xF0:
            self._go(_SEARCH, (self._rom[0], 1 - self._rom[0]))
            self._found = 0
        else:
            self._go(_IDLE)

    def _search(self, bit):
        if bit != self._rom[self._found]:
            self._go(_IDLE)
            return
        self._found += 1
        if self._found == 64:
            self._go(_IDLE)
        else:
            ours = self._rom[self._found]
            self._go(_SEARCH, (ours, 1 - ours))

    def _function(self, command):
        if command == 0x44:
            self._ready_ms = self._now_ms() + (750 >> (3 - (self._scratchpad[4] >> 5 & 3)))
            self._go(_IDLE)
        elif command == 0x4E:
            self._go(_WRITE)
        elif command == 0xBE:
            content = bytes(self._scratchpad)
            self._go(_SEND, _bits(content + bytes((crc(content) ^ self._spoilt,))))
        else:
            self._go(_IDLE)

    def _finish(self, said):
        self._spoilt = 1 if said.get("fault") == "crc" else 0
        if said.get("fault") == "power":
            self._scratchpad[:] = b"\x50\x05\x4b\x46\x7f\xff\x0c\x10"
            self._ready_ms = None
        if self._ready_ms is not None and self._now_ms() >= self._ready_ms:
            self._ready_ms = None
            unused = 3 - (self._scratchpad[4] >> 5 & 3)
            raw = round(said.get("temperature", 20.0) * 16) >> unused << unused
            self._scratchpad[0:2] = bytes((raw & 0xFF, raw >> 8 & 0xFF))
            self._scratchpad[6] = 0x10 - (raw & 0x0F)


def crc(data):
    """x^8 + x^5 + x^4 + 1, the least significant bit first, as the shift register in Maxim's application note 27."""
    register = 0
    for bit in _bits(data):
        fed = (register ^ bit) & 1
        register >>= 1
        if fed:
            register ^= 0x8C
    return register


def _bits(data):
    return [byte >> i & 1 for byte in data for i in range(8)]


def _byte(bits):
    return sum(bit << i for i, bit in enumerate(bits))
