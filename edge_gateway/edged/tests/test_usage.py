"""Processor time and memory: what the kernel's files say, and of real containers that use some."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edge_gateway.edged.runtime import Processes, RunId
from edge_gateway.edged.tests.desks import Desk, PodmanDesk, ProcessDesk, until
from edge_gateway.edged.tests.node import Node
from edge_gateway.edged.usage import UsageReader, Used, parse_stat
from edgewire import usage
from hil_tests.bench.podman_storage import PodmanStorage

PAGE = os.sysconf("SC_PAGE_SIZE")
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
MIB = 1024 * 1024


def lay(root: Path, **files: str) -> None:
    for name, content in files.items():
        file = root / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)


def stat(pid: int, parent: int, session: int, ticks: int = 0, pages: int = 0, name: str = "sh") -> str:
    return f"{pid} ({name}) S {parent} {pid} {session} 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 5 1000 {pages} 0\n"


def add(root: Path, pid: int, line: str) -> None:
    lay(root, **{f"proc/{pid}/stat": line})


def test_a_processs_name_may_look_like_anything() -> None:
    process = parse_stat(stat(7, 1, 7, ticks=3, pages=2, name=") S (1 2 3"))
    assert process is not None
    assert (process.pid, process.parent, process.session, process.cpu_ticks, process.pages) == (7, 1, 7, 3, 2)
    assert parse_stat("") is None


def test_without_a_cgroup_a_container_is_what_comes_from_its_first_process(tmp_path: Path) -> None:
    add(tmp_path, 10, stat(10, 2, 10, ticks=1, pages=1))
    add(tmp_path, 11, stat(11, 10, 10, ticks=2, pages=2))
    add(tmp_path, 12, stat(12, 11, 12, ticks=4, pages=4))  # in a session of its own
    add(tmp_path, 13, stat(13, 1, 10, ticks=8, pages=8))  # its parent has ended
    add(tmp_path, 20, stat(20, 1, 20, ticks=100, pages=100))
    reader = UsageReader(tmp_path)
    assert reader.container(Processes(10)) == Used(15 * TICK_NS, 15 * PAGE)
    assert reader.container(Processes(99)) is None


def test_a_cgroup_of_version_2_says_it_itself(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/machine.slice/libpod-abc.scope"
    lay(tmp_path, **{"proc/10/cgroup": "0::/machine.slice/libpod-abc.scope/container\n"})
    lay(tmp_path, **{f"{group}/cpu.stat": "usage_usec 1500\nuser_usec 1000\n"})
    lay(
        tmp_path,
        **{f"{group}/memory.current": f"{5 * MIB}\n", f"{group}/memory.stat": f"anon 1\ninactive_file {MIB}\n"},
    )
    assert UsageReader(tmp_path).container(Processes(10, "abc")) == Used(1_500_000, 4 * MIB)


def test_without_the_controller_the_memory_is_that_of_its_processes(tmp_path: Path) -> None:
    lay(tmp_path, **{"proc/10/cgroup": "4:memory:/\n0::/hedgerow-x/u1_c_0\n"})
    group = "sys/fs/cgroup/unified/hedgerow-x/u1_c_0"
    lay(tmp_path, **{f"{group}/cpu.stat": "usage_usec 10\n", f"{group}/cgroup.procs": "10\n"})
    lay(tmp_path, **{f"{group}/inner/cgroup.procs": "30\n"})
    for pid in (10, 30, 31):
        add(tmp_path, pid, stat(pid, 1, pid, pages=3))
    assert UsageReader(tmp_path).container(Processes(10, "u1_c_0")) == Used(10_000, 6 * PAGE)


def test_cgroups_of_version_1_are_read_too(tmp_path: Path) -> None:
    lay(tmp_path, **{"proc/10/cgroup": "5:cpu,cpuacct:/pods/abc\n4:memory:/pods/abc\n1:name=systemd:/\n"})
    lay(tmp_path, **{"sys/fs/cgroup/cpuacct/pods/abc/cpuacct.usage": "77\n"})
    memory = "sys/fs/cgroup/memory/pods/abc"
    lay(
        tmp_path, **{f"{memory}/memory.usage_in_bytes": "5000\n", f"{memory}/memory.stat": "total_inactive_file 2000\n"}
    )
    assert UsageReader(tmp_path).container(Processes(10, "abc")) == Used(77, 3000)


def test_a_cgroup_that_is_not_its_own_counts_for_nothing(tmp_path: Path) -> None:
    lay(tmp_path, **{"proc/10/cgroup": "0::/user.slice\n", "sys/fs/cgroup/user.slice/cpu.stat": "usage_usec 10\n"})
    add(tmp_path, 10, stat(10, 1, 10, ticks=1, pages=1))
    assert UsageReader(tmp_path).container(Processes(10, "abc")) == Used(TICK_NS, PAGE)


def test_a_machine_is_busy_with_all_but_waiting(tmp_path: Path) -> None:
    lay(tmp_path, **{"proc/stat": "cpu  10 1 5 1000 500 2 3 1 4 0\ncpu0 10 1 5 1000 500 2 3 1 4 0\n"})
    lay(tmp_path, **{"proc/meminfo": "MemTotal: 1000 kB\nMemFree: 300 kB\nInactive(file): 100 kB\n"})
    assert UsageReader(tmp_path).machine() == Used(22 * TICK_NS, 600 * 1024)


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


async def test_what_a_container_uses_is_counted_to_it(desk: Desk) -> None:
    order = await desk.start("while :; do :; done & wait")

    def used() -> Used:
        found = UsageReader().container(desk.runtime.processes()[order.id])
        assert found is not None
        return found

    await until(lambda: used().cpu_ns > 200_000_000, "it has used 0.2 s")
    assert 0 < used().memory_bytes < 200 * MIB
    await desk.runtime.signal(order.id, 9, everything=True)
    await desk.exit(order)
    assert order.id not in desk.runtime.processes()


async def test_a_node_tells_of_itself_and_of_its_containers_and_never_less_than_before(tmp_path: Path) -> None:
    node = await Node(tmp_path).start()

    async def told() -> usage.NodeUsage:
        return usage.decode(b"".join([piece async for piece in node.edged.usage({})]))

    try:
        assert (await told()).containers == ()
        script = "trap 'kill $b' USR1; (while :; do :; done) & b=$!; while :; do sleep 0.05; done"
        node.pod(script)
        await node.until_phase("Running")
        found = (await told()).containers[0]
        async with asyncio.timeout(30):
            while found.cpu_ns < 200_000_000:
                found = (await told()).containers[0]
        assert (found.namespace, found.pod, found.uid, found.name) == ("default", "web", "u1", "c0")
        assert 0 < found.started_at <= found.at
        await node.edged._runtime.signal(RunId("u1", "c0", 0), 10)
        for _ in range(20):
            after = (await told()).containers[0]
            assert after.cpu_ns >= found.cpu_ns
            found = after
        machine = await told()
        assert machine.cpu_ns > found.cpu_ns
        assert machine.memory_bytes > found.memory_bytes
    finally:
        await node.end()
