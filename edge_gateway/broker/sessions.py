"""The broker's core: connections, sessions, subscriptions, last wills, keepalive. Bytes in, bytes out; no socket, no clock.

The shell calls `opened`, `receive`, `lost` and `sweep` with the time in seconds. It is asked by `wake` to come for `touched`: the
connections that have bytes to send, shall be held or are to be closed; the journal's changes go to the store on that occasion. A
client's password is checked by `verify`, which answers when it likes: what the client sends meanwhile waits.

    NEW --CONNECT--> CHECKING --password right--> READY --DISCONNECT, error, silence, takeover--> CLOSED
     └──anonymous, or a password known already────┘

A PUBACK or PUBREC goes out when the handler inside the gateway called `ack`, what must be kept is durable, and all earlier ones
of the client are out.
"""

import logging
from collections.abc import Callable, Iterator
from functools import partial

from edge_gateway.broker.admission import Admission, Verify
from edge_gateway.broker.clients import Clients
from edge_gateway.broker.connection import CHECKING, CLOSED, NEW, READY, Connection
from edge_gateway.broker.errors import PacketError, PacketTooLarge, UnexpectedPacket, UnsupportedProtocol
from edge_gateway.broker.inbox import HANDLER, STORE, Inbound
from edge_gateway.broker.journal import Journal
from edge_gateway.broker.limits import Limits
from edge_gateway.broker.packets import (
    DISCONNECT,
    NAMES,
    PINGREQ,
    PINGRESP,
    PUBCOMP,
    PUBREL,
    Ack,
    Bare,
    Connect,
    Packet,
    Publish,
    Subscribe,
    Unsubscribe,
    encode_ack,
    encode_bare,
    encode_unsupported,
)
from edge_gateway.broker.router import Router
from edge_gateway.broker.subscriptions import Subscriptions
from edge_gateway.broker.users import Users
from edge_gateway.store import Store

log = logging.getLogger(__name__)

# An incomplete packet up to this many bytes is never too much: those of all connections together are few megabytes.
_SHORT = 4096

Handler = Callable[[Inbound], None]


