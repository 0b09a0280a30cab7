"""What the broker remembers of its clients: a session for each client id, kept in the store when it outlives its connection."""

import logging
from itertools import groupby
from operator import itemgetter

from edge_gateway.broker.connection import Session
from edge_gateway.broker.inbox import Inbox
from edge_gateway.broker.journal import Journal, SessionRow
from edge_gateway.broker.limits import Limits
from edge_gateway.broker.outbox import Outbox
from edge_gateway.broker.router import Router
from edge_gateway.broker.share import Total
from edge_gateway.broker.users import User, Users

log = logging.getLogger(__name__)


class Clients:
    """The sessions by client id."""

    def __init__(self, journal: Journal, router: Router, limits: Limits) -> None:
        self._journal = journal
        self._router = router
        self._limits = limits
        self._sessions: dict[str, Session] = {}
        self._total = Total()

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, client_id: str) -> Session | None:
        """The session of a client id."""
        return self._sessions.get(client_id)

    @property
    def waiting_bytes(self) -> int:
        """What waits for all sessions together or is in flight, about."""
        return self._total.bytes

    def load(self, users: Users | None) -> None:
        """Take sessions and their queues from the store, as far as their users still exist and may subscribe to them."""
        for client_id, row in self._journal.sessions():
            self._restore(client_id, row, users)
        self._restore_received()
        self._restore_queues()

    def hold_to(self, users: Users) -> None:
        """Other users and rights hold from now on: sessions without a user go, and subscriptions that theirs may not have."""
        for session in list(self._sessions.values()):
            user = session.connection.user if session.connection is not None else self._rights(session, users)
            if user is None:
                log.warning("session dropped, its user is gone client=%r user=%s", session.client_id, session.user)
                self.forget(session)
                continue
            session.hear_as(user)
            gone = [name for name in session.subscriptions if not user.may_subscribe(name)]
            if gone:
                log.warning("subscriptions dropped client=%r user=%s filters=%s", session.client_id, user.name, gone)
                self.unsubscribe(session, gone)
        self._router.rights_changed()

    def new(self, client_id: str, user: str | None, durable: bool) -> Session:
        """A session without subscriptions, for a client id that has none."""
        session = self._create(client_id, user, durable)
        if durable:
            self._save(session)
        return session

    def forget(self, session: Session) -> None:
        """End a session: its subscriptions and all that waits for it."""
        del self._sessions[session.client_id]
        for name in session.subscriptions:
            self._router.unsubscribe(session.outbox, name)
        session.inbox.discard()
        session.outbox.discard()
        if session.outbox.durable:
            self._journal.put_session(session.client_id, None)

    def subscribe(self, session: Session, filters: list[tuple[str, int]], user: User | None) -> list[int | None]:
        """Subscribe to each filter: the QoS granted to each, None when it is refused."""
        before = dict(session.subscriptions)
        granted: list[int | None] = []
        for name, qos in filters:
            why = self._objection(session, name, user)
            if why:
                if None not in granted:  # one line a packet: it may name thousands
                    log.warning(
                        "subscription refused client=%r filter=%r reason=%s", session.client_id, name[:200], why
                    )
                granted.append(None)
                continue
            session.subscriptions[name] = qos
            self._router.subscribe(session.outbox, name, qos)
            granted.append(qos)
        self._save_if_changed(session, before)
        return granted

    def unsubscribe(self, session: Session, filters: list[str]) -> None:
        """Forget each filter; one that was not subscribed to is no error."""
        before = dict(session.subscriptions)
        for name in filters:
            if session.subscriptions.pop(name, None) is not None:
                self._router.unsubscribe(session.outbox, name)
        self._save_if_changed(session, before)

    def _objection(self, session: Session, name: str, user: User | None) -> str | None:
        if user is not None and not user.may_subscribe(name):
            return f"user {user.name} may not"
        if name not in session.subscriptions:
            if len(session.subscriptions) >= self._limits.subscriptions:
                return "too many subscriptions"
            if len(name) + sum(map(len, session.subscriptions)) > self._limits.session_subscription_bytes:
                return "its filters are too long together"
        if self._router.subscription_bytes >= self._limits.subscription_bytes:
            return "the subscriptions of all clients take too much memory"
        return None

    def _restore(self, client_id: str, row: SessionRow, users: Users | None) -> None:
        session = self._create(client_id, row.user, durable=True)
        user = None
        if users is not None:
            user = self._rights(session, users)
            if user is None:
                log.warning("session dropped, its user is gone client=%r user=%s", client_id, row.user)
                self.forget(session)
                return
            session.hear_as(user)
        for name, qos in row.subscriptions.items():
            if user is None or user.may_subscribe(name):
                session.subscriptions[name] = qos
                self._router.subscribe(session.outbox, name, qos)
        self._save_if_changed(session, row.subscriptions)

    def _restore_received(self) -> None:
        for client_id, packet_id in self._journal.received():
            session = self._sessions.get(client_id)
            if session is None:
                self._journal.drop_received(client_id, packet_id)
            else:
                session.inbox.restore(packet_id)

    def _restore_queues(self) -> None:
        """The messages of one client follow each other in the store, so no more than one client's are gathered at a time."""
        sent = dict(self._journal.sent())
        for client_id in sent.keys() - self._sessions.keys():
            self._journal.put_sent(client_id, None)
        for client_id, rows in groupby(self._journal.queued(), itemgetter(0)):
            session = self._sessions.get(client_id)
            messages = [message for _, message in rows]
            if session is not None:
                session.outbox.restore(messages, sent.pop(client_id, -1))
                continue
            for message in messages:
                self._journal.drop_queued(client_id, message.sequence)
        for client_id in sent.keys() & self._sessions.keys():
            self._sessions[client_id].outbox.restore([], sent[client_id])

    def _rights(self, session: Session, users: Users) -> User | None:
        owner = users.owner(session.user)
        return owner and users.for_client(owner, session.client_id)

    def _create(self, client_id: str, user: str | None, durable: bool) -> Session:
        inbox = Inbox(client_id, durable, self._journal, self._limits.received)
        outbox = Outbox(client_id, durable, self._journal, self._router.retained, self._limits, self._total)
        session = self._sessions[client_id] = Session(client_id, user, inbox, outbox)
        return session

    def _save(self, session: Session) -> None:
        self._journal.put_session(session.client_id, SessionRow(session.user, session.subscriptions))

    def _save_if_changed(self, session: Session, before: dict[str, int]) -> None:
        if session.outbox.durable and session.subscriptions != before:
            self._save(session)
