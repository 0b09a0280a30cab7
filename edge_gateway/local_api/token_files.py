"""The files of the local API: hashes of tokens, looked at again whenever they change, and the kubeconfig."""

import base64
import json
import logging
import os
import secrets
from pathlib import Path

from edge_gateway.local_api import access
from edge_gateway.local_api.access import Account, AccountsError, Rights, Role

log = logging.getLogger(__name__)


class TokenFile:
    """The accounts in a file, as they stand now. One that cannot be read lets nobody in."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._accounts: list[Account] = []

    def rights(self, authorization: str) -> Rights | None:
        """The rights of an `Authorization` header, or None."""
        self._look()
        return access.rights_of(authorization, self._accounts)

    def _look(self) -> None:
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if seen == self._seen:
                return
            self._accounts, self._seen = access.parse(self._path.read_bytes()), seen
        except FileNotFoundError:
            self._accounts, self._seen = [], None
        except (OSError, AccountsError) as error:
            self._accounts, self._seen = [], None
            log.error("= tokens cannot be read file=%s reason=%s", self._path, error)


def read(path: Path) -> list[Account]:
    """The accounts of a file, none when there is no file. Raises OSError and AccountsError."""
    try:
        return access.parse(path.read_bytes())
    except FileNotFoundError:
        return []


def issue(path: Path, name: str, role: Role, secrets_too: bool) -> str:
    """A new token under a name, in place of the one it had. Raises OSError and AccountsError."""
    token = secrets.token_urlsafe(32)
    others = [account for account in read(path) if account.name != name]
    write(path, access.encode([*others, Account(name, access.hash_of(token), role, secrets_too)]))
    return token


def revoke(path: Path, name: str) -> bool:
    """Take a name's token away: whether it had one. Raises OSError and AccountsError."""
    accounts = read(path)
    left = [account for account in accounts if account.name != name]
    write(path, access.encode(left))
    return len(left) < len(accounts)


def write(path: Path, content: bytes) -> None:
    """Put a file in place as a whole, readable by its owner only. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as made:
        made.write(content)
        made.flush()
        os.fsync(made.fileno())
    fresh.replace(path)


def kubeconfig(node: str, port: int, certificate: bytes, token: str) -> bytes:
    """A kubeconfig (JSON is YAML); `certificate` is PEM."""
    authority = base64.b64encode(certificate).decode()
    server = {"server": f"https://127.0.0.1:{port}", "certificate-authority-data": authority}
    cluster = {"name": node, "cluster": server}
    user = {"name": "gateway", "user": {"token": token}}
    context = {"name": node, "context": {"cluster": node, "user": "gateway", "namespace": "default"}}
    made = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [cluster],
        "users": [user],
        "contexts": [context],
        "current-context": node,
    }
    return json.dumps(made, indent=1).encode() + b"\n"
