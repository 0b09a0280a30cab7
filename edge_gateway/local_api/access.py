"""Who may do what: tokens, kept as hashes, and the rights that come with them. A core.

Tokens are 32 random bytes: nobody guesses one, so a plain hash of it keeps it as safe as a slow one would, and costs nothing.
"""

import base64
import binascii
import hashlib
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from edge_gateway.local_api import LocalApiError
from edgewire.message import UNREADABLE

Role = Literal["viewer", "operator"]
LONGEST = 2048


class AccountsError(LocalApiError):
    """A file of tokens that is none."""


class Account(Struct, frozen=True):
    """One token, by its hash."""

    name: str
    sha256: str
    role: Role = "viewer"
    secrets: bool = False
    """Whether it may read Secrets."""


class Rights(NamedTuple):
    """Who asks, and what they may do: read, and besides …"""

    name: str
    desire: bool
    """… set desired values,"""
    secrets: bool
    """… read Secrets."""
    namespace: str = ""
    """Where not empty, it is Devices and DeviceModels of this namespace only that they see."""


_accounts = msgspec.json.Decoder(list[Account])
_encoder = msgspec.json.Encoder()


def parse(content: bytes) -> list[Account]:
    """The accounts of a file. Raises AccountsError."""
    try:
        return _accounts.decode(content)
    except UNREADABLE as error:
        raise AccountsError(str(error)) from error


def encode(accounts: list[Account]) -> bytes:
    """The content of a file of accounts."""
    return msgspec.json.format(_encoder.encode(accounts), indent=1) + b"\n"


def hash_of(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def rights_of(authorization: str, accounts: list[Account]) -> Rights | None:
    """The rights of an `Authorization` header, Bearer or Basic with the token as password; None for nobody we know."""
    token = bearer(authorization)
    if not token:
        return None
    hash = hash_of(token)
    account = next((account for account in accounts if account.sha256 == hash), None)
    return Rights(account.name, account.role == "operator", account.secrets) if account is not None else None


def bearer(authorization: str) -> str:
    """The token in an `Authorization` header; empty when there is none."""
    scheme, _, rest = authorization.partition(" ")
    rest = rest.strip()
    if len(rest) > LONGEST:
        return ""
    if scheme.lower() == "bearer":
        return rest
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest, validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            return ""
    return ""
