"""Pods that would take the machine along, and a disk that is full: they are told so, the others keep running, nothing is lost."""

import asyncio
import os
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from edge_gateway.edged import process
from edge_gateway.edged.tests.node import Node, manifest
from edge_gateway.store.sqlite import SqliteStore

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user, and mounts")
USER = 64_321
"""Whom nothing else on the machine runs as: processes are counted by user."""


def of_user() -> int:
    """How many processes the user has."""
    found = 0
    for one in psutil.process_iter(["uids"]):
        found += one.info["uids"] is not None and one.info["uids"].real == USER
    return found


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    node = await Node(tmp_path).start()
    yield node
    await node.end()


@root
async def test_a_container_that_forks_without_end_is_bounded_and_ends_with_all_it_started(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(process.LIMITS, "RLIMIT_NPROC", 50)
    beat = node.folder / "beat"
    node.pod(f"while :; do echo on >> {beat}; sleep 0.05; done", name="good", uid="u2")
    await node.until(beat.exists, "the good one runs")
    bomb = manifest("bomb", "u1", "while :; do sleep 1000 & done")
    bomb["spec"]["containers"][0]["securityContext"] = {"runAsUser": USER, "runAsGroup": USER}
    node.send("pod", bomb)
    most = 0

    def backed_off() -> bool:
        nonlocal most
        most = max(most, of_user())
        return "BackOff" in dict(node.events())

    await node.until(backed_off, "it has failed, and again")
    assert most <= 50
    assert "fork" in " ".join(node.says(name="bomb", uid="u1")).lower()
    await node.until(lambda: of_user() == 0, "all of it has ended")
    before = len(beat.read_text())
    await node.until(lambda: len(beat.read_text()) > before, "the good one goes on")
    assert node.status("good")["containerStatuses"][0]["restartCount"] == 0


def saved(disk: Path, word: bytes) -> bool:
    """Whether a pod's record on the disk says so."""
    with closing(sqlite3.connect(disk / "edge.db")) as reading:
        return any(word in row for (row,) in reading.execute("SELECT value FROM pod"))


@pytest.fixture
async def small_disk(tmp_path: Path) -> AsyncIterator[Path]:
    """A folder that has room for 8 MiB."""
    folder = tmp_path / "data"
    folder.mkdir()
    await asyncio.to_thread(subprocess.run, ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], check=True)
    yield folder
    await asyncio.to_thread(subprocess.run, ["umount", "-l", str(folder)], check=True)


@root
async def test_on_a_full_disk_the_node_goes_on_and_tells_all_when_there_is_room(small_disk: Path) -> None:
    outside = small_disk.parent
    beat, flag, full, ended = outside / "beat", outside / "flag", outside / "full", outside / "ended"
    store = SqliteStore(small_disk / "edge.db")
    node = await Node(small_disk, store, look_at_disk_s=3600.0).start()
    try:
        node.pod(f"while :; do echo on >> {beat}; echo a line of the log; sleep 0.05; done", name="good", uid="u1")
        ends = f"until [ -e {flag} ]; do sleep 0.02; done; echo > {ended}; exit 3"
        node.pod(ends, name="ends", uid="u2", restartPolicy="Never")
        await node.until_phase("Running", "good")
        await node.until_phase("Running", "ends")
        greedy = manifest(
            "greedy", "u3", f"dd if=/dev/zero of={small_disk}/disk/u3/v/fill bs=4k; echo > {full}; exec sleep 1000"
        )
        greedy["spec"]["volumes"] = [{"name": "v", "emptyDir": {}}]
        node.send("pod", greedy)
        await node.until(full.exists, "the disk is full")
        flag.touch()
        await node.until(ended.exists, "a container ends")
        before = len(beat.read_text())
        await node.until(lambda: len(beat.read_text()) > before + 20, "the good one goes on")
        (small_disk / "disk" / "u3" / "v" / "fill").unlink()
        await node.until(lambda: "default/podstatus/ends" in node.marked, "it is told")
        await node.until_phase("Failed", "ends")
        await node.until(lambda: saved(small_disk, b"Failed"), "it is saved")
        before = len(node.says(name="good", uid="u1"))
        await node.until(lambda: len(node.says(name="good", uid="u1")) > before, "its log goes on")
        assert node.status("ends")["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
        assert [node.status(name)["phase"] for name in ("good", "greedy")] == ["Running", "Running"]
        assert node.status("good")["containerStatuses"][0]["restartCount"] == 0
    finally:
        await node.end()
        await store.close()


@root
async def test_the_pod_that_filled_the_disk_goes_and_what_waited_is_saved(small_disk: Path) -> None:
    store = SqliteStore(small_disk / "edge.db")
    node = await Node(small_disk, store).start()
    try:
        node.pod("while :; do echo on; sleep 0.05; done", name="good", uid="u1")
        await node.until_phase("Running", "good")
        script = f"dd if=/dev/zero of={small_disk}/disk/u3/v/fill bs=4k; exec sleep 1000"
        greedy = manifest("greedy", "u3", script)
        greedy["spec"]["volumes"] = [{"name": "v", "emptyDir": {}}]
        node.send("pod", greedy)
        await node.until(lambda: node.status("greedy").get("reason") == "Evicted", "it is evicted")
        await node.until(lambda: saved(small_disk, b"Evicted"), "that is saved")
        before = len(node.says(name="good", uid="u1"))
        await node.until(lambda: len(node.says(name="good", uid="u1")) > before, "the good one goes on")
    finally:
        await node.end()
        await store.close()
