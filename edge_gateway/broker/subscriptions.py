"""SUBSCRIBE and UNSUBSCRIBE of one client: answered when what it asked for holds, and retained messages follow the answer."""

from collections.abc import Callable
from functools import partial

from edge_gateway.broker.clients import Clients
from edge_gateway.broker.connection import READY, Connection, Session
from edge_gateway.broker.journal import Journal
from edge_gateway.broker.lookups import Lookups
from edge_gateway.broker.packets import (
    REFUSED,
    UNSUBACK,
    Subscribe,
    Unsubscribe,
    encode_ack,
    encode_suback,
)
from edge_gateway.broker.retained import Retained


class Subscriptions:
    """What clients ask for by filters. `turn` is called once a turn of the event loop, whenever `wake` asked for it."""

    def __init__(self, clients: Clients, journal: Journal, retained: Retained, wake: Callable[[], None]) -> None:
        self._clients = clients
        self._journal = journal
        self._lookups = Lookups(retained, wake)

    def subscribe(self, connection: Connection, session: Session, packet: Subscribe) -> None:
        """Let messages that match come from now on."""
        granted = self._clients.subscribe(session, packet.filters, connection.user)
        answer = encode_suback(packet.packet_id, bytes(REFUSED if qos is None else qos for qos in granted))
        fresh = [(name, qos) for (name, _), qos in zip(packet.filters, granted, strict=True) if qos is not None]
        self._journal.answer(session.outbox.durable, partial(self._subscribed, connection, answer, fresh))

    def unsubscribe(self, connection: Connection, session: Session, packet: Unsubscribe) -> None:
        """Let them no longer come."""
        self._clients.unsubscribe(session, packet.filters)
        answer = encode_ack(UNSUBACK, packet.packet_id)
        self._journal.answer(session.outbox.durable, partial(connection.answer, answer))

    def turn(self) -> None:
        """A new turn of the event loop has begun."""
        self._lookups.turn()

    def _subscribed(self, connection: Connection, answer: bytes, fresh: list[tuple[str, int]]) -> None:
        """Answer SUBSCRIBE, and let the retained messages follow [MQTT-3.3.1-6]."""
        if connection.state != READY or connection.session is None:
            return
        connection.send(answer)
        for name, qos in dict(fresh).items():
            self._lookups.ask(connection, name, qos)
