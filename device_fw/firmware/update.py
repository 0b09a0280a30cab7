"""Updates: what a board says of them, and how a new firmware proves itself. No I/O, no clock.

    idle -> downloading -> trial -> confirmed | reverted
                       \\-> refused

An offer is for `download.py`, which is imported when one comes and forgotten when it is done with. When all is there and
checked, the board is reset, and the boot code runs the image on trial. There, this same class confirms it once the gateway
has taken a report and the self-test found nothing; else it ends the trial at its deadline, and the boot code runs the version
before. All of that is seldom: it is imported for the occasion (`update_parts.py`), and what stays in memory is small.
"""

from device_fw.firmware.seldom import forget
from edgewire import device_topics as topics

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from device_fw.boot.slots import Slots
    from device_fw.contracts import Board
    from device_fw.firmware.download import Download
    from device_fw.firmware.properties import Property

SETTLE_MS = 1000  # from "trial" to the reset, so that it can be reported
RECOVERY_MS = 600000  # so long recovery waits for an offer before it tries a slot that crashed once more

# Of `edgewire.ota_codes`, which is too large to keep for these few.
_IDLE, _TRIAL, _CONFIRMED, _RECOVERY = "idle", "trial", "confirmed", "recovery"
_NONE, _NOT_CONFIRMED, _CRASHED = "none", "not-confirmed", "crashed"
_FIRMWARE, _PROGRESS, _TARGET, _STATE = "firmware", "firmware-progress", "firmware-target", "firmware-state"

_SELDOM = (
    "device_fw.firmware.download", "device_fw.firmware.update_parts", "device_fw.firmware.update_store",
    "edgewire.ota_codes", "edgewire.ota_fields", "edgewire.ota_manifest", "edgewire.ota_messages",
)  # fmt: skip


def _seldom() -> "Any":
    from device_fw.firmware import update_parts

    return update_parts


class Updater:
    """One board's updates. `Station` calls it; see `device_fw/contracts.py`."""

    kinds = (topics.OTA_OFFER, topics.OTA_CHUNK)

    def __init__(
        self,
        slots: "Slots",
        log: "Callable[..., None]",
        feed: "Callable[[], None]",
        reset: "Callable[[], None]",
        board: "Board",
        limit: int,
        seldom: "Callable[[], Any]" = _seldom,
    ) -> None:
        """`feed` feeds the watchdog, `reset` starts the board anew, `limit` is the longest piece that the link carries.

        `seldom` gives the module `update_parts`, which what is not there makes use of: downloads and trials.
        """
        self.slots = slots
        self.log = log
        self.feed = feed
        self.board = board
        self.limit = limit
        self._reset = reset
        self._seldom = seldom
        self._download: "Download | None" = None
        self.target, self.state, self.reason, _ = slots.record["last"]
        self.progress = 100 if self.state == _CONFIRMED else 0
        if slots.on_trial:
            self.target, self.state, self.reason, self.progress = slots.id, _TRIAL, _NONE, 100
        elif not slots.slot:
            self.rest()
        self.fault = _NOT_CONFIRMED  # of the trial, should it end now
        self._until: "int | None" = None  # when the trial, or the stay in recovery, ends
        self._armed = False  # the next start is a trial
        self._reset_ms: "int | None" = None
        self.later = b""  # the offer that came during the trial

    def rest(self) -> None:
        """Nothing is going on."""
        self.state, self.reason = (_IDLE, _NONE) if self.slots.slot else (_RECOVERY, self.slots.reason)

    def arm(self) -> None:
        """The image is there: reset soon, to try it."""
        self.state, self.reason, self.progress, self._armed = _TRIAL, _NONE, 100, True

    # What the station calls.

    def properties(self) -> "dict[str, Property]":
        """What a board reports of its updates."""
        found: "dict[str, Property]" = self._seldom().properties()
        return found

    def read(self, name: str) -> "str | int":
        """One of `properties` now. Progress goes in steps of ten, each of which is a report."""
        if name == _PROGRESS:
            return self.progress // 10 * 10
        found: str = self.state if name == _STATE else self.reason
        if name == _FIRMWARE:
            found = self.slots.version
        elif name == _TARGET:
            found = self.target[:16] or _NONE
        return found

    def on_message(self, kind: str, payload: bytes, now_ms: int) -> None:
        """Take an offer or a piece. What is wrong with it is logged."""
        if self._armed:  # the reset comes first, and the gateway offers again after it
            return
        if self.slots.on_trial:
            if kind == topics.OTA_OFFER:
                self.later = payload
            return
        if self._download is None:
            if kind != topics.OTA_OFFER:
                return
            try:
                self._download = self._seldom().download(self)
            except MemoryError as error:
                self.log("update_postponed", reason=error)
        if self._download is not None:
            self._download.on_message(kind, payload, now_ms)
            if not self._download.going_on:
                self._download = None
        if self._download is None:
            forget(*_SELDOM)

    def tick(self, now_ms: int) -> "tuple[str, str, int] | None":
        """The next request, when it is time for one."""
        return self._download.tick(now_ms) if self._download is not None else None

    def contact(self, now_ms: int) -> None:
        """The gateway took a report: what runs on trial is confirmed, if it finds itself well."""
        try:
            if not self.slots.on_trial:
                self.slots.well()
            elif self._seldom().confirmed(self):
                self.state = _CONFIRMED
                forget(*_SELDOM)
                later, self.later = self.later, b""
                if later:
                    self.on_message(topics.OTA_OFFER, later, now_ms)
        except (OSError, MemoryError) as error:  # the next contact tries again
            self.log("record_not_written", reason=error)

    def alive(self, now_ms: int) -> None:
        """Feed the watchdog; reset when it is time to."""
        self.feed()
        if self._armed:
            if self._reset_ms is None:
                self._reset_ms = now_ms + SETTLE_MS
            if now_ms >= self._reset_ms:
                self._reset()
        elif self.slots.on_trial:
            if self._is_over(now_ms, self.slots.trial_s * 1000):
                self._give_up()
        elif not self.slots.slot and self.slots.reason == _CRASHED and self._download is None:
            if self._is_over(now_ms, RECOVERY_MS):
                self.slots.crashed(1)
                self._reset()

    def _is_over(self, now_ms: int, after_ms: int) -> bool:
        if self._until is None:
            self._until = now_ms + after_ms
        return now_ms >= self._until

    def _give_up(self) -> None:
        try:
            self.slots.fail(self.fault)
        except (OSError, MemoryError) as error:  # the boot code reverts it all the same
            self.log("record_not_written", reason=error)
        self.log("update_not_confirmed", reason=self.fault)
        self._reset()


def reset() -> None:
    """Start the board anew; where that cannot be done, end."""
    import machine

    if hasattr(machine, "reset"):
        machine.reset()
    raise SystemExit
