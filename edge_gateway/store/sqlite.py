"""The store on SQLite: write-ahead log, one writer thread, group commit.

While the thread commits one group, the next gathers in a dictionary on the event loop, newest value per key; it is handed
over when the commit is done. So a commit costs one fsync however many reports share it, and a lone report waits for
nobody. A commit that fails (disk full, I/O error) is tried again until it succeeds: nobody is told that it is durable before.
"""

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from edge_gateway.store import Change, StoreError
from edge_gateway.store.migrations import MigrationError, migrate

log = logging.getLogger(__name__)

RETRY_S = 1.0
CLOSE_DEADLINE_S = 10.0

_Group = dict[tuple[str, str], bytes | None]
_Then = Callable[[], None]


class SqliteStore:
    """A Store in one SQLite file. Use it from one event loop."""

    def __init__(self, path: Path) -> None:
        """Open the file, making it and its folder as needed. Raises StoreError naming the path."""
        self._path = path
        self._connection = _open(path)
        self._gathering: _Group = {}
        self._thens: list[_Then] = []
        self._committing = 0
        self._busy = False
        self._scheduled = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._groups: queue.SimpleQueue[tuple[_Group, list[_Then]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = threading.Event()

    def read(self, table: str) -> Iterator[tuple[str, bytes]]:
        """Every key and value of a table, in key order. Meant for the start, before the first `write`."""
        yield from self._connection.execute(f"SELECT key, value FROM {table} ORDER BY key")

    def write(self, changes: Iterable[Change], then: _Then | None = None) -> None:
        """Queue `changes`; `then` runs on the event loop once they and all earlier ones are durable."""
        for table, key, value in changes:
            self._gathering[table, key] = value
        if not self._gathering and not self._busy:
            if then is not None:
                then()
            return
        if then is not None:
            self._thens.append(then)
        if not self._busy and not self._scheduled:
            self._scheduled = True
            self._idle.clear()
            self._start().call_soon(self._hand_over)

    def waiting(self) -> int:
        """How many `write` calls with a `then` are not yet durable."""
        return len(self._thens) + self._committing

    async def close(self) -> None:
        """Wait until everything written is durable, then close the file. Raises StoreError if the disk does not let it."""
        try:
            async with asyncio.timeout(CLOSE_DEADLINE_S):
                await self._idle.wait()
        except TimeoutError as error:
            raise StoreError(f"{self._path}: changes could not be written before closing") from error
        finally:
            self._closing.set()
            self._groups.put(None)
            if self._thread is not None:
                await asyncio.to_thread(self._thread.join)
            self._connection.close()

    def _start(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._write_groups, args=(self._loop,), name="store", daemon=True)
            self._thread.start()
        return self._loop

    def _hand_over(self) -> None:
        """Give the writer what has gathered."""
        self._scheduled = False
        self._busy = True
        group, self._gathering = self._gathering, {}
        thens, self._thens = self._thens, []
        self._committing = len(thens)
        self._groups.put((group, thens))

    def _committed(self, thens: list[_Then]) -> None:
        """The writer is done: give it the next group before telling the senders, so that disk and loop overlap."""
        self._busy = False
        if self._gathering or self._thens:
            self._hand_over()
        else:
            self._committing = 0
            self._idle.set()
        for then in thens:
            then()

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
            except sqlite3.Error as error:
                if not failed:
                    log.error(
                        "store cannot write, reports wait path=%s keys=%d error=%s", self._path, len(group), error
                    )
                failed = True
                if self._closing.wait(RETRY_S):
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


def _open(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # a commit survives power loss, not only a crash
        connection.execute("PRAGMA cache_size = -512")
        connection.execute("PRAGMA journal_size_limit = 4194304")
        migrate(connection)
    except (OSError, sqlite3.Error, MigrationError) as error:
        raise StoreError(f"cannot open the store {path}: {error}") from error
    return connection
