"""Images go from a real Podman, those that are in use do not; nothing is asked of it while nothing changes."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edge_gateway.config import ImagesConfig
from edge_gateway.edged.image_garbage import Image
from edge_gateway.edged.podman import PodmanRuntime
from edge_gateway.edged.podman_cli import Podman
from edge_gateway.edged.podman_garbage import PodmanGarbage
from edge_gateway.edged.podman_store import ImageStore
from edge_gateway.edged.tests.bench import Bench, a_container, a_pod
from edge_gateway.edged.tests.desks import PodmanDesk, until
from edge_gateway.pod_reports import Happened
from hil_tests.bench.podman_storage import IMAGE, PodmanFailed, PodmanStorage

ALL_OF_IT = ImagesConfig(high_percent=1, low_percent=0, min_age_s=0, pinned=[IMAGE])
"""No disk is that empty."""
ADDED = ("unused", "another", "named", "used", "built")
"""Beside what the session's other tests left."""
PULLED, BUILT = "docker.io/library", "localhost"
"""Where images are from, as their names say."""


class Node:
    """Podman with images beside the one of all tests, and what removes them."""

    def __init__(self, desk: PodmanDesk, storage: PodmanStorage) -> None:
        assert isinstance(desk.runtime, PodmanRuntime)
        self.desk, self.storage, self.runtime = desk, storage, desk.runtime
        self.podman = Podman(desk.folder / "podman")
        self.store = ImageStore(self.podman)
        self.benches: list[Bench] = []
        self.told: list[Happened] = []
        self.disks: list[Path] = []
        self.restored = True

    async def add(self, *names: str, place: str = PULLED) -> None:
        for name in names:
            file = self.desk.folder / "content"
            file.write_text(name)
            tar = self.desk.folder / "content.tar"
            await asyncio.to_thread(
                subprocess.run, ["tar", "-cf", str(tar), "-C", str(file.parent), file.name], check=True
            )
            await asyncio.to_thread(self.storage, "import", "--quiet", str(tar), f"{place}/{name}:1")

    def names(self) -> set[str]:
        """Of the images that were added, those that are there."""
        printed = set(self.storage("images", "--format", "{{.Repository}}").split())
        return {name for name in ADDED if printed & {f"{PULLED}/{name}", f"{BUILT}/{name}"}}

    def nothing(self, *words: str) -> bool:
        """Whether podman lists nothing; it may fail over what is being removed."""
        with contextlib.suppress(PodmanFailed):
            return not self.storage(*words, "--quiet")
        return False

    def has_no(self, name: str) -> bool:
        return all(self.nothing("images", "--filter", f"reference={place}/{name}") for place in (PULLED, BUILT))

    @contextlib.asynccontextmanager
    async def collecting(self, settings: ImagesConfig) -> AsyncIterator[PodmanGarbage]:
        lives = lambda: [bench.life for bench in self.benches] if self.restored else None  # noqa: E731
        garbage = PodmanGarbage(self.store, self.runtime, lives, self.told.append, settings, self.disks, 0.05)
        task = asyncio.create_task(garbage.run(asyncio.Event()))
        try:
            yield garbage
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def node(tmp_path: Path, podman_storage: PodmanStorage, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Node]:
    for name, value in podman_storage.env.items():
        monkeypatch.setenv(name, value)
    desk = PodmanDesk(tmp_path)
    await desk.open()
    node = Node(desk, podman_storage)
    yield node
    await desk.end()
    await asyncio.to_thread(podman_storage.clear)
    for name in await asyncio.to_thread(node.names):
        place = BUILT if name == "built" else PULLED
        await asyncio.to_thread(podman_storage, "rmi", f"{place}/{name}:1")


async def test_a_full_disk_costs_the_images_that_nobody_uses(node: Node) -> None:
    await node.add("unused", "named", "used")
    await node.add("built", place=BUILT)
    await asyncio.to_thread(node.storage, "tag", f"{PULLED}/unused:1", f"{PULLED}/unused:2")
    await asyncio.to_thread(node.storage, "create", "--name", "somebodys", f"{PULLED}/used:1", "true")
    node.benches.append(Bench(node.desk.pod("true", image="named:1")))
    async with node.collecting(ALL_OF_IT) as garbage:
        await until(lambda: node.told, "it was not enough")
        assert node.names() == {"named", "used", "built"}
        said = {name for image in garbage.status() for name in image["names"]}  # type: ignore[attr-defined]
        assert {f"{PULLED}/named:1", f"{PULLED}/used:1"} <= said
        assert f"{PULLED}/unused:1" not in said
        assert node.storage("ps", "--all", "--format", "{{.Names}}").split() == ["somebodys"]
    [told] = node.told
    assert (told.type, told.reason) == ("Warning", "FreeDiskSpaceFailed")
    assert "Failed to garbage collect required amount of images. Attempted to free " in told.message


