"""The store: one contract for memory and SQLite, then what only a disk can do wrong."""

import asyncio
import json
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from edge_gateway.store import TABLES, Change, Store, StoreError
from edge_gateway.store.memory import MemoryStore
from edge_gateway.store.migrations import MIGRATIONS
from edge_gateway.store.sqlite import SqliteStore


def put(key: str, value: str = "", table: str = "twin") -> Change:
    return (table, key, value.encode())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110, what is waited for happens in a thread
            await asyncio.sleep(0.001)


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "edge.db")
    yield opened
    await opened.close()


@pytest.fixture
async def sqlite_store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "edge.db")
    yield opened
    await opened.close()


async def written(store: Store, *changes: Change) -> None:
    done = asyncio.Event()
    store.write(changes, done.set)
    async with asyncio.timeout(10):
        await done.wait()


# The contract


async def test_what_is_written_is_read_in_key_order_table_by_table(store: Store) -> None:
    await written(store, put("b", "2"), put("a", "1"), put("é", "3"), put("a", "other", "device"))
    assert list(store.read("twin")) == [("a", b"1"), ("b", b"2"), ("é", b"3")]
    assert list(store.read("device")) == [("a", b"other")]
    assert list(store.read("object")) == []


async def test_the_newest_value_of_a_key_counts_and_none_deletes_it(store: Store) -> None:
    await written(store, put("a", "1"), put("a", "2"), put("b", "1"), put("c", "1"))
    await written(store, put("a", "3"), ("twin", "b", None), ("twin", "never there", None))
    await written(store, ("twin", "c", None), put("c", "again"))
    assert list(store.read("twin")) == [("a", b"3"), ("c", b"again")]


async def test_every_table_takes_any_bytes_under_any_key(store: Store) -> None:
    odd = bytes(range(256))
    await written(store, *[(table, "a/b\0c '\"; --", odd) for table in TABLES], put("", ""))
    for table in TABLES:
        assert ("a/b\0c '\"; --", odd) in list(store.read(table))
    assert ("", b"") in list(store.read("twin"))


async def test_callbacks_come_in_the_order_of_the_calls(store: Store) -> None:
    told: list[int] = []
    for n in range(300):
        changes = [put(f"k{n % 7}", str(n))] if n % 3 else []  # every third brings no change of its own
        store.write(changes, lambda n=n: told.append(n))  # type: ignore[misc]
        if n % 50 == 0:
            await asyncio.sleep(0)
    await until(lambda: len(told) == 300)
    assert told == list(range(300))
    assert store.waiting() == 0


async def test_callbacks_that_write_again_come_in_order_too(store: Store) -> None:
    told: list[str] = []

    def first() -> None:
        told.append("first")
        store.write([], lambda: told.append("empty from first"))
        store.write([put("a", "2")], lambda: told.append("change from first"))

    store.write([put("a", "1")], first)
    store.write([], lambda: told.append("second"))
    await until(lambda: len(told) == 4)
    assert told.index("first") < told.index("empty from first") < told.index("change from first")
    assert list(store.read("twin")) == [("a", b"2")]


async def test_a_callback_that_raises_keeps_no_other_waiting(store: Store) -> None:
    told: list[int] = []
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: errors.append(context["exception"]))

    def fails() -> None:
        raise ZeroDivisionError

    for n in range(6):
        try:
            store.write([put("a", str(n))], fails if n % 2 else lambda n=n: told.append(n))  # type: ignore[misc]
        except ZeroDivisionError as error:  # memory is durable at once, and its caller hears of it
            errors.append(error)
    await until(lambda: told == [0, 2, 4] and len(errors) == 3)
    assert all(isinstance(error, ZeroDivisionError) for error in errors)
    await written(store, put("a", "after"))
    assert list(store.read("twin")) == [("a", b"after")]


async def test_a_write_needs_no_callback(store: Store) -> None:
    store.write([put("a", "1")])
    await written(store)
    assert list(store.read("twin")) == [("a", b"1")]


async def test_closing_waits_until_everything_is_durable_and_told(store: Store) -> None:
    told: list[int] = []
    for n in range(50):
        store.write([put(f"k{n}")], lambda n=n: told.append(n))  # type: ignore[misc]
    await store.close()
    assert told == list(range(50))


# SQLite only


