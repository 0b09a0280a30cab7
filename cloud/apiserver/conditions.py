"""Status conditions of pods and nodes: read, and set without touching those of others."""

from datetime import datetime
from typing import Any

from cloud.apiserver.formats import format_time

Object = dict[str, Any]


def of(obj: Object) -> list[Object]:
    """The conditions of an object."""
    return [c for c in (obj.get("status") or {}).get("conditions") or () if isinstance(c, dict)]


def find(obj: Object, type: str) -> Object | None:
    """The condition of a type, or None."""
    return next((condition for condition in of(obj) if condition.get("type") == type), None)


def with_condition(
    obj: Object, now: datetime, type: str, status: str, reason: str = "", message: str = ""
) -> list[Object] | None:
    """The conditions of an object with this one among them; None when it says so already.

    The time of transition changes with the status only.
    """
    before = find(obj, type)
    if before is not None and [before.get(n) or "" for n in ("status", "reason", "message")] == [
        status,
        reason,
        message,
    ]:
        return None
    made: Object = {"type": type, "status": status, "lastTransitionTime": format_time(now)}
    if before is not None and before.get("status") == status:
        made["lastTransitionTime"] = before.get("lastTransitionTime") or made["lastTransitionTime"]
    made.update((name, text) for name, text in (("reason", reason), ("message", message)) if text)
    if before is None:
        return [*of(obj), made]
    return [made if condition is before else condition for condition in of(obj)]
