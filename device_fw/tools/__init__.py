"""What puts firmware on boards, on CPython."""

OLDEST_RUNTIME = "1.20.0"
"""The oldest MicroPython that the firmware runs on."""
