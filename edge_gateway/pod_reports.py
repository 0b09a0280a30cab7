"""What the cloud shall know of this node's pods: the newest status of each, and what happened to them and the node. A core.

Statuses are sent anew on every connection: what somebody made of them meanwhile is put right. Events are counted here, so that a
container that crashes a hundred times is one Event with a count; those that the cloud has not got are bounded, the oldest go.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from edgewire import message as wire
from edgewire import resource
from edgewire.message import Message
from edgewire.resource import Resource

EVENTS_LIMIT = 512
"""Different events that wait for the cloud, and as many that it has and that may happen again."""


class Subject(NamedTuple):
    """Which pod an event is about."""

    namespace: str
    name: str
    uid: str


class Happened(NamedTuple):
    """Something that happened to a pod, in kubelet's words."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    container: str = ""
    field: str = "containers"


class PodReports:
    """Keys are `<ns>/podstatus/<pod>` and `<ns>/event/<name>`."""

    def __init__(self) -> None:
        self._statuses: dict[str, dict[str, Any]] = {}
        self._events: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._untold: OrderedDict[str, None] = OrderedDict()
        self._flying: dict[str, int] = {}
        self._last: dict[str, dict[str, Any]] = {}
        """The last report of static pods that are gone, on its way: nothing else says when it can be forgotten."""

    def status(
        self, name: Resource, uid: str, status: dict[str, Any], finished: bool, manifest: dict[str, Any] | None = None
    ) -> list[str]:
        """A pod is so now, one with a `manifest` a static one: what the cloud does not know."""
        key = str(name._replace(type=resource.POD_STATUS))
        content = {"uid": uid, "status": status, "finished": finished}
        if manifest is not None:
            content["manifest"] = manifest
        if self._statuses.get(key) == content:
            return []
        self._statuses[key] = content
        return [key]

    def status_of(self, name: Resource) -> dict[str, Any] | None:
        """The status of a pod as it was last told, and its `uid`; None when nothing was."""
        return self._statuses.get(str(name._replace(type=resource.POD_STATUS)))

    def events(self) -> Iterable[tuple[Resource, dict[str, Any]]]:
        """What happened to pods, as far as it is still known, the oldest first."""
        return ((resource.parse(key), event) for key, event in self._events.items())

    def event(self, name: Resource) -> dict[str, Any] | None:
        """One of them."""
        return self._events.get(str(name))

    def gone(self, name: Resource) -> None:
        """There is no such pod any more."""
        self._statuses.pop(str(name._replace(type=resource.POD_STATUS)), None)

    def happened(self, subject: Subject, happened: Happened, at: str) -> list[str]:
        """Something happened to a pod at a time (RFC 3339): what the cloud does not know."""
        about = {
            "kind": "Pod",
            "namespace": subject.namespace,
            "name": subject.name,
            "uid": subject.uid,
            "fieldPath": f"spec.{happened.field}{{{happened.container}}}" if happened.container else "",
        }
        return self._note(subject.namespace, about, happened, at)

    def happened_to_node(self, node: str, happened: Happened, at: str) -> list[str]:
        """Something happened to the node itself, likewise."""
        # Events of what has no namespace are in `default`, and a kubelet takes its node's name for its uid.
        return self._note("default", {"kind": "Node", "name": node, "uid": node, "fieldPath": ""}, happened, at)

    def _note(self, namespace: str, about: dict[str, str], happened: Happened, at: str) -> list[str]:
        told = "\0".join((about["uid"], about["fieldPath"], happened.type, happened.reason, happened.message))
        digest = hashlib.sha256(told.encode()).hexdigest()[:16]
        key = str(Resource(namespace, resource.EVENT, f"{about['name']}.{digest}"))
        known = self._events.pop(key, None)
        self._events[key] = {
            "involvedObject": about,
            "type": happened.type,
            "reason": happened.reason,
            "message": happened.message,
            "count": known["count"] + 1 if known is not None else 1,
            "firstTimestamp": known["firstTimestamp"] if known is not None else at,
            "lastTimestamp": at,
        }
        self._untold[key] = None
        self._bound()
        return [key]

    def _bound(self) -> None:
        while len(self._untold) > EVENTS_LIMIT:
            key, _ = self._untold.popitem(last=False)
            self._events.pop(key, None)
        for key in [key for key in self._events if key not in self._untold][: -EVENTS_LIMIT or None]:
            del self._events[key]

    def dirty_keys(self) -> Iterable[str]:
        """What a new connection has to bring to the cloud."""
        return [*self._statuses, *self._untold]

    def message_for(self, key: str) -> Message | None:
        """The newest message about a key; None when there is nothing to tell."""
        if key in self._statuses:
            if self._statuses[key]["finished"] and "manifest" in self._statuses[key]:
                self._last[key] = self._statuses[key]
            return wire.build(wire.UPDATE, key, self._statuses[key], source="edged")
        event = self._events.get(key)
        if event is None:
            return None
        self._flying[key] = event["count"]
        return wire.build(wire.UPDATE, key, event, source="edged")

    def delivered(self, key: str) -> None:
        """The cloud has what `message_for(key)` last said."""
        last = self._last.pop(key, None)
        if last is not None and self._statuses.get(key) is last:
            del self._statuses[key]
        told = self._flying.pop(key, None)
        event = self._events.get(key)
        if event is None or event["count"] == told:
            self._untold.pop(key, None)


def is_key(key: str) -> bool:
    """Whether a key is one of these."""
    parts = key.split("/")
    return len(parts) == 3 and parts[1] in (resource.POD_STATUS, resource.EVENT)
