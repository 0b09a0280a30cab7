"""The files of the built-in kinds' schemas: made when they are wanted, kept, and made anew when they are no good."""

import asyncio
import importlib.util
import json
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cloud.apiserver import schema_files
from cloud.apiserver.schema_files import SchemaFiles

POD = "io.k8s.api.core.v1.Pod"


@asynccontextmanager
async def opened(data: Path) -> AsyncIterator[SchemaFiles]:
    files = SchemaFiles(data)
    try:
        yield files
    finally:
        await files.close()


async def content(files: SchemaFiles, group: str = "", version: str = "v1") -> bytes | None:
    file = await files.open(group, version)
    return None if file is None else b"".join(schema_files.pieces(file))


def cut(folder: Path) -> None:
    path = folder / "core_v1.json"
    path.write_bytes(path.read_bytes()[:-100])
    (folder / "fields.json").unlink()


def spoil_index(folder: Path) -> None:
    (folder / "index.json").write_bytes(b"\xff\x00")


def other_package(folder: Path) -> None:
    index = json.loads((folder / "index.json").read_bytes())
    (folder / "index.json").write_text(json.dumps(index | {"source": "35.0.0 x"}))


async def test_they_are_made_once_for_all_who_ask(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, schema_files.__name__)
    async with opened(tmp_path) as files:
        first, second, fields = await asyncio.gather(content(files), content(files), files.known_fields())
        assert first is not None
        assert first == second
        assert POD in json.loads(first)
        assert fields is not None
        assert fields.kinds["Pod"] == POD
    async with opened(tmp_path) as files:
        assert await content(files) == first
        assert await content(files, "coordination.k8s.io") is not None
    assert len(caplog.records) == 1


async def test_what_is_damaged_or_of_another_package_is_made_anew(tmp_path: Path) -> None:
    async with opened(tmp_path) as files:
        whole = await content(files)
    damages: tuple[Callable[[Path], None], ...] = (cut, spoil_index, other_package)
    for damage in damages:
        damage(tmp_path / "schemas")
        async with opened(tmp_path) as files:
            assert await content(files) == whole, damage
            assert await files.known_fields() is not None, damage


async def test_without_the_package_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    async with opened(tmp_path) as files:
        assert await content(files) is None
        assert await files.known_fields() is None
    assert not (tmp_path / "schemas").exists()


async def test_when_they_cannot_be_made_nobody_tries_again_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "schemas").write_text("in the way")
    async with opened(tmp_path) as files:
        assert await content(files) is None
        assert await files.known_fields() is None
    (record,) = caplog.records
    assert re.search(r"cannot make schemas error=.*File exists: .*/schemas'", record.getMessage())


async def test_closing_ends_the_making(tmp_path: Path) -> None:
    files = SchemaFiles(tmp_path)
    waiting = asyncio.create_task(content(files))
    while not any(task.get_name() == "schemas" for task in asyncio.all_tasks()):  # noqa: ASYNC110 - there is no Event
        await asyncio.sleep(0)
    await files.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not (tmp_path / "schemas" / "index.json").exists()
