"""Milliseconds since the board started that never wrap, made of `ticks_ms`, which wraps after days."""

from utime import sleep_ms, ticks_diff, ticks_ms

__all__ = ["Clock", "sleep_ms"]


class Clock:
    """A monotonic clock. Ask it at least every three days (half of what `ticks_ms` counts before it wraps)."""

    def __init__(self) -> None:
        self._last = ticks_ms()
        self._now = 0

    def now(self) -> int:
        """Milliseconds since this clock was made."""
        ticks = ticks_ms()
        self._now += ticks_diff(ticks, self._last)
        self._last = ticks
        return self._now
