"""The messages on their way from one client: what the handler is given of each, and which of QoS 2 have come already.

QoS 2 goes by method B of the specification, section 4.3.3: a message is passed on as it comes, and its packet id is kept until
PUBREL, so that it is known when it comes again. In a persistent session the packet id is durable, together with what passing the
message on has written, before PUBREC; and durably forgotten before PUBCOMP, for its next use is another message.
"""

from typing import Protocol

from edge_gateway.broker.errors import UnexpectedPacket
from edge_gateway.broker.journal import Journal

# What an Inbound waits for before its PUBACK or PUBREC, as bits.
HANDLER, STORE = 1, 2


class Answers(Protocol):
    """What an Inbound needs of its connection."""

    def expect(self, inbound: "Inbound") -> None:
        """Acknowledge `inbound` once nothing waits for it and those before it are acknowledged."""
        ...

    def release(self) -> None:
        """Acknowledge all that nothing waits for, in order."""
        ...


class Inbound:
    """One PUBLISH from a client, for the handler inside the gateway.

    `payload` is None when it was too long to be kept; `size` is its length in bytes all the same. `user` is None for an anonymous
    client. The handler calls `ack` once it has done what the sender may rely on. It gets a message of QoS 2 once, however often
    that is sent and whenever the power fails, as far as it writes to the store before it returns.
    """

    __slots__ = (
        *("_answers", "packet_id", "waits"),
        *("client_id", "payload", "qos", "retain", "size", "topic", "user"),
    )

    def __init__(
        self,
        answers: Answers,
        client_id: str,
        user: str | None,
        topic: str,
        payload: bytes | None,
        size: int,
        qos: int,
        retain: bool,
        packet_id: int,
        waits: int,
    ) -> None:
        self.client_id = client_id
        self.user = user
        self.topic = topic
        self.payload = payload
        self.size = size
        self.qos = qos
        self.retain = retain
        self._answers = answers
        self.packet_id = packet_id
        self.waits = waits

    def ack(self) -> None:
        """Let the PUBACK or PUBREC go out, in the order of the PUBLISHes; nothing for QoS 0 or when the client is gone."""
        self._done(HANDLER)

    def stored(self) -> None:
        """The broker's own part is durable."""
        self._done(STORE)

    def came_again(self, answers: Answers) -> None:
        """Its sender sent it once more, maybe on another connection, before it was acknowledged."""
        if self._answers is not answers:
            self._answers = answers
            answers.expect(self)

    def _done(self, part: int) -> None:
        if self.waits & part:
            self.waits &= ~part
            if not self.waits and self.packet_id:
                if self.qos == 2:
                    self.payload = None  # an inbox may know it for long
                self._answers.release()


class Inbox:
    """The packet ids of QoS 2 that one client has not released."""

    __slots__ = ("_client_id", "_durable", "_journal", "_limit", "_open")

    def __init__(self, client_id: str, durable: bool, journal: Journal, limit: int) -> None:
        self._client_id = client_id
        self._durable = durable
        self._journal = journal
        self._limit = limit
        self._open: dict[int, Inbound | None] = {}  # None once it is acknowledged

    def __contains__(self, packet_id: int) -> bool:
        """Whether a PUBLISH of QoS 2 with this packet id is a duplicate."""
        return packet_id in self._open

    def check_room(self) -> None:
        """Before a new message is passed on to anybody. Raises UnexpectedPacket when its sender releases none."""
        if len(self._open) >= self._limit:
            raise UnexpectedPacket(f"PUBLISH of QoS 2 while {len(self._open)} wait for their PUBREL")

    def add(self, inbound: Inbound) -> None:
        """A message of QoS 2 came for the first time."""
        self._open[inbound.packet_id] = inbound
        if self._durable:
            self._journal.put_received(self._client_id, inbound.packet_id)
            inbound.waits |= STORE

    def repeat(self, packet_id: int, answers: Answers) -> bool:
        """It came again: let it be acknowledged on this connection. True if it was already, so that the caller may do it now."""
        inbound = self._open[packet_id]
        if inbound is not None and inbound.waits:
            inbound.came_again(answers)
            return False
        self._open[packet_id] = None
        return True

    def accepted(self, inbound: Inbound) -> None:
        """It is acknowledged: only its packet id is of interest now."""
        if self._open.get(inbound.packet_id) is inbound:
            self._open[inbound.packet_id] = None

    def release(self, packet_id: int) -> None:
        """PUBREL came: the packet id is free. Nothing happens when it was free before."""
        if packet_id in self._open:
            del self._open[packet_id]
            if self._durable:
                self._journal.drop_received(self._client_id, packet_id)

    def restore(self, packet_id: int) -> None:
        """Put back a packet id that the journal kept over a restart."""
        self._open[packet_id] = None

    def discard(self) -> None:
        """Forget everything."""
        for packet_id in list(self._open):
            self.release(packet_id)
