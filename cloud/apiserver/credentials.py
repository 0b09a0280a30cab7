"""Credentials and the users behind them: bearer tokens of the file `tokens.yaml`, and verified client certificates.

    - {name: admin, role: admin, token: …}
    - {name: edge-1, role: node, token: …}

The file is read again as soon as it changes, so a line taken out is a user locked out. One that cannot be read leaves the
tokens as they were.
"""

import hashlib
import logging
import os
import secrets
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from cloud.apiserver import roles
from cloud.apiserver.identity import write_private
from cloud.apiserver.roles import User
from cloud.apiserver.storage import StorageError

log = logging.getLogger(__name__)

FILE = "tokens.yaml"
SHORTEST = 16
"""Characters a token must have."""
_HEAD = b"# Who may use this API: name, role (admin, node or viewer), token. Read again when it changes.\n"
_BEARER = "bearer "


class Token(Struct, forbid_unknown_fields=True):
    """One line of the file."""

    name: str
    """The user; of a node, the node's name."""
    role: Literal["admin", "node", "viewer"]
    token: str


def make_token(folder: Path, name: str, role: Literal["admin", "node", "viewer"]) -> str:
    """Add a line with a new token; the token. Raises StorageError when the file cannot be read."""
    path = folder / FILE
    made = Token(name, role, secrets.token_urlsafe(32))
    known = _read(path) if path.exists() else []
    write_private(path, _HEAD + msgspec.yaml.encode([*known, made]))
    return made.token


def ensure_admin(folder: Path) -> str:
    """The token of the first admin in the file, made when there is no file. Raises StorageError."""
    path = folder / FILE
    if not path.exists():
        return make_token(folder, roles.ADMIN, "admin")
    for known in _read(path):
        if known.role == roles.ADMIN:
            return known.token
    raise StorageError(f"{path} names no admin: delete it to have one made")


class Credentials:
    """Knows users by what their requests carry."""

    def __init__(self, folder: Path) -> None:
        """Reads the tokens of a folder. Raises StorageError."""
        self._path = folder / FILE
        self._seen = _signature(self._path)
        self._users = _users(self._path)

    def user(self, authorization: str, certificate: Mapping[str, Any] | None) -> User | None:
        """The user of a request, or None: `authorization` is its header, `certificate` what `ssl` says of the verified one.

        A certificate goes before a token.
        """
        if certificate:
            return certified(certificate)
        if authorization[: len(_BEARER)].lower() != _BEARER:
            return None
        self._follow()
        # The digest is what is looked up: how long that takes says nothing about a token.
        return self._users.get(_digest(authorization[len(_BEARER) :].strip()))

    def _follow(self) -> None:
        """Take up changes of the file."""
        signature = _signature(self._path)
        if signature == self._seen:
            return
        self._seen = signature
        try:
            self._users = _users(self._path)
        except StorageError as error:
            log.error("tokens left as they were error=%s", error)
        else:
            log.info("tokens read file=%s users=%d", self._path, len(self._users))


def certified(certificate: Mapping[str, Any]) -> User | None:
    """The user a certificate names: CN is the name, each O a group. None when there is no CN."""
    parts: list[tuple[str, str]] = [pair for name in certificate.get("subject", ()) for pair in name]
    names = [value for key, value in parts if key == "commonName"]
    return User(names[-1], tuple(value for key, value in parts if key == "organizationName")) if names else None


def _users(path: Path) -> dict[bytes, User]:
    users: dict[bytes, User] = {}
    for known in _read(path):
        digest = _digest(known.token)
        if len(known.token) < SHORTEST:
            raise StorageError(f"{path}: the token of {known.name} has fewer than {SHORTEST} characters")
        if digest in users:
            raise StorageError(f"{path}: {known.name} has a token that another has too")
        users[digest] = roles.user_of(known.role, known.name)
    return users


def _read(path: Path) -> Iterable[Token]:
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise StorageError(f"{path} is open to others: chmod 600 it")
        return msgspec.yaml.decode(path.read_bytes(), type=list[Token])
    except (OSError, msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise StorageError(f"{path} cannot be read: {error}") from error


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
