"""What time it is, as far as anybody tells the board: its own clock, an NTP server, the gateway. No I/O, no clock.

Time runs on the shell's monotonic clock from what was told last, so a clock that is set back, or stops, does no harm. Of those
who tell, an NTP server counts more than the gateway and that more than the board's own clock, as long as it is at most five
minutes from what the gateway says: with the gateway's clock a report's source time is compared (`edge_gateway/merge.py`), and
what it cannot believe is of no use. A time before 2023 or after 2099 is nobody's.

Times are milliseconds: `unix_ms` since 1970, `now_ms` on the monotonic clock.
"""

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from collections.abc import Callable

EARLIEST_MS = 1672531200000  # 2023
LATEST_MS = 4102444800000  # 2100
APART_MS = 300000  # edge_gateway.merge.AHEAD_MS

BOARD = "board"
GATEWAY = "gateway"
NTP = "ntp"
_STEP_MS = 1000  # a smaller correction is not worth a line


class Timekeeper:
    """The board's time; unknown until somebody tells it."""

    def __init__(self, log: "Callable[..., None]") -> None:
        self._log = log
        self.source = ""  # who told the time that counts
        self._epoch_ms: "int | None" = None
        self._gateway_ms: "int | None" = None  # the epoch as the gateway has it
        self._refused = ""  # the source whose time was refused last

    def unix_ms(self, now_ms: int) -> int:
        """The time; 0 while nobody told it."""
        return 0 if self._epoch_ms is None else self._epoch_ms + now_ms

    def own_clock(self, unix_ms: int, now_ms: int) -> int:
        """The board's own clock says this; 0 says nothing. Returns the step that this made, as all three do: 0 mostly."""
        if not unix_ms or self.source not in ("", BOARD):
            return 0
        return self._told(BOARD, unix_ms, now_ms)

    def ntp(self, unix_ms: int, now_ms: int) -> int:
        """An NTP server says this."""
        return self._told(NTP, unix_ms, now_ms)

    def gateway(self, unix_ms: int, now_ms: int, doubt_ms: int = 0) -> int:
        """The gateway says this, give or take `doubt_ms`."""
        if not EARLIEST_MS <= unix_ms < LATEST_MS:
            return self._refuse(GATEWAY, unix_ms)
        self._gateway_ms = unix_ms - now_ms
        if self._epoch_ms is not None:
            apart_ms = abs(self._gateway_ms - self._epoch_ms)
            if apart_ms <= doubt_ms or (self.source == NTP and apart_ms <= APART_MS):
                return 0
        return self._set(GATEWAY, self._gateway_ms)

    def _told(self, source: str, unix_ms: int, now_ms: int) -> int:
        if not EARLIEST_MS <= unix_ms < LATEST_MS:
            return self._refuse(source, unix_ms)
        epoch_ms = unix_ms - now_ms
        if self._gateway_ms is not None and abs(epoch_ms - self._gateway_ms) > APART_MS:
            return self._refuse(source, unix_ms)
        return self._set(source, epoch_ms)

    def _set(self, source: str, epoch_ms: int) -> int:
        before, self._epoch_ms = self._epoch_ms, epoch_ms
        step_ms = 0 if before is None else epoch_ms - before
        if self.source != source or abs(step_ms) >= _STEP_MS:
            self._log("time", source=source, step_ms=step_ms)
        self.source = source
        self._refused = ""
        return step_ms

    def _refuse(self, source: str, unix_ms: int) -> int:
        if self._refused != source:
            self._refused = source
            self._log("time_refused", source=source, unix_ms=unix_ms)
        return 0
