"""A session of the cloud-edge link, without I/O: messages in and out, acknowledged both ways.

State is synchronised, not messages. `offer` names an object that changed and a way to build its newest message; the
message is built when the window has room, so an object waits once however often it changes, and never twice in flight.
A message offered stays in flight until the peer answers it, is sent again every `resend_after_s`, and given up on this
connection after `resend_limit` repeats. `send` is for what needs no answer, `send_last` for what besides keeps nothing else
waiting. What it sends are parts of streams; the peer tells how much of them has come, and no more than `STREAMS_WINDOW` is
on the way at a time, so that on a slow line, too, other messages wait for no more than that. That holds for peers that tell:
each does from the first part of a stream on, before it sends one or when one comes. Older ones never do, and are not waited for.

The caller feeds frames to `receive`, calls `tick` when `next_tick` says so, acts on the events of both, and writes
`frames()` whenever it has called anything else, and again while there is `more`. Towards a peer that does not read, at most
`OUTGOING_LIMIT` messages wait to be written; the oldest make room, which costs nothing but time: what is unacknowledged on either
side is sent again. A link lives as long as its connection: what the peer did not acknowledge is offered again on the next one. A
message whose frame is longer than a peer takes is never sent, for the peer would close the connection, and the next one too: it
is Refused at once.
Times are seconds of any monotonic clock.

Events: Received, Delivered, Refused, Undelivered, PeerSilent.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from edgewire import message as wire
from edgewire.message import Message, MessageError

OUTGOING_LIMIT = 4096
STREAMS_WINDOW, RECEIPT_BYTES = 64 * 1024, 16 * 1024
"""Bytes of streams' frames on their way at most, and after how many the other side tells that they have come."""

Make = Callable[[], Message | None]


@dataclass(frozen=True, slots=True)
class Received:
    """The peer sent a message that is no answer: act on it, then `acknowledge` or `refuse` it if it asks for that."""

    message: Message


@dataclass(frozen=True, slots=True)
class Delivered:
    """The peer has the offered object safe."""

    key: str
    message: Message


@dataclass(frozen=True, slots=True)
class Refused:
    """The peer will not take the offered object, or none can, with code 413; repeating it is useless."""

    key: str
    message: Message
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Undelivered:
    """The peer did not answer an offered object in all its repeats; it may be offered again on the next connection."""

    key: str
    message: Message


@dataclass(frozen=True, slots=True)
class PeerSilent:
    """Nothing came from the peer for too long: close the connection."""

    silent_s: float


Event = Received | Delivered | Refused | Undelivered | PeerSilent


@dataclass(slots=True)
class _Flight:
    key: str
    message: Message
    sent_at: float
    repeats: int = 0


