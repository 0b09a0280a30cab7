"""What the broker keeps in the store: retained messages, persistent sessions, and the QoS 1 messages queued for them.

    table     key                              value
    retained  topic                            one byte QoS, then the payload
    session   client id                        JSON: user, subscriptions (filter -> QoS)
    queued    client id NUL sequence           one byte retain, two bytes length of the topic, topic, payload

Changes gather while packets are handled and go to the store in one `write` when the shell calls `flush`, once a turn of the event
loop. A client id cannot contain NUL: MQTT forbids it in strings.
"""

import logging
from collections.abc import Callable, Iterator

import msgspec

from edge_gateway.store import Change, Store
from edgewire.message import UNREADABLE

log = logging.getLogger(__name__)


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

    def put_queued(self, client_id: str, sequence: int, topic: str, payload: bytes, retain: bool) -> None:
        """Keep a message until it is acknowledged."""
        name = topic.encode()
        value = b"%c%b%b%b" % (retain, len(name).to_bytes(2, "big"), name, payload)
        self._put("queued", _queued_key(client_id, sequence), value)

    def drop_queued(self, client_id: str, sequence: int) -> None:
        """Forget a message that was acknowledged, or dropped."""
        self._put("queued", _queued_key(client_id, sequence), None)

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

    def queued(self) -> Iterator[tuple[str, int, str, bytes, bool]]:
        """Client id, sequence, topic, payload and retain of every queued message, in order within each client."""
        for key, value in self._store.read("queued"):
            client_id, _, sequence = key.rpartition("\0")
            try:
                end = 3 + int.from_bytes(value[1:3], "big")
                yield client_id, int(sequence), value[3:end].decode(), value[end:], value[0] == 1
            except (ValueError, IndexError):
                self._unreadable("queued", key)

    def _unreadable(self, table: str, key: str) -> None:
        log.error("stored row is unreadable and dropped table=%s key=%r", table, key)
        self._put(table, key, None)

    def _put(self, table: str, key: str, value: bytes | None) -> None:
        self._touch()
        self._changes.append((table, key, value))

    def _touch(self) -> None:
        if not self._changes and not self._callbacks:
            self._wake()


def _queued_key(client_id: str, sequence: int) -> str:
    return f"{client_id}\0{sequence:016d}"
