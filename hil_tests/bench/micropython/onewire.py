"""MicroPython's `onewire`, on emulated 1-Wire buses: bits to and from all sensors on the pin; a 0 wins."""

from emulated.ds18b20 import Ds18b20
from emulated.surroundings import around as _around


class OneWireError(Exception):
    """Nobody there."""


class OneWire:
    """The bus on a pin; its sensors stand in `onewire`."""

    def __init__(self, pin):
        self._id = pin.id
        self._awake = []

    def reset(self, required=False):
        """Whether somebody is there."""
        self._awake = []
        for said in _around.parts("onewire"):
            if said["pin"] == self._id:
                rom = said["rom"]
                sensor = _around.kept(("onewire", rom), lambda: Ds18b20(_around.now_ms, bytes.fromhex(rom)))
                if sensor.reset(said):
                    self._awake.append(sensor)
        if required and not self._awake:
            raise OneWireError
        return bool(self._awake)

    def readbit(self):
        """A bit."""
        return min([sensor.read() for sensor in self._awake] or [1])

    def writebit(self, bit):
        """Send a bit."""
        for sensor in self._awake:
            sensor.write(bit)

    def readbyte(self):
        """A byte, the least significant bit first."""
        return sum([self.readbit() << i for i in range(8)])

    def writebyte(self, byte):
        """Send a byte."""
        for i in range(8):
            self.writebit(byte >> i & 1)

    def write(self, data):
        """Send bytes."""
        for byte in data:
            self.writebyte(byte)

    def readinto(self, buffer):
        """Fill a buffer."""
        for i in range(len(buffer)):
            buffer[i] = self.readbyte()

    def select_rom(self, rom):
        """Speak to one sensor alone."""
        self.reset()
        self.write(b"\x55" + bytes(rom))

    def scan(self):
        """The ROM ids of all that are there, by the search that Maxim's application note 187 describes."""
        found = []
        last_choice = 64
        rom = [0] * 64
        while last_choice >= 0:
            if not self.reset():
                break
            self.writebyte(0xF0)
            choice = -1
            for i in range(64):
                bit, complement = self.readbit(), self.readbit()
                if bit and complement:
                    return found
                if not bit and not complement:
                    bit = 1 if i == last_choice else rom[i] if i < last_choice and last_choice < 64 else 0
                    if not bit:
                        choice = i
                rom[i] = bit
                self.writebit(bit)
            found.append(bytearray(sum(rom[k + i] << i for i in range(8)) for k in range(0, 64, 8)))
            last_choice = choice
        return found
