"""A network cable one can pull: a TCP forwarder on loopback between two parts, for demos and tests.

`cut` ends the connections that run through it and refuses new ones, as a broken uplink does; `restore` lets them come back.
`half_open` loses the far side without a word to the near one, as a router does that forgets its connections.
"""

import asyncio
import contextlib

_CHUNK, _SLOW_CHUNK = 65536, 4096


class Cable:
    """Forwards one loopback port to another address while it is whole."""

    def __init__(self, host: str, port: int, *, bytes_per_s: float = 0.0) -> None:
        """`bytes_per_s` is what it carries each way on one connection; 0 is without limit."""
        self._to = host, port
        self._bytes_per_s = bytes_per_s
        self._server: asyncio.Server | None = None
        self._streams: set[asyncio.StreamWriter] = set()
        self._far: dict[asyncio.StreamWriter, asyncio.StreamWriter] = {}
        self._deaf: set[asyncio.StreamWriter] = set()
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

    def half_open(self) -> None:
        """Take the far ends away from the connections that run now; the near ends stay, and nothing comes of what they say."""
        for near, far in self._far.items():
            self._deaf.add(near)
            far.transport.abort()

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
        self._far[writer] = far_writer
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._copy(reader, far_writer, writer))
                both.create_task(self._copy(far_reader, writer, writer))
        finally:
            self._streams -= {writer, far_writer}
            if writer in self._deaf:  # what is well ends by itself, and what is left of it is still sent
                writer.transport.abort()
                self._deaf.discard(writer)
            del self._far[writer]

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, near: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_SLOW_CHUNK if self._bytes_per_s else _CHUNK):
                if near not in self._deaf:
                    writer.write(data)
                    await writer.drain()
                if self._bytes_per_s:
                    await asyncio.sleep(len(data) / self._bytes_per_s)
        if near not in self._deaf:
            writer.close()
