"""Numbers that look random, the same on every machine: for simulated sensors."""


class Draw:
    """The same row of numbers for the same seed."""

    def __init__(self, seed: int) -> None:
        self._state = seed & 0x7FFFFFFF

    def below(self, count: int) -> int:
        """A whole number from 0 to `count` - 1."""
        self._state = (self._state * 1103515245 + 12345) & 0x7FFFFFFF  # the generator of C's standard, annex
        return (self._state >> 16) % count
