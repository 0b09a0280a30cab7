"""Twin messages as a device builds and reads them, in plain `json`; also runs on MicroPython, frozen into the firmware.

The gateway's side of the same messages is `twin.py`, with validation. KubeEdge's wire words for reported and desired
stand here once; everything else imports them.
"""

import json

REPORTED = "actual"
DESIRED = "expected"

# States a device may report (protocol document, section 3).
STATES = ("ok", "online", "offline", "unhealthy", "unknown")


def report(values: "dict[str, tuple[str, int]]", event_id: str = "", timestamp: int = 0) -> str:
    """A `twin/update` payload: property -> (value, source time in ms since 1970; 0 = no clock, the gateway's time counts)."""
    twin = {}
    for name, (value, at) in values.items():
        reported: dict[str, object] = {"value": value}
        if at:
            reported["metadata"] = {"timestamp": at}
        twin[name] = {REPORTED: reported}
    return json.dumps({"event_id": event_id, "timestamp": timestamp, "twin": twin})


def state(
    value: str,
    event_id: str = "",
    timestamp: int = 0,
    reason: str = "",
    message: str = "",
    refused: "dict[str, str] | None" = None,
) -> str:
    """A `state/update` payload; `value` is one of `STATES`.

    `reason` is one word, such as NoAnswer, and `message` the last error, of a device that is not well. `refused` says which
    desired values it does not follow: property -> why. KubeEdge knows none of the three, and leaves them aside.
    """
    content: dict[str, object] = {"event_id": event_id, "timestamp": timestamp, "state": value}
    if reason:
        content["reason"] = reason
    if message:
        content["message"] = message
    if refused:
        content["refused"] = refused
    return json.dumps(content)


def get(event_id: str = "") -> str:
    """A `twin/get` or `membership/get` payload."""
    return json.dumps({"event_id": event_id})


def delta(payload: "bytes | str") -> "dict[str, str]":
    """The desired values of a `twin/update/delta`: property -> value. ValueError when it is none."""
    return _strings(_object(payload).get("delta"))


def desired(payload: "bytes | str") -> "dict[str, str]":
    """The desired values of a `twin/get/result`: property -> value, of those that have one. ValueError when it is none."""
    values = {}
    twin = _object(payload).get("twin")
    if not isinstance(twin, dict):
        raise ValueError("no twin in the message")
    for name, entry in twin.items():
        wanted = entry.get(DESIRED) if isinstance(entry, dict) else None
        if isinstance(wanted, dict) and "value" in wanted:
            values[name] = wanted["value"]
    return _strings(values)


def refusal(payload: "bytes | str") -> "tuple[str, int, str] | None":
    """What a result topic said: (event id, code, reason) of a refusal, None of a success. ValueError when it is none."""
    event, _, code, reason = answer(payload)
    return (event, code, reason) if code else None


def answer(payload: "bytes | str") -> "tuple[str, int, int, str]":
    """What a result topic said: event id, ms since 1970 (0: not told), code (0: success), reason. ValueError when it is none."""
    message = _object(payload)
    at, code = message.get("timestamp"), message.get("code")
    return (
        str(message.get("event_id", "")),
        at if isinstance(at, int) else 0,
        code if isinstance(code, int) else 0,
        str(message.get("reason", "")),
    )


def _object(payload: "bytes | str") -> "dict[str, object]":
    message = json.loads(payload)
    if not isinstance(message, dict):
        raise ValueError("not a JSON object")
    return message


def _strings(values: object) -> "dict[str, str]":
    if not isinstance(values, dict) or not all(isinstance(v, str) for v in values.values()):
        raise ValueError("values must be strings, by property")
    return values
