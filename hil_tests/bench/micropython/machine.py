"""The module `machine` of the emulated board: MicroPython's own for the Unix port, and what the Unix port lacks.

`reset` and the watchdog really end this processor, by the supervisor; the clock runs on over both, until the power goes.
"""

from emulated import wires as _wires
from emulated_pins import *
from umachine import *

PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3
DEEPSLEEP_RESET = 4
SOFT_RESET = 5


def reset():
    """Reset as the button does; does not return."""
    _wires.wait_for_the_end("reset")


def soft_reset():
    """Start MicroPython anew; does not return."""
    raise SystemExit


def reset_cause():
    """Why the board started last: one of the constants above."""
    return int(_wires.told("HEDGEROW_BOARD_CAUSE"))


def unique_id():
    """The bytes that tell this board from any other."""
    return bytes.fromhex(_wires.told("HEDGEROW_BOARD_ID"))


def freq(_hz=None):
    """The clock that the processor is said to have, in Hz; it cannot be set."""
    return 125_000_000


def bootloader(_timeout_ms=0):
    """Leave MicroPython for the boot loader, until the next reset; does not return."""
    _wires.wait_for_the_end("bootloader")


def deepsleep(time_ms=0):
    """Be off for so many milliseconds, 0: until a reset; does not return."""
    _wires.wait_for_the_end("sleep %d" % time_ms)


def lightsleep(time_ms=0):
    """Sleep for so many milliseconds."""
    import time

    time.sleep_ms(time_ms)


class WDT:
    """The watchdog: it resets the board when it is not fed for `timeout` milliseconds, and cannot be stopped."""

    def __init__(self, id=0, timeout=5000):
        if timeout < 1:
            raise ValueError("WDT timeout too short")
        _wires.tell("watchdog %d" % timeout)

    def feed(self):
        """Give it another `timeout`."""
        _wires.tell("feed")


class RTC:
    """The clock. It runs on over resets; what was set is lost with the power."""

    def datetime(self, value=None):
        """The time as (year, month, day, weekday, hours, minutes, seconds, subseconds); or set it to such a tuple."""
        import time

        if value is None:
            now = time.gmtime()
            return now[:3] + (now[6],) + now[3:6] + (0,)
        time._set(int(time.mktime(value[:3] + value[4:7] + (0, 0))))
        return None
