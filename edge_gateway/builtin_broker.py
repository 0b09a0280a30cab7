"""The built-in broker as `edgecore.yaml` asks for it: its listeners, and users that are read again when their files change."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from edge_gateway.broker.acl import load_listed
from edge_gateway.broker.server import Broker
from edge_gateway.broker.tls import TlsListener
from edge_gateway.broker.users import Guests, User, Users, load_users
from edge_gateway.broker.watch import FileWatch
from edge_gateway.config import BrokerConfig, BrokerTls
from edge_gateway.store import Store
from edgewire.config import ConfigError


def build(
    settings: BrokerConfig, folder: Path, store: Store, own: User | None = None, guests: Guests | None = None
) -> Broker:
    """The broker; relative paths lie in `folder`. `own` and `guests` are let in beside the files' users, if there are any.

    Raises ConfigError for a users' file that cannot be used.
    """
    files, load = _users(settings, folder)
    if load is not None and own is not None:
        load = partial(_with, own, load)
    if load is not None and guests is not None:
        load = partial(_inviting, guests, load)
    if load is None:
        return Broker(store, host=settings.host, port=settings.port, tls=_listener(settings.tls, folder))
    # Watched before they are read: what changes meanwhile is noticed.
    watch = FileWatch(files, load, lambda users: broker.hold_to(users))
    broker = Broker(store, host=settings.host, port=settings.port, tls=_listener(settings.tls, folder), users=load())
    broker.watch(watch)
    return broker


def _with(own: User, load: Callable[[], Users]) -> Users:
    users = load()
    try:
        users.employ(own)
    except ValueError as error:
        raise ConfigError(f"the broker's users: {error}") from error
    return users


def _inviting(guests: Guests, load: Callable[[], Users]) -> Users:
    users = load()
    users.invite(guests)
    return users


def _users(settings: BrokerConfig, folder: Path) -> tuple[list[Path], Callable[[], Users] | None]:
    """The users' files and how to read them; None when everybody may do everything."""
    if settings.users_file is not None:
        users_file = folder / settings.users_file
        return [users_file], lambda: load_users(users_file)
    passwords = folder / settings.password_file if settings.password_file is not None else None
    acl = folder / settings.acl_file if settings.acl_file is not None else None
    files = [file for file in (passwords, acl) if file is not None]
    certificates = settings.tls is not None and settings.tls.client_ca is not None
    if not files and not certificates:
        return [], None
    anonymous = settings.allow_anonymous or not files
    return files, lambda: load_listed(passwords, acl, allow_anonymous=anonymous, allow_certificates=certificates)


def _listener(tls: BrokerTls | None, folder: Path) -> TlsListener | None:
    if tls is None:
        return None
    return TlsListener(
        certificate=folder / tls.certificate,
        key=folder / tls.key,
        client_ca=folder / tls.client_ca if tls.client_ca is not None else None,
        require_certificate=tls.require_certificate,
        host=tls.host,
        port=tls.port,
    )
