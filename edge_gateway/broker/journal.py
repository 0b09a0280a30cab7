"""What the broker keeps in the store: retained messages, persistent sessions, and how far their QoS 1 and 2 messages are.

    table     key                              value
    retained  topic                            one byte QoS, then the payload
    session   client id                        JSON: user, subscriptions (filter -> QoS)
    queued    client id NUL sequence           to the client: one byte of flags, two bytes length of the topic, topic, payload;
                                               after PUBREC: the flags, the number of that PUBREC
    sent      client id                        to the client: the sequence up to which what had to wait was sent
    received  client id NUL packet id          from the client, QoS 2: nothing; kept until PUBREL

Changes gather while packets are handled and go to the store in one `write` when the shell calls `flush`, once a turn of the event
loop. A client id cannot contain NUL: MQTT forbids it in strings.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from edge_gateway.store import Change, Store
from edgewire.message import UNREADABLE

log = logging.getLogger(__name__)


# The flags of a queued message. RELEASED stands alone: its topic and payload are no longer needed.
_RETAIN, _QOS_2, _SENT, _RELEASED = 1, 2, 4, 8


@dataclass(slots=True)
class Queued:
    """A message to a client as the store keeps it.

    `sent` when it did not have to wait; `release` is the number of its PUBREC, None before that came.
    """

    sequence: int
    topic: str
    payload: bytes
    qos: int
    retain: bool
    sent: bool
    release: int | None


class SessionRow(msgspec.Struct):
    """A persistent session as the store keeps it."""

    user: str | None
    subscriptions: dict[str, int]


class Journal:
    """Gathers changes for the store, and tells when they are durable. `wake` is called when a `flush` becomes due."""

    def __init__(self, store: Store, wake: Callable[[], None]) -> None:
        self._store = store
        self._wake = wake
        self._changes: list[Change] = []
        self._callbacks: list[Callable[[], None]] = []

    def after(self, callback: Callable[[], None]) -> None:
        """Call `callback` once everything put so far is durable."""
        self._touch()
        self._callbacks.append(callback)

    def answer(self, durable: bool, callback: Callable[[], None]) -> None:
        """Call `callback` at once, or for what outlives its connection, which is `durable`, once everything put so far is."""
        if durable:
            self.after(callback)
        else:
            callback()

    def flush(self) -> None:
        """Hand what has gathered to the store."""
        if not self._changes and not self._callbacks:
            return
        changes, self._changes = self._changes, []
        callbacks, self._callbacks = self._callbacks, []
        if not callbacks:
            self._store.write(changes)
            return

        def durable() -> None:
            for callback in callbacks:
                callback()

        self._store.write(changes, durable)

    def put_retained(self, topic: str, payload: bytes, qos: int) -> None:
        """Keep a retained message; an empty payload removes it."""
        self._put("retained", topic, bytes((qos,)) + payload if payload else None)

    def put_session(self, client_id: str, row: SessionRow | None) -> None:
        """Keep a session, or forget it."""
        self._put("session", client_id, None if row is None else msgspec.json.encode(row))

    def put_queued(
        self, client_id: str, sequence: int, topic: str, payload: bytes, qos: int, retain: bool, sent: bool
    ) -> None:
        """Keep a message until it is acknowledged."""
        name = topic.encode()
        flags = retain | qos - 1 << 1 | sent << 2
        value = b"%c%b%b%b" % (flags, len(name).to_bytes(2, "big"), name, payload)
        self._put("queued", _key(client_id, sequence), value)

    def put_released(self, client_id: str, sequence: int, number: int) -> None:
        """PUBREC came, as the client's `number`th: keep the packet id only."""
        self._put("queued", _key(client_id, sequence), b"%c%b" % (_RELEASED, number.to_bytes(8, "big")))

    def drop_queued(self, client_id: str, sequence: int) -> None:
        """Forget a message that was acknowledged, or dropped."""
        self._put("queued", _key(client_id, sequence), None)

    def put_sent(self, client_id: str, sequence: int | None) -> None:
        """Up to which sequence what had to wait was sent; None forgets it."""
        self._put("sent", client_id, None if sequence is None else b"%d" % sequence)

    def put_received(self, client_id: str, packet_id: int) -> None:
        """A message of QoS 2 came under this packet id."""
        self._put("received", f"{client_id}\0{packet_id}", b"")

    def drop_received(self, client_id: str, packet_id: int) -> None:
        """Its PUBREL came."""
        self._put("received", f"{client_id}\0{packet_id}", None)

    def retained(self) -> Iterator[tuple[str, bytes, int]]:
        """Topic, payload and QoS of every retained message."""
        for topic, value in self._store.read("retained"):
            if len(value) < 2:
                self._unreadable("retained", topic)
            else:
                yield topic, value[1:], value[0]

    def sessions(self) -> Iterator[tuple[str, SessionRow]]:
        """Every persistent session by its client id."""
        decoder = msgspec.json.Decoder(SessionRow)
        for client_id, value in self._store.read("session"):
            try:
                yield client_id, decoder.decode(value)
            except UNREADABLE:
                self._unreadable("session", client_id)

    def queued(self) -> Iterator[tuple[str, Queued]]:
        """Client id and message of every queued message, in order within each client."""
        for key, value in self._store.read("queued"):
            client_id, _, sequence = key.rpartition("\0")
            try:
                yield client_id, _queued(int(sequence), value)
            except (ValueError, IndexError):
                self._unreadable("queued", key)

    def sent(self) -> Iterator[tuple[str, int]]:
        """Client id and the sequence up to which what had to wait was sent."""
        for client_id, value in self._store.read("sent"):
            try:
                yield client_id, int(value)
            except ValueError:
                self._unreadable("sent", client_id)

    def received(self) -> Iterator[tuple[str, int]]:
        """Client id and packet id of every message of QoS 2 whose PUBREL has not come."""
        for key, _ in self._store.read("received"):
            client_id, _, packet_id = key.rpartition("\0")
            try:
                yield client_id, int(packet_id)
            except ValueError:
                self._unreadable("received", key)

    def _unreadable(self, table: str, key: str) -> None:
        log.error("stored row is unreadable and dropped table=%s key=%r", table, key)
        self._put(table, key, None)

    def _put(self, table: str, key: str, value: bytes | None) -> None:
        self._touch()
        self._changes.append((table, key, value))

    def _touch(self) -> None:
        if not self._changes and not self._callbacks:
            self._wake()


def _key(client_id: str, sequence: int) -> str:
    return f"{client_id}\0{sequence:016d}"


def _queued(sequence: int, value: bytes) -> Queued:
    """Raises ValueError or IndexError for what is no message."""
    flags = value[0]
    if flags == _RELEASED:
        return Queued(sequence, "", b"", 2, False, True, int.from_bytes(value[1:], "big"))
    end = 3 + int.from_bytes(value[1:3], "big")
    qos = 2 if flags & _QOS_2 else 1
    return Queued(sequence, value[3:end].decode(), value[end:], qos, flags & _RETAIN != 0, flags & _SENT != 0, None)
