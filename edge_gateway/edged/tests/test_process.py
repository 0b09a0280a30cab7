"""Plain processes, really started: what they get, how they end, and what of them outlives edgecore and the keeper."""

import asyncio
import contextlib
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from edge_gateway.edged.cgroups import Cgroups
from edge_gateway.edged.process import ProcessRuntime
from edge_gateway.edged.runtime import CannotStart, Exit, Mount, RunId, Running, StartOrder
from edge_gateway.edged.tests.bench import a_container, a_pod

DEADLINE_S = 30.0
NO_CGROUPS = Path("/nonexistent")
root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts and becomes another user")


async def until(condition: Callable[[], object], what: str) -> None:
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 (processes tell nobody)
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {DEADLINE_S:.0f} s: {what}") from None


class Desk:
    """A runtime as edgecore has it, with a note of what ended."""

    def __init__(self, folder: Path, cgroups: Cgroups | None = None) -> None:
        self.folder = folder
        self.cgroups = cgroups or Cgroups("test", NO_CGROUPS)
        self.ended: dict[RunId, Exit] = {}
        self.runtime = ProcessRuntime(folder / "processes", self.cgroups)

    async def open(self) -> list[Running]:
        return await self.runtime.open(self.ended.__setitem__)

    def order(self, script: str, attempt: int = 0, container: str = "c", **more: Any) -> StartOrder:
        spec = {name: more.pop(name) for name in ("securityContext", "workingDir", "resources") if name in more}
        pod = a_pod(a_container(container, command=["sh", "-c", script], **spec))
        command = tuple(more.pop("command", ("sh", "-c", script)))
        log = self.folder / "logs" / container / f"{attempt}.log"
        id = RunId("u1", container, attempt)
        return StartOrder(id, pod, pod.spec.containers[0], command, more.pop("env", {}), log=log, **more)

    async def start(self, script: str, **more: Any) -> StartOrder:
        order = self.order(script, **more)
        await self.runtime.start(order)
        return order

    async def exit(self, order: StartOrder) -> Exit:
        await until(lambda: order.id in self.ended, f"{order.id} ends")
        return self.ended[order.id]

    def says(self, order: StartOrder) -> list[str]:
        """The lines of its log, without times."""
        return [line.split(" ", 3)[3] for line in order.log.read_text().splitlines()] if order.log.exists() else []

    def keeper(self) -> psutil.Process:
        [found] = [
            p for p in psutil.process_iter(["cmdline"]) if str(self.folder / "processes") in (p.info["cmdline"] or [])
        ]
        return found

    async def end(self) -> None:
        """Stop everything, the keeper last."""
        await self.runtime.close()
        for process in psutil.process_iter(["cmdline"]):
            if str(self.folder / "processes") in (process.info["cmdline"] or []):
                children = process.children(recursive=True)
                process.kill()
                for child in children:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.kill()
        self.cgroups.sweep()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    await desk.open()
    yield desk
    await desk.end()


async def test_a_process_runs_with_its_environment_and_its_output_is_logged_with_times(desk: Desk) -> None:
    order = await desk.start("echo to $WHO; echo wrong >&2; printf partial", env={"WHO": "you"})
    exit = await desk.exit(order)
    assert (exit.code, exit.reason) == (0, "")
    lines = order.log.read_text().splitlines()
    assert sorted(re.sub(r"^\S+ ", "", line) for line in lines) == [
        "stderr F wrong",
        "stdout F to you",
        "stdout P partial",
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z .*", line) for line in lines)


async def test_nothing_of_edgecores_environment_is_handed_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEDGEROW_TEST_SECRET", "x")
    order = await desk.start("env")
    await desk.exit(order)
    names = {line.partition("=")[0] for line in desk.says(order)}
    assert {"PATH", "HOSTNAME", "HOME"} <= names <= {"PATH", "HOSTNAME", "HOME", "PWD", "OLDPWD", "SHLVL", "_"}


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("kill -9 $$", 137), ("kill -15 $$", 143)])
async def test_an_end_has_the_code_that_a_shell_would_give(desk: Desk, script: str, code: int) -> None:
    assert (await desk.exit(await desk.start(script))).code == code


async def test_a_command_that_does_not_exist_cannot_be_started(desk: Desk) -> None:
    order = desk.order("", command=["no-such-command-anywhere"])
    with pytest.raises(CannotStart, match=r"no-such-command-anywhere.*No such file") as raised:
        await desk.runtime.start(order)
    assert raised.value.code == 127


