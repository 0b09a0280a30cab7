"""The edge's end of streams: what is asked for is read by whoever offers it, as fast as the reader takes it and no faster.

In a conversation the cloud talks too, and no faster than whoever hears it does.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from edgewire import streams
from edgewire.message import Message, MessageError
from edgewire.streams import CHUNK, LEAST, STREAMS_LIMIT, WINDOW, Closed, Credit, Data, Opened, cost

log = logging.getLogger(__name__)

Source = Callable[[dict[str, Any]], AsyncGenerator[bytes]]
"""The bytes that a request asks for. Raises StreamError."""


class Heard:
    """What the cloud says in a conversation."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        """`tell` is told how many bytes more may come."""
        self._tell = tell
        self._pieces: deque[bytes] = deque()
        self._waiting = 0
        self._came = asyncio.Event()

    def came(self, content: bytes) -> bool:
        """A piece; False when it is more than was allowed."""
        self._waiting += cost(content)
        if self._waiting > WINDOW:
            return False
        self._pieces.append(content)
        self._came.set()
        return True

    async def next(self) -> bytes:
        """The next piece, when it is there. Who has asked for it has dealt with the one before."""
        while not self._pieces:
            self._came.clear()
            await self._came.wait()
        piece = self._pieces.popleft()
        self._waiting -= cost(piece)
        self._tell(cost(piece))
        return piece


Talk = Callable[[dict[str, Any], Heard], AsyncGenerator[bytes]]
"""The edge's side of a conversation: what it hears, and the pieces it says, of `CHUNK` at most. Raises StreamError."""


class StreamError(Exception):
    """A stream that cannot be given; `code` is HTTP's, the text is for who asked."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class _Stream:
    def __init__(self) -> None:
        self.credit = WINDOW
        self.more = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.heard: Heard | None = None
        """Of a conversation, whose pieces stay whole."""


class StreamServer:
    """All streams of one link after the other."""

    def __init__(self, sources: dict[str, Source], talks: dict[str, Talk] | None = None) -> None:
        """Kind -> who gives such streams, or talks."""
        self._sources = sources
        self._talks = {} if talks is None else talks
        self._streams: dict[str, _Stream] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def received(self, message: Message, send: Callable[[Message], None]) -> None:
        """The cloud sent a part of a stream; `send` answers on the same link."""
        try:
            part = streams.decode(message)
        except MessageError as error:
            log.warning("< bad stream message reason=%s", error.reason)
            return
        stream = self._streams.get(part.id)
        match part:
            case Opened(id, kind, request) if stream is None:
                self._open(id, kind, request, send)
            case Credit(_, size) if stream is not None:
                stream.credit = min(WINDOW, stream.credit + max(0, size))
                stream.more.set()
            case Data(id, content) if stream is not None and stream.heard is not None:
                if not stream.heard.came(content):
                    self._end(id)
                    send(streams.encode(Closed(id, 400, "more than was allowed"), "edged"))
            case Closed(id) if stream is not None:
                self._end(id)

    def lost(self) -> None:
        """The link is gone, and all streams with it."""
        for id in list(self._streams):
            self._end(id)

    def _end(self, id: str) -> None:
        task = self._streams.pop(id).task
        if task is not None:
            task.cancel()

    def _open(self, id: str, kind: str, request: dict[str, Any], send: Callable[[Message], None]) -> None:
        source, talk = self._sources.get(kind), self._talks.get(kind)
        unknown = source is None and talk is None
        if unknown or len(self._streams) >= STREAMS_LIMIT:
            code, why = (501, f"this node has no streams of {kind[:50]}") if unknown else (429, "too many streams")
            send(streams.encode(Closed(id, code, why), "edged"))
            return
        stream = self._streams[id] = _Stream()
        if talk is not None:
            stream.heard = Heard(lambda size: send(streams.encode(Credit(id, size), "edged")))
            content = talk(request, stream.heard)
        else:
            assert source is not None
            content = source(request)
        stream.task = asyncio.create_task(self._flow(id, stream, content, send), name=f"stream {kind} {id}")
        self._ending.add(stream.task)
        stream.task.add_done_callback(self._ending.discard)

    async def _flow(
        self, id: str, stream: _Stream, content: AsyncGenerator[bytes], send: Callable[[Message], None]
    ) -> None:
        end = Closed(id)
        try:
            async with aclosing(content):
                async for piece in content:
                    await self._pass_on(id, stream, piece, send)
        except StreamError as error:
            end = Closed(id, error.code, error.reason)
        except Exception as error:  # a supervisor: whoever reads is told, and the stream's place is free again
            log.exception("= stream failed stream=%s", id)
            end = Closed(id, 500, f"the node cannot give this: {error}")
        if self._streams.get(id) is stream:
            del self._streams[id]
            send(streams.encode(end, "edged"))

    async def _pass_on(self, id: str, stream: _Stream, piece: bytes, send: Callable[[Message], None]) -> None:
        while piece:
            least = LEAST if stream.heard is None else cost(piece)
            while stream.credit < least:
                stream.more.clear()
                await stream.more.wait()
            size = min(CHUNK, stream.credit, len(piece))
            stream.credit -= cost(piece[:size])
            send(streams.encode(Data(id, piece[:size]), "edged"))
            piece = piece[size:]