class Link:
    """One end of one connection."""

    def __init__(
        self,
        *,
        source: str,
        now: float,
        window: int = 64,
        resend_after_s: float = 5.0,
        resend_limit: int = 5,
        keepalive_s: float | None = None,
        silence_s: float | None = None,
    ) -> None:
        """`source` signs our refusals; `keepalive_s` makes this end send keepalives (the edge, every 15 s), `silence_s`
        makes it give up a silent peer (the cloud, after 30 s); `window` bounds the messages in flight."""
        self._source = source
        self._window = window
        self._resend_after_s = resend_after_s
        self._resend_limit = resend_limit
        self._keepalive_s = keepalive_s
        self._silence_s = silence_s
        self._heard_at = now
        self._keepalive_at = now
        self._waiting: dict[str, Make] = {}
        self._flights: dict[str, _Flight] = {}
        self._flying: set[str] = set()
        self._outgoing: deque[Message] = deque(maxlen=OUTGOING_LIMIT)
        self._last: deque[Message] = deque(maxlen=OUTGOING_LIMIT)
        self._too_long: list[Event] = []
        # Bytes of streams' frames, since the link began: sent, and of these arrived; come, and of these told.
        self._sent = self._came = 0
        self._arrived: int | None = None
        self._told: int | None = None

    def offer(self, key: str, make: Make) -> None:
        """An object has something new for the peer. `make` builds its newest message when it is its turn, or None."""
        self._waiting[key] = make

    def withdraw(self, key: str) -> None:
        """What waits for this key is out of date; what is in flight stays so."""
        self._waiting.pop(key, None)

    def send(self, message: Message) -> None:
        """Send a message that needs no answer, and may be lost."""
        self._outgoing.append(message)

    def send_last(self, message: Message) -> None:
        """Likewise, when all else is sent, and in order: whatever comes meanwhile waits for one such message at most."""
        self._last.append(message)

    def acknowledge(self, message: Message) -> None:
        """Tell the peer that its message is safe here."""
        self._outgoing.append(wire.acknowledgement(message))

    def refuse(self, message: Message, code: int, reason: str) -> None:
        """Tell the peer that its message will never be taken, and why."""
        self._outgoing.append(wire.refusal(message.id, message.resource, code, reason, source=self._source))

    @property
    def more(self) -> bool:
        """Whether there is more to be written once what `frames` gave is."""
        return bool(self._last) and (self._arrived is None or self._sent - self._arrived < STREAMS_WINDOW)

    @property
    def unfinished(self) -> int:
        """Objects that wait or are in flight."""
        return len(self._waiting.keys() | self._flying)

    def receive(self, frame: bytes | str, now: float) -> list[Event]:
        """Take a frame in. A frame that is none is refused to its sender and raises MessageError for the log."""
        self._heard_at = now
        try:
            message = wire.decode(frame)
        except MessageError as error:
            self._outgoing.append(wire.refusal(error.message_id, "", 400, error.reason, source=self._source))
            raise
        if message.operation in (wire.RESPONSE, wire.ERROR):
            return self._answered(message)
        if message.operation == wire.KEEPALIVE:
            return []
        if message.operation == wire.RECEIPT:
            self._arrived = max(self._arrived or 0, min(self._sent, message.read(int)))
            return []
        if message.group == wire.GROUP_STREAM:
            self._came += len(frame)
        return [Received(message)]

    def tick(self, now: float) -> list[Event]:
        """What time alone brings about: repeats, keepalive, and giving up."""
        if self._silence_s is not None and now - self._heard_at >= self._silence_s:
            return [PeerSilent(now - self._heard_at)]
        if self._keepalive_s is not None and now >= self._keepalive_at:
            self._keepalive_at = now + self._keepalive_s
            self._outgoing.append(keepalive())
        events, self._too_long = self._too_long, []
        for flight in [f for f in self._flights.values() if now - f.sent_at >= self._resend_after_s]:
            if flight.repeats >= self._resend_limit:
                self._land(flight)
                events.append(Undelivered(flight.key, flight.message))
            else:
                flight.repeats += 1
                flight.sent_at = now
                self._outgoing.append(flight.message)
        return events

    def next_tick(self) -> float | None:
        """When `tick` has something to do, or None."""
        if self._too_long:
            return self._heard_at
        due = [flight.sent_at + self._resend_after_s for flight in self._flights.values()]
        if self._silence_s is not None:
            due.append(self._heard_at + self._silence_s)
        if self._keepalive_s is not None:
            due.append(self._keepalive_at)
        return min(due, default=None)

    def frames(self, now: float) -> list[bytes]:
        """What is to be written now, in order."""
        self._launch(now)
        frames = []
        for message in self._outgoing:
            frame = wire.encode(message)
            if len(frame) <= wire.MAX_FRAME:
                frames.append(frame)
            elif (flight := self._flights.get(message.id)) is not None:
                self._land(flight)
                why = f"frame of {len(frame)} bytes is longer than {wire.MAX_FRAME}"
                self._too_long.append(Refused(flight.key, message, 413, why))
        self._outgoing.clear()
        if self._is_receipt_due:
            self._told = self._came
            receipt = wire.build(wire.RECEIPT, "streams", self._came, source=self._source, group=wire.GROUP_STREAM)
            frames.append(wire.encode(receipt))
        if self.more and len(frame := wire.encode(message := self._last.popleft())) <= wire.MAX_FRAME:
            frames.append(frame)
            if message.group == wire.GROUP_STREAM:
                self._sent += len(frame)
        return frames

    @property
    def _is_receipt_due(self) -> bool:
        if self._told is None:
            return self._came > 0 or (bool(self._last) and self._last[0].group == wire.GROUP_STREAM)
        return self._came - self._told >= RECEIPT_BYTES

    def _launch(self, now: float) -> None:
        while len(self._flights) < self._window:
            key = next((key for key in self._waiting if key not in self._flying), None)
            if key is None:
                return
            message = self._waiting.pop(key)()
            if message is not None:
                self._flights[message.id] = _Flight(key, message, now)
                self._flying.add(key)
                self._outgoing.append(message)

    def _answered(self, answer: Message) -> list[Event]:
        flight = self._flights.get(answer.parent_id)
        if flight is None:
            return []
        self._land(flight)
        if answer.operation == wire.RESPONSE:
            return [Delivered(flight.key, flight.message)]
        code, reason = _refusal_of(answer)
        return [Refused(flight.key, flight.message, code, reason)]

    def _land(self, flight: _Flight) -> None:
        del self._flights[flight.message.id]
        self._flying.discard(flight.key)


def keepalive() -> Message:
    """The edge's sign of life, as KubeEdge's edge sends it on connecting and every 15 s."""
    return wire.build(wire.KEEPALIVE, "node", "ping", source="websocket")


def _refusal_of(answer: Message) -> tuple[int, str]:
    """KubeEdge's peers put the bare reason there, or anything."""
    try:
        refusal = answer.read(wire.Refusal)
    except MessageError:
        return 500, bytes(answer.content)[:200].decode(errors="replace").strip('"')
    return refusal.code, refusal.reason
