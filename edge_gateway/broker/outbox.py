"""The QoS 1 messages on their way to one client: what waits, what is sent and not acknowledged, and what is sent again.

A message is sent while the window has room and the client reads; else it waits, and when too much waits the oldest is dropped.
After a reconnect everything unacknowledged is sent again, first and in order, marked as a duplicate [MQTT-4.4.0-1]. A durable
outbox, one of a persistent session, keeps each message in the journal from `put` to PUBACK. Retained messages for a new
subscription are fetched one by one as there is room: thousands of them need no more memory than their topics.
"""

import logging
from collections import OrderedDict, deque
from typing import Protocol

from edge_gateway.broker.journal import Journal
from edge_gateway.broker.limits import Limits
from edge_gateway.broker.packets import encode_publish
from edge_gateway.broker.retained import Retained

log = logging.getLogger(__name__)


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
    __slots__ = ("packet_id", "payload", "retain", "sequence", "topic")

    def __init__(self, sequence: int, topic: str, payload: bytes, retain: bool) -> None:
        self.sequence = sequence
        self.topic = topic
        self.payload = payload
        self.retain = retain
        self.packet_id = 0  # not 0: it was sent before


class Outbox:
    """One session's outgoing messages. `line` is its connection while there is one."""

    __slots__ = (
        *(
            "_backlog",
            "_bytes",
            "_dropped",
            "_journal",
            "_last_id",
            "_limits",
            "_queue",
            "_retained",
            "_sent",
            "_sequence",
        ),
        *("client_id", "durable", "line"),
    )

    def __init__(self, client_id: str, durable: bool, journal: Journal, retained: Retained, limits: Limits) -> None:
        self.client_id = client_id
        self.durable = durable
        self.line: Line | None = None
        self._journal = journal
        self._retained = retained
        self._limits = limits
        self._queue: deque[_Message] = deque()
        self._sent: dict[int, _Message] = {}
        self._backlog: OrderedDict[str, int] = OrderedDict()  # retained topics not yet sent -> QoS granted
        self._bytes = 0  # of payload in queue and window
        self._sequence = 0
        self._last_id = 0
        self._dropped = 0

    def __len__(self) -> int:
        """How many messages wait or are unacknowledged."""
        return len(self._queue) + len(self._sent)

    @property
    def waiting(self) -> bool:
        """Whether there is something to send as soon as there is room."""
        return bool(self._queue or self._backlog)

    def put(self, topic: str, payload: bytes) -> bool:
        """Send a message, or let it wait; whether it must become durable before its sender is told."""
        message = self._keep(topic, payload, False)
        line = self.line
        if line is None or self._queue or self._backlog or len(self._sent) >= self._limits.window or line.full:
            self._queue.append(message)
            if len(self._queue) > self._limits.queue or self._bytes > self._limits.queue_bytes:
                self._drop_oldest()
        else:
            self._send(line, message)
        return self.durable

    def put_retained(self, topics: list[str], qos: int) -> None:
        """Send the retained messages of these topics, as they are by then, when there is room."""
        for topic in topics:
            self._backlog[topic] = qos
        self.pump()

    def acknowledge(self, packet_id: int) -> None:
        """PUBACK came. One for a message that is not in the window is ignored."""
        message = self._sent.pop(packet_id, None)
        if message is None:
            return
        self._forget(message)
        if self.waiting:
            self.pump()

    def attach(self, line: Line) -> None:
        """The client is here: send what waits."""
        self.line = line
        self.pump()

    def detach(self) -> None:
        """The client is gone: what it did not acknowledge waits again, before all else."""
        self.line = None
        self._queue.extendleft(reversed(self._sent.values()))
        self._sent.clear()

    def pump(self) -> None:
        """Send what waits as far as the window and the line have room."""
        line = self.line
        if line is None:
            return
        while not line.full:
            again = bool(self._queue) and self._queue[0].packet_id != 0
            if self._backlog and not again:
                if not self._send_retained(line):
                    break
            elif self._queue and len(self._sent) < self._limits.window:
                self._send(line, self._queue.popleft())
            else:
                break
        if self._dropped and not self._queue:
            log.info("queue is empty again client=%r dropped=%d", self.client_id, self._dropped)
            self._dropped = 0

    def restore(self, sequence: int, topic: str, payload: bytes, retain: bool) -> None:
        """Put back a message that the journal kept over a restart."""
        self._queue.append(_Message(sequence, topic, payload, retain))
        self._bytes += len(payload)
        self._sequence = max(self._sequence, sequence + 1)

    def discard(self) -> None:
        """Forget everything."""
        for message in (*self._sent.values(), *self._queue):
            self._forget(message)
        self._sent.clear()
        self._queue.clear()
        self._backlog.clear()

    def _keep(self, topic: str, payload: bytes, retain: bool) -> _Message:
        message = _Message(self._sequence, topic, payload, retain)
        self._sequence += 1
        self._bytes += len(payload)
        if self.durable:
            self._journal.put_queued(self.client_id, message.sequence, topic, payload, retain)
        return message

    def _forget(self, message: _Message) -> None:
        self._bytes -= len(message.payload)
        if self.durable:
            self._journal.drop_queued(self.client_id, message.sequence)

    def _drop_oldest(self) -> None:
        if not self._dropped:
            log.warning("queue is full, dropping the oldest client=%r messages=%d", self.client_id, len(self._queue))
        while self._queue and (len(self._queue) > self._limits.queue or self._bytes > self._limits.queue_bytes):
            self._dropped += 1
            self._forget(self._queue.popleft())

    def _send(self, line: Line, message: _Message) -> None:
        packet_id = message.packet_id
        again = packet_id != 0
        if not again:
            packet_id = message.packet_id = self._next_id()
        self._sent[packet_id] = message
        line.send(encode_publish(message.topic, message.payload, 1, message.retain, again, packet_id))

    def _send_retained(self, line: Line) -> bool:
        """Send the next retained message; False when the window has no room for it."""
        topic = next(iter(self._backlog))
        found = self._retained.get(topic)
        if found is not None:
            payload, qos = found
            if not min(qos, self._backlog[topic]):
                line.send(encode_publish(topic, payload, retain=True))
            elif len(self._sent) < self._limits.window:
                self._send(line, self._keep(topic, payload, True))
            else:
                return False
        del self._backlog[topic]
        return True

    def _next_id(self) -> int:
        packet_id = self._last_id
        while True:
            packet_id = packet_id % 65_535 + 1
            if packet_id not in self._sent:
                self._last_id = packet_id
                return packet_id
