"""The objects on disk: SQLite in WAL mode, one writer thread, group commit.

`write` returns when its transaction is on disk (`synchronous=FULL`: an fsync a commit); whatever waits meanwhile goes into the
next commit together. Transactions are announced to `on_committed` in order, in the event loop, before `write` returns.
Only one process may use a data folder: it holds a lock on it.

The database stays as large as what is in it: freed pages are used again, and given back to the file system once nobody has
written for a while; the write-ahead log starts over every few megabytes.
"""

import asyncio
import fcntl
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from cloud.apiserver.resources import DEFINITIONS
from cloud.apiserver.state import Change, Transaction
from cloud.apiserver.status import ApiError, insufficient_storage, internal, too_many_requests

log = logging.getLogger(__name__)

DATABASE = "objects.db"
"""Its name in the data folder."""
FORMAT = 1
"""Of the tables; a database of another one is refused."""
QUEUE_LIMIT = 4096
"""Transactions that wait for the disk before writes are refused with 429."""
BATCH_LIMIT = 512
"""Transactions in one commit at most."""
IDLE_S = 1.0
"""Seconds without a write after which the database is tidied."""
SPARE_PAGES = 256
"""Free pages, of 4 KiB, that are left for later writes; also how many are given back at once, while nobody waits."""
WAL_LIMIT_BYTES = 8 << 20
"""Size of the write-ahead log from which it is cut at the next occasion."""
_INCREMENTAL = 2
"""Of `PRAGMA auto_vacuum`."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    storage TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    revision INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (storage, namespace, name)
);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO meta VALUES ('format', 1), ('revision', 1);
"""
_PUT = """
INSERT INTO objects VALUES (?, ?, ?, ?, ?)
ON CONFLICT (storage, namespace, name) DO UPDATE SET revision = excluded.revision, data = excluded.data
"""
_READ = "SELECT storage, namespace, name, revision, data FROM objects"
_REMOVE = "DELETE FROM objects WHERE storage = ? AND namespace = ? AND name = ?"
_REVISION = "UPDATE meta SET value = ? WHERE key = 'revision'"

Row = tuple[str, str, str, int, bytes]


class StorageError(ApiError):
    """The data folder cannot be used: locked by another server, of a newer format, or unreadable."""

    def __init__(self, message: str) -> None:
        super().__init__(500, "InternalError", message)


class _Waiting(NamedTuple):
    epoch: int
    transaction: Transaction
    future: "asyncio.Future[None]"


