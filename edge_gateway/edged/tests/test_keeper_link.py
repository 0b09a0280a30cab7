"""The keeper beside edgecores that come and go: one of before an update, and one that nobody needs any more."""

import os
from pathlib import Path

import psutil
import pytest

from edge_gateway.edged import keeper_link
from edge_gateway.edged.runtime import Mount, RuntimeTrouble
from edge_gateway.edged.tests.desks import ProcessDesk, until
from edge_gateway.edged.tests.node import Node, is_over

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
OLDER = "import sys; sys.path.insert(0, sys.argv[1]); from edge_gateway.edged import keeper; keeper.SPEAKS = 1; keeper.main()"


@pytest.fixture
async def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProcessDesk:
    """An edgecore whose keeper is one of before."""
    desk = ProcessDesk(tmp_path)
    await desk.open()
    with monkeypatch.context() as patch:
        patch.setattr(keeper_link, "_KEEPER", OLDER)
        await desk.exit(await desk.start("true", container="first"))
    return desk


@root
async def test_a_keeper_of_before_starts_nothing_without_its_volumes(older: ProcessDesk, tmp_path: Path) -> None:
    runs = await older.start("exec sleep 1000")
    keeper = older.keeper()
    await older.runtime.close()
    desk = ProcessDesk(older.folder)
    try:
        await desk.open()
        (tmp_path / "volume").mkdir()
        (tmp_path / "volume" / "file").write_text("from the volume")
        place = str(tmp_path / "place")
        mounted = {"mounts": (Mount(tmp_path / "volume", place, True),)}
        with pytest.raises(RuntimeTrouble, match=r"volumes have to wait for another keeper: .* once the 1 containers"):
            await desk.start(f"cat {place}/file", container="with", **mounted)
        plain = await desk.start("echo on", container="plain")
        await desk.exit(plain)
        assert desk.says(plain) == ["on"]
        await desk.runtime.signal(runs.id, 9, everything=True)
        await desk.exit(runs)
        order = await desk.start(f"cat {place}/file", container="with", attempt=1, **mounted)
        await desk.exit(order)
        assert desk.says(order) == ["from the volume"]
        assert desk.keeper().pid != keeper.pid
    finally:
        await desk.end()


async def test_a_keeper_of_before_that_has_nothing_to_keep_is_replaced(older: ProcessDesk) -> None:
    keeper = older.keeper()
    await older.runtime.close()
    desk = ProcessDesk(older.folder)
    try:
        [first] = await desk.open()
        assert first.exit is not None
        order = await desk.start("echo on")
        await desk.exit(order)
        assert is_over(keeper)
        assert desk.keeper().pid != keeper.pid
    finally:
        await desk.end()


async def test_where_pods_end_with_edgecore_the_keeper_does(tmp_path: Path) -> None:
    node = await Node(tmp_path, leave_running=False).start()
    try:
        node.pod()
        await node.until_phase("Running")
        [keeper] = node.keepers()
        [container] = keeper.children()
        await node.stop()
        await until(lambda: is_over(keeper), "the keeper is gone")
        assert not container.is_running() or container.status() == psutil.STATUS_ZOMBIE
    finally:
        await node.end()


async def test_a_keeper_that_was_asked_to_end_waits_for_what_still_runs(tmp_path: Path) -> None:
    desk = ProcessDesk(tmp_path)
    try:
        await desk.open()
        order = await desk.start("trap 'echo asked; exit' TERM; echo $$; while :; do sleep 0.05; done")
        await until(lambda: desk.says(order), "it runs")
        keeper = desk.keeper()
        await desk.runtime.close(for_good=True)
        again = ProcessDesk(tmp_path)
        assert [run.id for run in await again.open()] == [order.id]
        await again.runtime.close(for_good=True)
        assert not is_over(keeper)
        os.kill(int(desk.says(order)[0]), 15)
        await until(lambda: is_over(keeper), "it ends with the last of them")
        assert desk.says(order)[1:] == ["asked"]
    finally:
        await desk.end()


async def test_a_run_that_ends_at_once_does_not_count_as_running(tmp_path: Path) -> None:
    desk = ProcessDesk(tmp_path)
    try:
        await desk.open()
        for attempt in range(40):
            await desk.exit(await desk.start("true", attempt=attempt))
        assert desk.runtime.processes() == {}
    finally:
        await desk.end()
