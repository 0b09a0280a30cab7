"""Who is let in: a CONNECT, the user whom its certificate or its password proves, and the session of its client id.

    NEW --CONNECT--> CHECKING --password right--> READY
     └─ no users, certificate, anonymous, or a password known already ─┘

The rest is turned away with a return code. When the users change, `hold_to` asks the same again of those who are in.
"""

import secrets
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from edge_gateway.broker.clients import Clients
from edge_gateway.broker.connection import CHECKING, READY, Connection
from edge_gateway.broker.limits import Limits
from edge_gateway.broker.packets import (
    ACCEPTED,
    IDENTIFIER_REJECTED,
    NOT_AUTHORIZED,
    SERVER_UNAVAILABLE,
    Connect,
    encode_connack,
)
from edge_gateway.broker.users import User, Users

Verify = Callable[[str, bytes, Callable[[User | None], None]], None]
"""Checks a user's password, and calls the last argument when it knows."""


class House(Protocol):
    """What admission needs of the broker."""

    def turn_away(self, connection: Connection, connack: bytes, why: str) -> None:
        """Send this, and close."""
        ...

    def close(self, connection: Connection, why: str) -> None:
        """End a connection whose client was let in."""
        ...

    def go_on(self, connection: Connection) -> None:
        """Handle what a client sent while its password was checked."""
        ...


class Admission:
    """The door of the broker. `users` are None when anybody may do everything."""

    def __init__(
        self, users: Users | None, clients: Clients, limits: Limits, verify: Verify | None, house: House
    ) -> None:
        """Without `verify` passwords are checked on the spot."""
        self.users = users
        self._clients = clients
        self._limits = limits
        self._verify = verify or self._check
        self._house = house

    def connect(self, connection: Connection, packet: Connect) -> None:
        """A client's CONNECT: let it in, turn it away, or first have its password checked."""
        connection.decoder.only = None
        users = self.users
        if not packet.client_id and not packet.clean:
            self._refuse(connection, IDENTIFIER_REJECTED, "a persistent session needs a client id")
        elif users is None:
            self._admit(connection, packet, None)
        elif connection.identity is not None:
            named = users.certified(connection.identity)
            self._admit_if(connection, packet, named, f"its certificate's name {connection.identity!r} is no user here")
        elif packet.user is None:
            why_not = f"client {packet.client_id!r} gave no user and password"
            self._admit_if(connection, packet, users.anonymous(), why_not)
        elif packet.password is None:
            self._refuse(connection, NOT_AUTHORIZED, f"client {packet.client_id!r} gave no password")
        elif (known := users.remembered(packet.user, packet.password)) is not None:
            self._admit(connection, packet, known)
        else:
            connection.state = CHECKING
            connection.touch()
            self._verify(packet.user, packet.password, partial(self._verified, connection, packet))

    def hold_to(self, users: Users, connections: Iterable[Connection]) -> None:
        """Other users and rights hold from now on, for these who are connected too.

        Who could not connect as he did is disconnected; his will is published if his user may still do so.
        """
        self.users = users
        for connection in connections:
            before = connection.user
            assert before is not None
            user = users.again(before, connection.identity is not None)
            if user is not None:
                connection.user = users.for_client(user, connection.client_id)
                continue
            user = users.owner(before.name) or User(before.name, "")
            connection.user = users.for_client(user, connection.client_id)
            self._house.close(connection, f"user {before.name!r} is gone, or its password is another")
        self._clients.hold_to(users)

    def _check(self, name: str, password: bytes, answer: Callable[[User | None], None]) -> None:
        answer(self.users.check(name, password) if self.users is not None else None)

    def _verified(self, connection: Connection, packet: Connect, user: User | None) -> None:
        if connection.state != CHECKING:
            return
        if user is not None and self.users is not None:
            user = self.users.again(user, certified=False)  # the users may have changed while the password was checked
        self._admit_if(connection, packet, user, f"wrong user or password, user {packet.user!r}")
        if connection.state == READY:
            self._house.go_on(connection)

    def _admit_if(self, connection: Connection, packet: Connect, user: User | None, why_not: str) -> None:
        if user is None:
            self._refuse(connection, NOT_AUTHORIZED, why_not)
        else:
            self._admit(connection, packet, user)

    def _admit(self, connection: Connection, packet: Connect, user: User | None) -> None:
        """Give the client its session, taken over or new."""
        client_id = packet.client_id or f"anonymous-{secrets.token_hex(8)}"
        owner = (user.name or None) if user is not None else None
        if user is not None and self.users is not None:
            user = self.users.for_client(user, client_id)
        session = self._clients.get(client_id)
        if session is not None and self.users is not None and session.user != owner:
            self._refuse(connection, NOT_AUTHORIZED, f"client id {client_id!r} belongs to user {session.user}")
            return
        if session is not None and session.connection is not None:
            self._house.close(session.connection, f"taken over from {connection.address}")
            session = self._clients.get(client_id)
        if session is not None and packet.clean:
            self._clients.forget(session)
            session = None
        present = session is not None
        if session is None:
            if len(self._clients) >= self._limits.sessions:
                self._refuse(connection, SERVER_UNAVAILABLE, f"there are {len(self._clients)} sessions already")
                return
            session = self._clients.new(client_id, owner, durable=not packet.clean)
        connection.begin(packet, user, session)
        session.hear_as(user)
        connection.send(encode_connack(ACCEPTED, present))
        session.outbox.attach(connection)

    def _refuse(self, connection: Connection, code: int, why: str) -> None:
        self._house.turn_away(connection, encode_connack(code), why)
