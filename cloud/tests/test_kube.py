"""Requests and list-watches against a real API server, through everything that breaks them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from cloud import kube as kube_module
from cloud.apiserver.tests.process import ServerProcess
from cloud.kube import Kube
from cloud.objects import DEVICES, Added, Deleted, Event, Modified, Synced
from cloud.tests.cluster import Cluster
from cloud.tests.network import Proxy, free_port, until
from cloud.writes import NO_ANSWER


class Told:
    """What a list-watch has said, and the devices that exist by it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.names: dict[str, int] = {}
        self.synced = 0

    def take(self, event: Event) -> None:
        self.events.append(event)
        match event:
            case Added(object):
                assert object.id not in self.names, "added twice"
                self.names[object.id] = object.generation
            case Modified(object):
                assert object.id in self.names, "modified before it was added"
                self.names[object.id] = object.generation
            case Deleted(object):
                del self.names[object.id]
            case Synced():
                self.synced += 1


@asynccontextmanager
async def following(kubeconfig: Path, *, metadata_only: bool = False) -> AsyncIterator[Told]:
    told, kube = Told(), Kube(kubeconfig)

    async def follow() -> None:
        async for event in kube.follow(DEVICES, metadata_only=metadata_only):
            told.take(event)

    task = asyncio.create_task(follow())
    try:
        await until(lambda: told.synced, "the first list")
        yield told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await kube.close()


@asynccontextmanager
async def proxied(cluster: Cluster, server: ServerProcess, folder: Path) -> AsyncIterator[tuple[Proxy, Path]]:
    """The API server behind a proxy, and a kubeconfig that leads there."""
    async with Proxy(server.port) as proxy:
        kubeconfig = folder / "proxied"
        kubeconfig.write_text(cluster.kubeconfig.read_text().replace(f":{server.port}", f":{proxy.port}"))
        yield proxy, kubeconfig


async def test_of_objects_nobody_reads_only_the_metadata_comes(cluster: Cluster) -> None:
    await cluster.create_device("a")
    async with following(cluster.kubeconfig, metadata_only=True) as told:
        await cluster.create_device("b")
        await until(lambda: f"{cluster.namespace}/b" in told.names)
        await cluster.set_desired("a", "5")
        await until(lambda: told.names[f"{cluster.namespace}/a"] == 2)
        objects = [event.object for event in told.events if not isinstance(event, Synced)]
        assert len(objects) >= 3
        assert all(b'"spec"' not in object.raw for object in objects)
        assert all(object.uid and object.version for object in objects)


async def test_everything_that_exists_then_synced_then_every_change(cluster: Cluster) -> None:
    await cluster.create_device("a")
    async with following(cluster.kubeconfig) as told:
        a, b = f"{cluster.namespace}/a", f"{cluster.namespace}/b"
        assert a in told.names
        assert isinstance(told.events[-1], Synced)
        await cluster.create_device("b")
        await until(lambda: b in told.names)
        await cluster.set_desired("a", "5")
        await until(lambda: told.names[a] == 2)
        await cluster.delete_device("a")
        await until(lambda: a not in told.names)


async def test_the_json_is_the_api_servers(cluster: Cluster) -> None:
    await cluster.create_device("a")
    async with following(cluster.kubeconfig) as told:
        [object] = [e.object for e in told.events if isinstance(e, Added) and e.object.namespace == cluster.namespace]
    assert b'"deviceModelRef":{"name":"m"}' in object.raw
    assert (object.name, object.generation) == ("a", 1)
    assert object.version.isdigit()
    assert object.uid


async def test_long_lists_come_in_pages(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube_module, "PAGE", 2)
    for n in range(7):
        await cluster.create_device(f"d{n}")
    async with following(cluster.kubeconfig) as told:
        assert len([id for id in told.names if id.startswith(cluster.namespace)]) == 7


