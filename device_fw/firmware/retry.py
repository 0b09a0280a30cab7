"""Retry delays with full jitter, so that boards which lost one broker do not return to it at once. Pure; nothing waits here."""

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from collections.abc import Callable


class Backoff:
    """The ceiling doubles with every failure, from `first_ms` up to `limit_ms`; the delay is drawn below it."""

    def __init__(self, draw: "Callable[[], float]", first_ms: int = 1000, limit_ms: int = 30000) -> None:
        """`draw` gives a number in [0, 1)."""
        self._draw = draw
        self._first_ms = first_ms
        self._limit_ms = limit_ms
        self._ceiling_ms = first_ms

    def next_ms(self) -> int:
        """How long to wait before the next try."""
        ceiling_ms = self._ceiling_ms
        self._ceiling_ms = min(self._limit_ms, ceiling_ms * 2)
        return int(ceiling_ms * self._draw())

    def reset(self) -> None:
        """Call when a connection has proved itself."""
        self._ceiling_ms = self._first_ms
