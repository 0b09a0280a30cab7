"""Streams that the cloud has with nodes: opened towards a node, read piece by piece, ended by either side. No I/O.

A reader waits for `wake`, takes what has come, and so lets the node send as much again. It is a `sessions.Listener`: a node that
loses its link ends its streams.
"""

import itertools
from collections import deque
from collections.abc import Callable
from typing import Any

from cloud.sessions import Sender, Sessions
from edgewire import streams
from edgewire.message import Message, MessageError
from edgewire.streams import CHUNK, WINDOW, Closed, Credit, Data, Opened, cost

LOST = 503


class NodeStream:
    """One stream."""

    def __init__(self, id: str, node: str, wake: Callable[[], None], tell: Callable[[streams.Part], object]) -> None:
        """`wake` is called when something has come; `tell` tells the node."""
        self.id = id
        self.node = node
        self.end: Closed | None = None
        """Set once no more comes, besides what `take` still gives."""
        self._wake = wake
        self._tell = tell
        self._pieces: deque[bytes] = deque()
        self._waiting = 0
        self.room = WINDOW
        """What the node takes now, as `streams.cost` counts it; `wake` is called when it takes more."""

    def take(self) -> bytes:
        """What has come since; empty when nothing has."""
        return b"".join(self.take_each())

    def take_each(self) -> list[bytes]:
        """Likewise, piece by piece as the node sent them."""
        pieces = list(self._pieces)
        self._pieces.clear()
        size, self._waiting = self._waiting, 0
        if size and self.end is None:
            self._tell(Credit(self.id, size))
        return pieces

    def say(self, content: bytes) -> None:
        """Send a piece, of `CHUNK` at most and no more than `room` allows, to a node that talks; none once it has ended."""
        if len(content) > CHUNK or (cost(content) > self.room and self.end is None):
            raise ValueError(f"{len(content)} bytes at once, where {min(self.room, CHUNK)} are allowed")
        if self.end is None:
            self.room -= cost(content)
            self._tell(Data(self.id, content))

    def allowed(self, size: int) -> None:
        """The node takes more."""
        self.room = min(WINDOW, self.room + max(0, size))
        self._wake()

    def came(self, content: bytes) -> bool:
        """A piece came; False when it is more than was allowed."""
        self._waiting += cost(content)
        if self._waiting > WINDOW:
            return False
        self._pieces.append(content)
        self._wake()
        return True

    def ended(self, end: Closed) -> None:
        """Nothing more comes."""
        if self.end is None:
            self.end = end
            self._wake()


class NodeStreams:
    """The streams of all nodes."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._streams: dict[str, NodeStream] = {}
        self._numbers = itertools.count(1)

    def open(self, node: str, kind: str, request: dict[str, Any], wake: Callable[[], None]) -> NodeStream:
        """Ask a node for a stream; one of a node that is not connected has ended already."""
        id = f"{kind}-{next(self._numbers)}"
        stream = NodeStream(id, node, wake, lambda part: self._tell(node, part))
        if self._tell(node, Opened(id, kind, request)):
            self._streams[id] = stream
        else:
            stream.ended(Closed(id, LOST, f"node {node} is not connected"))
        return stream

    def is_connected(self, node: str) -> bool:
        """Whether streams of a node can be had now."""
        return self._sessions.is_connected(node)

    def close(self, stream: NodeStream) -> None:
        """Its reader has gone, or has all of it."""
        if self._streams.pop(stream.id, None) is not None and stream.end is None:
            self._tell(stream.node, Closed(stream.id))

    def _tell(self, node: str, part: streams.Part) -> bool:
        return self._sessions.send(node, streams.encode(part, "cloudhub"))

    # sessions.Listener

    def connected(self, node: str) -> None:
        """A node has a new link: what flowed over another has ended."""
        self.disconnected(node)

    def disconnected(self, node: str) -> None:
        """A node has lost its link."""
        for stream in [stream for stream in self._streams.values() if stream.node == node]:
            stream.ended(Closed(stream.id, LOST, f"node {node} has lost its link"))
            del self._streams[stream.id]

    def received(self, sender: Sender, message: Message) -> bool:
        """Take a part of a stream; it has no answer."""
        if message.group != streams.GROUP:
            return False
        try:
            part = streams.decode(message)
        except MessageError as error:
            sender.refuse(400, error.reason)
            return True
        stream = self._streams.get(part.id)
        if stream is None or stream.node != sender.node:
            return True
        match part:
            case Data(_, content):
                if not stream.came(content):
                    self._tell(stream.node, Closed(stream.id, 400, "more than was allowed"))
                    stream.ended(Closed(stream.id, 502, "the node sent more than it was allowed"))
                    del self._streams[stream.id]
            case Credit(_, size):
                stream.allowed(size)
            case Closed():
                stream.ended(part)
                del self._streams[stream.id]
        return True