async def test_a_folder_that_does_not_exist_is_named(desk: Desk) -> None:
    with pytest.raises(CannotStart, match="No such file or directory: /no/where"):
        await desk.runtime.start(desk.order("true", workingDir="/no/where"))


async def test_a_signal_goes_to_the_first_process_and_a_kill_to_all(desk: Desk) -> None:
    order = await desk.start("trap 'echo asked' TERM; sleep 1000 & echo $!; while :; do wait; done")
    await until(lambda: desk.says(order), "it says its child's number")
    child = psutil.Process(int(desk.says(order)[0]))
    await desk.runtime.signal(order.id, signal.SIGTERM)
    await until(lambda: "asked" in desk.says(order), "it was asked to stop")
    assert child.is_running()
    await desk.runtime.signal(order.id, signal.SIGKILL, everything=True)
    assert (await desk.exit(order)).code == 137
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child is gone")


async def test_what_a_container_leaves_behind_ends_with_it(desk: Desk) -> None:
    order = await desk.start("sleep 1000 & echo $!")
    await desk.exit(order)
    child = int(desk.says(order)[0])
    await until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE, "gone")


async def test_the_same_run_is_never_started_twice(desk: Desk) -> None:
    order = await desk.start("echo started; sleep 1000")
    await desk.runtime.start(order)
    await until(lambda: desk.says(order), "it has started")
    await desk.runtime.signal(order.id, signal.SIGKILL, everything=True)
    await desk.exit(order)
    assert desk.says(order) == ["started"]


async def test_a_long_line_is_cut_into_parts(desk: Desk) -> None:
    order = await desk.start("head -c 40000 /dev/zero | tr '\\0' x; echo")
    await desk.exit(order)
    lines = [line.split(" ", 3) for line in order.log.read_text().splitlines()]
    assert sum(len(line[3]) for line in lines) == 40_000
    assert [line[2] for line in lines] == ["P", "P", "F"]


async def test_a_log_does_not_grow_without_end(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 1_000_000
    monkeypatch.setattr("edge_gateway.edged.process.LOG_BYTES", limit)
    order = await desk.start("head -c 3000000 /dev/zero | tr '\\0' x | fold -w 1000; echo; echo last")
    await desk.exit(order)
    older = order.log.with_name("0.log.1")
    assert limit / 4 < order.log.stat().st_size + older.stat().st_size <= limit
    assert desk.says(order)[-1] == "last"


async def test_processes_outlive_edgecore_and_are_found_again(desk: Desk) -> None:
    runs_on = await desk.start("while :; do echo still; sleep 0.05; done")
    ends = await desk.start("sleep 0.2; exit 7", container="d")
    await desk.runtime.close()
    await until(lambda: len(desk.says(runs_on)) > 8, "it goes on")
    again = Desk(desk.folder)
    found = {run.id: run for run in await again.open()}
    assert found[runs_on.id].exit is None
    known = found[ends.id].exit or await again.exit(ends)
    assert known.code == 7
    await again.runtime.signal(runs_on.id, signal.SIGKILL, everything=True)
    assert (await again.exit(runs_on)).code == 137
    await again.runtime.forget(runs_on.id)
    await again.runtime.forget(ends.id)
    await again.runtime.close()
    third = Desk(desk.folder)
    assert await third.open() == []
    await third.runtime.close()


async def test_when_the_keeper_is_killed_its_containers_are_ended_and_said_to_be(desk: Desk) -> None:
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


async def test_what_a_dead_keeper_left_is_ended_by_the_next_edgecore(desk: Desk) -> None:
    order = await desk.start("echo $$; sleep 1000")
    await until(lambda: desk.says(order), "it says its number")
    pid = int(desk.says(order)[0])
    keeper = desk.keeper()
    await desk.runtime.close()
    keeper.kill()
    keeper.wait(10)
    again = Desk(desk.folder)
    [run] = await again.open()
    assert run.exit is not None
    assert run.exit.reason == "ContainerStatusUnknown"
    await until(
        lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, "it is gone"
    )
    await again.runtime.forget(run.id)
    assert list((desk.folder / "processes" / "runs").iterdir()) == []


async def test_another_process_with_the_same_number_is_left_alone(desk: Desk) -> None:
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
        again = Desk(desk.folder)
        [run] = await again.open()
        assert run.exit is not None
        assert bystander.returncode is None
        os.kill(bystander.pid, 0)
    finally:
        bystander.kill()
        await bystander.wait()


async def test_a_command_beside_a_container_has_its_surroundings(desk: Desk) -> None:
    order = desk.order("true", env={"WHO": "you"})
    assert await desk.runtime.exec(order, ("sh", "-c", "echo $WHO; exit 4"), 10.0) == (4, b"you\n")


async def test_a_command_that_hangs_is_ended_with_all_it_started(desk: Desk) -> None:
    order = desk.order("true")
    marker = desk.folder / "child"
    with pytest.raises(TimeoutError):
        await desk.runtime.exec(order, ("sh", "-c", f"sleep 1000 & echo $! > {marker}; wait"), 1.0)
    child = int(marker.read_text())
    await until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE, "gone")


