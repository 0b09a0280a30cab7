"""Pins, converters and buses of the emulated board, for `machine`. Runs on CPython too, for drivers' tests.

What surrounds the pins stands in a file (`emulated/surroundings.py`). The bus protocols of the chips are at the level of
registers and bits; voltages, edges and timing of the lines are not: docs/sensors.md says what that leaves unproven.
"""

from emulated.surroundings import around as _around

_ENODEV = 19
_ETIMEDOUT = 110


def chip_temperature():
    """What the temperature sensor in the processor says, in degrees Celsius."""
    return _around.now().get("chip_temperature", 32.0)


class Pin:
    """A pin by number or name. Levels from outside stand in `pins`; inputs without one have the level of their pull."""

    IN = 0
    OUT = 1
    OPEN_DRAIN = 2
    PULL_UP = 1
    PULL_DOWN = 2
    IRQ_RISING = 1
    IRQ_FALLING = 2

    _all = {}

    def __new__(cls, id, *_arguments, **_keys):
        if isinstance(id, Pin):
            return id
        if id not in cls._all:
            cls._all[id] = object.__new__(cls)
        return cls._all[id]

    def __init__(self, id, mode=-1, pull=-1, *, value=None):
        if isinstance(id, Pin):
            return
        if not hasattr(self, "id"):
            self.id = id
            self._mode, self._pull, self._out = Pin.IN, None, 0
            self._handler = None
            self._seen = None
        if mode != -1:
            self.init(mode, pull, value=value)

    def init(self, mode=-1, pull=-1, *, value=None):
        """Change what it does; what is not given stays."""
        self._mode = self._mode if mode == -1 else mode
        self._pull = self._pull if pull == -1 else pull
        if value is not None:
            self._out = int(bool(value))
        if self._mode == Pin.OUT:
            _around.show(self.id, self._out)

    def value(self, level=None):
        """Its level, or set it."""
        if level is not None:
            fell = self._out and not level
            self._out = int(bool(level))
            if self._mode == Pin.OUT:
                _around.show(self.id, self._out)
            elif self._mode == Pin.OPEN_DRAIN and fell:
                _clocked(self.id)
            return None
        if self._mode == Pin.OUT:
            return self._out
        return self._look()

    def __call__(self, level=None):
        return self.value(level)

    def on(self):
        """High."""
        self.value(1)

    def off(self):
        """Low."""
        self.value(0)

    def irq(self, handler=None, trigger=3):
        """Call the handler at edges: noticed when the board next looks at the pin."""
        self._handler, self._trigger = handler, trigger
        self._seen = None
        self._look()

    def _look(self):
        outside = _around.now().get("pins", {}).get(str(self.id))
        if outside is None:
            outside = (
                0
                if _held(self.id)
                else int(self._pull == Pin.PULL_UP or self._mode == Pin.OPEN_DRAIN or _is_sda(self.id))
            )
        edges = outside if isinstance(outside, list) else [outside]
        level = int(edges[-1])
        before, self._seen = self._seen, edges
        if self._handler is not None and before is not None and before != edges:
            self._fire(int(before[-1]), edges)
        return level

    def _fire(self, level, edges):
        for following in edges:
            if following != level:
                level = following
                if self._trigger & (Pin.IRQ_RISING if level else Pin.IRQ_FALLING):
                    self._handler(self)


class ADC:
    """An analog input; `volts` says what is there."""

    def __init__(self, pin):
        self._id = pin.id if isinstance(pin, Pin) else pin

    def read_u16(self):
        """0 to 65535 for 0 to 3.3 V, in the 4096 steps of the hardware."""
        volts = _around.now().get("volts", {}).get(str(self._id), 0.0)
        step = min(4095, max(0, int(volts / 3.3 * 4095 + 0.5)))
        return step << 4 | step >> 8


