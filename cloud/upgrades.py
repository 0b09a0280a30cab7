"""Connections that are no longer HTTP: an upgraded request's, and one that a WebSocket carries, as a pipe of bytes.

aiohttp upgrades to WebSockets only. For another protocol the connection is taken from it once the answer 101 is written; that the
connection is lost is told to it as before, so that it cancels the request's handler.
"""

import asyncio
from typing import Any, Protocol

from aiohttp import ClientError, ClientWebSocketResponse, WSMsgType, web

READ_BYTES = 64 * 1024
IDLE_S = 4 * 3600.0
"""For a client to take what it asked for: kubelets' `streamingConnectionIdleTimeout`."""
PING_S = 30.0
"""Between two pings. That nobody is there any more is noticed when nobody takes them; an answer is not waited for, since who does
not read for a while, because all is full that it passes it on to, answers nothing either, and is there."""
Socket = web.WebSocketResponse | ClientWebSocketResponse


class Pipe(Protocol):
    """Bytes both ways."""

    async def read(self) -> bytes:
        """The next bytes; none when no more come."""
        ...

    async def write(self, data: bytes) -> None:
        """Send bytes, as fast as the other end takes them. Raises OSError, TimeoutError."""
        ...

    async def close(self) -> None:
        """End it; what was written goes out before."""
        ...


class StreamPipe:
    """Over a connection of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def read(self) -> bytes:
        """The next bytes; none when no more come."""
        try:
            return await self.reader.read(READ_BYTES)
        except OSError:
            return b""

    async def write(self, data: bytes) -> None:
        """Send bytes, as fast as the other end takes them. Raises OSError, TimeoutError."""
        self.writer.write(data)
        async with asyncio.timeout(IDLE_S):
            await self.writer.drain()

    async def close(self) -> None:
        """End it; what was written goes out before."""
        self.writer.close()


class SocketPipe:
    """Within a WebSocket, as kubectl's `SPDY/3.1+portforward.k8s.io` is."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        """The next bytes; none when no more come."""
        async for message in self._socket:
            if message.type == WSMsgType.BINARY and message.data:
                content: bytes = message.data
                return content
        return b""

    async def write(self, data: bytes) -> None:
        """Send bytes, as fast as the other end takes them. Raises OSError, TimeoutError."""
        try:
            async with asyncio.timeout(IDLE_S):
                for begin in range(0, len(data), READ_BYTES):
                    await self._socket.send_bytes(data[begin : begin + READ_BYTES])
        except ClientError as error:
            raise ConnectionResetError(str(error)) from error

    async def close(self) -> None:
        """End it; what was written goes out before."""
        await self._socket.close()


async def pings(*sockets: Socket) -> None:
    """Ping, until one of them is lost."""
    try:
        while True:
            await asyncio.sleep(PING_S)
            for socket in sockets:
                await socket.ping()
    except (ClientError, OSError):
        return


class _TakenOver(asyncio.StreamReaderProtocol):
    """In aiohttp's place."""

    def __init__(self, reader: asyncio.StreamReader, before: asyncio.BaseProtocol) -> None:
        super().__init__(reader)
        self._before = before

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._before.connection_lost(exc)


async def take_over(request: web.BaseRequest, headers: dict[str, str]) -> tuple[web.StreamResponse, StreamPipe]:
    """Answer 101 with these headers besides `Connection`: what the handler has to return, and the connection.

    Raises ConnectionResetError when it is lost already.
    """
    transport: Any = request.transport
    if transport is None:
        raise ConnectionResetError("the client has gone")
    reader = asyncio.StreamReader(READ_BYTES)
    protocol = _TakenOver(reader, request.protocol)
    protocol.connection_made(transport)
    response = web.StreamResponse(status=101, headers={"Connection": "Upgrade", **headers})
    response.force_close()
    # Before the answer is written: what follows it is not HTTP.
    transport.set_protocol(protocol)
    await response.prepare(request)
    await response.write_eof()
    return response, StreamPipe(reader, asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop()))


def is_upgrade(request: web.BaseRequest, protocol: str) -> bool:
    """Whether a request asks for the upgrade to a protocol, such as `SPDY/3.1`."""
    connection = request.headers.get("Connection", "").lower()
    return "upgrade" in connection and request.headers.get("Upgrade", "").lower() == protocol.lower()
