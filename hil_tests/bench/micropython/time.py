"""The module `time` of the emulated board: the Unix port's, by the board's own clock, which may be wrong and can be set."""

import utime as _host
from emulated import wires as _wires
from utime import *

_ahead_s = int(_wires.told("HEDGEROW_BOARD_CLOCK"))


def time():
    """Seconds since 1970."""
    return int(_host.time()) + _ahead_s


def time_ns():
    """Nanoseconds since 1970."""
    return _host.time_ns() + _ahead_s * 1_000_000_000


def gmtime(seconds=None):
    """A time, now by default, as (year, month, day, hour, minute, second, weekday, day of the year)."""
    return _host.gmtime(time() if seconds is None else seconds)[:8]


localtime = gmtime  # boards know no time zones


def _set(seconds):
    global _ahead_s
    _ahead_s = seconds - int(_host.time())
    _wires.tell("clock %d" % _ahead_s)
