"""The bytes of one connection, with TLS or without.

TLS is the broker's (`broker/tls.py`): over memory buffers, so that a connection counts from its first byte, handshake and all.
"""

import asyncio
import ssl

from edge_gateway.broker.tls import TlsStream

PIECE = 16 * 1024


class Wire:
    """One client."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext | None
    ) -> None:
        self._reader, self._writer = reader, writer
        self._tls = TlsStream(context) if context is not None else None

    async def read(self) -> bytes:
        """What it sends next; nothing when it sends no more. Raises OSError, and TlsError for no TLS."""
        tls = self._tls
        if tls is None:
            return await self._reader.read(PIECE)
        while not tls.ended and (data := await self._reader.read(PIECE)):
            try:
                said = tls.receive(data)
            finally:
                self._writer.write(tls.outgoing())
            if said:
                return said
            await self._writer.drain()
        return b""

    def write(self, data: bytes) -> None:
        """Have something sent. Raises TlsError."""
        if self._tls is not None:
            self._tls.send(data)
            data = self._tls.outgoing()
        self._writer.write(data)

    async def drain(self) -> None:
        """Wait until the client took most of it. Raises OSError."""
        await self._writer.drain()

    def close(self) -> None:
        """Hang up; at once where the client does not take what it is sent."""
        if self._writer.transport.get_write_buffer_size():
            self._writer.transport.abort()
            return
        if self._tls is not None:
            self._tls.close()
            self._writer.write(self._tls.outgoing())
        self._writer.close()

    async def wait_closed(self) -> None:
        """Until it is. Raises OSError."""
        await self._writer.wait_closed()
