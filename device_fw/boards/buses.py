"""Pins, buses and clock for drivers, made from MicroPython's `machine` or a bench's. Who shares a bus shares its object here.

I2C is `SoftI2C`: it takes any pins on every board, and a chip that holds the clock or the data line ends in an error within
`I2C_TIMEOUT_MS`, after which the bus is freed by nine clocks (UM10204, 3.1.16). 1-Wire and DHT are MicroPython's own modules
`onewire` and `dht`, which keep the timing of the bits.
"""

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Bus = Any
    Pin = Any

I2C_TIMEOUT_MS = 50


class Buses:
    """What a board's drivers reach. One object a board."""

    def __init__(
        self, machine: "Any", features: "Any", ticks_ms: "Callable[[], int]", ticks_diff: "Callable[[int, int], int]"
    ) -> None:
        """`machine` as in MicroPython; `features` is the board's module; the clock counts milliseconds and may wrap."""
        self.machine = machine
        self.features = features
        self.ticks_ms = ticks_ms
        self._ticks_diff = ticks_diff
        self._i2c: "dict[tuple[Any, Any], Bus]" = {}
        self._wires: "dict[Any, Bus]" = {}

    def since_ms(self, before: int) -> int:
        """Milliseconds since a `ticks_ms`, at most days ago."""
        return self._ticks_diff(self.ticks_ms(), before)

    def pin_in(self, pin: "int | str", pull: str = "none") -> "Pin":
        """A pin that reads; `pull` is none, up or down."""
        kind = self.machine.Pin
        return kind(pin, kind.IN, {"none": None, "up": kind.PULL_UP, "down": kind.PULL_DOWN}[pull])

    def pin_out(self, pin: "int | str", level: int) -> "Pin":
        """A pin that drives, with this level from the first moment on."""
        return self.machine.Pin(pin, self.machine.Pin.OUT, value=level)

    def i2c(self, options: "dict[str, Any]") -> "Bus":
        """The I2C bus on the pins `sda` and `scl`, or on those of the board; the first who asks sets `frequency_hz`."""
        pins = self._i2c_pins(options)
        if pins not in self._i2c:
            self._i2c[pins] = self._open(pins, options["frequency_hz"])
        return self._i2c[pins]

    def i2c_held(self, options: "dict[str, Any]") -> bool:
        """Whether the data line is low, though nobody speaks."""
        return not self.machine.Pin(self._i2c_pins(options)[0]).value()

    def i2c_name(self, options: "dict[str, Any]") -> str:
        """The bus, for errors."""
        return "sda {}, scl {}".format(*self._i2c_pins(options))

    def free_i2c(self, options: "dict[str, Any]") -> None:
        """After a time-out: clock out what a chip still wants to say, so that it lets the data line go."""
        pins = self._i2c_pins(options)
        sda, scl = self.pin_in(pins[0], "up"), self.machine.Pin(pins[1], self.machine.Pin.OPEN_DRAIN, value=1)
        for _ in range(9):
            if sda.value():
                break
            scl.value(0)
            scl.value(1)
        self._i2c[pins].init(**self._wiring(pins, options["frequency_hz"]))

    def one_wire(self, pin: "int | str") -> "Bus":
        """The 1-Wire bus on a pin: MicroPython's `onewire.OneWire`."""
        if pin not in self._wires:
            from onewire import OneWire

            self._wires[pin] = OneWire(self.machine.Pin(pin))
        return self._wires[pin]

    def dht(self, pin: "Pin", buffer: bytearray) -> None:
        """Ask a DHT for its five bytes. OSError when it does not answer. Takes 270 ms either way."""
        from dht import dht_readinto

        dht_readinto(pin, buffer)

    def _i2c_pins(self, options: "dict[str, Any]") -> "tuple[Any, Any]":
        own = self.features.I2C
        return (
            own[0] if options["sda"] == "" else options["sda"],
            own[1] if options["scl"] == "" else options["scl"],
        )

    def _wiring(self, pins: "tuple[Any, Any]", frequency_hz: int) -> "dict[str, Any]":
        sda, scl = self.machine.Pin(pins[0]), self.machine.Pin(pins[1])
        return {"sda": sda, "scl": scl, "freq": frequency_hz, "timeout": I2C_TIMEOUT_MS * 1000}

    def _open(self, pins: "tuple[Any, Any]", frequency_hz: int) -> "Bus":
        return self.machine.SoftI2C(**self._wiring(pins, frequency_hz))
