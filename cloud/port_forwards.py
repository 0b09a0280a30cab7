"""Connections to ports of pods, as `kubectl port-forward` has them: each is a conversation of its own with the node.

Over SPDY (`portforward.k8s.io`) the client opens two streams for each connection, one for data and one for errors; the header
`requestID` says which belong together. Over a WebSocket (`v4.channel.k8s.io`) there is one connection for each port asked for,
with two channels, which both begin with the port's number; only the end of the socket tells its end.
Source: k8s.io/kubelet/pkg/cri/streaming/portforward.
"""

import asyncio
import logging
import struct
from collections.abc import Callable

from aiohttp import ClientError, WSMsgType, web

from cloud.conversations import Conversation, first_of
from cloud.spdy_session import SpdySession, SpdyStream
from cloud.upgrades import IDLE_S, pings
from edgewire.streams import FORWARDS_LIMIT, HALF_CLOSE, STDIN, STDOUT

log = logging.getLogger(__name__)

PROTOCOLS = ("portforward.k8s.io",)
TUNNEL, CHANNELS = "SPDY/3.1+portforward.k8s.io", "v4.channel.k8s.io"
"""Protocols of WebSockets: SPDY within it, as kubectl does since 1.31, or each port with its channels."""
STREAMS_S = 30.0
"""For a client to open both streams of a connection; kubelets' `DefaultStreamCreationTimeout`."""
PORTS = 32
"""Of one request over a WebSocket."""
PAIRS = 256
"""Connections of one client, with those that wait for a place or for their second stream."""
_TYPE, _PORT, _ID = "streamtype", "port", "requestid"
_TYPES = ("error", "data")

Begin = Callable[[int], Conversation]
"""Begins a conversation with a port."""


class PortError(ValueError):
    """A number that is no port's."""


