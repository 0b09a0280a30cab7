"""One network connection as the broker's core sees it: bytes that came in, packets to be acknowledged, bytes to go out."""

import logging
import math
from collections import deque
from collections.abc import Callable, Iterator

from edge_gateway.broker import packets
from edge_gateway.broker.decoder import Decoder
from edge_gateway.broker.inbox import Inbound, Inbox
from edge_gateway.broker.limits import Limits
from edge_gateway.broker.outbox import Outbox
from edge_gateway.broker.packets import CONNECT, PUBACK, PUBREC, Ack, Connect, Packet, Publish, Will, encode_ack
from edge_gateway.broker.users import User

log = logging.getLogger(__name__)

# The states of a connection: nothing came yet; its password is being checked; its CONNECT was accepted; it is to be closed.
NEW, CHECKING, READY, CLOSED = range(4)


class Session:
    """What the broker remembers of one client id."""

    __slots__ = ("client_id", "connection", "inbox", "outbox", "subscriptions", "user")

    def __init__(self, client_id: str, user: str | None, inbox: Inbox, outbox: Outbox) -> None:
        self.client_id = client_id
        self.user = user
        self.inbox = inbox
        self.outbox = outbox
        self.subscriptions: dict[str, int] = {}
        self.connection: Connection | None = None

    def acknowledged(self, packet: Ack) -> bool:
        """An acknowledgement came; False when no client may send one of its kind. PUBREL is to be answered by PUBCOMP."""
        match packet.kind:
            case packets.PUBACK:
                self.outbox.acknowledge(packet.packet_id)
            case packets.PUBREC:
                self.outbox.received(packet.packet_id)
            case packets.PUBREL:
                self.inbox.release(packet.packet_id)
            case packets.PUBCOMP:
                self.outbox.completed(packet.packet_id)
            case _:
                return False
        return True

    def hear_as(self, user: "User | None") -> None:
        """Let it be sent what this user may read."""
        self.outbox.reader = user if user is not None and user.reads_in_part else None


