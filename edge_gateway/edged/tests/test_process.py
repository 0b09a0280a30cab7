"""Plain processes, where they differ from other runtimes (`test_runtimes.py`): the keeper, cgroups, the machine's own files."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from edge_gateway.edged.cgroups import Cgroups
from edge_gateway.edged.process import ProcessRuntime
from edge_gateway.edged.runtime import CannotStart, Mount
from edge_gateway.edged.tests.bench import a_container, a_pod
from edge_gateway.edged.tests.desks import NO_CGROUPS, ProcessDesk, until

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts and becomes another user")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[ProcessDesk]:
    desk = ProcessDesk(tmp_path)
    await desk.open()
    yield desk
    await desk.end()


async def test_a_signal_goes_to_the_first_process_and_a_kill_to_all(desk: ProcessDesk) -> None:
    order = await desk.start("trap 'echo asked' TERM; sleep 1000 & echo $!; while :; do wait; done")
    await until(lambda: desk.says(order), "it says its child's number")
    child = psutil.Process(int(desk.says(order)[0]))
    await desk.runtime.signal(order.id, signal.SIGTERM)
    await until(lambda: "asked" in desk.says(order), "it was asked to stop")
    assert child.is_running()
    await desk.runtime.signal(order.id, signal.SIGKILL, everything=True)
    assert (await desk.exit(order)).code == 137
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child is gone")


async def test_what_a_container_leaves_behind_ends_with_it(desk: ProcessDesk) -> None:
    order = await desk.start("sleep 1000 & echo $!")
    await desk.exit(order)
    child = int(desk.says(order)[0])
    await until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE, "gone")


async def test_a_long_line_is_cut_into_parts(desk: ProcessDesk) -> None:
    order = await desk.start("head -c 40000 /dev/zero | tr '\\0' x; echo")
    await desk.exit(order)
    lines = [line.split(" ", 3) for line in order.log.read_text().splitlines()]
    assert sum(len(line[3]) for line in lines) == 40_000
    assert [line[2] for line in lines] == ["P", "P", "F"]


async def test_a_log_does_not_grow_without_end(desk: ProcessDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 1_000_000
    monkeypatch.setattr("edge_gateway.edged.process.LOG_BYTES", limit)
    order = await desk.start("head -c 3000000 /dev/zero | tr '\\0' x | fold -w 1000; echo; echo last")
    await desk.exit(order)
    older = order.log.with_name("0.log.1")
    assert limit / 4 < order.log.stat().st_size + older.stat().st_size <= limit
    assert desk.says(order)[-1] == "last"


async def test_when_the_keeper_is_killed_its_containers_are_ended_and_said_to_be(desk: ProcessDesk) -> None:
    order = await desk.start("echo $$; sleep 1000")
    await until(lambda: desk.says(order), "it says its number")
    desk.keeper().kill()
    exit = await desk.exit(order)
    assert (exit.code, exit.reason) == (137, "ContainerStatusUnknown")
    pid = int(desk.says(order)[0])
    await until(
        lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, "it is gone"
    )
    assert (await desk.exit(await desk.start("true", attempt=1))).code == 0


async def test_what_a_dead_keeper_left_is_ended_by_the_next_edgecore(desk: ProcessDesk) -> None:
    order = await desk.start("echo $$; sleep 1000")
    await until(lambda: desk.says(order), "it says its number")
    pid = int(desk.says(order)[0])
    keeper = desk.keeper()
    await desk.runtime.close()
    keeper.kill()
    keeper.wait(10)
    again = ProcessDesk(desk.folder)
    [run] = await again.open()
    assert run.exit is not None
    assert run.exit.reason == "ContainerStatusUnknown"
    await until(
        lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, "it is gone"
    )
    await again.runtime.forget(run.id)
    assert list((desk.folder / "processes" / "runs").iterdir()) == []


async def test_another_process_with_the_same_number_is_left_alone(desk: ProcessDesk) -> None:
    order = await desk.start("true")
    await desk.exit(order)
    await desk.runtime.close()
    keeper = desk.keeper()
    keeper.kill()
    keeper.wait(10)
    [note] = (desk.folder / "processes" / "runs").glob("*.json")
    bystander = await asyncio.create_subprocess_exec("sleep", "1000", start_new_session=True)
    try:
        note.write_text(json.dumps({**json.loads(note.read_text()), "pid": bystander.pid, "exit": None}))
        again = ProcessDesk(desk.folder)
        [run] = await again.open()
        assert run.exit is not None
        assert bystander.returncode is None
        os.kill(bystander.pid, 0)
    finally:
        bystander.kill()
        await bystander.wait()


@root
async def test_volumes_are_at_their_paths_and_nobody_else_sees_them_there(desk: ProcessDesk, tmp_path: Path) -> None:
    source, path = tmp_path / "source", tmp_path / "deep" / "seen"
    source.mkdir()
    (source / "file").write_text("content\n")
    order = await desk.start(f"cat {path}/file; touch {path}/new", mounts=(Mount(source, str(path)),))
    assert (await desk.exit(order)).code == 0
    assert desk.says(order) == ["content"]
    assert (source / "new").exists()
    assert list(path.iterdir()) == []


@root
async def test_a_file_can_be_mounted_alone(desk: ProcessDesk, tmp_path: Path) -> None:
    (tmp_path / "source").write_text("one\n")
    path = tmp_path / "seen.conf"
    order = await desk.start(f"cat {path}", mounts=(Mount(tmp_path / "source", str(path), True),))
    await desk.exit(order)
    assert desk.says(order) == ["one"]


@root
async def test_a_cgroup_holds_and_ends_what_escapes_its_session(tmp_path: Path) -> None:
    cgroups = Cgroups(f"test-{os.getpid()}")
    if not cgroups.usable:
        pytest.skip("this machine lets nobody make cgroups")
    desk = ProcessDesk(tmp_path, cgroups)
    await desk.open()
    try:
        order = await desk.start("setsid sleep 1000 & echo $!; sleep 1000")
        await until(lambda: desk.says(order), "it says its child's number")
        child = int(desk.says(order)[0])
        await desk.runtime.signal(order.id, signal.SIGKILL, everything=True)
        await desk.exit(order)
        await until(
            lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE, "gone"
        )
        await desk.runtime.forget(order.id)
        await until(
            lambda: not Path(f"{cgroups._folder}/{str(order.id).replace('/', '_')}").exists(), "its cgroup is gone"
        )
    finally:
        await desk.end()


@pytest.mark.parametrize(
    ("pod", "spec", "why"),
    [
        ({"command": None}, {}, "it has no `command`"),
        ({"securityContext": {"readOnlyRootFilesystem": True}}, {}, "readOnlyRootFilesystem"),
        ({"securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}}, {}, "capabilities.add"),
        ({"securityContext": {"privileged": True}}, {}, "privileged: edgecore is not root"),
        ({"securityContext": {"runAsUser": 12}}, {}, "runAsUser 12: edgecore is not root"),
        ({"securityContext": {"runAsNonRoot": True, "runAsUser": 0}}, {}, "runAsNonRoot"),
        (
            {"volumeMounts": [{"name": "v", "mountPath": "/v"}]},
            {"volumes": [{"name": "v", "emptyDir": {}}]},
            "volumeMounts: /v: edgecore is not root",
        ),
    ],
)
def test_what_plain_processes_cannot_have_is_refused(
    pod: dict[str, Any], spec: dict[str, Any], why: str, tmp_path: Path
) -> None:
    runtime = ProcessRuntime(tmp_path, Cgroups("test", NO_CGROUPS), root=False)
    assert any(why in said for said in runtime.refusals(a_pod(a_container(**pod), **spec)))


def test_a_host_path_that_stays_where_it_is_needs_no_mount(tmp_path: Path) -> None:
    runtime = ProcessRuntime(tmp_path, Cgroups("test", NO_CGROUPS), root=False)
    container = a_container(volumeMounts=[{"name": "v", "mountPath": "/dev/ttyUSB0"}])
    assert runtime.refusals(a_pod(container, volumes=[{"name": "v", "hostPath": {"path": "/dev/ttyUSB0"}}])) == []


async def test_a_machine_without_room_for_a_process_fails_one_container_and_keeps_the_others(desk: ProcessDesk) -> None:
    first = await desk.start("exec sleep 1000")
    keeper = desk.keeper()
    soft, hard = keeper.rlimit(psutil.RLIMIT_NOFILE)
    keeper.rlimit(psutil.RLIMIT_NOFILE, (keeper.num_fds() + 2, hard))
    with pytest.raises(CannotStart, match="no room"):
        await desk.runtime.start(desk.order("true", container="d"))
    keeper.rlimit(psutil.RLIMIT_NOFILE, (soft, hard))
    [running] = await desk.runtime.open(lambda id, exit: None)
    assert (running.id, running.exit) == (first.id, None)
    await desk.runtime.start(desk.order("true", container="e"))


async def test_an_environment_beyond_all_measure_ends_nobody_else(desk: ProcessDesk) -> None:
    first = await desk.start("exec sleep 1000")
    with pytest.raises(CannotStart, match="more than a process can have"):
        await desk.runtime.start(desk.order("true", container="d", env={"A": "x" * 5_000_000}))
    assert psutil.pid_exists(desk.keeper().pid)
    [running] = await desk.runtime.open(lambda id, exit: None)
    assert (running.id, running.exit) == (first.id, None)


async def test_a_zero_byte_in_a_variable_is_named(desk: ProcessDesk) -> None:
    with pytest.raises(CannotStart, match="null byte"):
        await desk.runtime.start(desk.order("true", env={"A": "x\0y"}))
