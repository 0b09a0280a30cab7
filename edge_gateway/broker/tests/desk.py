"""A core without sockets for its tests: clients are plain objects, the clock is a number, a store can be told to wait."""

from collections.abc import Callable, Iterable

from edge_gateway.broker.admission import Verify
from edge_gateway.broker.connection import CLOSED, Connection
from edge_gateway.broker.decoder import Decoder
from edge_gateway.broker.limits import Limits
from edge_gateway.broker.packets import (
    DISCONNECT,
    PUBACK,
    Ack,
    Connack,
    Connect,
    Packet,
    Publish,
    Suback,
    Will,
    encode_ack,
    encode_bare,
    encode_connect,
    encode_publish,
    encode_subscribe,
)
from edge_gateway.broker.sessions import Core
from edge_gateway.broker.users import Users
from edge_gateway.store import Change, Store
from edge_gateway.store.memory import MemoryStore


class HeldStore(MemoryStore):
    """A memory store whose writes become durable when the test says so, like those of a slow disk."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[tuple[list[Change], Callable[[], None] | None]] = []
        self.written: list[Change] = []

    def write(self, changes: Iterable[Change], then: Callable[[], None] | None = None) -> None:
        self.held.append((list(changes), then))

    def commit(self) -> None:
        held, self.held = self.held, []
        for changes, then in held:
            self.written += changes
            super().write(changes, then)

    def commit_first(self) -> None:
        if self.held:
            changes, then = self.held.pop(0)
            self.written += changes
            super().write(changes, then)


class Desk:
    """A core and its clients."""

    def __init__(
        self,
        store: Store | None = None,
        users: Users | None = None,
        limits: Limits = Limits(),  # noqa: B008, it is frozen
        verify: Verify | None = None,
    ) -> None:
        self.now = 1000.0
        self.wakes = 0
        self.store = store or MemoryStore()
        self.core = Core(self.store, users, limits, self._wake, verify)
        self.core.load()
        self.clients: dict[Connection, Client] = {}
        self.settle()

    def _wake(self) -> None:
        self.wakes += 1

    def settle(self) -> None:
        """Do what the shell does when it is woken, until nothing is left to do."""
        if isinstance(self.store, HeldStore):
            self._flush()
            return
        while True:
            wakes = self.wakes
            if not self._flush() and self.wakes == wakes:
                return

    def _flush(self) -> bool:
        touched = self.core.touched()
        for connection in touched:
            self.clients[connection].flush()
        return bool(touched)

    def commit(self) -> None:
        """Let the disk finish what it was given."""
        self.settle()
        assert isinstance(self.store, HeldStore)
        while self.store.held:
            self.store.commit()
            self.settle()

    def wait(self, seconds: float) -> list["Client"]:
        """Let time pass in steps of a second; who was cut off."""
        cut = []
        for _ in range(round(seconds)):
            self.now += 1
            cut += [self.clients[connection] for connection in self.core.sweep(self.now)]
            self.settle()
        return cut

    def client(self) -> "Client":
        """A network connection that sent nothing yet."""
        connection = self.core.opened("127.0.0.1:1", self.now)
        assert connection is not None
        client = self.clients[connection] = Client(self, connection)
        return client

    def connected(
        self,
        client_id: str,
        *,
        clean: bool = True,
        keepalive: int = 0,
        will: Will | None = None,
        user: str | None = None,
    ) -> "Client":
        """A client whose CONNECT was accepted; its user's password is the user's name."""
        client = self.client()
        password = None if user is None else user.encode()
        client.send(encode_connect(Connect(client_id, clean, keepalive, user, password, will)))
        connack = client.next()
        assert isinstance(connack, Connack)
        assert connack.code == 0
        client.session_present = connack.session_present
        return client


class Client:
    """One client; what it was sent is decoded and waits for `take`."""

    def __init__(self, desk: Desk, connection: Connection) -> None:
        self.desk = desk
        self.connection = connection
        self.session_present = False
        self.reads = True
        self._decoder = Decoder()
        self._inbox: list[Packet] = []

    @property
    def closed(self) -> bool:
        return self.connection.state == CLOSED

    def flush(self) -> None:
        self._inbox += self._decoder.feed(self.connection.take())
        self.connection.sent()

    def send(self, *packets: bytes) -> None:
        self.desk.core.receive(self.connection, b"".join(packets), self.desk.now)
        self.desk.settle()

    def take(self) -> list[Packet]:
        """What came since the last time."""
        inbox, self._inbox = self._inbox, []
        return inbox

    def next(self) -> Packet:
        """The first packet that came since the last time; the rest stays."""
        return self._inbox.pop(0)

    def published(self) -> list[tuple[str, bytes | None]]:
        """Topic and payload of the PUBLISHes that came since the last time, all else left out."""
        return [(packet.topic, packet.payload) for packet in self.take() if isinstance(packet, Publish)]

    def acknowledged(self) -> list[int]:
        """The packet ids of the PUBACKs that came since the last time, all else left out."""
        return [packet.packet_id for packet in self.take() if isinstance(packet, Ack) and packet.kind == PUBACK]

    def subscribe(self, *filters: str, qos: int = 1) -> bytes:
        """Subscribe; the codes of the SUBACK."""
        self.send(encode_subscribe(1, [(name, qos) for name in filters]))
        if isinstance(self.desk.store, HeldStore):
            self.desk.commit()
        suback = next(packet for packet in self._inbox if isinstance(packet, Suback))
        self._inbox.remove(suback)
        return suback.codes

    def publish(
        self, topic: str, payload: bytes = b"x", *, qos: int = 1, retain: bool = False, packet_id: int = 1
    ) -> None:
        self.send(encode_publish(topic, payload, qos, retain, packet_id=packet_id))

    def puback(self, *packet_ids: int) -> None:
        self.send(*(encode_ack(PUBACK, packet_id) for packet_id in packet_ids))

    def disconnect(self) -> None:
        self.send(encode_bare(DISCONNECT))
        self.lose()

    def lose(self) -> None:
        """The network connection goes."""
        self.desk.core.lost(self.connection)
        self.desk.settle()