def port(text: str) -> int:
    """A port from its text. Raises PortError."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:6]) < 65536:
        raise PortError(f"unable to parse {text[:50]!r} as a port")
    return int(text)


def ports(values: list[str]) -> list[int]:
    """The ports that the parameters `port` of a request name. Raises PortError."""
    if not values:
        raise PortError('query parameter "port" is required')
    found = [port(text) for value in values for text in value.split(",")]
    if len(found) > PORTS:
        raise PortError(f"{len(found)} ports at once, where {PORTS} are allowed")
    return found


# Over SPDY


class _Pair:
    """The streams of one connection."""

    def __init__(self, id: str, number: int) -> None:
        self.id, self.port = id, number
        self.streams: dict[str, SpdyStream] = {}
        self.whole = asyncio.Event()

    def add(self, type: str, stream: SpdyStream) -> None:
        self.streams[type] = stream
        if len(self.streams) == len(_TYPES):
            self.whole.set()


async def forward(session: SpdySession, begin: Begin) -> None:
    """Connect what the client asks for, until it goes."""
    pairs: dict[str, _Pair] = {}
    tasks: set[asyncio.Task[None]] = set()
    places = asyncio.Semaphore(FORWARDS_LIMIT)
    try:
        while (stream := await session.accept()) is not None:
            try:
                type, id, number = _told_by(stream)
            except PortError as error:
                log.warning("< stream refused reason=%s", error)
                await stream.reject()
                continue
            if id not in pairs and len(pairs) >= PAIRS:
                log.warning("< stream refused reason='%d connections wait already'", PAIRS)
                await stream.reject()
                continue
            if (pair := pairs.get(id)) is None:
                pair = pairs[id] = _Pair(id, number)
                task = asyncio.create_task(_serve(pair, begin, places), name=f"forward {id}")
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                task.add_done_callback(lambda _, id=id: pairs.pop(id, None))  # type: ignore[misc]
            if type in pair.streams:
                await stream.reject()
            else:
                await stream.accept()
                pair.add(type, stream)
    except (OSError, TimeoutError) as error:
        log.debug("= connection lost reason=%s", error)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _told_by(stream: SpdyStream) -> tuple[str, str, int]:
    """What the headers of a stream say: its type, the connection it is of, and the port. Raises PortError."""
    headers = stream.headers
    type = headers.get(_TYPE, "")
    if type not in _TYPES:
        raise PortError(f"invalid stream type {type[:50]!r}")
    # Clients that name no connection open the stream for errors first.
    id = headers.get(_ID) or str(stream.id if type == "error" else stream.id - 2)
    return type, id, port(headers.get(_PORT, ""))


async def _serve(pair: _Pair, begin: Begin, places: asyncio.Semaphore) -> None:
    why = ""
    try:
        try:
            async with asyncio.timeout(STREAMS_S):
                await pair.whole.wait()
        except TimeoutError:
            why = f"({pair.id}) timed out waiting for streams"
        else:
            async with places:
                why = await _connect(pair, begin)
        if why and "error" in pair.streams:
            await pair.streams["error"].write(why.encode())
        for stream in pair.streams.values():
            stream.drop()
            await stream.finish()
    except (OSError, TimeoutError) as error:
        log.debug("= connection lost reason=%s", error)


async def _connect(pair: _Pair, begin: Begin) -> str:
    """One connection, until it is over: what went wrong, if anything."""
    data = pair.streams["data"]
    conversation = begin(pair.port)
    try:
        await first_of(_to_pod(data, conversation), _from_pod(data, conversation), data.until_reset())
    finally:
        conversation.close()
    end = conversation.end
    return end.reason if end is not None and end.code else ""


async def _to_pod(data: SpdyStream, conversation: Conversation) -> None:
    while content := await data.read():
        await conversation.say(STDIN, content)
    if not data.was_reset:
        await conversation.half_close(STDIN)
    await asyncio.get_running_loop().create_future()  # the pod may still talk


async def _from_pod(data: SpdyStream, conversation: Conversation) -> None:
    async for pieces in conversation.pieces():
        for piece in pieces:
            if piece[0] == STDOUT:
                await data.write(piece[1:])
            elif piece == bytes([HALF_CLOSE, STDOUT]):
                await data.finish()


# Over a WebSocket


async def forward_over_socket(socket: web.WebSocketResponse, asked: list[int], begin: Begin) -> None:
    """Connect each port once, until all of these connections are over, or the client goes."""
    conversations = [begin(number) for number in asked]
    try:
        ways = _from_socket(socket, conversations), _from_pods(socket, asked, conversations), pings(socket)
        await first_of(*ways)
    except (ClientError, OSError, TimeoutError) as error:
        log.debug("= connection lost reason=%s", error)
    finally:
        for conversation in conversations:
            conversation.close()
    await socket.close()


async def _from_socket(socket: web.WebSocketResponse, conversations: list[Conversation]) -> None:
    async for message in socket:
        if message.type == WSMsgType.BINARY and message.data:
            number, is_error = divmod(message.data[0], 2)
            if number < len(conversations) and not is_error:
                await conversations[number].say(STDIN, message.data[1:])


async def _from_pods(socket: web.WebSocketResponse, asked: list[int], conversations: list[Conversation]) -> None:
    ways = [
        _over_channels(socket, 2 * place, number, conversation)
        for place, (number, conversation) in enumerate(zip(asked, conversations, strict=True))
    ]
    await asyncio.gather(*ways)


async def _over_channels(socket: web.WebSocketResponse, channel: int, number: int, conversation: Conversation) -> None:
    for begins in (channel, channel + 1):
        await _send(socket, begins, struct.pack("<H", number))
    async for pieces in conversation.pieces():
        for piece in pieces:
            if piece[0] == STDOUT:
                await _send(socket, channel, piece[1:])
            elif piece == bytes([HALF_CLOSE, STDOUT]):
                return
    if conversation.end is not None and conversation.end.code:
        await _send(socket, channel + 1, conversation.end.reason.encode())


async def _send(socket: web.WebSocketResponse, channel: int, content: bytes) -> None:
    async with asyncio.timeout(IDLE_S):
        await socket.send_bytes(bytes([channel]) + content)
