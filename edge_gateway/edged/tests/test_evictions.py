"""Pods that use more of the disk than they may go, with a kubelet's words, and the largest when it is full. Others stay."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edge_gateway.edged.evictions import SHORT_LOOKS, WORTH_BYTES, Evictions, size_of
from edge_gateway.edged.orders import Orders
from edge_gateway.edged.tests.bench import FACTS, Bench, a_container, a_pod
from edge_gateway.edged.tests.desks import until
from edge_gateway.edged.tests.node import Node, manifest
from edge_gateway.edged.volumes import Volumes

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
WAITS = "trap exit TERM; while :; do sleep 0.05; done"
FILL = "dd if=/dev/zero of=$DIR/fill bs=1M count=%d; "


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    node = await Node(tmp_path).start()
    yield node
    await node.end()


def with_volume(node: Node, name: str, uid: str, script: str, empty_dir: dict[str, Any], **spec: Any) -> None:
    """The cloud sends a pod with an emptyDir, which its script finds without a mount in $DIR."""
    pod = manifest(name, uid, script, **spec)
    where = node.folder / ("memory" if empty_dir.get("medium") else "disk") / uid / "v"
    pod["spec"]["volumes"] = [{"name": "v", "emptyDir": empty_dir}]
    pod["spec"]["containers"][0]["env"] = [{"name": "DIR", "value": str(where)}]
    node.send("pod", pod)


def test_a_folder_is_as_large_as_what_it_takes_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(bytes(100_000))
    (tmp_path / "deep" / "again").hardlink_to(tmp_path / "deep" / "file")
    (tmp_path / "link").symlink_to("/usr")
    assert 100_000 <= size_of(tmp_path, 1 << 40) < 150_000
    assert size_of(tmp_path / "missing", 1 << 40) == 0


async def test_a_pod_whose_volume_outgrows_its_limit_is_evicted_and_no_other(node: Node) -> None:
    with_volume(node, "small", "u2", FILL % 1 + WAITS, {"sizeLimit": "8Mi"})
    with_volume(node, "web", "u1", FILL % 4 + WAITS, {"sizeLimit": "2Mi"})
    await node.until_phase("Failed")
    why = 'Usage of EmptyDir volume "v" exceeds the limit "2Mi". '
    assert (node.status()["reason"], node.status()["message"]) == ("Evicted", why)
    assert ("Evicted", why) in node.events()
    [target] = [c for c in node.status()["conditions"] if c["type"] == "DisruptionTarget"]
    assert (target["status"], target["reason"], target["message"]) == ("True", "TerminationByKubelet", why)
    await node.until(lambda: not (node.folder / "disk" / "u1").exists(), "its volume is removed")
    assert node.status("small")["phase"] == "Running"
    assert node.alive() == 1
    again = await node.restarted()
    try:
        assert again.status()["reason"] == "Evicted"
        assert again.status("small")["phase"] == "Running"
    finally:
        await again.end()


async def test_a_pod_that_uses_more_storage_than_its_containers_may_is_evicted(node: Node) -> None:
    pod = manifest("web", "u1", f"dd if=/dev/zero bs=1M count=4 | tr '\\0' x | fold -w 1000; {WAITS}")
    pod["spec"]["containers"][0]["resources"] = {"limits": {"ephemeral-storage": "2Mi"}}
    node.send("pod", pod)
    await node.until_phase("Failed")
    why = "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "
    assert (node.status()["reason"], node.status()["message"]) == ("Evicted", why)


@root
async def test_a_volume_in_memory_cannot_outgrow_its_size(node: Node) -> None:
    with_volume(node, "web", "u1", FILL % 4 + "echo $?; " + WAITS, {"medium": "Memory", "sizeLimit": "2Mi"})
    await node.until(lambda: "1" in node.says(), "it finds it full")
    assert (node.folder / "memory" / "u1" / "v").is_mount()
    assert (node.folder / "memory" / "u1" / "v" / "fill").stat().st_size <= 2 << 20
    assert node.status()["phase"] == "Running"
    pod = manifest("web", "u1")
    node.gone(pod)
    await node.until(lambda: not (node.folder / "memory" / "u1").exists(), "nothing is left of it")


async def test_a_limit_that_is_none_is_refused(node: Node) -> None:
    with_volume(node, "web", "u1", WAITS, {"sizeLimit": "much"})
    await node.until_phase("Failed")
    assert "volume 'v': sizeLimit: 'much' is no quantity" in node.status()["message"]


@root
async def test_a_full_disk_takes_the_largest_of_the_least_important_pods(node: Node) -> None:
    disk = node.folder / "disk"
    disk.mkdir(exist_ok=True)
    await asyncio.to_thread(mount, disk, "100m")
    try:
        node.pod("while :; do echo on; sleep 0.05; done", name="good", uid="u9")
        with_volume(node, "modest", "u1", FILL % 20 + WAITS, {})
        with_volume(node, "needed", "u2", FILL % 40 + WAITS, {}, priority=1000)
        await node.until(lambda: (disk / "u2" / "v" / "fill").exists(), "it is half full")
        with_volume(node, "greedy", "u3", FILL % 32 + WAITS, {})
        await node.until_phase("Failed", "greedy")
        assert node.status("greedy")["reason"] == "Evicted"
        assert (
            "The node was low on resource: ephemeral-storage. Threshold quantity: 10Mi"
            in node.status("greedy")["message"]
        )
        await node.until(lambda: not (disk / "u3").exists(), "there is room again")
        assert [node.status(name)["phase"] for name in ("good", "modest", "needed")] == ["Running"] * 3
        said = len(node.says(name="good", uid="u9"))
        await node.until(lambda: len(node.says(name="good", uid="u9")) > said, "the good one goes on")
    finally:
        await node.end()
        await asyncio.to_thread(subprocess.run, ["umount", "-l", str(disk)], check=True)


async def test_what_went_has_time_to_be_removed_before_another_pod_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volumes = Volumes(tmp_path / "disk", tmp_path / "memory", FACTS, lambda name: None)
    orders = Orders(FACTS, lambda name: None, volumes, tmp_path / "logs")
    bench = Bench(a_pod(a_container(), volumes=[{"name": "v", "emptyDir": {}}]))
    bench.step()
    (tmp_path / "disk/u1/v").mkdir(parents=True)
    (tmp_path / "disk/u1/v/fill").write_bytes(bytes(WORTH_BYTES + 1))
    looks = 0
    evicted = []

    def is_short(folder: Path) -> bool:
        nonlocal looks
        looks += 1
        return True

    monkeypatch.setattr("edge_gateway.edged.evictions.short_of_disk", is_short)
    evictions = Evictions(lambda: [bench.life], lambda eviction: evicted.append(looks), volumes, orders, 0.001)
    task = asyncio.create_task(evictions.run())
    await until(lambda: len(evicted) > 1, "it would go twice")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert evicted[:2] == [SHORT_LOOKS, 2 * SHORT_LOOKS]


def mount(folder: Path, size: str) -> None:
    """A small disk."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
