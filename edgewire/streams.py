"""Streams of bytes over the cloud-edge link, beside its messages: a container's log on its way to whoever reads it. No I/O.

A stream is opened by the cloud (`open`), flows from the edge (`data`), as far as it was allowed to (`credit`: bytes that the
reader has taken; a piece counts as `LEAST` at least), and is ended by either side (`close`). Nothing of it is acknowledged or
sent again: a stream ends with its link. What is on its way unread is at most `WINDOW` a stream, in pieces of `CHUNK`, so that
a log that somebody reads over a slow line never makes a device's value wait for long.

A conversation, such as a command that somebody runs in a container, flows both ways, with credit of its own each way. Each of its
pieces is a message of Kubernetes' `v5.channel.k8s.io`: the number of a channel, then what goes over it
(k8s.io/apimachinery/pkg/util/remotecommand).
"""

import base64
import binascii
from typing import Any, Literal

from msgspec import Struct, field

from edgewire import message as wire
from edgewire.message import Message, MessageError

GROUP = wire.GROUP_STREAM
OPEN, DATA, CREDIT, CLOSE = "open", "data", "credit", "close"
WINDOW, CHUNK = 16 * 1024, 4 * 1024
LEAST = 512
"""What a piece of fewer bytes counts as, so that tiny ones fill no queue."""
STREAMS_LIMIT = 48
"""Streams of one node at a time: as many as a link can hold, should all that they may say, and be answered, wait in the smallest
pieces for a peer that does not read."""
FORWARDS_LIMIT = 24
"""Connections at a time that one user has forwarded to a pod; further ones wait."""
_PREFIX = "stream/"

LOGS: Literal["logs"] = "logs"
EXEC: Literal["exec"] = "exec"
ATTACH: Literal["attach"] = "attach"
FORWARD: Literal["forward"] = "forward"
USAGE: Literal["usage"] = "usage"
"""What the node and its containers use: an `edgewire.usage.NodeUsage`, and that is all of the stream."""

STDIN, STDOUT, STDERR, STATUS, RESIZE, HALF_CLOSE = 0, 1, 2, 3, 4, 255
"""Channels of a conversation. STATUS is its last message, a Kubernetes Status; behind HALF_CLOSE is the channel that ends."""


class LogRequest(Struct, frozen=True, rename="camel"):
    """Which log, and how much of it, in the words of a kubelet's `containerLogs`."""

    namespace: str
    pod: str
    container: str
    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    since_seconds: int | None = None
    since_time: str = ""
    """RFC 3339."""
    limit_bytes: int | None = None


class ExecRequest(Struct, frozen=True, rename="camel"):
    """Which command in which container, and what of it is wanted; without a command, the container itself."""

    namespace: str
    pod: str
    container: str
    command: tuple[str, ...] = ()
    stdin: bool = False
    tty: bool = False


class ForwardRequest(Struct, frozen=True, rename="camel"):
    """To which port of which pod a connection is wanted: what STDIN carries goes there, and STDOUT has what comes."""

    namespace: str
    pod: str
    port: int


class Opened(Struct, frozen=True):
    """Somebody wants a stream."""

    id: str
    kind: str
    request: dict[str, Any] = field(default_factory=dict)


class Data(Struct, frozen=True):
    """Bytes of a stream."""

    id: str
    content: bytes


class Credit(Struct, frozen=True):
    """So many bytes more may be sent."""

    id: str
    bytes: int


class Closed(Struct, frozen=True):
    """A stream is over; code 0 when it went to its end."""

    id: str
    code: int = 0
    reason: str = ""


Part = Opened | Data | Credit | Closed


class _Open(Struct):
    kind: str
    request: dict[str, Any] = field(default_factory=dict)


class _Close(Struct):
    code: int = 0
    reason: str = ""


def cost(content: bytes) -> int:
    """What a piece takes of what was allowed, in bytes."""
    return max(LEAST, len(content))


def encode(part: Part, source: str) -> Message:
    """The message of a part of a stream; `source` signs it."""
    content: Any
    match part:
        case Opened(id, kind, request):
            operation, content = OPEN, _Open(kind, request)
        case Data(id, data):
            operation, content = DATA, base64.b64encode(data).decode()
        case Credit(id, size):
            operation, content = CREDIT, size
        case Closed(id, code, reason):
            operation, content = CLOSE, _Close(code, reason[:1000])
    return wire.build(operation, _PREFIX + id, content, source=source, group=GROUP)


def decode(message: Message) -> Part:
    """The part of a stream that a message of `GROUP` is. Raises MessageError."""
    id = message.resource.removeprefix(_PREFIX)
    if not message.resource.startswith(_PREFIX) or not id or len(id) > 64:
        raise MessageError(f"{message.resource[:100]!r} is no stream", message.id)
    match message.operation:
        case "open":
            opened = message.read(_Open)
            return Opened(id, opened.kind, opened.request)
        case "data":
            try:
                return Data(id, base64.b64decode(message.read(str), validate=True))
            except binascii.Error as error:
                raise MessageError(f"data of stream {id}: {error}", message.id) from error
        case "credit":
            return Credit(id, message.read(int))
        case "close":
            closed = message.read(_Close)
            return Closed(id, closed.code, closed.reason)
    raise MessageError(f"a stream has no operation {message.operation!r}", message.id)