async def test_dropped_connections_lose_and_repeat_nothing(
    cluster: Cluster, shared_server: ServerProcess, tmp_path: Path
) -> None:
    async with proxied(cluster, shared_server, tmp_path) as (proxy, kubeconfig), following(kubeconfig) as told:
        for n in range(5):
            await proxy.cut()
            await cluster.create_device(f"d{n}")
        await until(lambda: len([id for id in told.names if id.startswith(cluster.namespace)]) == 5)
        assert told.synced == 1, "resumed, not listed anew"


async def test_a_connection_that_says_nothing_any_more_is_noticed(
    cluster: Cluster, shared_server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube_module, "SILENCE_S", 0.3)
    async with proxied(cluster, shared_server, tmp_path) as (proxy, kubeconfig), following(kubeconfig) as told:
        proxy.freeze()
        before = proxy.accepted
        await cluster.create_device("a")
        await until(lambda: proxy.accepted > before, "another attempt")
        proxy.thaw()
        await until(lambda: f"{cluster.namespace}/a" in told.names)


async def test_no_socket_outlives_its_watch_not_even_one_to_a_frozen_peer(
    cluster: Cluster, shared_server: ServerProcess, tmp_path: Path
) -> None:
    async with proxied(cluster, shared_server, tmp_path) as (proxy, kubeconfig):
        async with following(kubeconfig):
            assert _open_to(proxy.port)
            proxy.freeze()
        await until(lambda: not _open_to(proxy.port), "every socket is closed")


def _open_to(port: int) -> list[object]:
    return [c for c in psutil.Process().net_connections("tcp") if c.raddr and c.raddr.port == port and c.fd >= 0]


async def test_a_gap_too_long_to_resume_is_listed_anew_with_what_vanished(
    own_cluster: Cluster, server: ServerProcess, tmp_path: Path
) -> None:
    for name in "abc":
        await own_cluster.create_device(name)
    async with proxied(own_cluster, server, tmp_path) as (proxy, kubeconfig), following(kubeconfig) as told:
        before = len(told.events)
        proxy.refusing = True
        await proxy.cut()
        await own_cluster.delete_device("a")
        await own_cluster.set_desired("b", "5")
        await own_cluster.create_device("d")
        # The embedded API keeps the events a watch resumes from in memory: after a restart the old version gets 410 Gone.
        assert await asyncio.to_thread(server.stop) == 0
        await asyncio.to_thread(server.start)
        proxy.refusing = False
        await until(lambda: told.synced == 2, "a second list")
        names = {id.partition("/")[2]: generation for id, generation in told.names.items()}
        assert names == {"b": 2, "c": 1, "d": 1}
        assert not [e for e in told.events[before:] if isinstance(e, Modified | Added) and e.object.name == "c"], (
            "c never changed"
        )


async def test_a_restart_of_the_api_server_is_survived(own_cluster: Cluster, server: ServerProcess) -> None:
    async with following(own_cluster.kubeconfig) as told:
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await own_cluster.create_device("a")
        await until(lambda: f"{own_cluster.namespace}/a" in told.names)


async def test_a_request_to_nobody_is_an_answer_too(tmp_path: Path, shared_server: ServerProcess) -> None:
    kubeconfig = tmp_path / "nobody"
    text = shared_server.kubeconfig.read_text()
    kubeconfig.write_text(text.replace(f":{shared_server.port}", f":{free_port()}"))
    for path in (kubeconfig, tmp_path / "missing"):
        kube = Kube(path)
        answer = await kube.get("/api/v1/nodes")
        await kube.close()
        assert (answer.status, answer.away, answer.ok) == (NO_ANSWER, True, False)
        assert answer.reason


async def test_an_error_carries_the_apis_reason(cluster: Cluster) -> None:
    answer = await cluster.kube.get(DEVICES.path(cluster.namespace, "nobody"))
    assert answer.status == 404
    assert "nobody" in answer.reason


async def test_credentials_that_expired_are_read_again(cluster: Cluster, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    text = cluster.kubeconfig.read_text()
    kubeconfig.write_text(text.replace("token: ", "token: expired"))
    kube = Kube(kubeconfig)
    try:
        assert (await kube.get("/api/v1/nodes")).status == 401
        kubeconfig.write_text(text)
        assert (await kube.get("/api/v1/nodes")).ok
    finally:
        await kube.close()
