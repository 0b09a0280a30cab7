"""The stack's files and processes, real ones."""

import asyncio
import contextlib
import itertools
import re
import socket
import stat
import time
from pathlib import Path

import psutil
import pytest
import yaml

from hedgerow.children import ChildError
from hedgerow.cluster import Cluster
from hedgerow.stack import Ports, Stack, free_port, until

SECRETS = [
    "kubeconfig",
    "kubernetes/kubeconfig",
    "cloud/pki/ca.key",
    "cloud/pki/server.key",
    "cloud/pki/nodes/cabinet-7.key",
    "cloud/cloudcore.yaml",
    "edge/pki/node.key",
    "edge/edgecore.yaml",
    "mapper/mapper.yaml",
]


async def test_it_starts_everything_and_leaves_no_process_behind(tmp_path: Path) -> None:
    stack = Stack(tmp_path, node="cabinet-7", ports=Ports.any())
    try:
        await stack.start()
        pids = [child.pid for child in stack.children]
        family = [psutil.Process(pid) for pid in pids if pid is not None]
        family += [grandchild for process in family for grandchild in process.children(recursive=True)]
        assert [child.name for child in stack.children] == ["apiserver", "cloudcore", "edgecore", "mapper"]
        assert all(process.is_running() for process in family)
        assert len(family) >= 4
        async with Cluster(stack.kubeconfig) as cluster:
            assert await cluster.serves_devices()
            assert await cluster.list_devices() == []
        _files_are_right(tmp_path, stack)
    finally:
        await stack.stop()
    assert [process for process in family if process.is_running()] == []
    assert sum(child.restarts for child in stack.children) == 0


def _files_are_right(folder: Path, stack: Stack) -> None:
    modes = {name: stat.S_IMODE((folder / name).stat().st_mode) for name in SECRETS}
    assert modes == dict.fromkeys(SECRETS, 0o600)
    assert not list(folder.rglob("*.new"))
    cloud = yaml.safe_load((folder / "cloud" / "cloudcore.yaml").read_text())
    assert (cloud["kubeconfig"], cloud["port"]) == (str(folder / "kubeconfig"), stack.ports.cloud)
    edge = yaml.safe_load((folder / "edge" / "edgecore.yaml").read_text())
    assert edge["node"] == "cabinet-7"
    assert edge["cloud"]["url"] == f"wss://127.0.0.1:{stack.ports.cloud}"
    mapper = yaml.safe_load((folder / "mapper" / "mapper.yaml").read_text())
    assert mapper["broker"] == edge["broker"] == {"port": stack.ports.mqtt}


async def test_an_api_server_that_cannot_start_is_an_error_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgewire.backoff.delays", lambda: itertools.repeat(0.05))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = Ports.any()
        ports.kubernetes = taken.getsockname()[1]
        stack = Stack(tmp_path, ports=ports)
        began = time.monotonic()
        try:
            with pytest.raises(ChildError, match=r"(?s)the embedded Kubernetes API does not start:.*in use"):
                await stack.start(deadline_s=6)
        finally:
            await stack.stop()
    assert time.monotonic() - began < 10
    assert [child.pid for child in stack.children] == [None] * 4


async def test_a_broker_that_cannot_start_is_an_error_that_names_edgecore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgewire.backoff.delays", lambda: itertools.repeat(0.05))
    ports = Ports.any()
    stack = Stack(tmp_path, ports=ports)
    (tmp_path / "edge").mkdir()
    (tmp_path / "edge" / "edge.db").mkdir()  # where its store should be
    try:
        with pytest.raises(ChildError, match=r"(?s)edgecore's broker does not start:\n.+"):
            await stack.start(deadline_s=6)
    finally:
        await stack.stop()


async def test_a_real_cluster_needs_no_embedded_api(tmp_path: Path) -> None:
    first = Stack(tmp_path / "cluster", ports=Ports.any())
    second = Stack(tmp_path / "site", node="far", ports=Ports.any(), kubeconfig=tmp_path / "cluster" / "kubeconfig")
    try:
        await first.start(mapper=False)
        await second.start(mapper=False)
        assert [child.name for child in second.children] == ["cloudcore", "edgecore", "mapper"]
        assert not (tmp_path / "site" / "kubeconfig").exists()
        async with Cluster(second.kubeconfig) as cluster:
            watching = asyncio.create_task(cluster.watch_nodes(lambda: None))
            await until(lambda: "far" in cluster.nodes and cluster.nodes["far"].ready, lambda: str(cluster.nodes))
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    finally:
        await second.stop()
        await first.stop()


async def test_until_says_otherwise_after_its_deadline() -> None:
    began = time.monotonic()
    with pytest.raises(ChildError, match=re.escape("it never came; seen: 7")):
        await until(lambda: False, lambda: "it never came; seen: 7", 0.1)
    assert 0.1 <= time.monotonic() - began < 5


async def test_until_takes_conditions_that_wait() -> None:
    answers = iter([False, False, True])

    async def condition() -> bool:
        return next(answers)

    await until(condition, lambda: "never", 5)
    assert next(answers, None) is None


async def test_until_does_not_wait_for_a_condition_that_hangs() -> None:
    async def condition() -> bool:
        await asyncio.sleep(600)
        return True

    with pytest.raises(ChildError, match="it hangs"):
        await until(condition, lambda: "it hangs", 0.1)


def test_a_free_port_is_the_preferred_one_unless_it_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        other = free_port(taken)
        assert other not in (0, taken)
    assert free_port(taken) == taken


def test_free_ports_are_others_where_the_usual_ones_are_taken() -> None:
    usual = Ports()
    with contextlib.ExitStack() as taken:
        for port in (usual.kubernetes, usual.cloud, usual.mqtt):
            with contextlib.suppress(OSError):  # somebody else has it, as well
                taken.enter_context(socket.create_server(("127.0.0.1", port)))
        found = Ports.free()
        assert found.kubernetes != usual.kubernetes
        assert found.cloud != usual.cloud
        assert found.mqtt != usual.mqtt


def test_ports_for_tests_are_apart_from_the_ephemeral_ones() -> None:
    found = Ports.any()
    assert len({found.kubernetes, found.cloud, found.mqtt}) == 3
    assert all(20_000 <= port < 32_000 for port in (found.kubernetes, found.cloud, found.mqtt))
