"""The broker's shell: listeners and connections for the core in `sessions.py`, and the broker as a service of the gateway.

What the core wants sent is written once a turn of the event loop and connection, however many packets it is. One loop wakes each
second for keepalives. There is no task, timer or future a client; only an unknown password makes a thread work.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Any

from edge_gateway.broker.connection import Connection
from edge_gateway.broker.descriptors import room_for
from edge_gateway.broker.errors import BrokerNotStarted
from edge_gateway.broker.inbox import Inbound
from edge_gateway.broker.limits import Limits
from edge_gateway.broker.sessions import Core
from edge_gateway.broker.tls import TlsListener
from edge_gateway.broker.users import User, Users
from edge_gateway.broker.watch import FileWatch
from edge_gateway.broker.wire import TlsWire, Wire
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
        port: int | None = 1883,
        tls: TlsListener | None = None,
        users: Users | None = None,
        limits: Limits = Limits(),  # noqa: B008, it is frozen
    ) -> None:
        """Port 0 lets the system choose; `port` and `tls_port` tell it once `run` is ready. With port None only TLS is served.

        Without `users` anybody may use every topic.
        """
        self.host = host
        self.port = port or 0
        self.tls_port = 0
        self.limits = limits
        self.core = Core(store, users, limits, self._wake, self._verify)
        self._plain = port is not None
        self._tls = tls
        self._tls_context: ssl.SSLContext | None = None
        self._watches: list[FileWatch[Any]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scheduled = False
        self._wires: dict[Connection, Wire] = {}
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

    def watch(self, files: FileWatch[Any]) -> None:
        """Look at these files every second."""
        self._watches.append(files)

    def reload(self) -> None:
        """Read users and certificates again, now: what a SIGHUP asks for."""
        for files in self._watches:
            files.reload()

    def hold_to(self, users: Users) -> None:
        """Let other users and rights hold from now on, for those who are connected too."""
        self.core.hold_to(users)

    async def run(self, ready: asyncio.Event) -> None:
        """Serve until cancelled. Raises BrokerNotStarted when an address cannot be served, ConfigError for its certificates."""
        loop = self._loop = asyncio.get_running_loop()
        self.core.load()
        self.core.room = room_for(self.limits.connections, burst=_BACKLOG)
        servers: list[asyncio.Server] = []
        try:
            await self._listen(servers)
            self._connected()
            self._wake()
            ready.set()
            while True:
                await asyncio.sleep(SWEEP_S)
                for files in self._watches:
                    files.look()
                for connection in self.core.sweep(loop.time()):
                    self._wires[connection].cut()
        finally:
            self.core.stop()
            for server in servers:
                server.close()
            for wire in list(self._wires.values()):
                wire.cut()
            async with asyncio.timeout(_STOP_DEADLINE_S):
                for server in servers:
                    await server.wait_closed()
                await asyncio.sleep(0)  # lets the lost connections be noticed
            self.core.touched()  # hands the last changes to the store
            self._loop = None

    async def _listen(self, servers: list[asyncio.Server]) -> None:
        """Open the listeners; those in `servers` are open when it fails."""
        if self._tls is not None:
            self.watch(FileWatch(self._tls.files, self._tls.context, self._use_context))
            self._tls_context = self._tls.context()
        if self._plain:
            servers.append(await self._serve(lambda: Wire(self), self.host, self.port, "no"))
            self.port = servers[-1].sockets[0].getsockname()[1]
        if self._tls is not None:
            servers.append(await self._serve(self._tls_wire, self._tls.host, self._tls.port, "yes"))
            self.tls_port = servers[-1].sockets[0].getsockname()[1]

    async def _serve(self, wire: Callable[[], Wire], host: str, port: int, tls: str) -> asyncio.Server:
        try:
            server = await asyncio.get_running_loop().create_server(wire, host, port, backlog=_BACKLOG)
        except OSError as error:
            raise BrokerNotStarted(f"MQTT broker cannot serve {host}:{port}: {error.strerror}") from error
        users = "any" if self.core.admission.users is None else "named"
        log.info("broker serves host=%s port=%d tls=%s users=%s", host, server.sockets[0].getsockname()[1], tls, users)
        return server

    def _tls_wire(self) -> Wire:
        assert self._tls_context is not None
        return TlsWire(self, self._tls_context)

    def _use_context(self, context: ssl.SSLContext) -> None:
        self._tls_context = context

    @property
    def reading(self) -> bool:
        """Whether clients are read from."""
        return self.core.reading

    def opened(self, wire: Wire, address: str) -> Connection | None:
        """A client connected; None when there are too many."""
        connection = self.core.opened(address, self._time())
        if connection is not None:
            self._wires[connection] = wire
        return connection

    def received(self, connection: Connection, data: bytes) -> None:
        """Bytes came."""
        self.core.receive(connection, data, self._time())

    def refuse(self, connection: Connection, why: str) -> None:
        """A connection that cannot be spoken to any more."""
        self.core.refuse(connection, why)

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
        assert self.core.admission.users is not None
        checking = self._loop.run_in_executor(None, self.core.admission.users.check, name, password)
        checking.add_done_callback(lambda done: None if done.cancelled() else answer(done.result()))
