"""SPDY/3.1, as Kubernetes' clients and kubelets speak it once they have upgraded an HTTP connection. No I/O.

Bytes in, events out, bytes to send: `receive` is given what came and says what it means; the other methods say something;
`take` gives the bytes to be sent, and is to be called after each of them. Streams are opened by either side, carry names and
values once and then bytes both ways, and each side ends its own way of them.

As in moby/spdystream, which is at the other end of all of them, windows are neither kept nor enlarged: who is slower than the
other does not read, which holds up all streams of the connection. Settings, priorities and further headers are read and mean
nothing here.

Source: draft-mbelshe-httpbis-spdy-00, section 2, with the change of SPDY 3.1 that windows are of connections too.

    CloudError
    +-- SpdyError       the other side broke the protocol: send what `take` gives, then close the connection
    +-- HeadersError    never leaves this module

Wrong calls, such as data for a stream that is over, raise ValueError.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from cloud import CloudError
from cloud.spdy_headers import HeadersError, Packer, Unpacker

VERSION = 3
STREAMS = 256
"""Streams that the other side may have open at a time; kubectl has two for each connection that it forwards."""
CONTROL_BYTES = 64 * 1024
"""Of a frame that is not data; data is passed on as it comes, whatever its frame's length."""
_CONTROL = 0x8000_0000
_ID = 0x7FFF_FFFF
_LENGTH = 0xFF_FFFF
_FIN, _ONE_WAY = 1, 2
_HEAD = struct.Struct("!II")
_ONE = struct.Struct("!I")


class Type(IntEnum):
    """Of control frames."""

    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    HEADERS = 8
    WINDOW_UPDATE = 9


class Reset(IntEnum):
    """Why a stream is cut off."""

    PROTOCOL_ERROR = 1
    INVALID_STREAM = 2
    REFUSED_STREAM = 3
    CANCEL = 5
    INTERNAL_ERROR = 6
    STREAM_ALREADY_CLOSED = 9


GONE_WELL, GONE_WRONG = 0, 1
"""Why a side goes away."""


class SpdyError(CloudError):
    """The other side broke the protocol."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The other side opens a stream: `reply`, or `reset` it."""

    id: int
    headers: dict[str, str]
    fin: bool = False
    """Whether nothing comes on it."""


@dataclass(frozen=True, slots=True)
class Replied:
    """The other side takes a stream that was opened here."""

    id: int
    headers: dict[str, str]
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Came:
    """Bytes of a stream; `fin`: the last ones."""

    id: int
    data: bytes
    fin: bool = False


@dataclass(frozen=True, slots=True)
class WasReset:
    """A stream is over, both ways."""

    id: int
    status: int


@dataclass(frozen=True, slots=True)
class Ponged:
    """The answer to a `ping`."""

    id: int


@dataclass(frozen=True, slots=True)
class WentAway:
    """The other side opens no more streams."""

    status: int


Event = Opened | Replied | Came | WasReset | Ponged | WentAway


class _Ways:
    """Which ways of a stream are open."""

    def __init__(self, ours: bool, theirs: bool) -> None:
        self.ours, self.theirs = ours, theirs


class _Body:
    """The data of a frame that has begun to come."""

    def __init__(self, id: int, left: int, fin: bool) -> None:
        self.id, self.left, self.fin = id, left, fin


