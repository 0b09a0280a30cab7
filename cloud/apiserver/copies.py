"""Copies of the database: taken while the server writes, checked, and made fit to be served again.

A copy put back is older than what clients have seen. So every object in it gets a version, and a generation, above all that
can have been given out meanwhile: who holds a newer one is told to list again, as after `etcdutl snapshot restore
--bump-revision`.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from cloud.apiserver.storage import DATABASE, FORMAT, StorageError

REVISION_STEP = 1_000_000_000
"""Revisions that are skipped; more than can have been given out since a copy was taken."""
GENERATION_STEP = 1_000_000
"""Generations that are skipped: two states of one object must not have the same."""


class Facts(NamedTuple):
    """What a database holds."""

    revision: int
    objects: int


def take(folder: Path, target: Path) -> Facts:
    """Copy the database of a data folder, in one consistent state, into a new file of mode 0600. Raises StorageError."""
    source_file = folder / DATABASE
    if not source_file.exists():
        raise StorageError(f"{source_file} is missing: there is no embedded Kubernetes API here")
    target.touch(0o600, exist_ok=False)
    with _opened(source_file) as source, _opened(target) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
    return check(target)


def check(path: Path) -> Facts:
    """What a database holds, when it is whole and of this format. Raises StorageError."""
    with _opened(path) as database:
        ((found,),) = database.execute("PRAGMA integrity_check(1)")
        if found != "ok":
            raise StorageError(f"{path} is damaged: {found}")
        facts = dict(database.execute("SELECT key, value FROM meta"))
        ((objects,),) = database.execute("SELECT count(*) FROM objects")
    if facts.get("format") != FORMAT:
        raise StorageError(f"{path} has format {facts.get('format')}, not {FORMAT}")
    return Facts(facts["revision"], objects)


def renew(path: Path, newest: int = 0) -> Facts:
    """Lift every version in a copy above its own and `newest`. Raises StorageError."""
    with _opened(path) as database:
        ((revision,),) = database.execute("SELECT value FROM meta WHERE key = 'revision'")
        revision = max(revision, newest) + REVISION_STEP
        database.execute("BEGIN IMMEDIATE")
        for row, data in database.execute("SELECT rowid, data FROM objects ORDER BY revision").fetchall():
            revision += 1
            lifted = _lifted(data, revision)
            database.execute("UPDATE objects SET revision = ?, data = ? WHERE rowid = ?", (revision, lifted, row))
        database.execute("UPDATE meta SET value = ? WHERE key = 'revision'", (revision,))
        database.execute("COMMIT")
    return check(path)


def _lifted(data: bytes, revision: int) -> bytes:
    obj = msgspec.json.decode(data)
    meta = obj["metadata"]
    meta["resourceVersion"] = str(revision)
    if meta.get("generation"):
        meta["generation"] += GENERATION_STEP
    return msgspec.json.encode(obj)


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
        ) as database:
            yield database
    except sqlite3.Error as error:
        raise StorageError(f"{path}: {error}") from error
