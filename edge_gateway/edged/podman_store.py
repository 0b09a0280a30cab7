"""The images that Podman has: which there are, the disk they are on, and how one goes.

Podman notes its images in one file of its storage: where that is as it was, they are, and nothing needs to be run to see it.
"""

import os
from pathlib import Path

import msgspec
from msgspec import Struct, field

from edge_gateway.edged.image_garbage import Disk, Image
from edge_gateway.edged.podman_cli import Podman, PodmanError
from edge_gateway.edged.runtime import RuntimeTrouble


class _Listed(Struct, rename="pascal"):
    id: str
    names: list[str] | None = None
    repo_digests: list[str] | None = None
    size: int = 0
    containers: int = 0


class _Store(Struct):
    root: str = field(name="graphRoot")
    driver: str = field(name="graphDriverName")


class _Info(Struct):
    store: _Store


_listed = msgspec.json.Decoder(list[_Listed])


NO_VERSION = (0, 0)
"""Of an image store whose notes cannot be found."""


class ImageStore:
    """Of one Podman."""

    def __init__(self, podman: Podman) -> None:
        self._podman = podman
        self._root = Path()
        self._index = Path()
        self._is_open = False

    async def open(self) -> None:
        """Find out where it is, once. Raises RuntimeTrouble."""
        if self._is_open:
            return
        printed = await self._podman("info", "--format", "json")
        try:
            store = msgspec.json.decode(printed, type=_Info).store
        except msgspec.DecodeError as error:
            raise RuntimeTrouble(f"podman info does not make sense: {error}") from error
        self._root = Path(store.root)
        self._index = self._root / f"{store.driver}-images" / "images.json"
        self._is_open = True

    @property
    def folder(self) -> Path:
        """A folder on its disk, once it is open."""
        return self._root

    async def version(self) -> tuple[int, int]:
        """Another one when images came, went or got other names. Raises RuntimeTrouble."""
        await self.open()
        try:
            found = self._index.stat()
        except OSError:
            return NO_VERSION
        return found.st_mtime_ns, found.st_ino

    def disk(self) -> Disk:
        """Its file system. Raises RuntimeTrouble."""
        try:
            found = os.statvfs(self._root)
        except OSError as error:
            raise RuntimeTrouble(f"no figures of the image store's disk: {error.strerror}") from error
        return Disk(found.f_blocks * found.f_frsize, min(found.f_bavail, found.f_blocks) * found.f_frsize)

    async def images(self) -> list[Image]:
        """Every image. Raises RuntimeTrouble."""
        printed = await self._podman("images", "--no-trunc", "--format", "json")
        try:
            # One with several names is told once for each.
            listed = {one.id.removeprefix("sha256:"): one for one in _listed.decode(printed or "[]")}
        except msgspec.DecodeError as error:
            raise RuntimeTrouble(f"podman images does not make sense: {error}") from error
        return [
            Image(id, tuple(one.names or ()), tuple(one.repo_digests or ()), one.size, one.containers)
            for id, one in listed.items()
        ]

    async def remove(self, image: Image) -> bool:
        """Remove an image by all its names, unless a container has come to use it: whether it went. Raises RuntimeTrouble."""
        try:
            # By its id it would go with one name only; by force its containers would go too.
            await self._podman("rmi", *(image.tags if len(image.tags) > 1 else (image.id,)))
        except PodmanError as error:
            if "in use" in str(error) or "used by" in str(error) or "not known" in str(error):
                return False
            raise
        return True
