"""A network cable one can pull: a TCP forwarder on loopback between two parts, for demos and tests.

`cut` ends the connections that run through it and refuses new ones, as a broken uplink does; `restore` lets them come back.
"""

import asyncio
import contextlib

_CHUNK = 65536


class Cable:
    """Forwards one loopback port to another address while it is whole."""

    def __init__(self, host: str, port: int) -> None:
        self._to = host, port
        self._server: asyncio.Server | None = None
        self._streams: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def start(self, port: int = 0) -> None:
        """Listen on a loopback port, any free one by default; `port` tells which."""
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", port or self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """End what runs through the cable and refuse what comes, until `restore`."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for stream in list(self._streams):
            stream.transport.abort()

    async def restore(self) -> None:
        """Be whole again, on the same port."""
        if self._server is None:
            await self.start(self.port)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._to)
        except OSError:
            writer.transport.abort()
            return
        self._streams |= {writer, far_writer}
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, far_writer))
                both.create_task(_copy(far_reader, writer))
        finally:
            self._streams -= {writer, far_writer}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()
