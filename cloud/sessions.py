"""Who is connected, and what each node has of what it should have. No I/O.

Nothing is queued for a node. A controller says which objects a node should have (`Controller.want`); a session knows which
version of which object the node has, from the inventory it sent on connecting and from its acknowledgements since. What
differs is offered to the node's link, which asks for the message when its window has room: insert, update, delete, or
nothing any more. So a change reaches a node in the same way whether it was connected or not, and only the newest does.

Nothing is offered before the controllers know all there is (`Controller.synced`): a node's objects would be deleted.

CloudHub opens a session for each connection and moves bytes; the controllers call `sync` when an object changed. A session
tells its writer through `wake` that there are frames, or that it is over (`Session.open` is False).
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import msgspec
from msgspec import Raw, Struct

from cloud.objects import Object
from edgewire import link as links
from edgewire import message as wire
from edgewire import resource
from edgewire.link import Link
from edgewire.message import Message, MessageError

log = logging.getLogger(__name__)

WINDOW = 64
"""Objects in flight to a node, unacknowledged."""
SILENCE_S = 30.0
"""A node that says nothing for so long is gone (KubeEdge's figure: its edges send a sign of life every 15 s)."""

_UNKNOWN = ""
"""The version of an object of which it is not known what the node has."""


class Want(Enum):
    """What a node should have of an object, other than its newest version."""

    NOTHING = "nothing"
    """The node should not have it."""
    AS_IT_IS = "as it is"
    """Whatever the node has of it stays: there is no version now that it could use."""


@dataclass(eq=False, slots=True)
class Session:
    """One connection of a node."""

    node: str
    link: Link
    wake: Callable[[], None]
    has: dict[str, str] = field(default_factory=dict)
    """Object -> version on the node."""
    told: bool = False
    """The node has sent its inventory."""
    synchronised: bool = False
    """The inventory has been compared; from now on every change counts."""
    open: bool = True


@dataclass(frozen=True, slots=True)
class Sender:
    """Who waits for the answer to a message. Answers to a session that is over are dropped: its node sends again."""

    session: Session
    message: Message
    """Without its content: senders are kept while their message is not."""

    @property
    def node(self) -> str:
        """The node that sent the message."""
        return self.session.node

    def acknowledge(self) -> None:
        """The message is safe."""
        if self.session.open:
            self.session.link.acknowledge(self.message)
            self.session.wake()

    def refuse(self, code: int, reason: str) -> None:
        """The message will never be taken."""
        log.warning("< refused node=%s resource=%s code=%d reason=%r", self.node, self.message.resource, code, reason)
        if self.session.open:
            self.session.link.refuse(self.message, code, reason)
            self.session.wake()


class Listener(Protocol):
    """Who is told of nodes, and takes what they send."""

    def connected(self, node: str) -> None:
        """A node has a link."""
        ...

    def disconnected(self, node: str) -> None:
        """A node has lost its link and has no other."""
        ...

    def received(self, sender: Sender, message: Message) -> bool:
        """Take a message; False when it is for somebody else. The sender is answered now or later."""
        ...


class Controller(Protocol):
    """Who decides which objects of some types a node has. Keys are `<namespace>/<type>/<name>`."""

    types: frozenset[str]
    source: str
    """Signs the messages, in KubeEdge's words."""

    @property
    def synced(self) -> bool:
        """Whether everything in Kubernetes is known."""
        ...

    def keys(self, node: str) -> Iterable[str]:
        """Every object the node should have; what others need comes first."""
        ...

    def want(self, node: str, key: str) -> Object | Want:
        """What the node should have of an object."""
        ...

    def is_current(self, key: str, version: str) -> bool:
        """Whether a version of an object is as good for a node as the newest."""
        ...

    def beside(self, node: str, key: str, operation: str) -> Message | None:
        """A message that goes, unacknowledged, before an insert or delete."""
        ...

    def delivered(self, node: str, key: str, version: str) -> None:
        """The node has this version of the object."""
        ...

    def refused(self, node: str, key: str, version: str, code: int, reason: str) -> None:
        """The node will not take this version of the object."""
        ...


class _Inventory(Struct):
    objects: dict[str, str]


class Sessions:
    """All connected nodes."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._listeners: Sequence[Listener] = ()
        self._controllers: Sequence[Controller] = ()
        self._by_type: dict[str, Controller] = {}

    def attach(self, listeners: Sequence[Listener], controllers: Sequence[Controller]) -> None:
        """Who is told, in this order, and who decides; once and for all."""
        self._listeners = listeners
        self._controllers = controllers
        self._by_type = {type: controller for controller in controllers for type in controller.types}

    def __contains__(self, node: str) -> bool:
        return node in self._sessions

    def open(self, node: str, now: float, wake: Callable[[], None]) -> Session:
        """A node's new connection; an older one of the same node is over."""
        link = Link(source="cloudhub", now=now, window=WINDOW, silence_s=SILENCE_S)
        session = Session(node, link, wake)
        older = self._sessions.get(node)
        self._sessions[node] = session
        if older is not None:
            log.info("= link taken over node=%s", node)
            older.open = False
            older.wake()
        for listener in self._listeners:
            listener.connected(node)
        return session

    def close(self, session: Session) -> None:
        """A connection has ended."""
        session.open = False
        if self._sessions.get(session.node) is session:
            del self._sessions[session.node]
            for listener in self._listeners:
                listener.disconnected(session.node)

    def receive(self, session: Session, frame: bytes | str, now: float) -> None:
        """A frame came. One that is none is refused to its sender and logged; the session goes on."""
        if not session.open:
            return
        try:
            events = session.link.receive(frame, now)
        except MessageError as error:
            log.warning("< bad frame node=%s reason=%r", session.node, error.reason)
            events = []
        for event in events:
            self._handle(session, event)
        session.wake()

    def tick(self, session: Session, now: float) -> bool:
        """Time has passed; False when the node is silent for so long that its connection should be closed."""
        alive = True
        for event in session.link.tick(now):
            if isinstance(event, links.PeerSilent):
                log.warning("= node silent node=%s seconds=%.0f", session.node, event.silent_s)
                alive = False
            else:
                self._handle(session, event)
        return alive

    def sync(self, node: str, *keys: str) -> None:
        """These objects may have changed: let the node have what it should have of them, in this order."""
        session = self._sessions.get(node)
        if session is None or not session.synchronised:
            return
        for key in keys:
            self._offer(session, key)
        session.wake()

    def is_connected(self, node: str) -> bool:
        """Whether a node has a link."""
        return node in self._sessions

    def send(self, node: str, message: Message) -> bool:
        """Send a node a part of a stream, which keeps no object waiting; whether the node is connected."""
        session = self._sessions.get(node)
        if session is None:
            return False
        session.link.send_last(message)
        session.wake()
        return True

    def controller_synced(self) -> None:
        """A controller has come to know all there is: compare the inventories that waited for it."""
        for session in self._sessions.values():
            self._synchronise(session)

    def _synchronise(self, session: Session) -> None:
        if session.synchronised or not session.told or not all(c.synced for c in self._controllers):
            return
        session.synchronised = True
        wanted = dict.fromkeys(key for controller in self._controllers for key in controller.keys(session.node))
        surplus = [key for key in session.has if key not in wanted]
        for key in (*wanted, *surplus):
            self._offer(session, key)
        session.wake()

    def _offer(self, session: Session, key: str) -> None:
        # Behind what was offered before it: a device must not overtake the model that it has just come to need.
        session.link.withdraw(key)
        session.link.offer(key, lambda: self._make(session, key))

    def _make(self, session: Session, key: str) -> Message | None:
        controller = self._by_type[_type(key)]
        wanted = controller.want(session.node, key)
        has = session.has.get(key)
        if wanted is Want.AS_IT_IS or (wanted is Want.NOTHING and has is None):
            return None
        if isinstance(wanted, Object):
            if has is not None and controller.is_current(key, has):
                controller.delivered(session.node, key, has)
                return None
            operation = wire.INSERT if has is None else wire.UPDATE
            content, version = Raw(wanted.raw), wanted.version
        else:
            operation, version = wire.DELETE, ""
            content = _metadata_of(key)
        if operation != wire.UPDATE and (beside := controller.beside(session.node, key, operation)) is not None:
            session.link.send(beside)
        log.debug("> %s node=%s resource=%s version=%s", operation, session.node, key, version)
        return wire.build(operation, key, content, source=controller.source, resource_version=version)

    def _handle(self, session: Session, event: links.Event) -> None:
        match event:
            case links.Received(message):
                self._received(session, message)
            case links.Delivered(key, message):
                if message.operation == wire.DELETE:
                    session.has.pop(key, None)
                else:
                    session.has[key] = message.resource_version
                    self._by_type[_type(key)].delivered(session.node, key, message.resource_version)
            case links.Refused(key, message, code, reason):
                log.warning("> refused by node=%s resource=%s code=%d reason=%r", session.node, key, code, reason)
                if message.operation == wire.DELETE:
                    session.has.pop(key, None)
                else:
                    controller = self._by_type[_type(key)]
                    controller.refused(session.node, key, message.resource_version, code, reason)
            case links.Undelivered(key, message):
                log.warning("> not answered by node=%s resource=%s message=%s", session.node, key, message.id)
                session.has[key] = _UNKNOWN
                self._offer(session, key)

    def _received(self, session: Session, message: Message) -> None:
        log.debug("< %s node=%s resource=%s", message.operation, session.node, message.resource)
        sender = Sender(session, msgspec.structs.replace(message, content=Raw(b"null")))
        if message.resource == resource.INVENTORY:
            self._inventory(sender, message)
        elif message.resource == resource.MEMBERSHIP_DETAIL:
            # KubeEdge's edge asks for all its devices when it connects; it is told of them like one that has none.
            self._told(session, {})
        elif not any(listener.received(sender, message) for listener in self._listeners):
            sender.refuse(404, f"nothing here takes {message.operation} {message.resource[:200]}")

    def _inventory(self, sender: Sender, message: Message) -> None:
        try:
            objects = message.read(_Inventory).objects
        except MessageError as error:
            sender.refuse(400, error.reason)
            return
        sender.acknowledge()
        self._told(sender.session, objects)

    def _told(self, session: Session, objects: dict[str, str]) -> None:
        session.has = {key: version for key, version in objects.items() if _type(key) in self._by_type}
        session.told = True
        session.synchronised = False
        self._synchronise(session)


def _type(key: str) -> str:
    parts = key.split("/")
    return parts[1] if len(parts) == 3 and all(parts) else ""


def _metadata_of(key: str) -> Raw:
    named = resource.parse(key)
    return Raw(msgspec.json.encode({"metadata": {"namespace": named.namespace, "name": named.name}}))
