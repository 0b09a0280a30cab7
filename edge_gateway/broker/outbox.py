"""The QoS 1 and 2 messages on their way to one client: what waits, what is sent and not acknowledged, and what is sent again.

    QoS 1   waits ─> in flight: PUBLISH ──PUBACK──> forgotten
    QoS 2   waits ─> in flight: PUBLISH ──PUBREC──> released: PUBREL ──PUBCOMP──> forgotten

A message is taken into flight while the window has room and the client reads; else it waits, and when too much waits the oldest
is dropped; what is in flight never is. After a reconnect everything unacknowledged is sent again, first and in order: PUBRELs as
their PUBRECs came, PUBLISHes as they were sent, marked as duplicates [MQTT-4.4.0-1, 4.6.0-1].

A durable outbox, one of a persistent session, keeps each message in the journal from `put` to PUBACK or PUBCOMP. Its packet id
follows from its sequence, so it is the same after a restart. A PUBLISH of QoS 2 and a PUBREL leave only once they are durable:
else a restart would make a duplicate of what the client has released, or give its packet id to another message. Messages behind
such a PUBLISH wait with it, which keeps the order.

Retained messages for a new subscription are fetched one by one as there is room: thousands need no more memory than their topics,
which counts with what waits.
"""

from collections import OrderedDict, deque
from functools import partial
from typing import Protocol

from edge_gateway.broker.journal import Journal, Queued
from edge_gateway.broker.limits import Limits
from edge_gateway.broker.packets import PUBREL, encode_ack, encode_publish
from edge_gateway.broker.retained import Retained
from edge_gateway.broker.share import Share, Total
from edge_gateway.broker.users import User

_IDS = 65_535


# What a message takes beside its payload, about; and a retained one that is still to be fetched.
_MESSAGE_BYTES, _TOPIC_BYTES = 300, 100


class Line(Protocol):
    """What an outbox needs of a network connection."""

    @property
    def full(self) -> bool:
        """Whether the client reads too slowly to be sent more."""
        ...

    def send(self, data: bytes) -> None:
        """Send one packet."""
        ...

    def drop(self) -> None:
        """Count a QoS 0 message that was not sent because the line is full."""
        ...


