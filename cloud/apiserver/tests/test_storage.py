"""The database, on a real disk."""

import asyncio
import sqlite3
import stat
from pathlib import Path

import pytest

from cloud.apiserver.state import Change, Stored, Transaction
from cloud.apiserver.status import ApiError
from cloud.apiserver.storage import QUEUE_LIMIT, WAL_LIMIT_BYTES, Storage, StorageError


def put(revision: int, name: str = "a", data: bytes = b"{}") -> Transaction:
    return Transaction([Change(revision, None, Stored("things", "n", name, revision, data))])


def remove(revision: int, name: str = "a") -> Transaction:
    return Transaction([Change(revision, None, Stored("things", "n", name, revision, b""), removed=True)])


class Disk(Storage):
    """A storage that notes what it announces."""

    def __init__(self, folder: Path) -> None:
        self.committed: list[int] = []
        self.failures = 0
        super().__init__(folder, lambda t: self.committed.extend(c.revision for c in t.changes), self._failed)

    def _failed(self) -> None:
        self.failures += 1


async def test_what_was_written_is_read_after_a_restart(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    rows, revision = disk.open()
    assert (list(rows), revision) == ([], 1)
    disk.start()
    await asyncio.gather(
        *(disk.write(put(revision, f"o{revision % 3}", b"%d" % revision)) for revision in range(2, 12))
    )
    await disk.write(remove(12, "o0"))
    disk.close()
    assert disk.committed == list(range(2, 13))
    again = Disk(tmp_path)
    found, revision = again.open()
    kept = sorted(found)
    again.close()
    assert kept == [("things", "n", "o1", 10, b"10"), ("things", "n", "o2", 11, b"11")]
    assert revision == 12


async def test_nobody_else_reads_it_wherever_it_is(tmp_path: Path) -> None:
    for before in (None, 0o644):
        if before is not None:
            (tmp_path / "objects.db").chmod(before)
        disk = Disk(tmp_path)
        disk.open()
        disk.start()
        await disk.write(put(2))
        for name in ("objects.db", "objects.db-wal", "objects.db-shm"):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600, name
        disk.close()


async def test_a_transaction_without_changes_waits_for_those_before_it(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.open()
    disk.start()
    first = asyncio.create_task(disk.write(put(2)))
    await asyncio.sleep(0)  # the first is in the queue
    await disk.write(Transaction())
    assert disk.committed == [2]
    await first
    disk.close()


async def test_a_write_that_fails_is_said_so_and_the_next_one_works(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.open()
    disk.start()
    broken = Transaction([Change(2, None, Stored("things", "n", "a", 2, None))])  # type: ignore[arg-type]
    results = await asyncio.gather(disk.write(broken), disk.write(put(3, "b")), return_exceptions=True)
    assert all(isinstance(result, ApiError) and result.code == 500 for result in results)
    assert (disk.failures, disk.committed) == (1, [])
    await disk.write(put(4))
    assert disk.committed == [4]
    disk.close()


async def test_too_many_waiting_writes_are_refused(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.open()  # not started: nothing leaves the queue
    writes = [asyncio.create_task(disk.write(put(revision))) for revision in range(2, QUEUE_LIMIT + 2)]
    await asyncio.sleep(0)
    with pytest.raises(ApiError) as caught:
        disk.check_room()
    assert caught.value.code == 429
    disk.start()
    await asyncio.gather(*writes)
    disk.check_room()
    disk.close()


def test_a_folder_serves_one_server_at_a_time(tmp_path: Path) -> None:
    disk, other = Disk(tmp_path), Disk(tmp_path)
    disk.open()
    with pytest.raises(StorageError, match="in use"):
        other.open()
    disk.close()
    other.open()
    other.close()


def test_a_database_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.open()
    disk.close()
    with sqlite3.connect(tmp_path / "objects.db") as database:
        database.execute("UPDATE meta SET value = 2 WHERE key = 'format'")
    database.close()
    with pytest.raises(StorageError, match="newer"):
        Disk(tmp_path).open()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "objects.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StorageError, match="cannot be read"):
        Disk(tmp_path).open()


def sizes(folder: Path) -> tuple[int, int]:
    """Bytes of the database and of its log."""
    return (folder / "objects.db").stat().st_size, (folder / "objects.db-wal").stat().st_size


async def test_the_files_do_not_grow_with_the_number_of_updates(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.open()
    disk.start()
    found = []
    revision = 1
    for _ in range(3):
        for _ in range(4):
            writes = []
            for number in range(250):
                revision += 1
                writes.append(disk.write(put(revision, f"o{number % 50}", b"%08d" % revision * 1000)))
            await asyncio.gather(*writes)
        found.append(sizes(tmp_path))
    # 50 objects of 8 kB need 0.6 MB, after 8 MB of updates as after 24 MB.
    assert all(database < 1 << 20 and log <= WAL_LIMIT_BYTES for database, log in found), found
    disk.close()


async def test_room_that_is_free_is_given_back_once_nobody_writes(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.open()
    disk.start()
    await asyncio.gather(*(disk.write(put(n, f"o{n}", b"x" * 8000)) for n in range(2, 1000)))
    await asyncio.gather(*(disk.write(remove(n + 1000, f"o{n}")) for n in range(2, 1000)))
    before, _ = sizes(tmp_path)
    async with asyncio.timeout(10):
        while sizes(tmp_path)[0] > before / 4 or sizes(tmp_path)[1]:  # noqa: ASYNC110 - a file has no Event
            await asyncio.sleep(0.02)
    await disk.write(put(3000))
    disk.close()
    again = Disk(tmp_path)
    found, revision = again.open()
    rows = list(found)
    again.close()
    assert (len(rows), revision) == (1, 3000)


async def test_who_waits_for_the_disk_goes_on_before_those_whom_the_change_wakes(tmp_path: Path) -> None:
    order: list[str] = []
    loop = asyncio.get_running_loop()

    def announce(transaction: Transaction) -> None:
        order.append("announced")
        loop.call_soon(order.append, "woken")

    disk = Storage(tmp_path, announce, lambda: None)
    disk.open()
    disk.start()
    await disk.write(put(2))
    order.append("answered")
    await asyncio.sleep(0)
    assert order == ["announced", "answered", "woken"]
    disk.close()
