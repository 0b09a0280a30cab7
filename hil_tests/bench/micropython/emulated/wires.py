"""The wires from the board's processor to its supervisor, which holds the power, the reset line, the clock and the watchdog.

A line of text a request: `run`, `reset`, `soft`, `watchdog <ms>`, `feed`, `sleep <ms>`, `clock <seconds>`, `cut`,
`formatted`, `bootloader`, `interrupt` (Ctrl-C, again). What the board is told at power-on stands in environment variables,
`HEDGEROW_BOARD_...`.
"""

import os

import utime

told = os.getenv
"""A setting by its name; None when there is none."""

_number = told("HEDGEROW_BOARD_WIRES")
_line = open(int(_number), "wb") if _number else None  # a number opens that descriptor


def tell(text):
    """Send a request to the supervisor."""
    _line.write(text + "\n")


def wait_for_the_end(text):
    """Send a request after which the supervisor ends this processor, and do nothing else until then."""
    while True:
        try:
            if text:
                tell(text)
                text = ""
            utime.sleep(1)
        except KeyboardInterrupt:
            pass
