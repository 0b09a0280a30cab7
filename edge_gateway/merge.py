"""Which of two values of a property wins: the newer by source time, whatever the order of arrival.

At equal times the later arrival wins, for clocks that count seconds. A time that cannot be believed (none, before 2020, or
more than five minutes ahead of this machine's clock) is replaced by the time of arrival, and by more than the last value's
if this machine's clock went back: so an unstamped report always counts. So do all reports while the last value is from a time
that cannot be believed any more, as after a power cut without a clock's battery: they would be dropped until that time comes.
"""

from edge_gateway.twin_record import PropertyTwin, ValueRecord
from edgewire import device, twin
from edgewire.twin import Twin, TwinError, Value

EARLIEST_MS = 1_577_836_800_000
"""2020-01-01: an earlier source time comes from a clock that was never set."""
AHEAD_MS = 300_000


def check(prop: PropertyTwin, sent: Twin) -> None:
    """Raise TwinError if a value is too long, of the wrong type, or desired of what cannot be written."""
    reported, desired = sent.reported, sent.desired
    if reported is not None and isinstance(reported.value, str):
        why = twin.value_problem(reported.value)
        if why is not None:
            raise TwinError(twin.TOO_LARGE, f"property {prop.name!r}: {why}")
        why = device.value_problem(reported.value, prop.model.type)
        if why is not None:
            raise TwinError(twin.BAD_REQUEST, f"property {prop.name!r}: {why}")
    if desired is not None and isinstance(desired.value, str):
        why = device.desired_problem(desired.value, prop.model)
        if why is not None:
            raise TwinError(twin.BAD_REQUEST, f"property {prop.name!r}: desired value: {why}")


def merge(record: ValueRecord, sent: Twin | None, made_at: int, now_ms: int) -> bool:
    """Merge what was sent of one property (None deletes the reported value) into its record: whether a value changed.

    `made_at` is the message's own time, for deletions and for values that carry none; both times in ms since 1970.
    """
    before = record.reported, record.desired
    if sent is None:
        at = _believed(made_at, record.reported_at, now_ms)
        if at >= record.reported_at:
            record.reported, record.reported_at = None, at
    else:
        record.reported, record.reported_at = _newest(
            record.reported, record.reported_at, sent.reported, made_at, now_ms
        )
        record.desired, record.desired_at = _newest(record.desired, record.desired_at, sent.desired, made_at, now_ms)
    return (record.reported, record.desired) != before


def _newest(kept: str | None, kept_at: int, sent: Value | None, made_at: int, now_ms: int) -> tuple[str | None, int]:
    if sent is None or not isinstance(sent.value, str):
        return kept, kept_at
    at = _believed(sent.at or made_at, kept_at, now_ms)
    return (sent.value, at) if at >= kept_at else (kept, kept_at)


def _believed(at: int, kept_at: int, now_ms: int) -> int:
    latest = now_ms + AHEAD_MS
    return at if EARLIEST_MS <= at <= latest and kept_at <= latest else max(now_ms, kept_at + 1)