class _Message:
    __slots__ = ("packet_id", "payload", "qos", "released", "retain", "sent", "sequence", "stored", "topic")

    def __init__(self, sequence: int, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        self.sequence = sequence
        self.packet_id = sequence % _IDS + 1
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.stored = True  # nothing must become durable before its next packet leaves
        self.sent = False  # its PUBLISH left, or is on its way since before a restart
        self.released = False  # its PUBREC came


class Outbox:
    """One session's outgoing messages. `line` is its connection while there is one."""

    __slots__ = (
        *("_backlog", "_due", "_flying", "_journal", "_limits", "_marked", "_queue", "_released"),
        *("_releases", "_retained", "_sequence", "_share"),
        *("client_id", "durable", "line", "reader"),
    )

    def __init__(
        self,
        client_id: str,
        durable: bool,
        journal: Journal,
        retained: Retained,
        limits: Limits,
        total: Total | None = None,
    ) -> None:
        self.client_id = client_id
        self.durable = durable
        self.line: Line | None = None
        self.reader: User | None = None  # whom to ask for each topic whether it may be sent
        self._journal = journal
        self._retained = retained
        self._limits = limits
        # Not yet in flight; like `_backlog` made when it is first needed, for an empty one is as large as all the rest.
        self._queue: deque[_Message] | None = None
        self._flying: dict[int, _Message] = {}  # by packet id, in the order of taking off
        self._due: list[_Message] = []  # of those in flight, whose PUBLISH is still to be sent on this line
        self._released: dict[int, _Message] = {}  # of those in flight, in the order of their PUBRECs
        self._backlog: OrderedDict[str, int] | None = None  # retained topics not yet sent -> QoS granted
        self._share = Share(client_id, limits, total or Total())  # of the queue, the backlog and in flight
        self._sequence = 0
        self._marked = -1  # what came from the queue was sent up to this sequence, as the journal knows
        self._releases = 0

    def __len__(self) -> int:
        """How many messages wait or are unacknowledged."""
        return len(self._queue or ()) + len(self._flying)

    @property
    def waiting(self) -> bool:
        """Whether there is something to send as soon as there is room."""
        return bool(self._queue or self._backlog or self._due)

    def put(self, topic: str, payload: bytes, qos: int) -> bool:
        """Send a message of QoS 1 or 2, or let it wait; whether it must become durable before its sender is told."""
        line = self.line
        limits = self._limits
        crowded = self._share.crowded
        if line is None or self._queue or self._backlog or len(self._flying) >= limits.window or line.full or crowded:
            queue = self._wait(self._keep(topic, payload, qos, False, False))
            if len(queue) > limits.queue or self._share.bytes > limits.queue_bytes or crowded:
                self._drop_oldest(queue)
                if crowded:
                    self.pump()
        else:
            self._take_off(line, self._keep(topic, payload, qos, False, True))
        return self.durable

    def put_retained(self, topics: list[str], qos: int) -> None:
        """Send the retained messages of these topics, as they are by then, when there is room."""
        if self._backlog is None:
            self._backlog = OrderedDict()
        backlog = self._backlog
        before = len(backlog)
        for topic in topics:
            backlog[topic] = qos
        self._share.add((len(backlog) - before) * _TOPIC_BYTES)
        self.pump()
        while backlog and self._share.too_much(0):
            self._share.lose(len(backlog))
            backlog.popitem(last=False)
            self._share.add(-_TOPIC_BYTES)

    def acknowledge(self, packet_id: int) -> None:
        """PUBACK came. One for a message that is not in flight at QoS 1 is ignored."""
        message = self._flying.get(packet_id)
        if message is not None and message.qos == 1:
            self._forget(message)

    def received(self, packet_id: int) -> None:
        """PUBREC came: the message is the client's, PUBREL follows. One that is not known is released too [MQTT-4.3.3-1]."""
        message = self._flying.get(packet_id)
        if message is None:
            if self.line is not None:
                self.line.send(encode_ack(PUBREL, packet_id))
        elif message.released:
            self._send_release(message)
        elif message.qos == 2:
            self._release(message)

    def completed(self, packet_id: int) -> None:
        """PUBCOMP came. One for a message that was not released is ignored."""
        message = self._released.pop(packet_id, None)
        if message is not None:
            self._forget(message)

    def attach(self, line: Line) -> None:
        """The client is here: send again what is in flight, then what waits."""
        self.line = line
        for message in self._released.values():
            self._send_release(message)
        self._due.extend(message for message in self._flying.values() if not message.released)
        self.pump()

    def detach(self) -> None:
        """The client is gone."""
        self.line = None
        self._due.clear()

    def pump(self) -> None:
        """Send what waits as far as the window and the line have room."""
        line = self.line
        if line is None:
            return
        mark = self._marked
        while not line.full:
            if self._due:
                if not self._due[0].stored:
                    break
                self._send(line, self._due.pop(0))
            elif self._backlog:
                if not self._send_retained(line, self._backlog):
                    break
            elif self._queue and len(self._flying) < self._limits.window:
                message = self._queue.popleft()
                mark = message.sequence
                self._take_off(line, message)
            else:
                break
        if mark != self._marked:
            self._marked = mark
            if self.durable:
                self._journal.put_sent(self.client_id, mark)
        if not self._queue and not self._backlog:
            self._share.empty()

    def restore(self, rows: list[Queued], sent_up_to: int) -> None:
        """Put back what the journal kept over a restart, in the order of sequences."""
        self._marked = sent_up_to
        self._sequence = sent_up_to + 1
        released: list[tuple[int, _Message]] = []
        for row in rows:
            message = _Message(row.sequence, row.topic, row.payload, row.qos, row.retain)
            message.sent = row.sent or row.sequence <= sent_up_to
            if row.release is not None:
                message.released = True
                released.append((row.release, message))
            if message.sent:
                self._flying[message.packet_id] = message
            else:
                self._wait(message)
            self._share.add(len(row.payload) + _MESSAGE_BYTES)
            self._sequence = max(self._sequence, row.sequence + 1)
        for number, message in sorted(released, key=lambda pair: pair[0]):
            self._released[message.packet_id] = message
            self._releases = number + 1

    def discard(self) -> None:
        """Forget everything."""
        if self.durable:
            for message in (*self._flying.values(), *(self._queue or ())):
                self._journal.drop_queued(self.client_id, message.sequence)
            if self._marked >= 0:
                self._journal.put_sent(self.client_id, None)
        for container in (self._flying, self._released, self._due):
            container.clear()
        self._queue = self._backlog = None
        self._share.add(-self._share.bytes)

    def _keep(self, topic: str, payload: bytes, qos: int, retain: bool, sent: bool) -> _Message:
        """A new message; `sent` when it takes off at once."""
        sequence = self._sequence
        while sequence % _IDS + 1 in self._flying:
            sequence += 1
        self._sequence = sequence + 1
        message = _Message(sequence, topic, payload, qos, retain)
        self._share.add(len(payload) + _MESSAGE_BYTES)
        if self.durable:
            self._journal.put_queued(self.client_id, sequence, topic, payload, qos, retain, sent)
            if qos == 2:
                self._store(message)
        return message

    def _store(self, message: _Message) -> None:
        """Let its next packet wait until all that was put is durable."""
        message.stored = False
        self._journal.after(partial(self._stored, message))

    def _stored(self, message: _Message) -> None:
        message.stored = True
        if message.released:
            self._send_release(message)
        elif self._due and self._due[0] is message:
            self.pump()

    def _take_off(self, line: Line, message: _Message) -> None:
        self._flying[message.packet_id] = message
        if message.stored and not self._due:
            self._send(line, message)
        else:
            self._due.append(message)

    def _send(self, line: Line, message: _Message) -> None:
        again = message.sent
        message.sent = True
        line.send(encode_publish(message.topic, message.payload, message.qos, message.retain, again, message.packet_id))

    def _release(self, message: _Message) -> None:
        if message in self._due:
            self._due.remove(message)  # it had the message from an earlier connection
        self._share.add(-len(message.payload))
        message.topic, message.payload = "", b""
        message.released = True
        self._released[message.packet_id] = message
        if self.durable:
            self._journal.put_released(self.client_id, message.sequence, self._releases)
            self._releases += 1
            self._store(message)
        else:
            self._send_release(message)

    def _send_release(self, message: _Message) -> None:
        if self.line is not None and message.stored and self._released.get(message.packet_id) is message:
            self.line.send(encode_ack(PUBREL, message.packet_id))

    def _forget(self, message: _Message) -> None:
        """It is the client's, and there is room for another."""
        del self._flying[message.packet_id]
        self._share.add(-len(message.payload) - _MESSAGE_BYTES)
        if self.durable:
            self._journal.drop_queued(self.client_id, message.sequence)
        if self._queue or self._backlog or self._due:
            self.pump()

    def _wait(self, message: _Message) -> deque[_Message]:
        queue = self._queue
        if queue is None:
            queue = self._queue = deque()
        queue.append(message)
        return queue

    def _drop_oldest(self, queue: deque[_Message]) -> None:
        while queue and self._share.too_much(len(queue)):
            self._share.lose(len(queue))
            message = queue.popleft()
            self._share.add(-len(message.payload) - _MESSAGE_BYTES)
            if self.durable:
                self._journal.drop_queued(self.client_id, message.sequence)

    def _send_retained(self, line: Line, backlog: OrderedDict[str, int]) -> bool:
        """Send the next retained message; False when the window has no room for it."""
        topic = next(iter(backlog))
        found = self._retained.get(topic)
        if found is not None:
            payload, qos = found
            qos = min(qos, backlog[topic])
            if not qos:
                line.send(encode_publish(topic, payload, retain=True))
            elif len(self._flying) < self._limits.window:
                self._take_off(line, self._keep(topic, payload, qos, True, True))
            else:
                return False
        del backlog[topic]
        self._share.add(-_TOPIC_BYTES)
        return True
