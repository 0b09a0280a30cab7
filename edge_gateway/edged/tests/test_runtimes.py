"""What every runtime does alike: the same tests with plain processes and with Podman."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from edge_gateway.edged.runtime import CannotStart, Mount
from edge_gateway.edged.tests.desks import Desk, PodmanDesk, ProcessDesk, until
from hil_tests.bench.podman_storage import PodmanStorage

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts and becomes another user")


@pytest.fixture(params=["process", "podman"])
async def desk(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    found: ProcessDesk | PodmanDesk
    if request.param == "process":
        found = ProcessDesk(tmp_path)
    else:
        storage: PodmanStorage = request.getfixturevalue("podman_storage")
        for name, value in storage.env.items():
            monkeypatch.setenv(name, value)
        found = PodmanDesk(tmp_path)
    await found.open()
    yield found
    await found.end()
    if isinstance(found, PodmanDesk):
        await asyncio.to_thread(storage.clear)


async def test_it_runs_with_its_environment_and_its_output_is_logged_with_times(desk: Desk) -> None:
    env = {"WHO": "you", "LINES_OF": "a\nb", "HTTP_PROXY": "http://proxy"}
    order = await desk.start('echo to $WHO; echo "$LINES_OF" "$HTTP_PROXY"; echo wrong >&2; printf partial', env=env)
    exit = await desk.exit(order)
    assert (exit.code, exit.reason) == (0, "")
    lines = order.log.read_text().splitlines()
    assert sorted(re.sub(r"^\S+ ", "", line) for line in lines) == [
        "stderr F wrong",
        "stdout F a",
        "stdout F b http://proxy",
        "stdout F to you",
        "stdout P partial",
    ]
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|\+00:00) ", line) for line in lines)


async def test_nothing_of_edgecores_environment_is_handed_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEDGEROW_TEST_SECRET", "x")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    order = await desk.start("env")
    await desk.exit(order)
    names = {line.partition("=")[0] for line in desk.says(order)}
    own = {"PATH", "HOSTNAME", "HOME"}
    assert own <= names <= {*own, "PWD", "OLDPWD", "SHLVL", "_", "TERM", "container"}


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("sh -c 'kill -9 $$'", 137), ("sh -c 'kill -15 $$'", 143)])
async def test_an_end_has_the_code_that_a_shell_would_give(desk: Desk, script: str, code: int) -> None:
    assert (await desk.exit(await desk.start(f"{script}; exit $?"))).code == code


async def test_a_command_that_does_not_exist_cannot_be_started(desk: Desk) -> None:
    order = desk.order("", command=["no-such-command-anywhere"])
    await desk.runtime.prepare(order.pod)
    with pytest.raises(CannotStart, match="no-such-command-anywhere") as raised:
        await desk.runtime.start(order)
    assert raised.value.code == 127
    assert (await desk.exit(await desk.start("exit 2", attempt=1))).code == 2


async def test_a_folder_that_does_not_exist_is_named(desk: Desk) -> None:
    order = desk.order("true", workingDir="/no/where")
    await desk.runtime.prepare(order.pod)
    with pytest.raises(CannotStart, match="/no/where"):
        await desk.runtime.start(order)


async def test_a_signal_goes_to_the_first_process_and_a_kill_to_all(desk: Desk) -> None:
    def children() -> list[psutil.Process]:
        return [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "98765"]]

    script = "trap 'echo asked' TERM; sleep 98765 & echo begun; while :; do wait; done"
    order = await desk.start(script)
    await until(lambda: desk.says(order) and children(), "it and its child have begun")
    await desk.runtime.signal(order.id, signal.SIGTERM)
    await until(lambda: "asked" in desk.says(order), "it was asked to stop")
    await desk.runtime.signal(order.id, signal.SIGKILL, everything=True)
    exit = await desk.exit(order)
    assert (exit.code, exit.reason) == (137, "")
    await until(lambda: not children(), "the child is gone too")


async def test_the_same_run_is_never_started_twice(desk: Desk) -> None:
    order = await desk.start("echo started; sleep 1000")
    await desk.runtime.start(order)
    await until(lambda: desk.says(order), "it has started")
    await desk.runtime.signal(order.id, signal.SIGKILL, everything=True)
    await desk.exit(order)
    assert desk.says(order) == ["started"]


async def test_runs_outlive_edgecore_and_are_found_again(desk: Desk) -> None:
    runs_on = desk.order("while :; do echo still; sleep 0.05; done")
    await desk.runtime.prepare(runs_on.pod)
    began = await desk.runtime.start(runs_on)
    ends = await desk.start("sleep 0.2; exit 7", attempt=1)
    await desk.runtime.close()
    await until(lambda: len(desk.says(runs_on)) > 8, "it goes on")
    again = type(desk)(desk.folder)  # type: ignore[call-arg]
    found = {run.id: run for run in await again.open()}
    assert found[runs_on.id].exit is None
    assert found[runs_on.id].at == began
    known = found[ends.id].exit or await again.exit(ends)
    assert known.code == 7
    assert again.runtime.address(runs_on.id.uid) == desk.runtime.address(runs_on.id.uid)
    assert await again.runtime.start(runs_on) == found[runs_on.id].at
    await again.runtime.signal(runs_on.id, signal.SIGKILL, everything=True)
    assert (await again.exit(runs_on)).code == 137
    await again.runtime.forget(runs_on.id)
    await again.runtime.forget(ends.id)
    await again.runtime.close()
    third = type(desk)(desk.folder)  # type: ignore[call-arg]
    assert await third.open() == []
    await third.runtime.close()


async def test_a_command_beside_a_container_has_its_surroundings(desk: Desk) -> None:
    order = await desk.start("sleep 1000", env={"WHO": "you"})
    assert await desk.runtime.exec(order, ("sh", "-c", "echo $WHO; exit 4"), 30.0) == (4, b"you\n")
    with pytest.raises(CannotStart, match="no-such-command"):
        await desk.runtime.exec(order, ("no-such-command",), 30.0)


async def test_a_command_that_hangs_is_ended_with_all_it_started(desk: Desk) -> None:
    order = await desk.start("sleep 1000")
    length = str(100_000 + os.getpid())
    with pytest.raises(TimeoutError):
        await desk.runtime.exec(order, ("sh", "-c", f"sleep {length} & wait"), 1.0)
    await until(lambda: not any(length in p.info["cmdline"] for p in running()), "all of it has ended")


def running() -> list[psutil.Process]:
    """Every process that has a command line."""
    return [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"]]


@root
async def test_volumes_are_at_their_paths(desk: Desk, tmp_path: Path) -> None:
    source, path, locked = tmp_path / "source", tmp_path / "deep" / "seen", tmp_path / "seen.conf"
    source.mkdir()
    (source / "file").write_text("content\n")
    mounts = (Mount(source, str(path)), Mount(source / "file", str(locked), True))
    order = await desk.start(f"cat {path}/file {locked}; touch {path}/new; echo x > {locked}", mounts=mounts)
    assert (await desk.exit(order)).code != 0
    assert desk.says(order)[:2] == ["content", "content"]
    assert (source / "new").exists()
    assert (source / "file").read_text() == "content\n"


@root
@pytest.mark.parametrize("path", ["/dev/termination-log", ""])
async def test_what_a_container_says_of_its_end_is_in_its_file(desk: Desk, tmp_path: Path, path: str) -> None:
    who = {"runAsUser": 65534, "runAsGroup": 65534} if path else {}  # who sees nothing of tmp_path
    path = path or str(tmp_path / "said")
    file = tmp_path / "message"
    file.touch()
    file.chmod(0o666)
    more = {"securityContext": who, "terminationMessagePath": path, "message": file}
    order = await desk.start(f"echo begun; printf 'no valve' > {path}; exit 3", **more)
    assert (await desk.exit(order)).code == 3
    assert file.read_text() == "no valve"


@root
async def test_a_container_runs_as_the_user_it_asks_for_and_without_what_it_drops(desk: Desk) -> None:
    who = {"runAsUser": 65534, "runAsGroup": 65534, "capabilities": {"drop": ["ALL"]}}
    context = {**who, "allowPrivilegeEscalation": False}
    script = "id -u; id -g; id -G; grep -E 'CapBnd|NoNewPrivs' /proc/self/status"
    order = await desk.start(script, securityContext=context, groups=(1234,))
    await desk.exit(order)
    user, group, groups, bounding, no_new = desk.says(order)
    assert (user, group) == ("65534", "65534")
    assert set(groups.split()) == {"65534", "1234"}
    assert [bounding.split()[1], no_new.split()[1]] == ["0000000000000000", "1"]
