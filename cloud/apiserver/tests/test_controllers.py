"""The controllers' shell, on a real store: what happens when one of them fails, or the disk does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cloud.apiserver import controllers
from cloud.apiserver.collector import Collector
from cloud.apiserver.controllers import Controller, Controllers
from cloud.apiserver.objects import Objects
from cloud.apiserver.state import Change, Transaction
from cloud.apiserver.status import internal
from cloud.apiserver.storage import Storage
from cloud.apiserver.writes import WriteOptions

WAIT_S = 10.0


class Idle:
    """A controller that does nothing but note what it is told."""

    name = "idle"

    def __init__(self) -> None:
        self.loads = 0
        self.seen: list[str] = []

    def load(self) -> None:
        self.loads += 1

    def observe(self, change: Change) -> None:
        self.seen.append(change.after.name)

    def due(self) -> datetime | None:
        return None

    def work(self) -> Transaction | None:
        return None

    def failed(self, transaction: Transaction) -> None:
        raise AssertionError("nothing was written")


class Bench:
    """A store with objects and controllers at work."""

    def __init__(self, objects: Objects, storage: Storage) -> None:
        self.objects = objects
        self.storage = storage

    async def create(self, plural: str, name: str, **meta: Any) -> Any:
        """Create an object as a client does: it returns when it is on disk."""
        resource = next(r for r in self.objects.registry if r.plural == plural)
        namespace = "default" if resource.namespaced else ""
        obj = {"metadata": {"name": name, **meta}}
        written = self.objects.create(resource, namespace, obj, WriteOptions())
        assert written.transaction is not None
        await self.storage.write(written.transaction)
        return written.stored

    def has(self, plural: str, name: str) -> bool:
        return self.objects.state.current(plural, "default" if plural != "namespaces" else "", name) is not None


@asynccontextmanager
async def bench(
    folder: Path, make: Callable[[Objects], list[Controller]], kind: type[Storage] = Storage
) -> AsyncIterator[Bench]:
    objects = Objects()
    storage = kind(folder, objects.committed, objects.rollback)
    objects.load(*storage.open())
    storage.start()
    running = asyncio.create_task(Controllers(objects, storage, make(objects)).run())
    try:
        found = Bench(objects, storage)
        if not found.has("namespaces", "default"):
            await found.create("namespaces", "default")
        yield found
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.wait((running,))
        storage.close()


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


async def orphan(found: Bench, name: str) -> None:
    """Create what the collector has to collect."""
    nobody = {"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "u"}
    await found.create("configmaps", name, ownerReferences=[nobody])


async def test_a_controller_that_fails_is_started_anew_and_disturbs_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Touchy(Idle):
        name = "touchy"

        def observe(self, change: Change) -> None:
            super().observe(change)
            if change.after.name == "trap":
                raise ValueError("a trap")

    touchy, idle = Touchy(), Idle()
    async with bench(tmp_path, lambda objects: [touchy, Collector(objects), idle]) as found:
        await found.create("configmaps", "trap")
        await orphan(found, "child")
        await eventually(lambda: not found.has("configmaps", "child"))
        assert touchy.seen[-1] == "trap"
        assert idle.seen[-2:] == ["child", "child"]
        await eventually(lambda: touchy.loads == 2)
        await found.create("configmaps", "after")
        await eventually(lambda: touchy.seen[-1] == "after")
    assert "controller failed name=touchy" in caplog.text
    assert "a trap" in caplog.text


async def test_what_a_controller_changed_before_it_failed_is_kept(tmp_path: Path) -> None:
    class Half(Idle):
        name = "half"

        def __init__(self, objects: Objects) -> None:
            super().__init__()
            self.objects = objects
            self.done = False

        def due(self) -> datetime | None:
            return self.objects.now() if self.seen and not self.done else None

        def work(self) -> Transaction | None:
            self.done = True
            maps = next(r for r in self.objects.registry if r.plural == "configmaps")
            self.objects.create(maps, "default", {"metadata": {"name": "half"}}, WriteOptions())
            raise ValueError("no more")

    async with bench(tmp_path, lambda objects: [Half(objects)]) as found:
        await eventually(lambda: found.has("configmaps", "half"))
    async with bench(tmp_path, lambda objects: []) as again:
        assert again.has("configmaps", "half")


async def test_a_change_that_the_disk_refused_is_made_again(tmp_path: Path) -> None:
    class Moody(Storage):
        """A store whose disk refuses to delete once."""

        refused = 0

        async def write(self, transaction: Transaction) -> None:
            if any(change.removed for change in transaction.changes) and not self.refused:
                type(self).refused += 1
                self._on_failed()
                raise internal("the disk is full")
            await super().write(transaction)

    async with bench(tmp_path, lambda objects: [Collector(objects)], Moody) as found:
        await orphan(found, "child")
        await eventually(lambda: Moody.refused == 1)
        await eventually(lambda: not found.has("configmaps", "child"))


async def test_a_controller_that_cannot_follow_starts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controllers, "CHANGES_LIMIT", 8)
    idle = Idle()
    async with bench(tmp_path, lambda objects: [idle]) as found:
        await eventually(lambda: idle.loads == 1)
        maps = next(r for r in found.objects.registry if r.plural == "configmaps")
        together = Transaction()
        for number in range(20):
            obj = {"metadata": {"name": f"m{number}"}}
            written = found.objects.create(maps, "default", obj, WriteOptions())
            assert written.transaction is not None
            together.changes += written.transaction.changes
        await found.storage.write(together)
        await eventually(lambda: idle.loads == 2)


async def test_controllers_do_not_run_within_a_clients_request(tmp_path: Path) -> None:
    class Slow(Idle):
        within: bool = False

        def observe(self, change: Change) -> None:
            super().observe(change)
            self.within = self.within or committing

    committing = False
    slow = Slow()
    async with bench(tmp_path, lambda objects: [slow]) as found:
        announce = found.objects.committed

        def watched(transaction: Transaction) -> None:
            nonlocal committing
            committing = True
            announce(transaction)
            committing = False

        found.storage._on_committed = watched
        await found.create("configmaps", "one")
        await eventually(lambda: "one" in slow.seen)
    assert not slow.within