async def test_an_empty_write_waits_for_earlier_ones(sqlite_store: SqliteStore) -> None:
    told: list[str] = []
    sqlite_store.write([put("a")], lambda: told.append("change"))
    sqlite_store.write([], lambda: told.append("empty"))
    assert told == []
    assert sqlite_store.waiting() == 2
    await until(lambda: len(told) == 2)
    assert told == ["change", "empty"]
    sqlite_store.write([], lambda: told.append("nothing to wait for"))
    assert told[-1] == "nothing to wait for"


async def test_an_empty_write_waits_for_a_commit_that_is_under_way(sqlite_store: SqliteStore) -> None:
    told: list[str] = []
    sqlite_store.write([put("a")], lambda: told.append("change"))
    await asyncio.sleep(0)  # one turn of the loop: the writer has it
    assert not sqlite_store._gathering
    sqlite_store.write([], lambda: told.append("empty"))
    assert told == []
    await until(lambda: len(told) == 2)
    assert told == ["change", "empty"]
    assert sqlite_store.waiting() == 0


async def test_an_empty_write_does_not_overtake_callbacks_still_to_be_told(sqlite_store: SqliteStore) -> None:
    """After a callback raised the rest are told in the next turn of the loop; what comes meanwhile goes behind them."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: None)
    told: list[str] = []

    def fails() -> None:
        loop.call_soon(lambda: sqlite_store.write([], lambda: told.append("late")))
        raise ZeroDivisionError

    sqlite_store.write([put("a")], fails)
    sqlite_store.write([put("b")], lambda: told.append("early"))
    await until(lambda: len(told) == 2)
    assert told == ["early", "late"]


async def test_what_was_written_is_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    for n in range(3):
        store = SqliteStore(tmp_path / "deep" / "er" / "edge.db")
        assert len(list(store.read("twin"))) == n
        store.write([put(f"k{n}", str(n))])
        await store.close()


async def test_writes_that_come_while_a_commit_runs_share_the_next_one(sqlite_store: SqliteStore) -> None:
    commits: list[str] = []
    sqlite_store._connection.set_trace_callback(
        lambda statement: commits.append(statement) if statement == "COMMIT" else None
    )
    told = 0

    def count() -> None:
        nonlocal told
        told += 1

    for n in range(2000):
        sqlite_store.write([put(f"k{n}", str(n))], count)
    await until(lambda: told == 2000)
    assert len(commits) == 1  # one turn of the loop, one commit
    for n in range(2000):
        sqlite_store.write([put(f"k{n % 50}", str(n))], count)
        if n % 10 == 0:
            await asyncio.sleep(0)
    await until(lambda: told == 4000)
    assert 1 < len(commits) < 200
    commits.clear()
    for _ in range(5):
        await written(sqlite_store, put("lone"))
    assert len(commits) == 5  # a lone report waits for nobody


async def test_a_commit_without_changes_is_not_made(sqlite_store: SqliteStore) -> None:
    statements: list[str] = []
    sqlite_store._connection.set_trace_callback(statements.append)
    told: list[int] = []
    sqlite_store.write([put("a")], lambda: sqlite_store.write([], lambda: told.append(1)))
    await until(lambda: told == [1])
    assert statements.count("COMMIT") == 1


async def test_memory_is_bounded_by_the_number_of_keys_while_the_disk_does_not_take_anything(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "edge.db", retry_s=0.01, busy_s=0.0)
    blocker = sqlite3.connect(tmp_path / "edge.db", isolation_level=None)
    try:
        blocker.execute("BEGIN EXCLUSIVE")
        for n in range(10_000):
            store.write([put(f"k{n % 10}", str(n))])
            if n % 1000 == 0:
                await asyncio.sleep(0)
        assert len(store._gathering) == 10
        assert store._groups.qsize() <= 1
    finally:
        blocker.close()
        await store.close()
    store = SqliteStore(tmp_path / "edge.db")
    assert [value for _, value in store.read("twin")] == [str(n).encode() for n in range(9990, 10_000)]
    await store.close()


async def test_callbacks_wait_while_the_file_is_locked_and_come_when_it_is_free(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = SqliteStore(tmp_path / "edge.db", retry_s=0.02, busy_s=0.02)
    blocker = sqlite3.connect(tmp_path / "edge.db", isolation_level=None)
    told: list[int] = []
    try:
        blocker.execute("BEGIN EXCLUSIVE")
        store.write([put("a", "1")], lambda: told.append(1))
        await until(lambda: "store cannot write, reports wait" in caplog.text)
        store.write([put("a", "2")], lambda: told.append(2))
        store.write([], lambda: told.append(3))
        tries: list[str] = []
        store._connection.set_trace_callback(tries.append)
        await until(lambda: len(tries) >= 3)  # and each of them fails
        assert told == []
        assert store.waiting() == 3
        blocker.execute("ROLLBACK")
        await until(lambda: told == [1, 2, 3])
    finally:
        blocker.close()
        await store.close()
    assert "database is locked" in caplog.text
    assert caplog.text.count("store cannot write") == 1  # one line an event, not one a try
    assert caplog.text.count("store writes again") == 1


async def test_closing_gives_up_after_its_deadline_and_says_so(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "edge.db", retry_s=0.01, busy_s=0.01, close_deadline_s=0.1)
    blocker = sqlite3.connect(tmp_path / "edge.db", isolation_level=None)
    told: list[int] = []
    try:
        blocker.execute("BEGIN EXCLUSIVE")
        store.write([put("a")], lambda: told.append(1))
        with pytest.raises(StoreError, match=r"edge\.db: changes could not be written before closing"):
            await store.close()
    finally:
        blocker.close()
    assert told == []
    assert store._thread is not None
    assert not store._thread.is_alive()


FULL_DISK = textwrap.dedent("""
    import asyncio, json, resource, sys
    from pathlib import Path
    from edge_gateway.store.sqlite import SqliteStore

    async def main():
        path = Path(sys.argv[1])
        store = SqliteStore(path, retry_s=0.02)
        told = []
        store.write([("twin", "before", b"x")], lambda: told.append("before"))
        while not told:
            await asyncio.sleep(0.001)
        files = [path, path.with_name(path.name + "-wal")]
        full = max(file.stat().st_size for file in files if file.exists())
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (full, hard))  # the kernel refuses every byte beyond
        for n in range(20):
            store.write([("twin", f"k{n}", bytes(4096))], lambda: told.append("while full"))
        tries = []
        store._connection.set_trace_callback(tries.append)
        while tries.count("BEGIN IMMEDIATE") < 4:
            await asyncio.sleep(0.001)
        print(json.dumps(told), flush=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        while len(told) < 21:
            await asyncio.sleep(0.001)
        await store.close()
        print(json.dumps(told), flush=True)

    asyncio.run(main())
""")


def test_a_full_disk_holds_callbacks_back_until_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    while_full, after = (json.loads(line) for line in done.stdout.splitlines())
    assert while_full == ["before"]
    assert after == ["before"] + ["while full"] * 20
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM twin").fetchone() == (21,)
    connection.close()


NO_MEMORY = textwrap.dedent("""
    import asyncio, json, sys
    from pathlib import Path
    from edge_gateway.store import StoreError
    from edge_gateway.store.sqlite import SqliteStore

    async def main():
        store = SqliteStore(Path(sys.argv[1]), retry_s=0.02, close_deadline_s=0.1)
        told, tries = [], []
        store._connection.execute("PRAGMA hard_heap_limit = 600000")  # of this process, and it can only be lowered
        store._connection.set_trace_callback(tries.append)
        store.write([("twin", "large", bytes(2_000_000))], lambda: told.append("large"))
        async with asyncio.timeout(10):
            while tries.count("BEGIN IMMEDIATE") < 3:
                await asyncio.sleep(0.001)
        try:
            await store.close()
        except StoreError:
            print(json.dumps(told))

    asyncio.run(main())
""")


def test_a_commit_for_which_there_is_no_memory_is_tried_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", NO_MEMORY, str(tmp_path / "edge.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


WRITER = textwrap.dedent("""
    import asyncio, itertools, sys
    from pathlib import Path
    from edge_gateway.store.sqlite import SqliteStore

    async def main():
        store = SqliteStore(Path(sys.argv[1]))
        last = max((int(value) for _, value in store.read("twin")), default=0)
        print("open", flush=True)
        for n in itertools.count(last + 1):
            store.write([("twin", f"k{n % 20}", str(n).encode())], lambda n=n: print(n, flush=True))
            if n % 3 == 0:
                await asyncio.sleep(0)
            while store.waiting() > 50:
                await asyncio.sleep(0)

    asyncio.run(main())
""")


def test_everything_called_back_survives_kill_nine_at_any_instant(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    told = 0
    for round in range(12):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "open\n"
                said = [process.stdout.readline() for _ in range(1 + 37 * round)]  # another instant each time
            finally:
                process.kill()
            said += process.stdout.readlines()  # what it said before it died
        told = max(told, *(int(line) for line in said if line.endswith("\n")))
        connection = sqlite3.connect(path)
        kept = [int(value) for (value,) in connection.execute("SELECT value FROM twin")]
        (check,) = connection.execute("PRAGMA integrity_check").fetchone()
        connection.close()
        assert check == "ok"
        assert max(kept) >= told
        expected = set(range(max(1, max(kept) - 19), max(kept) + 1))
        assert set(kept) == expected  # groups are whole: no later write without an earlier one
    assert told > 2000


async def test_writes_that_nothing_comes_between_share_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path / "edge.db")
    commits: list[set[str]] = []
    commit = store._commit

    def recorded(group: dict[tuple[str, str], bytes | None]) -> None:
        commits.append({key for _, key in group})
        commit(group)

    monkeypatch.setattr(store, "_commit", recorded)
    for number in range(20):
        store.write([put(f"before{number}")])
        await asyncio.sleep(0.001 * (number % 3))
        store.write([put(f"one{number}")])
        store.write([put(f"two{number}")])
    await store.close()
    assert len(commits) > 1
    for number in range(20):
        assert [keys for keys in commits if f"one{number}" in keys] == [
            keys for keys in commits if f"two{number}" in keys
        ]


# Files


def test_a_new_file_has_the_newest_shape(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "edge.db")._connection.close()
    connection = sqlite3.connect(tmp_path / "edge.db")
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    assert names == set(TABLES)


def test_a_commit_reaches_the_disk_before_it_counts(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "edge.db")
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store._connection.close()


async def test_a_file_of_an_earlier_shape_is_brought_up_to_date_with_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path / "edge.db")
    store.write([put("a", "1")])
    await store.close()
    later = (*MIGRATIONS, ("ALTER TABLE twin ADD COLUMN seen INTEGER", "CREATE INDEX seen ON twin (seen)"))
    monkeypatch.setattr("edge_gateway.store.migrations.MIGRATIONS", later)
    store = SqliteStore(tmp_path / "edge.db")
    assert list(store.read("twin")) == [("a", b"1")]
    assert store._connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
    assert store._connection.execute("SELECT seen FROM twin").fetchall() == [(None,)]
    await store.close()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SqliteStore(tmp_path / "edge.db")._connection.close()
    broken = (*MIGRATIONS, ("CREATE TABLE half (a)", "CREATE NONSENSE"))
    monkeypatch.setattr("edge_gateway.store.migrations.MIGRATIONS", broken)
    with pytest.raises(StoreError, match=r"cannot open the store .*edge\.db: near \"NONSENSE\""):
        SqliteStore(tmp_path / "edge.db")
    monkeypatch.undo()
    store = SqliteStore(tmp_path / "edge.db")
    assert store._connection.execute("SELECT name FROM sqlite_master WHERE name = 'half'").fetchall() == []
    store._connection.close()


def test_a_file_of_a_newer_release_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    known = len(MIGRATIONS)
    why = rf"cannot open the store .*edge\.db: its shape is version {known + 1}, .* up to {known}"
    with pytest.raises(StoreError, match=why):
        SqliteStore(path)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    connection.close()


def test_what_is_no_store_is_refused_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is no database, and longer than a header of one " * 20)
    with pytest.raises(StoreError, match=r"cannot open the store .*text: file is not a database"):
        SqliteStore(tmp_path / "text")
    with pytest.raises(StoreError, match=r"cannot open the store .*/text/edge\.db: .*(Not a directory|File exists)"):
        SqliteStore(tmp_path / "text" / "edge.db")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match=r"cannot open the store .*folder: unable to open database file"):
        SqliteStore(tmp_path / "folder")


async def test_a_damaged_file_is_an_error_of_the_store_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    store = SqliteStore(path)
    store.write([put(f"k{n}", "x" * 500) for n in range(200)])
    await store.close()
    with path.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xa5" * 4096 * 20)
    store = SqliteStore(path)
    with pytest.raises(StoreError, match=r"cannot read twin in the store .*edge\.db: "):
        list(store.read("twin"))
    await store.close()


def modes_in(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}


async def test_nobody_else_reads_the_file_and_those_beside_it(tmp_path: Path) -> None:
    (tmp_path / "edge.db").touch(0o644)  # as it was made before
    opened = SqliteStore(tmp_path / "edge.db")
    opened.write([put("a", "1")])
    await opened.close()
    opened = SqliteStore(tmp_path / "edge.db")
    try:
        assert set(modes_in(tmp_path).values()) == {0o600}
        assert "edge.db-wal" in modes_in(tmp_path)
    finally:
        await opened.close()
