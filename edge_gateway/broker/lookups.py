"""Retained messages for new subscriptions, looked up a slice at a time.

A filter with wildcards is held against every retained topic of its prefix, and a client may subscribe to a thousand such filters
at once. So a turn of the event loop looks at no more than `SLICE` topics, but at one filter at least; the other filters wait for
the next turns, and other clients get theirs in between.
"""

from collections.abc import Callable

from edge_gateway.broker.connection import READY, Connection
from edge_gateway.broker.retained import Retained

SLICE = 20_000
"""Topics looked at in one turn: 10 to 20 ms of a fast machine."""


class Lookups:
    """The filters whose retained messages are still to be found. `turn` is called once a turn, whenever `wake` asked for it."""

    def __init__(self, retained: Retained, wake: Callable[[], None]) -> None:
        self._retained = retained
        self._wake = wake
        self._left = SLICE
        self._waiting: dict[tuple[Connection, str], int] = {}

    def ask(self, connection: Connection, name_filter: str, qos: int) -> None:
        """Send a client the retained messages that match, now or within the next turns."""
        if self._waiting or self._left <= 0:
            self._waiting[connection, name_filter] = qos
            self._wake()
        else:
            self._find(connection, name_filter, qos)

    def turn(self) -> None:
        """A new turn of the event loop has begun."""
        self._left = SLICE
        while self._waiting and self._left > 0:
            connection, name_filter = asked = next(iter(self._waiting))
            self._find(connection, name_filter, self._waiting.pop(asked))
        if self._waiting:
            self._wake()

    def _find(self, connection: Connection, name_filter: str, qos: int) -> None:
        session = connection.session
        if connection.state != READY or session is None or name_filter not in session.subscriptions:
            return
        self._left -= 1 + self._retained.candidates(name_filter)
        topics = self._retained.matching(name_filter)
        user = connection.user
        if user is not None and user.reads_in_part:
            topics = [topic for topic in topics if user.may_read(topic)]
        if topics:
            session.outbox.put_retained(topics, qos)
