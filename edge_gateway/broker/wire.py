"""One client's network connection: a socket for a `Connection` of the core, plain or with TLS."""

import asyncio
import logging
import socket
import ssl
from typing import Protocol

from edge_gateway.broker.connection import CLOSED, Connection
from edge_gateway.broker.errors import TlsError
from edge_gateway.broker.limits import Limits
from edge_gateway.broker.tls import TlsStream

log = logging.getLogger(__name__)


class Host(Protocol):
    """What a wire needs of the broker."""

    limits: Limits

    @property
    def reading(self) -> bool:
        """Whether clients are read from at all."""
        ...

    def opened(self, wire: "Wire", address: str) -> Connection | None:
        """A client connected; None when there are too many."""
        ...

    def received(self, connection: Connection, data: bytes) -> None:
        """Bytes came."""
        ...

    def refuse(self, connection: Connection, why: str) -> None:
        """It cannot be spoken to."""
        ...

    def lost(self, connection: Connection) -> None:
        """The connection is gone."""
        ...


class Wire(asyncio.Protocol):
    """One client's TCP connection."""

    __slots__ = ("_connection", "_host", "_transport")

    def __init__(self, host: Host) -> None:
        self._host = host
        self._connection: Connection | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        peer = transport.get_extra_info("peername")
        self._connection = self._host.opened(self, f"{peer[0]}:{peer[1]}" if peer else "-")
        if self._connection is None:
            transport.abort()
            return
        self._transport = transport
        # A peer that vanished without a word and set no keepalive would stay for ever.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        transport.set_write_buffer_limits(high=self._host.limits.send_buffer)
        self.follow()

    def data_received(self, data: bytes) -> None:
        if self._connection is not None:
            self._host.received(self._connection, data)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self._host.lost(connection)

    def pause_writing(self) -> None:
        if self._connection is not None:
            self._connection.blocked = True

    def resume_writing(self) -> None:
        if self._connection is not None:
            self._connection.blocked = False
            self._connection.sent()

    def flush(self) -> None:
        """Do what the core wants: send, stop or go on reading, close."""
        connection, transport = self._connection, self._transport
        if connection is None or transport is None:
            return
        data = connection.take()
        if transport.is_closing():
            return
        if data:
            self._write(transport, data)
            # Only answers to what it sends can pile up this far: it writes without ever reading.
            if transport.get_write_buffer_size() > 4 * self._host.limits.send_buffer + len(data):
                log.warning("client does not read its answers, closing client=%r", connection.name)
                transport.abort()
                return
        if connection.state == CLOSED:
            self._finish(transport)
            return
        self.follow()
        connection.sent()

    def follow(self) -> None:
        """Read or do not read, as the core and the broker want it."""
        connection, transport = self._connection, self._transport
        if connection is None or transport is None or transport.is_closing():
            return
        wanted = self._host.reading and not connection.held
        if wanted and not transport.is_reading():
            transport.resume_reading()
        elif not wanted and transport.is_reading():
            transport.pause_reading()

    def cut(self) -> None:
        """Close at once, whatever is still to be sent."""
        if self._transport is not None:
            self._transport.abort()

    def _write(self, transport: asyncio.Transport, data: bytes) -> None:
        transport.write(data)

    def _finish(self, transport: asyncio.Transport) -> None:
        transport.close()


class TlsWire(Wire):
    """The same with TLS. The handshake's time counts as that of CONNECT, and so does a client that never ends it."""

    __slots__ = ("_tls",)

    def __init__(self, host: Host, context: ssl.SSLContext) -> None:
        super().__init__(host)
        self._tls = TlsStream(context)

    def data_received(self, data: bytes) -> None:
        connection, transport = self._connection, self._transport
        if connection is None or transport is None:
            return
        tls = self._tls
        shaken = tls.established
        try:
            plain = tls.receive(data)
        except TlsError as error:
            self._send(transport)  # the alert that says why
            self._host.refuse(connection, f"TLS{'' if shaken else ' handshake'}: {error}")
            return
        if not shaken and tls.established:
            connection.identity = tls.identity()
        self._send(transport)
        if plain:
            self._host.received(connection, plain)
        if tls.ended and not transport.is_closing():
            self._finish(transport)

    def _write(self, transport: asyncio.Transport, data: bytes) -> None:
        try:
            self._tls.send(data)
        except TlsError as error:
            if self._connection is not None:
                self._host.refuse(self._connection, f"TLS: {error}")
            return
        self._send(transport)

    def _finish(self, transport: asyncio.Transport) -> None:
        self._tls.close()
        self._send(transport)
        transport.close()

    def _send(self, transport: asyncio.Transport) -> None:
        if (data := self._tls.outgoing()) and not transport.is_closing():
            transport.write(data)