class Connection:
    """One end of a connection."""

    def __init__(self, *, client: bool = False) -> None:
        """`client`: whether this end asked for the upgrade; its streams have odd numbers."""
        self._parity = 1 if client else 0
        self._next_id = 1 if client else 2
        self._next_ping = self._next_id
        self._last_id = 0
        self._streams: dict[int, _Ways] = {}
        self._packer, self._unpacker = Packer(), Unpacker()
        self._in = bytearray()
        self._out = bytearray()
        self._body: _Body | None = None
        self._broken = False

    # What is said

    def take(self) -> bytes:
        """What is to be sent now."""
        said = bytes(self._out)
        self._out.clear()
        return said

    def open(self, headers: Mapping[str, str], *, fin: bool = False) -> int:
        """Open a stream: its number."""
        id = self._next_id
        self._next_id += 2
        self._streams[id] = _Ways(not fin, True)
        self._control(Type.SYN_STREAM, _FIN * fin, struct.pack("!IIBB", id, 0, 0, 0) + self._packer.pack(headers))
        return id

    def reply(self, id: int, headers: Mapping[str, str] | None = None) -> None:
        """Take a stream."""
        self._ways(id)
        self._control(Type.SYN_REPLY, 0, _ONE.pack(id) + self._packer.pack(headers or {}))

    def send(self, id: int, data: bytes, *, fin: bool = False) -> None:
        """Send bytes on a stream, as one frame; `fin`: the last ones."""
        ways = self._ways(id)
        if not ways.ours or len(data) > _LENGTH:
            raise ValueError(f"{len(data)} bytes for stream {id}, which takes {_LENGTH * ways.ours}")
        self._out += _HEAD.pack(id, (_FIN * fin) << 24 | len(data)) + data
        if fin:
            ways.ours = False
            self._forget_if_over(id, ways)

    def reset(self, id: int, status: int = Reset.CANCEL) -> None:
        """Cut a stream off; nothing more of it comes. One that is over already is left alone."""
        if self._streams.pop(id, None) is not None:
            self._control(Type.RST_STREAM, 0, _HEAD.pack(id, status))

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._control(Type.PING, 0, _ONE.pack(self._next_ping))
        self._next_ping = (self._next_ping + 2) & _ID

    def go_away(self, status: int = GONE_WELL) -> None:
        """Tell that this end takes no more streams."""
        self._control(Type.GOAWAY, 0, _HEAD.pack(self._last_id, status))

    def takes(self, id: int) -> bool:
        """Whether `send` may be called for a stream."""
        ways = self._streams.get(id)
        return ways is not None and ways.ours

    def is_over(self, id: int) -> bool:
        """Whether nothing goes over a stream any more, neither way."""
        return id not in self._streams

    def _control(self, type: Type, flags: int, payload: bytes) -> None:
        self._out += _HEAD.pack(_CONTROL | VERSION << 16 | type, flags << 24 | len(payload)) + payload

    def _ways(self, id: int) -> _Ways:
        try:
            return self._streams[id]
        except KeyError:
            raise ValueError(f"stream {id} is not open") from None

    def _forget_if_over(self, id: int, ways: _Ways) -> None:
        if not ways.ours and not ways.theirs:
            self._streams.pop(id, None)

    # What comes

    def receive(self, data: bytes) -> list[Event]:
        """What these bytes mean, with those before. Raises SpdyError; nothing is received after that."""
        if self._broken:
            return []
        self._in += data
        try:
            return list(self._events())
        except (SpdyError, HeadersError) as error:
            self._broken = True
            self._in.clear()
            self.go_away(GONE_WRONG)
            if isinstance(error, HeadersError):
                raise SpdyError(str(error)) from error
            raise

    def _events(self) -> Iterator[Event]:
        buffer = self._in
        while True:
            if self._body is None:
                if len(buffer) < _HEAD.size:
                    return
                first, second = _HEAD.unpack_from(buffer)
                flags, length = second >> 24, second & _LENGTH
                if first & _CONTROL:
                    if length > CONTROL_BYTES:
                        raise SpdyError(f"a control frame of {length} bytes, where {CONTROL_BYTES} are allowed")
                    if len(buffer) < _HEAD.size + length:
                        return
                    payload = bytes(buffer[_HEAD.size : _HEAD.size + length])
                    del buffer[: _HEAD.size + length]
                    yield from self._frame(first, flags, payload)
                    continue
                del buffer[: _HEAD.size]
                self._body = _Body(first, length, bool(flags & _FIN))
            yield from self._data(self._body)
            if self._body is not None:
                return

    def _data(self, body: _Body) -> Iterator[Event]:
        piece = bytes(self._in[: body.left])
        del self._in[: body.left]
        body.left -= len(piece)
        fin = body.fin and not body.left
        if not body.left:
            self._body = None
        ways = self._streams.get(body.id)
        if ways is None:
            if not self._was_there(body.id):
                raise SpdyError(f"data of stream {body.id}, which nobody opened")
        elif not ways.theirs:
            self.reset(body.id, Reset.STREAM_ALREADY_CLOSED)
            yield WasReset(body.id, Reset.STREAM_ALREADY_CLOSED)
        elif piece or fin:
            if fin:
                self._ended(body.id, ways)
            yield Came(body.id, piece, fin)

    def _was_there(self, id: int) -> bool:
        """Whether a stream was open once: what is on its way to it may still come."""
        return 0 < id < self._next_id if id % 2 == self._parity else 0 < id <= self._last_id

    def _ended(self, id: int, ways: _Ways) -> None:
        ways.theirs = False
        self._forget_if_over(id, ways)

    def _frame(self, first: int, flags: int, payload: bytes) -> Iterator[Event]:
        version, type = first >> 16 & 0x7FFF, first & 0xFFFF
        if version != VERSION:
            raise SpdyError(f"a frame of version {version}, and not of {VERSION}")
        match type:
            case Type.SYN_STREAM:
                yield from self._syn_stream(flags, payload)
            case Type.SYN_REPLY:
                yield from self._syn_reply(flags, payload)
            case Type.RST_STREAM:
                id, status = _two(type, payload)
                if self._streams.pop(id & _ID, None) is not None:
                    yield WasReset(id & _ID, status)
            case Type.PING:
                [id] = _ONE.unpack(_exactly(type, payload, _ONE.size))
                if id % 2 == self._parity:
                    yield Ponged(id)
                else:
                    self._control(Type.PING, 0, payload)
            case Type.GOAWAY:
                yield WentAway(_two(type, payload)[1])
            case Type.HEADERS:
                self._unpacker.unpack(_rest(type, payload, _ONE.size))
            case Type.WINDOW_UPDATE:
                _two(type, payload)
            case _:
                pass  # settings, and what this version does not know: to be ignored

    def _syn_stream(self, flags: int, payload: bytes) -> Iterator[Event]:
        headers = self._unpacker.unpack(_rest(Type.SYN_STREAM, payload, 10))
        id = _ONE.unpack_from(payload)[0] & _ID
        if id % 2 == self._parity or id <= self._last_id:
            raise SpdyError(f"stream {id} is opened after {self._last_id}")
        self._last_id = id
        self._streams[id] = ways = _Ways(not flags & _ONE_WAY, not flags & _FIN)
        if len(self._streams) > STREAMS:
            self.reset(id, Reset.REFUSED_STREAM)
            return
        self._forget_if_over(id, ways)
        yield Opened(id, headers, bool(flags & _FIN))

    def _syn_reply(self, flags: int, payload: bytes) -> Iterator[Event]:
        headers = self._unpacker.unpack(_rest(Type.SYN_REPLY, payload, _ONE.size))
        id = _ONE.unpack_from(payload)[0] & _ID
        ways = self._streams.get(id)
        if id % 2 != self._parity or not self._was_there(id):
            raise SpdyError(f"a reply to stream {id}, which was not opened here")
        if ways is not None:
            if flags & _FIN:
                self._ended(id, ways)
            yield Replied(id, headers, bool(flags & _FIN))


def _exactly(type: int, payload: bytes, size: int) -> bytes:
    if len(payload) != size:
        raise SpdyError(f"a frame {Type(type).name} of {len(payload)} bytes, and not of {size}")
    return payload


def _two(type: int, payload: bytes) -> tuple[int, int]:
    first, second = _HEAD.unpack(_exactly(type, payload, _HEAD.size))
    return first, second


def _rest(type: int, payload: bytes, begin: int) -> bytes:
    if len(payload) < begin:
        raise SpdyError(f"a frame {Type(type).name} of {len(payload)} bytes, which are too few")
    return payload[begin:]
