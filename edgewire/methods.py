"""Methods of a device: called on `D/method/call`, answered on `D/method/call/result`. Hedgerow's own; KubeEdge has REST for it.

    {"event_id": "c1", "method": "open", "arguments": {"position": "50"}, "timeout": 10000}
    {"event_id": "c1", "timestamp": 1750000000000, "method": "open", "result": {"position": "50"}}
    {"event_id": "c1", "timestamp": 1750000000000, "method": "open", "code": 503, "reason": "the device is offline"}

Unlike a desired value, which is a state and waits for its device, a call is made now or not at all. Values are strings, as
everywhere. `timestamp` is 0 where the mapper answers because the device is none of its any more.
"""

from collections.abc import Mapping

import msgspec
from msgspec import Struct, field

from edgewire import twin
from edgewire.message import UNREADABLE
from edgewire.twin import BAD_REQUEST, MAX_REASON, TwinError

TOO_MANY, NO_METHODS, BAD_DEVICE, OFFLINE, TOO_LATE = 429, 501, 502, 503, 504

MOST_ARGUMENTS = 64
LONGEST_WAIT_MS = 60_000


class Call(Struct, frozen=True):
    """A method that is to be called; `event_id` tells its answer from others, and a repetition from a new call."""

    event_id: str
    method: str
    arguments: dict[str, str] = field(default_factory=dict)
    timeout: int = 10_000
    """Milliseconds after which it shall not begin any more."""


class _Result(Struct):
    event_id: str
    timestamp: int
    method: str
    result: Mapping[str, str]


class _Refusal(Struct):
    event_id: str
    timestamp: int
    method: str
    code: int
    reason: str


_encoder = msgspec.json.Encoder()
_call = msgspec.json.Decoder(Call)


def parse_call(payload: bytes) -> Call:
    """A `method/call` payload. Raises TwinError 400."""
    try:
        call = _call.decode(payload)
    except UNREADABLE as error:
        raise TwinError(BAD_REQUEST, f"{error}"[:MAX_REASON], twin.event_id_of(payload)) from error
    why = _problem(call)
    if why is not None:
        raise TwinError(BAD_REQUEST, why, call.event_id)
    return call


def result(call: Call, timestamp: int, values: Mapping[str, str]) -> bytes:
    """The payload of `method/call/result` for a call that was carried out."""
    return _encoder.encode(_Result(call.event_id, timestamp, call.method, values))


def refusal(event_id: str, method: str, timestamp: int, code: int, reason: str) -> bytes:
    """The payload of `method/call/result` for one that was not, or failed."""
    return _encoder.encode(_Refusal(event_id, timestamp, method, code, reason[:MAX_REASON]))


def _problem(call: Call) -> str | None:
    if not 0 < len(call.event_id) <= 128:
        return "event_id must have 1 to 128 characters"
    if len(call.arguments) > MOST_ARGUMENTS:
        return f"more than {MOST_ARGUMENTS} arguments"
    if not 0 < call.timeout <= LONGEST_WAIT_MS:
        return f"timeout must lie between 1 and {LONGEST_WAIT_MS} ms"
    return next((why for value in call.arguments.values() if (why := twin.value_problem(value)) is not None), None)
