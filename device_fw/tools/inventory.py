"""The inventory of the boards that were flashed here: a TinyDB file, small and readable, one entry a board.

The file is replaced whole, and a lock beside it lets one process at a time change it, so that none loses another's entry.
"""

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tinydb import TinyDB
from tinydb.storages import Storage

from device_fw.tools.errors import FirmwareError
from edgewire.config import nearest


class InventoryError(FirmwareError):
    """The inventory cannot be read or asked; the text says why."""


@dataclass(frozen=True)
class Entry:
    """A board that was flashed."""

    board: str
    """What it is: the name in its board file."""
    unique_id: str
    """The chip's own, hex; what an entry is known by."""
    port: str
    device: str
    """`<namespace>/<name>`"""
    firmware: str
    """Its version."""
    image: str
    """sha256 over all that was written."""
    runtime: str
    """Its MicroPython."""
    when: str
    """UTC, ISO 8601."""
    station: str
    """The computer that flashed it."""


KEYS = tuple(field.name for field in fields(Entry))


class Condition:
    """`key=value`, or `key~regular expression` found anywhere in the value. InventoryError when it is neither."""

    def __init__(self, text: str) -> None:
        found = re.fullmatch(r"(\w+)([=~])(.*)", text)
        if found is None:
            raise InventoryError(f"{text!r} is neither key=value nor key~expression; keys are {', '.join(KEYS)}")
        self._key, operator, value = found.groups()
        if self._key not in KEYS:
            near = nearest(self._key, list(KEYS))
            raise InventoryError(
                f"no key {self._key!r}: " + (f"did you mean {near!r}?" if near else f"keys are {', '.join(KEYS)}")
            )
        try:
            self._expression = re.compile(value if operator == "~" else re.escape(value))
        except re.error as error:
            raise InventoryError(f"{value!r} is no regular expression: {error}") from error
        self._whole = operator == "="

    def holds(self, entry: Entry) -> bool:
        """Whether an entry is meant."""
        value = str(getattr(entry, self._key))
        return bool(self._expression.fullmatch(value) if self._whole else self._expression.search(value))


class Inventory:
    """The entries in a file, which need not exist."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def record(self, entry: Entry) -> None:
        """Enter a board, in place of its earlier entry."""
        with self._changing() as table:
            table.remove(lambda found: found.get("unique_id") == entry.unique_id)
            table.insert(asdict(entry))

    def find(self, conditions: Iterable[Condition] = ()) -> list[Entry]:
        """The boards of which all conditions hold, by device name."""
        wanted = list(conditions)
        if not self._path.exists():
            return []
        with self._open() as database:
            entries = [_entry(found) for found in database.all()]
        return sorted(
            (one for one in entries if all(c.holds(one) for c in wanted)), key=lambda one: (one.device, one.unique_id)
        )

    def forget(self, name: str) -> list[Entry]:
        """Remove the boards of that unique id or device name, and say which. InventoryError when there is none."""
        gone = [one for one in self.find() if name in (one.unique_id, one.device, one.device.partition("/")[2])]
        if not gone:
            known = ", ".join(f"{one.device} ({one.unique_id})" for one in self.find()) or "none"
            raise InventoryError(f"no board {name!r} in {self._path}; there are: {known}")
        with self._changing() as table:
            table.remove(lambda found: found.get("unique_id") in {one.unique_id for one in gone})
        return gone

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Any]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_name(self._path.name + ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with self._open() as database:
                yield database

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            with TinyDB(self._path, storage=WholeFile) as database:
                yield database
        except (ValueError, TypeError, AttributeError) as error:
            raise InventoryError(f"{self._path} is no inventory: {error}; remove it to begin a new one") from error
        except OSError as error:
            raise InventoryError(f"{self._path}: {error.strerror}") from error


class WholeFile(Storage):
    """TinyDB's data as one JSON file that is replaced whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, dict[str, Any]] | None:
        """All tables; None before the first write."""
        try:
            found = json.loads(self._path.read_text())
        except FileNotFoundError:
            return None
        if not isinstance(found, dict):
            raise ValueError("no JSON object")
        return found

    def write(self, data: dict[str, dict[str, Any]]) -> None:
        """Replace the file, and be sure that it is on disk."""
        new = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
        with new.open("w") as file:
            file.write(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)


def _entry(found: dict[str, Any]) -> Entry:
    return Entry(**{key: str(found.get(key, "")) for key in KEYS})