async def test_a_command_that_does_not_exist_says_so(desk: Desk) -> None:
    with pytest.raises(CannotStart, match="no-such-command"):
        await desk.runtime.exec(desk.order("true"), ("no-such-command",), 5.0)


@root
async def test_volumes_are_at_their_paths_and_nobody_else_sees_them_there(desk: Desk, tmp_path: Path) -> None:
    source, path = tmp_path / "source", tmp_path / "deep" / "seen"
    source.mkdir()
    (source / "file").write_text("content\n")
    order = await desk.start(f"cat {path}/file; touch {path}/new", mounts=(Mount(source, str(path)),))
    assert (await desk.exit(order)).code == 0
    assert desk.says(order) == ["content"]
    assert (source / "new").exists()
    assert list(path.iterdir()) == []


@root
async def test_a_read_only_mount_cannot_be_written_to(desk: Desk, tmp_path: Path) -> None:
    source, path = tmp_path / "source", tmp_path / "seen"
    source.mkdir()
    order = await desk.start(f"touch {path}/new", mounts=(Mount(source, str(path), True),))
    assert (await desk.exit(order)).code != 0
    assert list(source.iterdir()) == []


@root
async def test_a_file_can_be_mounted_alone(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "source").write_text("one\n")
    path = tmp_path / "seen.conf"
    order = await desk.start(f"cat {path}", mounts=(Mount(tmp_path / "source", str(path), True),))
    await desk.exit(order)
    assert desk.says(order) == ["one"]


@root
async def test_a_container_runs_as_the_user_it_asks_for(desk: Desk) -> None:
    who = {"runAsUser": 65534, "runAsGroup": 65534}
    order = await desk.start("id -u; id -g; id -G", securityContext=who, groups=(1234,))
    await desk.exit(order)
    assert desk.says(order)[:2] == ["65534", "65534"]
    assert set(desk.says(order)[2].split()) == {"65534", "1234"}


@root
async def test_capabilities_are_dropped(desk: Desk) -> None:
    drop = {"capabilities": {"drop": ["ALL"]}, "allowPrivilegeEscalation": False}
    order = await desk.start("grep -E 'CapBnd|NoNewPrivs' /proc/self/status", securityContext=drop)
    await desk.exit(order)
    assert [line.split()[1] for line in desk.says(order)] == ["0000000000000000", "1"]


@root
async def test_a_cgroup_holds_and_ends_what_escapes_its_session(tmp_path: Path) -> None:
    cgroups = Cgroups(f"test-{os.getpid()}")
    if not cgroups.usable:
        pytest.skip("this machine lets nobody make cgroups")
    desk = Desk(tmp_path, cgroups)
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


async def test_a_machine_without_room_for_a_process_fails_one_container_and_keeps_the_others(desk: Desk) -> None:
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


async def test_an_environment_beyond_all_measure_ends_nobody_else(desk: Desk) -> None:
    first = await desk.start("exec sleep 1000")
    with pytest.raises(CannotStart, match="more than a process can have"):
        await desk.runtime.start(desk.order("true", container="d", env={"A": "x" * 5_000_000}))
    assert psutil.pid_exists(desk.keeper().pid)
    [running] = await desk.runtime.open(lambda id, exit: None)
    assert (running.id, running.exit) == (first.id, None)


async def test_a_zero_byte_in_a_variable_is_named(desk: Desk) -> None:
    with pytest.raises(CannotStart, match="null byte"):
        await desk.runtime.start(desk.order("true", env={"A": "x\0y"}))