class Storage:
    """One data folder."""

    def __init__(
        self, folder: Path, on_committed: Callable[[Transaction], None], on_failed: Callable[[], None]
    ) -> None:
        """`on_failed` is called when a commit failed: everything pending is then lost and was answered so."""
        self._folder = folder
        self._on_committed = on_committed
        self._on_failed = on_failed
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._waiting = 0
        self._epoch = 0
        self._lock: IO[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._db: sqlite3.Connection | None = None

    def open(self) -> tuple[Iterator[Row], int]:
        """Lock the folder, and read the revision; everything else as it is iterated over, definitions first, before `start`.

        Raises StorageError, from the iteration too.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (self._folder / "lock").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise StorageError(f"{self._folder} is in use by another server") from error
        self._lock = lock
        try:
            self._db = db = self._database()
            facts = dict(db.execute("SELECT key, value FROM meta"))
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise StorageError(f"{self._folder / 'objects.db'} cannot be read: {error}") from error
        if facts["format"] != FORMAT:
            self.close()
            raise StorageError(
                f"{self._folder / 'objects.db'} was written by a newer version (format {facts['format']})"
            )
        return self._rows(db), facts["revision"]

    def _database(self) -> sqlite3.Connection:
        try:
            return _connected(self._folder / DATABASE)
        except sqlite3.Error as error:
            if _code(error) not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                raise
            # A full disk has no 32 kB for the index that this process would share with a backup. It can keep its own.
            found = _connected(self._folder / DATABASE, alone=True)
            log.error("disk is full: no backup can be taken until the next start database=%s", self._folder / DATABASE)
            return found

    def _rows(self, db: sqlite3.Connection) -> Iterator[Row]:
        try:
            for order in ("=", "<>"):
                yield from db.execute(f"{_READ} WHERE storage {order} ?", (DEFINITIONS,))
        except sqlite3.Error as error:
            raise StorageError(f"{self._folder / DATABASE} cannot be read: {error}") from error

    def start(self) -> None:
        """Start the writer; call it in the event loop that `write` is called in."""
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, args=(loop,), name="apiserver-storage", daemon=True)
        self._thread.start()

    def check_room(self) -> None:
        """Raise ApiError 429 when too many writes wait for the disk; call it before a change is made."""
        if self._waiting >= QUEUE_LIMIT:
            raise too_many_requests(1)

    async def write(self, transaction: Transaction) -> None:
        """Return when the transaction, and all before it, are on disk. Raises ApiError 500, or 507 of a full disk."""
        future = asyncio.get_running_loop().create_future()
        self._waiting += 1
        self._queue.put(_Waiting(self._epoch, transaction, future))
        await future

    def close(self) -> None:
        """Write what waits, and close the folder."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        if self._db is not None:
            self._db.close()
            self._db = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """The writer thread."""
        lost_epoch = -1
        while (batch := self._next_batch()) is not None:
            good = [waiting for waiting in batch if waiting.epoch > lost_epoch]
            error: sqlite3.Error | None = None
            try:
                self._commit([change for waiting in good for change in waiting.transaction.changes])
            except sqlite3.Error as caught:
                error = caught
                lost_epoch = max(waiting.epoch for waiting in batch)
            lost = batch if error is not None else [waiting for waiting in batch if waiting not in good]
            loop.call_soon_threadsafe(self._settle, [] if error is not None else good, lost, error)

    def _next_batch(self) -> list[_Waiting] | None:
        first = self._first()
        if first is None:
            return None
        batch = [first]
        while len(batch) < BATCH_LIMIT and not self._queue.empty():
            following = self._queue.get()
            if following is None:
                self._queue.put(None)
                break
            batch.append(following)
        return batch

    def _first(self) -> _Waiting | None:
        """Wait for a transaction; tidy once when there is none for a while."""
        try:
            return self._queue.get(timeout=IDLE_S)
        except queue.Empty:
            try:
                self._tidy()
            except (sqlite3.Error, OSError) as error:
                log.warning("database not tidied error=%s", error)
        return self._queue.get()

    def _tidy(self) -> None:
        """Give back what is free, and cut the log, as far as nobody waits."""
        assert self._db is not None
        free: int = self._db.execute("PRAGMA freelist_count").fetchone()[0]
        given = 0
        while free - given > SPARE_PAGES and self._queue.empty():
            # A script, for that runs to its end: `execute` would free one page.
            self._db.executescript(f"PRAGMA incremental_vacuum({SPARE_PAGES})")
            given += SPARE_PAGES
        log_file = self._folder / f"{DATABASE}-wal"
        if given or log_file.stat().st_size > WAL_LIMIT_BYTES:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if given:
            log.info("database compacted pages=%d", given)

    def _commit(self, changes: list[Change]) -> None:
        if not changes or self._db is None:
            return
        last = {(c.after.storage, c.after.namespace, c.after.name): c for c in changes}
        removed = [name for name, change in last.items() if change.removed]
        kept = [(*name, c.revision, c.after.data) for name, c in last.items() if not c.removed]
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            if kept:
                db.executemany(_PUT, kept)
            if removed:
                db.executemany(_REMOVE, removed)
            db.execute(_REVISION, (changes[-1].revision,))
            db.execute("COMMIT")
        except sqlite3.Error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _settle(self, kept: list[_Waiting], lost: list[_Waiting], error: sqlite3.Error | None) -> None:
        """In the event loop: announce what is on disk, fail what is not, and answer both."""
        self._waiting -= len(kept) + len(lost)
        # Who waits for an answer goes on after this, but before the thousands of watches that the announcement wakes.
        for waiting in kept:
            if not waiting.future.done():
                waiting.future.set_result(None)
        for waiting in kept:
            self._on_committed(waiting.transaction)
        if error is not None:
            log.error("commit failed transactions=%d error=%s", len(lost), error)
            self._epoch += 1
            self._on_failed()
        for waiting in lost:
            if not waiting.future.done():
                waiting.future.set_exception(_refusal(error))


def _connected(path: Path, alone: bool = False) -> sqlite3.Connection:
    """The database, readable by its owner only; `alone` keeps all others off it, and takes no room for what it would share."""
    for file in (path, *(path.with_name(f"{path.name}-{part}") for part in ("wal", "shm"))):
        if file == path:
            file.touch(0o600)
        if file.exists():
            file.chmod(0o600)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=16)
    try:
        if alone:
            db.execute("PRAGMA locking_mode=EXCLUSIVE")
        if db.execute("PRAGMA auto_vacuum").fetchone() != (_INCREMENTAL,):
            db.execute("PRAGMA auto_vacuum=INCREMENTAL")  # writes, even what is there, and the disk may be full
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute(f"PRAGMA journal_size_limit={WAL_LIMIT_BYTES}")
        db.executescript(_SCHEMA)
    except sqlite3.Error:
        db.close()
        raise
    return db


def _code(error: sqlite3.Error | None) -> int:
    """Its primary code, the lower byte (sqlite.org/rescode.html); errors of the module itself have none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _refusal(error: sqlite3.Error | None) -> ApiError:
    """What a write is told that was not kept; without an error of its own, it built on one that was not."""
    why = f"the change could not be stored: {error or 'an earlier one failed'}"
    return insufficient_storage(why) if _code(error) == sqlite3.SQLITE_FULL else internal(why)
