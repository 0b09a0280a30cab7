"""Events that nodes tell of their pods and of themselves, written for them. No I/O.

A node counts how often the same happens and sends one Event with the count, so that a message says all of it. An Event is patched
where it exists and created where it does not. It is a `sessions.Listener` and a `writes.Writer`; keys are `<ns>/<event>`.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from msgspec import Struct

from cloud.objects import EVENTS, is_name
from cloud.sessions import Sender
from cloud.writes import JSON, MERGE_PATCH, Answer, Request, Writes
from edgewire import message as wire
from edgewire import resource
from edgewire.message import Message, MessageError

log = logging.getLogger(__name__)

_LIMIT = 1024
"""Characters of a message in an Event (Kubernetes' own limit)."""


class _About(Struct, rename="camel"):
    kind: Literal["Pod", "Node"]
    name: str
    uid: str
    namespace: str = ""
    field_path: str = ""


class _Told(Struct, rename="camel"):
    involved_object: _About
    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    count: int
    first_timestamp: str
    last_timestamp: str


@dataclass(slots=True)
class _Pending:
    body: dict[str, Any]
    senders: list[Sender] = field(default_factory=list)
    create: bool = False


class EventController:
    """All Events of edge nodes. They wait here only while their sender waits, and that has a window."""

    def __init__(self, writes: Writes, node_of: Callable[[str], str]) -> None:
        """`node_of` gives the node of a pod `<namespace>/<name>`, or nothing: a node may still tell how a pod went."""
        self._writes = writes
        self._node_of = node_of
        self._pending: dict[str, _Pending] = {}

    def connected(self, node: str) -> None:
        """A node has a link."""

    def disconnected(self, node: str) -> None:
        """A node has lost its link: what it told is written all the same."""

    def received(self, sender: Sender, message: Message) -> bool:
        """Take an Event."""
        try:
            named = resource.parse(message.resource)
        except resource.ResourceError:
            return False
        if named.type != resource.EVENT or message.operation != wire.UPDATE:
            return False
        try:
            told = message.read(_Told)
        except MessageError as error:
            sender.refuse(400, error.reason)
            return True
        about = told.involved_object
        if about.kind == "Node" and about.name != sender.node:
            sender.refuse(403, f"node {sender.node} does not speak for node {about.name}")
        elif about.kind == "Pod" and about.namespace != named.namespace:
            sender.refuse(400, f"an Event about a Pod in {about.namespace} belongs there, not in {named.namespace}")
        elif about.kind == "Pod" and self._node_of(f"{about.namespace}/{about.name}") not in ("", sender.node):
            sender.refuse(403, f"Pod {about.namespace}/{about.name} is not on node {sender.node}")
        elif not named.name.startswith(f"{about.name}."):
            sender.refuse(400, f"an Event about {about.name[:100]} has a name that begins so, not {named.name[:100]!r}")
        elif not is_name(named.name):
            sender.refuse(400, f"{named.name[:100]!r} is no name of an Event")
        else:
            body = _event(told, named.name, sender.node)
            known = self._pending.get(named.id)
            senders = [*known.senders, sender] if known is not None else [sender]
            self._pending[named.id] = _Pending(body, senders, known is not None and known.create)
            self._writes.mark(named.id)
        return True

    def request(self, key: str) -> Request | None:
        """The patch of an Event, or its creation."""
        pending = self._pending.get(key)
        if pending is None:
            return None
        namespace, _, name = key.partition("/")
        if pending.create:
            return Request("POST", EVENTS.path(namespace), msgspec.json.encode(pending.body), JSON)
        changed = {"count": pending.body["count"], "lastTimestamp": pending.body["lastTimestamp"]}
        changed["message"] = pending.body["message"]
        return Request("PATCH", EVENTS.path(namespace, name), msgspec.json.encode(changed), MERGE_PATCH)

    def answered(self, key: str, answer: Answer) -> bool:
        """The answer to that step."""
        pending = self._pending.get(key)
        if pending is None:
            return False
        if answer.status == 404 and not pending.create:
            pending.create = True
            return True
        if answer.status == 409 and pending.create:
            pending.create = False
            return True
        if answer.transient:
            return True
        del self._pending[key]
        for sender in pending.senders:
            if answer.ok:
                sender.acknowledge()
            else:
                sender.refuse(answer.status, answer.reason)
        return False


def _event(told: _Told, name: str, node: str) -> dict[str, Any]:
    about = told.involved_object
    namespace = about.namespace or "default"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": about.kind,
            "name": about.name,
            "uid": about.uid,
            **({"namespace": about.namespace} if about.namespace else {}),
            **({"fieldPath": about.field_path} if about.field_path else {}),
        },
        "type": told.type,
        "reason": told.reason,
        "message": told.message[:_LIMIT],
        "count": told.count,
        "firstTimestamp": told.first_timestamp,
        "lastTimestamp": told.last_timestamp,
        "source": {"component": "edged", "host": node},
        "reportingComponent": "edged",
        "reportingInstance": node,
    }
