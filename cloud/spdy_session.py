"""A SPDY connection that a client has opened to here, over a pipe: its streams, to be read and written.

What has come and is read by nobody is at most `UNREAD_BYTES`; then nothing more is read from the connection.
"""

import asyncio
import logging
from collections import deque
from types import TracebackType

from cloud import spdy
from cloud.spdy import Came, Opened, SpdyError, WasReset
from cloud.upgrades import PING_S, Pipe

log = logging.getLogger(__name__)

UNREAD_BYTES = 256 * 1024
LINGER_S = 5.0
"""For a client to close the connection once it has been told that all is said."""


class SpdyStream:
    """A stream of the client's."""

    def __init__(self, session: "SpdySession", opened: Opened) -> None:
        self.id = opened.id
        self.headers = opened.headers
        self._session = session
        self._pieces: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._ended = opened.fin
        self._dropped = False
        self._reset = asyncio.Event()

    async def read(self) -> bytes:
        """What came next; nothing once no more comes, or the stream was reset."""
        while not self._pieces and not self._ended:
            self._news.clear()
            await self._news.wait()
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._session.unread(-len(data))
        return data

    async def write(self, data: bytes) -> None:
        """Send bytes, which a stream that is over drops. Raises OSError, TimeoutError."""
        if self._session.connection.takes(self.id):
            self._session.connection.send(self.id, data)
            await self._session.flush()

    async def finish(self) -> None:
        """Say no more on it. Raises OSError, TimeoutError."""
        if self._session.connection.takes(self.id):
            self._session.connection.send(self.id, b"", fin=True)
            self._session.forget_if_over(self.id)
            await self._session.flush()

    async def accept(self) -> None:
        """Take it. Raises OSError, TimeoutError."""
        if not self.was_reset:
            self._session.connection.reply(self.id)
            await self._session.flush()

    async def reject(self) -> None:
        """Do not take it, or no longer. Raises OSError, TimeoutError."""
        self._session.connection.reset(self.id)
        self.ended(reset=True)
        self.drop()
        self._session.forget_if_over(self.id)
        await self._session.flush()

    @property
    def was_reset(self) -> bool:
        """Whether it ended before its end: what came may not be all."""
        return self._reset.is_set()

    async def until_reset(self) -> None:
        """Wait until the client wants no more of it, or is gone."""
        await self._reset.wait()

    def drop(self) -> None:
        """Nobody reads it any more."""
        self._dropped = True
        self._session.unread(-sum(map(len, self._pieces)))
        self._pieces.clear()

    # Told by the session

    def came(self, data: bytes) -> None:
        """Bytes came."""
        if data and not self._dropped:
            self._session.unread(len(data))
            self._pieces.append(data)
            self._news.set()

    def ended(self, *, reset: bool = False) -> None:
        """No more comes."""
        self._ended = True
        self._news.set()
        if reset:
            self._reset.set()


class SpdySession:
    """The connection; to be entered, which begins to read it, and left, which closes it."""

    def __init__(self, pipe: Pipe) -> None:
        self.connection = spdy.Connection()
        self._pipe = pipe
        self._streams: dict[int, SpdyStream] = {}
        self._opened: asyncio.Queue[SpdyStream | None] = asyncio.Queue(spdy.STREAMS)
        self._unread = 0
        self._room = asyncio.Event()
        self._writing = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "SpdySession":
        self._tasks = [
            asyncio.create_task(self._read(), name="spdy in"),
            asyncio.create_task(self._ping(), name="spdy pings"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self._say_goodbye()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._pipe.close()

    async def _say_goodbye(self) -> None:
        """Let the client have all that was said before the connection is closed."""
        for stream in self._streams.values():
            stream.drop()
        self.connection.go_away()
        try:
            async with asyncio.timeout(LINGER_S):
                await self.flush()
                await asyncio.wait(self._tasks[:1])
        except (OSError, TimeoutError):
            pass

    async def accept(self) -> SpdyStream | None:
        """The next stream that the client opens; None when the connection is over."""
        return await self._opened.get()

    async def flush(self) -> None:
        """Send what is to be sent. Raises OSError, TimeoutError."""
        async with self._writing:
            if said := self.connection.take():
                await self._pipe.write(said)

    def unread(self, size: int) -> None:
        """So many bytes more are held for streams' readers."""
        self._unread += size
        if self._unread < UNREAD_BYTES:
            self._room.set()

    def forget_if_over(self, id: int) -> None:
        """Nothing more goes over a stream: who has it reads the rest."""
        if self.connection.is_over(id):
            self._streams.pop(id, None)

    async def _read(self) -> None:
        try:
            while data := await self._pipe.read():
                for event in self.connection.receive(data):
                    await self._take(event)
                await self.flush()
                while self._unread >= UNREAD_BYTES:
                    self._room.clear()
                    await self._room.wait()
        except SpdyError as error:
            log.warning("< not SPDY reason=%s", error)
            await self._quietly_flush()
        except (OSError, TimeoutError) as error:
            log.debug("= connection lost reason=%s", error)
        finally:
            for stream in self._streams.values():
                stream.ended(reset=True)
            self._streams.clear()
            while self._opened.full():
                self._opened.get_nowait()
            self._opened.put_nowait(None)

    async def _take(self, event: spdy.Event) -> None:
        match event:
            case Opened(id):
                stream = self._streams[id] = SpdyStream(self, event)
                await self._opened.put(stream)
            case Came(id, data, fin) if (found := self._streams.get(id)) is not None:
                found.came(data)
                if fin:
                    found.ended()
                    self.forget_if_over(id)
            case WasReset(id) if (found := self._streams.get(id)) is not None:
                found.ended(reset=True)
                self.forget_if_over(id)
            case _:
                pass

    async def _quietly_flush(self) -> None:
        try:
            await self.flush()
        except (OSError, TimeoutError) as error:
            log.debug("= connection lost reason=%s", error)

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING_S)
            self.connection.ping()
            await self._quietly_flush()