async def test_while_there_is_room_and_nothing_changes_podman_is_not_run(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.add("unused")
    async with node.collecting(ImagesConfig(high_percent=100)) as garbage:
        await until(garbage.status, "the images are known")
        quiet = 0
        look, ask = node.store.version, node.store.images

        async def looked() -> tuple[int, int]:
            nonlocal quiet
            quiet += 1
            return await look()

        async def asked() -> list[Image]:
            nonlocal quiet
            quiet = 0
            return await ask()

        monkeypatch.setattr(node.store, "version", looked)
        monkeypatch.setattr(node.store, "images", asked)
        await node.add("another")
        await until(
            lambda: quiet > 6 and len(garbage.status()) > 2, "the new one is seen, and nothing is asked any more"
        )
        assert node.names() == {"unused", "another"}
    assert node.told == []


async def test_an_image_with_two_names_is_one(node: Node) -> None:
    await node.add("unused")
    await asyncio.to_thread(node.storage, "tag", f"{PULLED}/unused:1", f"{PULLED}/unused:2")
    [found] = [image for image in await node.store.images() if image.is_called("unused:2")]
    assert sorted(found.tags) == [f"{PULLED}/unused:1", f"{PULLED}/unused:2"]
    assert await node.store.remove(found)
    assert not await node.store.remove(found)


async def test_a_disk_that_is_short_costs_all_images_that_may_go(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    await node.add("unused")
    await node.add("built", place=BUILT)
    short = lambda disk: disk in node.disks and not node.has_no("unused")  # noqa: E731
    monkeypatch.setattr("edge_gateway.edged.podman_garbage.short_of_disk", short)
    async with node.collecting(ImagesConfig(min_age_s=0, pinned=[IMAGE])):
        await until(lambda: node.has_no("unused"), "it is gone")
        assert node.disks == [node.store.folder]
        assert node.names() == {"built"}
        monkeypatch.setattr("edge_gateway.edged.podman_garbage.short_of_disk", node.disks.__contains__)
        await until(lambda: node.has_no("built"), "what cannot be pulled again goes last")
    assert node.told == []


async def test_no_image_goes_before_it_is_known_which_pods_there_are(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.add("unused", "named")
    node.restored = False
    looks = []
    monkeypatch.setattr("edge_gateway.edged.podman_garbage.short_of_disk", node.disks.__contains__)
    look = node.store.version

    async def looked() -> tuple[int, int]:
        looks.append(node.names())
        return await look()

    monkeypatch.setattr(node.store, "version", looked)
    async with node.collecting(ImagesConfig(min_age_s=0, pinned=[IMAGE])):
        await until(lambda: len(looks) > 2, "it looks")
        assert looks[-1] == {"unused", "named"}
        node.benches.append(Bench(node.desk.pod("true", image="named:1")))
        node.restored = True
        await until(lambda: node.has_no("unused"), "what that pod does not need goes")
        assert node.names() == {"named"}


async def test_sandboxes_that_an_edgecore_before_left_are_removed(node: Node) -> None:
    pod = node.desk.pod("true")
    await node.runtime.prepare(pod)
    node.benches.append(Bench(pod))
    again = PodmanDesk(node.desk.folder)
    assert isinstance(again.runtime, PodmanRuntime)
    await again.runtime.collect([], [])  # before it knows which pods there are
    await again.open()
    await again.runtime.collect({"u1"}, [])
    assert node.storage("pod", "ls", "--quiet")
    await again.end()
    async with node.collecting(ImagesConfig()):
        await until(lambda: node.store.folder != Path(), "it has looked")
        assert node.storage("pod", "ls", "--quiet")
    node.benches.clear()
    third = PodmanDesk(node.desk.folder)
    await third.open()
    assert isinstance(third.runtime, PodmanRuntime)
    node.runtime = third.runtime
    async with node.collecting(ImagesConfig()):
        await until(lambda: node.nothing("pod", "ls"), "it is gone")
    await third.end()


async def test_the_sandbox_of_a_pod_that_is_over_goes_and_its_address_is_known_still(node: Node) -> None:
    bench = Bench(a_pod(a_container(), restartPolicy="Never"))
    node.benches.append(bench)
    await node.runtime.prepare(bench.life.pod)
    address = node.runtime.address("u1")
    async with node.collecting(ImagesConfig()):
        await until(lambda: node.store.folder != Path(), "it has looked")
        assert node.storage("pod", "ls", "--quiet")
        bench.step()
        bench.exit()
        assert bench.status["phase"] == "Succeeded"
        await until(lambda: node.nothing("pod", "ls"), "it is gone")
    assert node.runtime.address("u1") == address != ""
