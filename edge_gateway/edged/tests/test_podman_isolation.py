"""What a container of Podman sees of what its pod says: names, processes, settings of the kernel, system calls."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edge_gateway.edged.runtime import RuntimeTrouble, StartOrder
from edge_gateway.edged.tests.bench import a_container, a_pod
from edge_gateway.edged.tests.desks import PodmanDesk
from hil_tests.bench.podman_storage import PodmanStorage

SEES = "grep Seccomp: /proc/self/status; readlink /proc/self/ns/pid; readlink /proc/self/ns/ipc"


@pytest.fixture
async def desk(
    tmp_path: Path, podman_storage: PodmanStorage, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[PodmanDesk]:
    for name, value in podman_storage.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("edge_gateway.edged.tests.desks.PROFILES", tmp_path / "seccomp")
    desk = PodmanDesk(tmp_path)
    await desk.open()
    yield desk
    await desk.end()
    await asyncio.to_thread(podman_storage.clear)


def order(
    desk: PodmanDesk, script: str, attempt: int = 0, security: dict[str, Any] | None = None, **spec: Any
) -> StartOrder:
    container = a_container("c", image=desk.image, command=["sh", "-c", script], securityContext=security or {})
    return desk.order(script, attempt, pod=a_pod(container, **spec))


async def says(desk: PodmanDesk, order: StartOrder) -> list[str]:
    await desk.runtime.prepare(order.pod)
    await desk.runtime.start(order)
    assert (await desk.exit(order)).code == 0, desk.says(order)
    return desk.says(order)


async def test_names_of_hosts_name_servers_and_kernel_settings(desk: PodmanDesk) -> None:
    files = "grep plc /etc/hosts; cat /etc/resolv.conf; cat /proc/sys/net/ipv4/tcp_syncookies"
    spec: dict[str, Any] = {
        "hostAliases": [{"ip": "10.1.2.3", "hostnames": ["plc"]}],
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["10.0.0.53"], "searches": ["site"], "options": [{"name": "ndots", "value": "5"}]},
        "securityContext": {"sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "0"}]},
    }
    alias, *resolv, syncookies = await says(desk, order(desk, files, **spec))
    assert alias.split() == ["10.1.2.3", "plc"]
    assert sorted(resolv) == ["nameserver 10.0.0.53", "options ndots:5", "search site"]
    assert syncookies == "0"


async def test_containers_may_share_processes_with_each_other(desk: PodmanDesk) -> None:
    beside = order(desk, "exec sleep 4711", shareProcessNamespace=True)
    await desk.runtime.prepare(beside.pod)
    await desk.runtime.start(beside)
    found = await says(desk, order(desk, "ps -o args | grep -c '[s]leep 4711'", 1, shareProcessNamespace=True))
    assert found == ["1"]


async def test_a_pod_on_the_machines_processes_and_queues_without_a_filter(desk: PodmanDesk) -> None:
    spec: dict[str, Any] = {
        "hostPID": True,
        "hostIPC": True,
        "hostNetwork": True,
        "hostAliases": [{"ip": "10.1.2.3", "hostnames": ["plc"]}],
    }
    unconfined = {"seccompProfile": {"type": "Unconfined"}}
    filter, pid, ipc, alias = await says(desk, order(desk, f"{SEES}; grep -c plc /etc/hosts", 0, unconfined, **spec))
    assert filter.split() == ["Seccomp:", "0"]
    assert [pid, ipc] == [os.readlink(f"/proc/self/ns/{name}") for name in ("pid", "ipc")]
    assert alias == "1"


async def test_by_default_and_when_asked_system_calls_are_filtered(desk: PodmanDesk) -> None:
    for attempt, security in enumerate(({}, {"seccompProfile": {"type": "RuntimeDefault"}})):
        filter, pid, _ = await says(desk, order(desk, SEES, attempt, security))
        assert filter.split() == ["Seccomp:", "2"]
        assert pid != os.readlink("/proc/self/ns/pid")


async def test_a_profile_of_the_machine_is_used_and_one_that_is_missing_is_named(desk: PodmanDesk) -> None:
    def localhost(name: str) -> dict[str, Any]:
        return {"seccompProfile": {"type": "Localhost", "localhostProfile": name}}

    profiles = desk.folder / "seccomp"
    profiles.mkdir()
    no_folders = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}
    (profiles / "mine.json").write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [no_folders]}))
    assert (await says(desk, order(desk, "mkdir /tmp/x 2>/dev/null || echo no", 0, localhost("mine.json")))) == ["no"]
    with pytest.raises(RuntimeTrouble, match=r"other\.json"):
        await desk.runtime.start(order(desk, "true", 1, localhost("other.json")))
