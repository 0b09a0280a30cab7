"""A client that upgrades to SPDY as kubectl and kube-apiserver do, for tests: a real connection, and the core's other end."""

import asyncio
import ssl
from collections import defaultdict
from collections.abc import Set

from cloud import spdy
from cloud.spdy import Came, Replied, WasReset

DEADLINE_S = 20.0


class SpdyClient:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        self._reader, self._writer = reader, writer
        self.head = head
        """The server's answer."""
        self.connection = spdy.Connection(client=True)
        self.came: defaultdict[int, bytes] = defaultdict(bytes)
        self.replied: set[int] = set()
        self.ended: set[int] = set()
        self.reset: set[int] = set()
        self.is_closed = False
        self.heard = b""
        """The last that came, as it came."""

    @classmethod
    async def ask(cls, port: int, context: ssl.SSLContext, path: str, *protocols: str) -> "SpdyClient":
        """Ask for an upgrade; whether it was granted is in `head`."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="127.0.0.1")
        offered = "".join(f"X-Stream-Protocol-Version: {protocol}\r\n" for protocol in protocols)
        asked = f"POST {path} HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n{offered}"
        writer.write(f"{asked}Content-Length: 0\r\n\r\n".encode())
        async with asyncio.timeout(DEADLINE_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        return cls(reader, writer, head)

    async def body(self) -> str:
        """What a server that does not upgrade says."""
        length = next(int(line[15:]) for line in self.head.splitlines() if line.lower().startswith("content-length:"))
        return (await self._reader.readexactly(length)).decode()

    def open(self, **headers: str) -> int:
        """Open a stream."""
        return self._sent(self.connection.open(headers))

    def send(self, id: int, data: bytes, *, fin: bool = False) -> None:
        """Say something."""
        self.connection.send(id, data, fin=fin)
        self._sent(id)

    def cut(self, id: int) -> None:
        """Reset a stream."""
        self.connection.reset(id)
        self._sent(id)

    def write(self, line: bytes) -> None:
        """Send bytes that need not be SPDY."""
        self._writer.write(line)

    def _sent(self, id: int) -> int:
        self._writer.write(self.connection.take())
        return id

    async def hear(self) -> None:
        """Take what comes next."""
        data = self.heard = await self._reader.read(65536)
        self.is_closed = not data
        for event in self.connection.receive(data):
            match event:
                case Replied(id):
                    self.replied.add(id)
                case Came(id, content, fin):
                    self.came[id] += content
                    self.ended |= {id} if fin else set()
                case WasReset(id):
                    self.reset.add(id)
        self._writer.write(self.connection.take())

    async def until(self, *, replied: Set[int] = frozenset(), ended: Set[int] = frozenset()) -> None:
        """Hear until these streams are taken, and these at their end."""
        async with asyncio.timeout(DEADLINE_S):
            while not (replied <= self.replied and ended <= self.ended):
                assert not self.is_closed, f"closed after {dict(self.came)}"
                await self.hear()

    async def until_came(self, id: int, content: bytes) -> None:
        """Hear until a stream has said this."""
        async with asyncio.timeout(DEADLINE_S):
            while self.came[id] != content:
                assert not self.is_closed, f"closed after {dict(self.came)}"
                await self.hear()

    async def until_closed(self) -> None:
        """Hear until the server closes the connection."""
        async with asyncio.timeout(DEADLINE_S):
            while not self.is_closed:
                await self.hear()

    def close(self) -> None:
        """Go."""
        self._writer.close()
