"""Sensors and outputs of boards: one small module a kind, each with a class `Driver`. The board file names it: `driver: bme280`.

A driver is a plain class, made once for all properties that have the same options:

    class Driver:
        READINGS = {"temperature": ("float", "°C", 2)}    # what it measures: type, unit, digits after the point
        OUTPUTS = ()                                      # those of READINGS that can also be written
        OPTIONS = {"pin": None, "pull": ("none", "up")}   # keys of the board file; see `complete`
        INTERVAL_MS = 10000                               # between readings, unless the board file says otherwise
        SHORTEST_MS = 1000                                # what the sensor can do; a shorter interval is refused
        DEADLINE_MS = 5                                   # `start`, `read` and `write` never block longer
        PIN = "in"                                        # what its pins do: in, out, pwm, analog, i2c, onewire; "": none

        def __init__(self, buses, options): ...           # only takes what it needs: a missing sensor is no error here
        @staticmethod
        def check(options): ...                           # where types do not say it all: ValueError; may be left out
        def start(self): ...                              # begins a conversion; milliseconds until it can be read, 0: at once
        def read(self): ...                               # {"temperature": 21.5}: all readings of that conversion
        def write(self, reading, value): ...              # only with OUTPUTS

`buses` is `device_fw.boards.buses.Buses`: the only way to pins, to I2C and to the clock, so that a driver runs against emulated
chips on CPython and MicroPython. Whatever goes wrong is a `SensorError` that says what to look at; the board goes on, says it
once and starts anew at the next interval. Heavy imports belong into the modules that need them.
"""

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

PINS = ("pin", "sda", "scl")  # options that are pins: a number, or a name that the board knows


class SensorError(OSError):
    """A sensor or output that does not do what it should; the text says what was seen and where."""


def complete(known: "dict[str, Any]", given: "dict[str, Any]") -> "dict[str, Any]":
    """The options of a driver, those not given at their defaults. ValueError that names the option otherwise.

    `known` is a driver's OPTIONS. Its values are the defaults, and their types what may be given: a bool, a whole number that
    is not negative, a float, a text; a tuple: one of these, the first by default; None: a whole number that must be given.
    """
    for key in given:
        if key not in known:
            raise ValueError("unknown option {}; known are {}".format(key, ", ".join(sorted(known))))
    options = {}
    for key, default in known.items():
        value = given.get(key, default[0] if isinstance(default, tuple) else default)
        if value is None:
            raise ValueError("option {} is missing".format(key))
        problem = _problem(key, value, default)
        if problem:
            raise ValueError("option {}: {!r} is {}".format(key, value, problem))
        options[key] = value
    return options


def _problem(key: str, value: "Any", default: "Any") -> str:
    if isinstance(default, tuple):
        return "" if value in default else "none of " + ", ".join([str(v) for v in default])
    if key in PINS and isinstance(value, str):
        return ""
    if isinstance(default, (bool, str)) and key not in PINS:
        return "" if isinstance(value, type(default)) else "no " + type(default).__name__
    whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(default, float):
        return "" if whole or isinstance(value, float) else "no number"
    return "" if whole and value >= 0 else "no whole number from 0"