class Core:
    """Everything the broker decides."""

    def __init__(
        self, store: Store, users: Users | None, limits: Limits, wake: Callable[[], None], verify: Verify | None = None
    ) -> None:
        """Without `users` anybody may connect and use every topic. Without `verify` passwords are checked on the spot."""
        self.journal = Journal(store, wake)
        self.router = Router(self.journal, limits)
        self.clients = Clients(self.journal, self.router, limits)
        self.room = limits.connections  # network connections at a time; the shell lowers it to what the system allows
        self.reading = True  # the shell reads from its clients; else their silence is not their fault
        self.admission = Admission(users, self.clients, limits, verify, self)
        self._limits = limits
        self._wake_shell = wake
        self._handler: Handler | None = None
        self._names: dict[bytes, str] = {}
        self._connections: set[Connection] = set()
        self._touched: list[Connection] = []
        self._incomplete = 0  # bytes of packets that have not come whole yet
        self._subscriptions = Subscriptions(self.clients, self.journal, self.router.retained, wake)

    def attach(self, handler: Handler, wants: Callable[[str], bool]) -> None:
        """Give `handler` each PUBLISH of a topic that it `wants`."""
        self._handler = handler
        self.router.attach(wants)

    def load(self) -> None:
        """Take sessions, their queues and the retained messages from the store."""
        self.router.load()
        self.clients.load(self.admission.users)

    def hold_to(self, users: Users) -> None:
        """Other users and rights hold from now on, for those who are connected too."""
        self.admission.hold_to(users, [one for one in self._connections if one.state == READY])

    def go_on(self, connection: Connection) -> None:
        """Handle what a client sent while its password was checked."""
        early, connection.early = connection.early, []
        self._incomplete -= connection.early_bytes
        connection.early_bytes = 0
        for packets in early:
            if connection.state == READY:
                self._read(connection, packets, 0)

    def opened(self, address: str, now: float) -> Connection | None:
        """A client connected: feed what it sends to `receive`. None when there are too many: close it."""
        if len(self._connections) >= self.room:
            log.warning("connection refused, there are too many address=%s limit=%d", address, self.room)
            return None
        connection = Connection(address, now, self._limits, self._names, self._touch)
        self._connections.add(connection)
        return connection

    def receive(self, connection: Connection, data: bytes, now: float) -> None:
        """Bytes came from a client."""
        connection.last_seen = now
        if connection.state == CLOSED:
            return
        packets = connection.decoder.feed(data)
        if connection.state == CHECKING:
            self._hold_back(connection, packets, len(data))
        else:
            self._read(connection, packets, len(data))

    def _read(self, connection: Connection, packets: Iterator[Packet], size: int) -> None:
        """Handle packets as they are decoded from `size` bytes."""
        decoder = connection.decoder
        incomplete = decoder.buffered
        try:
            for packet in packets:
                self._handle(connection, packet)
                if connection.state != READY:
                    break
        except UnsupportedProtocol as error:
            self.turn_away(connection, encode_unsupported(error.level), str(error))
        except PacketError as error:
            self._fail(connection, error)
        if decoder.buffered != incomplete:
            self._incomplete += decoder.buffered - incomplete
            self._check_incomplete(connection, decoder.buffered)
        if connection.state == CHECKING:
            self._hold_back(connection, packets, size)

    def _hold_back(self, connection: Connection, packets: Iterator[Packet], size: int) -> None:
        """Decode these once the password is checked: decoded they may take twenty times as much."""
        connection.early.append(packets)
        connection.early_bytes += size
        self._incomplete += size
        self._check_incomplete(connection, connection.early_bytes)

    def _check_incomplete(self, connection: Connection, size: int) -> None:
        if self._incomplete > self._limits.incomplete_bytes and size > _SHORT:
            self._fail(connection, PacketTooLarge(f"{self._incomplete} bytes of all clients wait for their end"))

    def refuse(self, connection: Connection, why: str) -> None:
        """The shell cannot speak with it, such as when TLS fails."""
        if connection.session is not None:
            self.close(connection, why)
        elif connection.state != CLOSED:
            log.warning("client refused address=%s reason=%s", connection.address, why)
            connection.close()

    def lost(self, connection: Connection) -> None:
        """The network connection is gone."""
        self._connections.discard(connection)
        self._incomplete -= connection.decoder.buffered + connection.early_bytes
        if connection.state != CLOSED:
            self.close(connection, "connection lost")

    def sweep(self, now: float) -> list[Connection]:
        """Close who did not connect in time or fell silent [MQTT-3.1.2-24]; call it every second or so.

        What comes back was closed a while ago and does not read its last bytes: cut it off.
        """
        lingering = []
        for connection in list(self._connections):
            if connection.state == CLOSED:
                connection.deadline = min(connection.deadline, now + self._limits.linger)
                if now >= connection.deadline:
                    lingering.append(connection)
            elif not self.reading or connection.held:
                connection.last_seen = now
            elif connection.state == NEW:
                if now >= connection.deadline:
                    self.close(connection, "no CONNECT in time")
            elif connection.keepalive and now - connection.last_seen > 1.5 * connection.keepalive:
                self.close(connection, f"silent for more than 1.5 times its keepalive of {connection.keepalive} s")
        return lingering

    def touched(self) -> list[Connection]:
        """The connections that the shell must look at. Hands the journal's changes to the store first."""
        self.journal.flush()
        touched, self._touched = self._touched, []
        self._subscriptions.turn()
        return touched

    def stop(self) -> None:
        """The broker ends: connections that are lost from now on are not the clients' fault, so their wills stay unpublished."""
        for connection in self._connections:
            connection.will = None

    # Packets.

    def _handle(self, connection: Connection, packet: Packet) -> None:
        if connection.state == READY:
            if type(packet) is Publish:
                self._publish(connection, packet)
            else:
                self._control(connection, packet)
        elif type(packet) is Connect:
            self.admission.connect(connection, packet)
        else:
            raise UnexpectedPacket("not a CONNECT")

    def _control(self, connection: Connection, packet: Packet) -> None:
        session = connection.session
        assert session is not None
        match packet:
            case Ack():
                if not session.acknowledged(packet):
                    raise UnexpectedPacket(f"{NAMES[packet.kind]} has no place here")
                if packet.kind == PUBREL:
                    answer = encode_ack(PUBCOMP, packet.packet_id)
                    self.journal.answer(session.outbox.durable, partial(connection.answer, answer))
            case Bare(kind=kind) if kind == PINGREQ:
                connection.send(encode_bare(PINGRESP))
            case Subscribe():
                self._subscriptions.subscribe(connection, session, packet)
            case Unsubscribe():
                self._subscriptions.unsubscribe(connection, session, packet)
            case Bare(kind=kind) if kind == DISCONNECT:
                connection.will = None
                self.close(connection, "DISCONNECT")
            case Bare(kind=kind):
                raise UnexpectedPacket(f"{NAMES[kind]} has no place here")
            case _:
                raise UnexpectedPacket(f"{type(packet).__name__.upper()} has no place here")

    def _publish(self, connection: Connection, packet: Publish) -> None:
        topic = packet.topic
        user = connection.user
        if user is not None and not user.may_publish(topic):
            if topic != connection.forbidden and connection.last_seen >= connection.forbidden_at + 1:
                connection.forbidden, connection.forbidden_at = topic, connection.last_seen
                log.warning("publish forbidden, dropped client=%r user=%s topic=%r", connection.name, user.name, topic)
            if packet.qos:
                connection.acknowledge(packet)
            return
        if packet.qos == 2:
            session = connection.session
            assert session is not None
            if packet.packet_id in session.inbox:
                if session.inbox.repeat(packet.packet_id, connection):
                    connection.acknowledge(packet)
                return
            session.inbox.check_room()
        self._accept(connection, topic, packet.payload, packet.size, packet.qos, packet.retain, packet.packet_id)

    def _accept(
        self,
        connection: Connection,
        topic: str,
        payload: bytes | None,
        size: int,
        qos: int,
        retain: bool,
        packet_id: int,
    ) -> None:
        """Route a client's message, or its will (then `packet_id` is 0), and acknowledge it when that is due."""
        router = self.router
        route = router.route(topic)
        waits = HANDLER if route.wanted else 0
        if payload is None:
            if not waits:
                log.warning("payload too long, dropped client=%r topic=%r bytes=%d", connection.name, topic, size)
        elif (retain or route.targets) and router.deliver(route, topic, payload, qos, retain) and packet_id:
            waits |= STORE
        if not waits and (not packet_id or (qos == 1 and connection.acknowledge_now(packet_id))):
            return
        user = connection.user.name if connection.user is not None else None
        inbound = Inbound(connection, connection.client_id, user, topic, payload, size, qos, retain, packet_id, waits)
        if packet_id:
            if qos == 2 and connection.session is not None:
                connection.session.inbox.add(inbound)
            connection.expect(inbound)
            if inbound.waits & STORE:
                self.journal.after(inbound.stored)
                if qos == 2:
                    self.journal.flush()  # together with what the handler writes
        if waits & HANDLER and self._handler is not None:
            self._handler(inbound)

    # Ending.

    def turn_away(self, connection: Connection, connack: bytes, why: str) -> None:
        """Send this CONNACK, and close."""
        log.warning("client refused address=%s code=%d reason=%s", connection.address, connack[3], why)
        connection.send(connack)
        connection.close()

    def _fail(self, connection: Connection, error: PacketError) -> None:
        """The client broke the protocol: close, as the specification asks [MQTT-4.8.0-1]."""
        log.warning("protocol error, closing client=%r error=%s: %s", connection.name, type(error).__name__, error)
        self.close(connection, "protocol error")

    def close(self, connection: Connection, why: str) -> None:
        """End a connection, whatever its state; without DISCONNECT its will is published [MQTT-3.1.2-8]."""
        session = connection.session
        log.info("client disconnected client=%r reason=%s", connection.name, why)
        connection.close()
        if session is None:
            return
        connection.session = None
        session.connection = None
        session.outbox.detach()
        if not session.outbox.durable:
            self.clients.forget(session)
        will, connection.will = connection.will, None
        if will is None:
            return
        if connection.user is not None and not connection.user.may_publish(will.topic):
            log.warning("will forbidden, dropped client=%r topic=%r", connection.name, will.topic)
            return
        self._accept(connection, will.topic, will.payload, len(will.payload), will.qos, will.retain, 0)

    def _touch(self, connection: Connection) -> None:
        if not self._touched:
            self._wake_shell()
        self._touched.append(connection)
