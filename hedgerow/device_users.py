"""The devices' own users in a users' file of the gateway's broker (docs/broker.md): asked for, entered, changed.

The rest of the file stays as it was written, comments too; it is replaced whole, and the gateway reads it again by itself.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import yaml

from edge_gateway.broker.passwords import hash_password, verify_password
from edge_gateway.broker.users import load_users
from edgewire.config import ConfigError


class UsersFileError(Exception):
    """The users' file cannot be used; the text says why."""


class DeviceUsers:
    """A users' file; it need not exist."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def accepts(self, user: str, password: str) -> bool:
        """Whether the file has this user with this password. Raises UsersFileError."""
        found = self._hashes().get(user)
        return found is not None and verify_password(password.encode(), found)

    def store(self, user: str, password: str, device: str) -> None:
        """Enter a device's user, or give the one that is there a new password. Raises UsersFileError."""
        with self._locked():
            before = self._hashes()
            text = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
            hashed = hash_password(password)
            if before.get(user):
                text = text.replace(before[user], hashed)
            elif user in before:
                raise UsersFileError(
                    f"{user} in {self._path} comes by its certificate, without a password: give it one, or remove it"
                )
            else:
                text = _with_entry(text, entry(user, hashed, device))
            self._replace(text)
            if self._hashes() != {**before, user: hashed}:
                raise UsersFileError(f"{self._path} cannot be changed by this tool: enter {user} by hand")

    def _hashes(self) -> dict[str, str]:
        if not self._path.exists():
            return {}
        try:
            load_users(self._path)
        except ConfigError as error:
            raise UsersFileError(str(error)) from error
        found = yaml.safe_load(self._path.read_text(encoding="utf-8")) or {}
        return {str(user["name"]): str(user.get("password", "")) for user in found.get("users") or []}

    def _replace(self, text: str) -> None:
        new = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
        mode = self._path.stat().st_mode & 0o777 if self._path.exists() else 0o600
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            if self._path.exists():
                with contextlib.suppress(PermissionError):  # it stays the gateway's to read
                    os.chown(new, self._path.stat().st_uid, self._path.stat().st_gid)
            new.replace(self._path)
        except OSError as error:
            raise UsersFileError(f"cannot write {self._path}: {error.strerror}") from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.with_name(self._path.name + ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise UsersFileError(f"cannot write beside {self._path}: {error.strerror}") from error


def entry(user: str, hashed: str, device: str, indent: str = "  ") -> str:
    """A device's user as the file has it."""
    first, more = f"{indent}- ", f"{indent}  "
    return f"{first}name: {_text(user)}\n{more}password: {hashed}\n{more}device: {_text(device)}\n"


def _with_entry(text: str, added: str) -> str:
    """The text with a further user at the end of its list, which is all that such a file has."""
    found = yaml.safe_load(text) or {}
    if not found.get("users"):
        return text.replace("users: []", "").rstrip() + ("\n" if text.strip() else "") + "users:\n" + added
    first = next((line for line in text.splitlines() if line.lstrip().startswith("- ")), "")
    if not first:  # a list in brackets
        return yaml.safe_dump({"users": [*found["users"], *yaml.safe_load(added)]}, sort_keys=False)
    indent = first[: len(first) - len(first.lstrip())]
    moved = "".join(indent + line[2:] + "\n" for line in added.splitlines())
    return (text if text.endswith("\n") else text + "\n") + moved


def _text(value: str) -> str:
    return str(yaml.safe_dump(value, width=10_000)).removesuffix("\n...\n").strip()