class Connection:
    """One client's connection. The shell feeds it through `Core`, and sends what `take` gives whenever it was touched."""

    __slots__ = (
        *("_acks", "_held", "_limits", "_out", "_out_bytes", "_touch", "_touched", "_unacknowledged_bytes"),
        *(
            "address",
            "blocked",
            "client_id",
            "deadline",
            "decoder",
            "dropped",
            "early",
            "early_bytes",
            "forbidden",
            "forbidden_at",
            "identity",
        ),
        *("keepalive", "last_seen", "session", "state", "user", "will"),
    )

    def __init__(
        self, address: str, now: float, limits: Limits, names: dict[bytes, str], touch: Callable[["Connection"], None]
    ) -> None:
        self.address = address
        self.state = NEW
        self.decoder = Decoder(limits.payload, names, only=CONNECT)
        self.client_id = ""
        self.user: User | None = None
        self.identity: str | None = None  # whom its certificate names; empty for nobody, None without a certificate
        self.session: Session | None = None
        self.early: list[Iterator[Packet]] = []  # what came while its password is being checked, undecoded
        self.early_bytes = 0
        self.will: Will | None = None
        self.keepalive = 0  # seconds; 0 for none
        self.last_seen = now
        self.deadline = now + limits.connect_timeout  # of its CONNECT, and again of its end once it is closed
        self.blocked = False  # the shell's write buffer is above its mark
        self.dropped = 0  # QoS 0 messages since the line was full
        self.forbidden: str | None = None  # the last topic that this client was not allowed, as it was logged, and when
        self.forbidden_at = -math.inf
        self._limits = limits
        self._touch = touch
        self._touched = False
        self._held = False
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._acks: deque[Inbound] = deque()
        self._unacknowledged_bytes = 0

    def begin(self, packet: Connect, user: User | None, session: Session) -> None:
        """Its CONNECT is accepted."""
        self.state = READY
        self.client_id = session.client_id
        self.user = user
        self.keepalive = packet.keepalive
        self.deadline = math.inf
        self.will = packet.will
        self.session = session
        session.connection = self
        self.touch()  # it may have been held
        log.info(
            "client connected client=%r user=%s address=%s clean=%s keepalive=%d",
            *(self.client_id, user.name if user is not None else "-", self.address, packet.clean, packet.keepalive),
        )

    @property
    def full(self) -> bool:
        """Whether the client reads too slowly to be sent more."""
        return self.blocked or self._out_bytes >= self._limits.send_buffer

    @property
    def held(self) -> bool:
        """Whether the shell shall not read from it now: too much of it is unacknowledged, or its password is being checked."""
        return self._held or self.state == CHECKING

    @property
    def name(self) -> str:
        """Its client id, or its address before it had one; for logs."""
        return self.client_id or self.address

    def send(self, data: bytes) -> None:
        """Put a packet on its way."""
        self.touch()
        self._out.append(data)
        self._out_bytes += len(data)

    def drop(self) -> None:
        """Count a QoS 0 message that was not sent because the client reads too slowly."""
        if not self.dropped:
            log.warning("client reads too slowly, dropping QoS 0 messages client=%r", self.name)
        self.dropped += 1

    def touch(self) -> None:
        """Let the shell look at it: there are bytes to send, or it shall be held, released or closed."""
        if not self._touched:
            self._touched = True
            self._touch(self)

    def take(self) -> bytes:
        """The bytes to send now; call `sent` when they are written."""
        self._touched = False
        out, self._out = self._out, []
        self._out_bytes = 0
        return out[0] if len(out) == 1 else b"".join(out)

    def sent(self) -> None:
        """There is room again, unless the shell set `blocked`: go on with what waits."""
        if self.blocked:
            return
        if self.dropped:
            log.info("client reads again client=%r dropped=%d", self.name, self.dropped)
            self.dropped = 0
        if self.session is not None and self.session.outbox.waiting:
            self.session.outbox.pump()

    def answer(self, data: bytes) -> None:
        """Send a packet, unless the client is gone meanwhile."""
        if self.state == READY:
            self.send(data)

    def acknowledge(self, packet: Publish) -> None:
        """Acknowledge, in its turn, a PUBLISH that waits for nothing."""
        self.expect(Inbound(self, self.client_id, None, packet.topic, None, 0, packet.qos, False, packet.packet_id, 0))

    def acknowledge_now(self, packet_id: int) -> bool:
        """Send PUBACK for a PUBLISH that waits for nothing, unless an earlier one waits: whether it was sent."""
        if self._acks:
            return False
        self.send(encode_ack(PUBACK, packet_id))
        return True

    def expect(self, inbound: Inbound) -> None:
        """Acknowledge `inbound` once nothing waits for it and those before it are acknowledged."""
        self._acks.append(inbound)
        self._unacknowledged_bytes += inbound.size
        if not self._held and self._unacknowledged_too_much(1):
            self._held = True
            self.touch()
        if not inbound.waits:
            self.release()

    def release(self) -> None:
        """Send the PUBACKs and PUBRECs that nothing waits for, in the order of the PUBLISHes [MQTT-4.6.0-2, 4.6.0-3]."""
        acks = self._acks
        while acks and not acks[0].waits:
            inbound = acks.popleft()
            self._unacknowledged_bytes -= inbound.size
            if inbound.qos == 2:
                if self.session is not None:
                    self.session.inbox.accepted(inbound)
                self.send(encode_ack(PUBREC, inbound.packet_id))
            else:
                self.send(encode_ack(PUBACK, inbound.packet_id))
        if self._held and not self._unacknowledged_too_much(2):
            self._held = False
            self.touch()

    @property
    def unacknowledged(self) -> int:
        """How many PUBLISHes wait for their PUBACK or PUBREC."""
        return len(self._acks)

    def close(self) -> None:
        """Take nothing more in; what is to be sent goes out still, but nobody is acknowledged any more."""
        self.state = CLOSED
        self._acks.clear()
        self.early.clear()
        self.touch()

    def _unacknowledged_too_much(self, margin: int) -> bool:
        limits = self._limits
        return (
            len(self._acks) * margin >= limits.unacknowledged
            or self._unacknowledged_bytes * margin >= limits.unacknowledged_bytes
        )
