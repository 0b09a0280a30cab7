"""The broker's shell: TCP connections for the core in `sessions.py`, and the broker as a service of the gateway.

What the core wants sent is written once a turn of the event loop and connection, however many packets it is. One loop wakes each
second for keepalives. There is no task, timer or future a client; only an unknown password makes a thread work.
"""

import asyncio
import logging
import socket
from collections.abc import Callable

from edge_gateway.broker.connection import CLOSED, Connection
from edge_gateway.broker.errors import BrokerNotStarted
from edge_gateway.broker.inbox import Inbound
from edge_gateway.broker.limits import Limits
from edge_gateway.broker.sessions import Core
from edge_gateway.broker.users import User, Users
from edge_gateway.store import Store

log = logging.getLogger(__name__)

SWEEP_S = 1.0
_BACKLOG = 512
_STOP_DEADLINE_S = 5.0


class Broker:
    """An MQTT 3.1.1 broker inside the gateway: a service, and its own process's door to it.

    Every method is for the event loop that `run` works on. `attach` the handler before `run`: a client's PUBLISH that comes
    before it would be acknowledged unheard. What the store kept, sessions and retained messages, is there once `run` is ready.
    """

    name = "broker"

    def __init__(
        self,
        store: Store,
        *,
        host: str = "127.0.0.1",
        port: int = 1883,
        users: Users | None = None,
        limits: Limits = Limits(),  # noqa: B008, it is frozen
    ) -> None:
        """Port 0 lets the system choose; `port` tells it once `run` is ready. Without `users` anybody may use every topic."""
        self.host = host
        self.port = port
        self.limits = limits
        self.core = Core(store, users, limits, self._wake, self._verify)
        self._users = users
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scheduled = False
        self._wires: dict[Connection, _Wire] = {}
        self._connected: Callable[[], None] = lambda: None

    def attach(self, handler: Callable[[Inbound], None], wants: Callable[[str], bool]) -> None:
        """Give `handler` each PUBLISH of a topic that it `wants`; it must call `ack` on every one, sooner or later.

        `wants` is asked once a topic and remembered until subscriptions change. The messages also go to subscribers as usual.
        """
        self.core.attach(handler, wants)

    def on_connected(self, connected: Callable[[], None]) -> None:
        """Whom to call once clients can connect and what the store kept is back."""
        self._connected = connected

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> None:
        """Publish from the gateway itself, to subscribers only. Raises InvalidTopic."""
        self.core.router.publish(topic, payload, qos, retain)

    def wanted(self, topic: str) -> bool:
        """Whether any session, connected or kept for an offline client, subscribes to `topic`."""
        return bool(self.core.router.route(topic).targets)

    def pause(self) -> None:
        """Stop reading from all clients, while the disk is slow."""
        self._read(False)

    def resume(self) -> None:
        """Go on reading from them."""
        self._read(True)

    def retained_topics(self, prefix: str) -> list[str]:
        """The topics with a retained message that begin with `prefix`, in order."""
        return self.core.router.retained.topics(prefix)

    async def run(self, ready: asyncio.Event) -> None:
        """Serve until cancelled. Raises BrokerNotStarted when the address cannot be served."""
        loop = self._loop = asyncio.get_running_loop()
        self.core.load()
        try:
            server = await loop.create_server(lambda: _Wire(self), self.host, self.port, backlog=_BACKLOG)
        except OSError as error:
            raise BrokerNotStarted(f"MQTT broker cannot serve {self.host}:{self.port}: {error.strerror}") from error
        self.port = server.sockets[0].getsockname()[1]
        log.info(
            "broker serves host=%s port=%d users=%s", self.host, self.port, "any" if self._users is None else "named"
        )
        try:
            self._connected()
            self._wake()
            ready.set()
            while True:
                await asyncio.sleep(SWEEP_S)
                for connection in self.core.sweep(loop.time()):
                    self._wires[connection].cut()
        finally:
            self.core.stop()
            server.close()
            for wire in list(self._wires.values()):
                wire.cut()
            async with asyncio.timeout(_STOP_DEADLINE_S):
                await server.wait_closed()
                await asyncio.sleep(0)  # lets the lost connections be noticed
            self.core.touched()  # hands the last changes to the store
            self._loop = None

    def opened(self, wire: "_Wire", address: str) -> Connection | None:
        """A client connected; None when there are too many."""
        connection = self.core.opened(address, self._time())
        if connection is not None:
            self._wires[connection] = wire
        return connection

    def received(self, connection: Connection, data: bytes) -> None:
        """Bytes came."""
        self.core.receive(connection, data, self._time())

    def lost(self, connection: Connection) -> None:
        """The connection is gone."""
        del self._wires[connection]
        self.core.lost(connection)

    def _time(self) -> float:
        assert self._loop is not None
        return self._loop.time()

    def _read(self, reading: bool) -> None:
        self.core.reading = reading
        for wire in self._wires.values():
            wire.follow()

    def _wake(self) -> None:
        """Something is to be sent or stored: do it once this turn of the loop is through."""
        if self._loop is not None and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        for connection in self.core.touched():
            wire = self._wires.get(connection)
            if wire is not None:
                wire.flush()

    def _verify(self, name: str, password: bytes, answer: Callable[[User | None], None]) -> None:
        """Check a password in a thread: hashing takes long on purpose."""
        assert self._loop is not None
        assert self._users is not None
        checking = self._loop.run_in_executor(None, self._users.check, name, password)
        checking.add_done_callback(lambda done: None if done.cancelled() else answer(done.result()))


class _Wire(asyncio.Protocol):
    """One client's TCP connection."""

    __slots__ = ("_broker", "_connection", "_transport")

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._connection: Connection | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        peer = transport.get_extra_info("peername")
        self._connection = self._broker.opened(self, f"{peer[0]}:{peer[1]}" if peer else "-")
        if self._connection is None:
            transport.abort()
            return
        self._transport = transport
        # A peer that vanished without a word and set no keepalive would stay for ever.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        transport.set_write_buffer_limits(high=self._broker.limits.send_buffer)
        self.follow()

    def data_received(self, data: bytes) -> None:
        if self._connection is not None:
            self._broker.received(self._connection, data)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self._broker.lost(connection)

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
            transport.write(data)
            # Only answers to what it sends can pile up this far: it writes without ever reading.
            if transport.get_write_buffer_size() > 4 * self._broker.limits.send_buffer + len(data):
                log.warning("client does not read its answers, closing client=%r", connection.name)
                transport.abort()
                return
        if connection.state == CLOSED:
            transport.close()
            return
        self.follow()
        connection.sent()

    def follow(self) -> None:
        """Read or do not read, as the core and the broker want it."""
        connection, transport = self._connection, self._transport
        if connection is None or transport is None or transport.is_closing():
            return
        wanted = self._broker.core.reading and not connection.held
        if wanted and not transport.is_reading():
            transport.resume_reading()
        elif not wanted and transport.is_reading():
            transport.pause_reading()

    def cut(self) -> None:
        """Close at once, whatever is still to be sent."""
        if self._transport is not None:
            self._transport.abort()
