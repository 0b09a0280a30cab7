"""One message of the cloud-edge link: KubeEdge's frame, a JSON object and a line feed.

`content` stays undecoded JSON until somebody reads it as a type, so that a hub passes on what it does not understand
byte for byte. Errors: `MessageError`, the frame or its content is not what it should be (the peer's fault).
"""

import time
import uuid
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct, field

from edgewire import resource as resources

INSERT, UPDATE, DELETE, GET = "insert", "update", "delete", "get"
RESPONSE, ERROR, KEEPALIVE, UPLOAD = "response", "error", "keepalive", "upload"
RECEIPT = "receipt"

GROUP_RESOURCE, GROUP_TWIN, GROUP_STREAM = "resource", "twin", "stream"

MAX_FRAME = 4 * 1024 * 1024
"""Bytes of the largest frame either side takes: Kubernetes objects are limited to 1.5 MiB (etcd's default)."""

UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What msgspec raises on bytes from elsewhere: no JSON, not of the type, no UTF-8, nested too deep."""

T = TypeVar("T")


class MessageError(Exception):
    """A frame or its content is not what it should be; `message_id` is the frame's id where it could be read."""

    def __init__(self, reason: str, message_id: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.message_id = message_id


class Message(Struct, frozen=True, kw_only=True):
    """What one side tells the other. Times are milliseconds since 1970."""

    id: str
    parent_id: str = ""
    timestamp: int
    resource_version: str = ""
    sync: bool = False
    source: str
    group: str
    operation: str
    resource: str
    content: Raw = Raw(b"null")

    def read(self, type: type[T]) -> T:
        """The content as a `type`. A JSON text inside a string is read as the JSON it holds. Raises MessageError."""
        content = bytes(self.content)
        try:
            if content.startswith(b'"') and type is not str:
                return msgspec.json.decode(msgspec.json.decode(content, type=str), type=type)
            return msgspec.json.decode(content, type=type)
        except UNREADABLE as error:
            raise MessageError(f"content of {self.operation} {self.resource[:200]}: {error}", self.id) from error


class Refusal(Struct, frozen=True):
    """The content of an `error` answer."""

    code: int
    reason: str


class _Header(Struct, omit_defaults=True, rename={"id": "msg_id", "parent_id": "parent_msg_id"}):
    id: str
    parent_id: str = ""
    timestamp: int = 0
    resource_version: str = field(name="resourceversion", default="")
    sync: bool = False


class _Route(Struct, kw_only=True):
    # A Go peer leaves empty strings out (`omitempty` in beehive's model/message.go). Without an operation it is no route.
    source: str = ""
    group: str = ""
    operation: str
    resource: str = ""


class _IdOnly(Struct):
    id: str = field(name="msg_id", default="")


class _Frame(Struct):
    header: _Header
    route: _Route
    content: Raw = Raw(b"null")


class _HeaderOnly(Struct):
    header: _IdOnly


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Frame)
_header_decoder = msgspec.json.Decoder(_HeaderOnly)


def now_ms() -> int:
    """Milliseconds since 1970 by this machine's clock."""
    return time.time_ns() // 1_000_000


def new_id() -> str:
    """A message id nobody else has."""
    return str(uuid.uuid4())


def build(
    operation: str,
    resource: str,
    content: Any = None,
    *,
    source: str,
    group: str = GROUP_RESOURCE,
    resource_version: str = "",
) -> Message:
    """A new message; `content` is anything msgspec encodes, or `Raw` JSON passed on as it is."""
    raw = content if isinstance(content, Raw) else Raw(_encoder.encode(content))
    return Message(
        id=new_id(),
        timestamp=now_ms(),
        resource_version=resource_version,
        source=source,
        group=group,
        operation=operation,
        resource=resource,
        content=raw,
    )


def acknowledgement(message: Message) -> Message:
    """The `response` that says a message is safe: where KubeEdge's peer looks for it (recorded samples)."""
    twin = message.operation == UPDATE and resources.parse_device_report(message.resource) is not None
    return Message(
        id=new_id(),
        parent_id=message.id,
        timestamp=now_ms(),
        source="devicecontroller" if twin else message.source,
        group=GROUP_TWIN if twin else message.group,
        operation=RESPONSE,
        resource="twin" if twin else message.resource,
        content=Raw(b'"OK"'),
    )


def refusal(parent_id: str, resource: str, code: int, reason: str, *, source: str) -> Message:
    """The `error` answer that says why a message was not taken, so that its sender stops repeating it."""
    return Message(
        id=new_id(),
        parent_id=parent_id,
        timestamp=now_ms(),
        source=source,
        group=GROUP_RESOURCE,
        operation=ERROR,
        resource=resource,
        content=Raw(_encoder.encode(Refusal(code, reason))),
    )


def encode(message: Message) -> bytes:
    """The frame of a message, line feed included."""
    header = _Header(message.id, message.parent_id, message.timestamp, message.resource_version, message.sync)
    route = _Route(source=message.source, group=message.group, operation=message.operation, resource=message.resource)
    return _encoder.encode(_Frame(header, route, message.content)) + b"\n"


def decode(frame: bytes | str) -> Message:
    """The message of a frame. Raises MessageError with the field at fault, and the id where it can be read."""
    if len(frame) > MAX_FRAME:
        raise MessageError(f"frame of {len(frame)} characters is longer than {MAX_FRAME}")
    try:
        wire = _decoder.decode(frame)
    except UNREADABLE as error:
        raise MessageError(f"frame: {error}", _id_of(frame)) from error
    header, route = wire.header, wire.route
    return Message(
        id=header.id,
        parent_id=header.parent_id,
        timestamp=header.timestamp,
        resource_version=header.resource_version,
        sync=header.sync,
        source=route.source,
        group=route.group,
        operation=route.operation,
        resource=route.resource,
        content=wire.content,
    )


def _id_of(frame: bytes | str) -> str:
    try:
        return _header_decoder.decode(frame).header.id
    except UNREADABLE:
        return ""
