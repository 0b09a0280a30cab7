"""The store on SQLite: write-ahead log, one writer thread, group commit.

While the thread commits one group, the next gathers in a dictionary on the event loop, newest value per key; it is handed
over when the commit is done. So a commit costs one fsync however many reports share it, and a lone report waits for
nobody. A commit that fails (disk full, I/O error, no memory) is tried again until it succeeds: nobody is told that it is durable
before.
"""

import asyncio
import logging
import os
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from edge_gateway.store import Change, StoreError
from edge_gateway.store.migrations import MigrationError, migrate

log = logging.getLogger(__name__)

RETRY_S = 1.0
"""Between two tries of a commit that failed."""
BUSY_S = 5.0
"""How long a commit waits for another process that has the file locked, before it counts as failed."""
CLOSE_DEADLINE_S = 10.0

_Group = dict[tuple[str, str], bytes | None]
_Then = Callable[[], None]


class SqliteStore:
    """A Store in one SQLite file. Use it from one event loop."""

    def __init__(
        self,
        path: Path,
        *,
        retry_s: float = RETRY_S,
        busy_s: float = BUSY_S,
        close_deadline_s: float = CLOSE_DEADLINE_S,
    ) -> None:
        """Open the file, making it and its folder as needed. Raises StoreError naming the path."""
        self._path = path
        self._retry_s = retry_s
        self._close_deadline_s = close_deadline_s
        self._connection = _open(path, busy_s)
        self._gathering: _Group = {}
        self._thens: list[_Then] = []
        self._committing = 0
        self._durable: deque[_Then] = deque()
        self._busy = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._groups: queue.SimpleQueue[tuple[_Group, list[_Then]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = threading.Event()

    def read(self, table: str) -> Iterator[tuple[str, bytes]]:
        """Every key and value of a table, in key order. Meant for the start, before the first `write`. Raises StoreError."""
        try:
            yield from self._connection.execute(f"SELECT key, value FROM {table} ORDER BY key")
        except sqlite3.Error as error:
            raise StoreError(f"cannot read {table} in the store {self._path}: {error}") from error

    def write(self, changes: Iterable[Change], then: _Then | None = None) -> None:
        """Queue `changes`; `then` runs on the event loop once they and all earlier ones are durable."""
        for table, key, value in changes:
            self._gathering[table, key] = value
        if self._gathering or self._busy:
            if then is not None:
                self._thens.append(then)
            if not self._busy:
                self._busy = True
                self._idle.clear()
                self._start().call_soon(self._hand_over)  # with all that this turn of the loop still brings
        elif then is not None and self._durable:
            self._durable.append(then)
        elif then is not None:
            then()

    def waiting(self) -> int:
        """How many `write` calls with a `then` are not yet durable, or not yet told."""
        return len(self._thens) + self._committing + len(self._durable)

    async def close(self) -> None:
        """Wait until everything written is durable and told, then close the file.

        Raises StoreError if the disk does not let it within `close_deadline_s`.
        """
        try:
            async with asyncio.timeout(self._close_deadline_s):
                await self._idle.wait()
        except TimeoutError as error:
            raise StoreError(f"{self._path}: changes could not be written before closing") from error
        finally:
            self._closing.set()
            self._groups.put(None)
            if self._thread is not None:
                await asyncio.to_thread(self._thread.join, self._close_deadline_s)
            if self._thread is None or not self._thread.is_alive():
                self._connection.close()

    def _start(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._write_groups, args=(self._loop,), name="store", daemon=True)
            self._thread.start()
        return self._loop

    def _hand_over(self) -> None:
        """Give the writer what has gathered."""
        group, self._gathering = self._gathering, {}
        thens, self._thens = self._thens, []
        self._committing = len(thens)
        self._groups.put((group, thens))

    def _committed(self, thens: list[_Then]) -> None:
        """The writer is done: give it the next group before telling the senders, so that disk and loop overlap."""
        self._durable.extend(thens)
        if self._gathering:
            self._hand_over()
        else:
            self._durable.extend(self._thens)  # they brought no changes of their own
            self._thens = []
            self._committing = 0
            self._busy = False
        self._tell()

    def _tell(self) -> None:
        """Call back all whose changes are durable. An error in one is the event loop's to report, and keeps no other waiting."""
        try:
            while self._durable:
                self._durable.popleft()()
        finally:
            if self._durable:
                self._start().call_soon(self._tell)
            elif not self._busy:
                self._idle.set()

    def _write_groups(self, loop: asyncio.AbstractEventLoop) -> None:
        while (item := self._groups.get()) is not None:
            group, thens = item
            if not self._commit_until_durable(group):
                return
            loop.call_soon_threadsafe(self._committed, thens)

    def _commit_until_durable(self, group: _Group) -> bool:
        failed = False
        while True:
            try:
                self._commit(group)
            except (sqlite3.Error, MemoryError) as error:  # SQLite's "out of memory" is a MemoryError
                if not failed:
                    log.error(
                        "store cannot write, reports wait path=%s keys=%d error=%r", self._path, len(group), error
                    )
                failed = True
                if self._closing.wait(self._retry_s):
                    return False
                continue
            if failed:
                log.warning("store writes again path=%s", self._path)
            return True

    def _commit(self, group: _Group) -> None:
        puts: dict[str, list[tuple[str, bytes]]] = {}
        deletes: dict[str, list[tuple[str]]] = {}
        for (table, key), value in group.items():
            if value is None:
                deletes.setdefault(table, []).append((key,))
            else:
                puts.setdefault(table, []).append((key, value))
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            for table, rows in puts.items():
                self._connection.executemany(
                    f"INSERT INTO {table} VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", rows
                )
            for table, keys in deletes.items():
                self._connection.executemany(f"DELETE FROM {table} WHERE key = ?", keys)
            execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise


def _close_to_others(path: Path) -> None:
    """Have the file, for this user alone: pods' specs are in it. SQLite gives its other files the same mode."""
    if not path.exists():
        path.touch(0o600)
    for file in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        if file.is_file() and file.stat().st_uid == os.geteuid():
            file.chmod(0o600)


def _open(path: Path, busy_s: float) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _close_to_others(path)
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=busy_s)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"cannot open the store {path}: {error}") from error
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # a commit survives power loss, not only a crash
        connection.execute("PRAGMA cache_size = -512")
        connection.execute("PRAGMA journal_size_limit = 4194304")
        migrate(connection)
    except (sqlite3.Error, MigrationError) as error:
        connection.close()
        raise StoreError(f"cannot open the store {path}: {error}") from error
    return connection
