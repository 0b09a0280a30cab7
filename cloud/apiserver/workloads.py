"""What the controllers of Deployments, ReplicaSets and DaemonSets have in common: what they see of pods, and what they plan.

A planner is a pure function of an owner and what it owns; `workload_controller` carries out what it returns.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from cloud.apiserver.event_records import Note
from cloud.apiserver.formats import parse_time
from cloud.apiserver.metadata import OwnerReference
from cloud.apiserver.state import Stored

Object = dict[str, Any]
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
"""In which Kubernetes writes hashes that are part of names: they make no words."""
_ENDED = frozenset({"Succeeded", "Failed"})
BACK_OFF_FIRST, BACK_OFF_LIMIT = timedelta(seconds=1), timedelta(minutes=15)
"""Before a pod that failed is replaced (DaemonSet controller's figures)."""


class _Condition(Struct, rename="camel"):
    type: str | None = ""
    status: str | None = ""
    last_transition_time: Any = None
    """Nobody has checked that it is a time."""


class _Meta(Struct, rename="camel"):
    name: str
    namespace: str = ""
    uid: str = ""
    labels: dict[str, str] = {}
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    owner_references: list[OwnerReference] = []


class _Spec(Struct, rename="camel"):
    node_name: str | None = None
    affinity: dict[str, Any] | None = None


class _Status(Struct):
    phase: str | None = None
    conditions: list[_Condition] | None = None


class Pod(Struct):
    """A pod, as far as its owner's controller looks into it."""

    metadata: _Meta
    spec: _Spec = field(default_factory=_Spec)
    status: _Status = field(default_factory=_Status)

    @property
    def ended(self) -> bool:
        """Whether its containers have stopped for good."""
        return self.status.phase in _ENDED

    @property
    def going(self) -> bool:
        """Whether it is being deleted."""
        return self.metadata.deletion_timestamp is not None

    @property
    def active(self) -> bool:
        """Whether it counts among those that are wanted."""
        return not self.ended and not self.going

    @property
    def ready(self) -> bool:
        """Whether its Ready condition is True."""
        return self._ready_condition is not None and self._ready_condition.status == "True"

    @property
    def _ready_condition(self) -> _Condition | None:
        return next((c for c in self.status.conditions or () if c.type == "Ready"), None)

    def available_at(self, least_s: int) -> datetime | None:
        """When it has been ready for so many seconds; None while it is not ready."""
        condition = self._ready_condition
        if condition is None or condition.status != "True":
            return None
        told = condition.last_transition_time
        since = parse_time(told if isinstance(told, str) else self.metadata.creation_timestamp or "")
        return later(since, least_s) if since is not None else None

    @property
    def created(self) -> str:
        """When it was made; texts of this form sort by time."""
        return self.metadata.creation_timestamp or ""


_pod = msgspec.json.Decoder(Pod)


def read_pod(stored: Stored) -> Pod | None:
    """A pod, or None for one that is written in a way nobody understands."""
    try:
        return _pod.decode(stored.body)
    except msgspec.ValidationError:
        return None


class Deletion(Struct, frozen=True):
    """An owned object that has to go."""

    name: str
    uid: str


class Change(Struct, frozen=True):
    """What is to be otherwise in an owned object."""

    name: str
    patch: Object
    """A merge patch."""


@dataclass(slots=True)
class Plan:
    """What is to be done for one owner."""

    create: list[Object] = field(default_factory=list)
    delete: list[Deletion] = field(default_factory=list)
    change: list[Change] = field(default_factory=list)
    own: Object = field(default_factory=dict)
    """A merge patch of the owner itself; empty where it is well."""
    status: Object | None = None
    """What its status should say, None for a field that should not be there."""
    notes: list[Note] = field(default_factory=list)
    again: datetime | None = None
    """When to look again, if nothing happens before."""

    def look_at(self, when: datetime) -> None:
        """Look again then, at the latest."""
        self.again = when if self.again is None else min(self.again, when)


@dataclass(slots=True)
class _Waits:
    delay: timedelta
    until: datetime
    over: bool = False


class BackOff:
    """How long to wait before what failed is tried again: doubled each time, forgotten when it has gone well for long enough."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], _Waits] = {}

    def waits(self, uid: str, where: str, now: datetime) -> datetime | None:
        """When an owner's pod that failed there may be replaced; None when that is now, and it is."""
        known = self._known.get((uid, where))
        if known is None or now - known.until > 2 * BACK_OFF_LIMIT:
            known = self._known[uid, where] = _Waits(BACK_OFF_FIRST, now + BACK_OFF_FIRST)
        elif known.over:
            delay = min(2 * known.delay, BACK_OFF_LIMIT)
            known = self._known[uid, where] = _Waits(delay, now + delay)
        if known.until > now:
            return known.until
        known.over = True
        return None

    def forget(self, uid: str) -> None:
        """The owner is gone."""
        for key in [key for key in self._known if key[0] == uid]:
            del self._known[key]


def owner_reference(owner: Object) -> Object:
    """Of what an object's controller makes."""
    meta = owner["metadata"]
    about = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta["name"], "uid": meta["uid"]}
    return {**about, "controller": True, "blockOwnerDeletion": True}


def pod_of(owner: Object, labels: Mapping[str, str]) -> Object:
    """A pod of an owner's template, with more labels."""
    template = owner["spec"]["template"]
    meta = template.get("metadata") or {}
    metadata: Object = {
        "generateName": f"{owner['metadata']['name']}-",
        "labels": {**(meta.get("labels") or {}), **labels},
        "ownerReferences": [owner_reference(owner)],
    }
    if meta.get("annotations"):
        metadata["annotations"] = dict(meta["annotations"])
    if meta.get("finalizers"):
        metadata["finalizers"] = list(meta["finalizers"])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": dict(template["spec"])}


def template_hash(template: Object, turn: int = 0) -> str:
    """Ten letters that tell templates apart; others at each turn."""
    content = msgspec.json.encode(template, order="deterministic") + (str(turn).encode() if turn else b"")
    digest = hashlib.sha256(content).digest()
    return "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:10])


def share(value: Any, of: int, *, up: bool) -> int:
    """A number, or a percentage of one, rounded up or down."""
    if isinstance(value, str) and value.endswith("%"):
        part = int(value[:-1]) * of / 100
        return math.ceil(part) if up else math.floor(part)
    return int(value or 0)


def later(moment: datetime, seconds: int) -> datetime:
    """So long after a moment; what no calendar has is its last one."""
    try:
        return moment + timedelta(seconds=seconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def number(of: Object, name: str, otherwise: int = 0) -> int:
    """A number in an object that may not have it."""
    value = of.get(name)
    return value if isinstance(value, int) else otherwise


def is_available(pod: Pod, least_s: int, now: datetime, plan: Plan) -> bool:
    """Whether a pod has been ready for long enough; when it will have been, the plan is to be made again."""
    at = pod.available_at(least_s)
    if at is None:
        return False
    if at > now:
        plan.look_at(at)
    return at <= now