class PWM:
    """A pulse-width modulated output."""

    def __init__(self, pin, *, freq=1000, duty_u16=0):
        self._id = pin.id
        self._duty = duty_u16
        self.freq(freq)

    def freq(self, hertz=None):
        """The frequency, or set it. ValueError beyond 8 Hz to 62.5 MHz, as on the RP2040."""
        if hertz is None:
            return self._hertz
        if not 8 <= hertz <= 62500000:
            raise ValueError("freq out of range")
        self._hertz = hertz
        self._show()
        return None

    def duty_u16(self, duty=None):
        """The duty from 0 to 65535, or set it."""
        if duty is None:
            return self._duty
        self._duty = duty
        self._show()
        return None

    def deinit(self):
        """Off."""
        self._duty = 0
        self._show()

    def _show(self):
        _around.show(self._id, {"frequency_hz": self._hertz, "duty_u16": self._duty})


class SoftI2C:
    """An I2C bus; the chips on it stand in `i2c`."""

    def __init__(self, *, scl, sda, freq=400000, timeout=50000):
        self.init(scl=scl, sda=sda, freq=freq, timeout=timeout)

    def init(self, *, scl, sda, freq=400000, timeout=50000):
        """Take the pins, again after they were something else."""
        self._sda, self._scl = sda.id, scl.id

    def scan(self):
        """The addresses that answer."""
        return [said["address"] for said in _chips(self._sda, self._scl) if said.get("fault") != "silent"]

    def writeto(self, address, data, stop=True):
        """Send bytes; how many were taken."""
        self._on_chip(address, lambda chip, said: chip.write(bytes(data), said))
        return len(data)

    def readfrom(self, address, count, stop=True):
        """Ask for bytes."""
        return self._on_chip(address, lambda chip, said: chip.read(count, said)) or bytes(count)

    def readfrom_into(self, address, buffer, stop=True):
        """Fill a buffer."""
        buffer[:] = self.readfrom(address, len(buffer))

    def readfrom_mem(self, address, register, count):
        """Bytes from a register on."""
        self.writeto(address, bytes((register,)))
        return self.readfrom(address, count)

    def readfrom_mem_into(self, address, register, buffer):
        """Fill a buffer from a register on."""
        buffer[:] = self.readfrom_mem(address, register, len(buffer))

    def writeto_mem(self, address, register, data):
        """Write a register."""
        self.writeto(address, bytes((register,)) + bytes(data))

    def _on_chip(self, address, act):
        """Everything answers zeros while the data line is held low; nothing goes while the clock is."""
        if any(said.get("fault") == "clock-held" for said in _chips(self._sda, self._scl)):
            raise OSError(_ETIMEDOUT, "ETIMEDOUT")
        if _held(self._sda):
            return None
        for said in _chips(self._sda, self._scl):
            if said["address"] == address and said.get("fault") != "silent":
                from emulated.sht3x import NoAnswer

                try:
                    return act(_chip(said), said)
                except NoAnswer:
                    break
        raise OSError(_ENODEV, "ENODEV")


class I2C(SoftI2C):
    """A hardware I2C bus, by its number."""

    def __init__(self, id=0, *, scl=None, sda=None, freq=400000, timeout=50000):
        super().__init__(scl=scl or Pin(5), sda=sda or Pin(4), freq=freq, timeout=timeout)


def _chips(sda, scl):
    return [s for s in _around.parts("i2c") if (s.get("sda", 4), s.get("scl", 5)) == (sda, scl)]


def _chip(said):
    kind = said["kind"]
    made = getattr(__import__("emulated." + kind, None, None, (kind,)), kind[0].upper() + kind[1:])
    return _around.kept((kind, said.get("sda", 4), said["address"]), lambda: made(_around.now_ms))


def _is_sda(id):
    return any(said.get("sda", 4) == id for said in _around.parts("i2c"))


def _held(id):
    """Whether a chip holds its data line low: `sda-held` for ever, `hung` until nine clocks have come."""
    for said in _around.parts("i2c"):
        if said.get("sda", 4) == id and said.get("fault") in ("sda-held", "hung"):
            if said["fault"] == "sda-held" or _clocks(said)[0] < 9:
                return True
    return False


def _clocks(said):
    return _around.kept(("clocks", said.get("scl", 5)), lambda: [0])


def _clocked(id):
    for said in _around.parts("i2c"):
        if said.get("scl", 5) == id:
            _clocks(said)[0] += 1
