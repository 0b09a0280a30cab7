"""The status of a Device: what was reported of it, merged. No I/O.

Per property the newest source time wins, of equal times the later arrival; so the order of reports does not matter, and one
that comes twice changes nothing. The status is as in `devices.kubeedge.io/v1beta1`, and `conditions` beside it.
Two of these follow from what a device says with its state: `Healthy`, with the last error, and `Applied`, which is there once
a desired value was not followed.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from edgewire.message import UNREADABLE
from edgewire.twin import DeviceState, Twin, Value

ACCEPTED = "Accepted"
"""The condition that says whether the edge has the device as it stands."""
HEALTHY = "Healthy"
"""The condition that says whether all of a device can be read, and if not, the last error."""
APPLIED = "Applied"
"""The condition that says which desired values a device does not follow."""

MESSAGE_LIMIT = 1024


class Entry(Struct, frozen=True, omit_defaults=True):
    """A value, with `timestamp` (ms since 1970, a string) and `type` in its metadata."""

    value: str
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def at(self) -> int:
        """Source time in ms since 1970; 0 when unknown."""
        stamp = self.metadata.get("timestamp", "")
        return int(stamp) if stamp.isascii() and stamp.isdigit() else 0


class TwinStatus(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """One property: what was reported, and the desired value that its device knows of."""

    property_name: str
    reported: Entry | None = None
    observed_desired: Entry | None = None


class Condition(Struct, frozen=True, rename="camel"):
    """A Kubernetes condition; times in RFC 3339."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    observed_generation: int | UnsetType = UNSET
    last_transition_time: str = ""


class _Status(Struct, omit_defaults=True, rename="camel"):
    twins: list[TwinStatus] = []
    state: str = ""
    last_online_time: str = ""
    conditions: list[Condition] = []


class _Resource(Struct):
    status: _Status = field(default_factory=_Status)


_resource = msgspec.json.Decoder(_Resource)
_encoder = msgspec.json.Encoder()


class DeviceStatus:
    """What is known of one device."""

    __slots__ = ("conditions", "last_online_time", "state", "twins")

    def __init__(self) -> None:
        self.twins: dict[str, TwinStatus] = {}
        self.state = ""
        self.last_online_time = ""
        self.conditions: dict[str, Condition] = {}

    def copy(self) -> "DeviceStatus":
        """The same, to be changed on its own."""
        other = DeviceStatus()
        other.twins = self.twins.copy()
        other.state, other.last_online_time = self.state, self.last_online_time
        other.conditions = self.conditions.copy()
        return other

    def merge_twins(self, reports: Mapping[str, Twin | None], arrived_at: int) -> None:
        """Take a report in; `arrived_at` (ms) stands in for source times that are not known. None deletes a reported value."""
        for name, report in reports.items():
            known = self.twins.get(name) or TwinStatus(name)
            if report is None:
                fresh = TwinStatus(name, None, known.observed_desired)
            else:
                type = report.metadata.type if report.metadata is not None else ""
                fresh = TwinStatus(
                    name,
                    _newest(known.reported, report.reported, arrived_at, type),
                    _newest(known.observed_desired, report.desired, arrived_at, ""),
                )
            if fresh.reported is None and fresh.observed_desired is None:
                self.twins.pop(name, None)
            elif fresh != known:
                self.twins[name] = fresh

    def merge_state(self, device: DeviceState, at: int = 0) -> None:
        """Take a device's state in, that it has since `at` (ms since 1970); the link keeps the order of states."""
        self.last_online_time = device.last_online_time or self.last_online_time
        if not device.state:
            return
        self.state = device.state
        self._find(HEALTHY, *_health(device), at)
        if device.refused:
            why = "; ".join(f"{name}: {why}" for name, why in device.refused.items())
            self._find(APPLIED, "False", "Refused", why, at)
        elif APPLIED in self.conditions:
            self._find(APPLIED, "True", APPLIED, "every desired value is followed", at)

    def _find(self, type: str, status: str, reason: str, message: str, at: int) -> None:
        old = self.conditions.get(type)
        same = old is not None and old.status == status
        since = old.last_transition_time if same and old is not None else rfc3339(at / 1000)
        self.conditions[type] = Condition(type, status, reason, message[:MESSAGE_LIMIT], UNSET, since)


def parse(raw: bytes) -> DeviceStatus:
    """The status in a Device's JSON; an empty one where it cannot be read."""
    status = DeviceStatus()
    try:
        found = _resource.decode(raw).status
    except UNREADABLE:
        return status
    status.twins = {twin.property_name: twin for twin in found.twins}
    status.state, status.last_online_time = found.state, found.last_online_time
    status.conditions = {condition.type: condition for condition in found.conditions}
    return status


def difference(old: DeviceStatus, new: DeviceStatus) -> bytes | None:
    """The merge patch (RFC 7386) that makes the one status of the other, or None when they are equal."""
    changes: dict[str, object] = {}
    if new.twins != old.twins:
        changes["twins"] = list(new.twins.values())
    if new.state != old.state:
        changes["state"] = new.state
    if new.last_online_time != old.last_online_time:
        changes["lastOnlineTime"] = new.last_online_time
    if new.conditions != old.conditions:
        changes["conditions"] = list(new.conditions.values())
    return _encoder.encode({"status": changes}) if changes else None


def rfc3339(seconds: float) -> str:
    """A time, in seconds since 1970, as Kubernetes writes it."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _health(device: DeviceState) -> tuple[str, str, str]:
    """Status, reason and message of the condition `Healthy`."""
    if device.state == "unknown":
        status = "Unknown"
    else:
        status = "True" if device.state in ("online", "ok") and not device.reason else "False"
    return status, device.reason or device.state.capitalize(), device.message


def _newest(known: Entry | None, value: Value | None, arrived_at: int, type: str) -> Entry | None:
    if value is None or (value.value is UNSET and not value.at):
        return known
    at = value.at or arrived_at
    if known is not None and at < known.at:
        return known
    if value.value is UNSET:
        return None  # a time without a value: it was deleted, or a wish withdrawn, then
    metadata = {"timestamp": str(at)}
    if type := type or (known.metadata.get("type", "") if known is not None else ""):
        metadata["type"] = type
    return Entry(value.value, metadata)
