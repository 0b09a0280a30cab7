"""Removes what no pod of this node needs any more from Podman: images above all, sandboxes of pods that are over, what was left.

Nothing is asked of Podman while nothing changes: whether images came or went shows in a file of its storage, and the kernel
says how full the disk is. Dead containers go as soon as their end is durable, and only their logs are kept (`orders.py`); what
Podman did not remove then is tried again here.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from edge_gateway.config import ImagesConfig
from edge_gateway.edged import image_garbage
from edge_gateway.edged.image_garbage import Image, ImageGarbage
from edge_gateway.edged.pod_life import PodLife
from edge_gateway.edged.podman import PodmanRuntime
from edge_gateway.edged.podman_store import NO_VERSION, ImageStore
from edge_gateway.edged.runtime import RuntimeTrouble
from edge_gateway.machine_conditions import short_of_disk
from edge_gateway.pod_reports import Happened

log = logging.getLogger(__name__)

PERIOD_S, IMAGES_PERIOD_S = 10.0, 300.0
"""For pods that are over and disks that are short, whose pods would be evicted next; and for images (kubelet's both)."""
FIRST_LOOK_S = 5.0
"""For the pods of before to be on their way again."""


class PodmanGarbage:
    """A service."""

    name = "garbage of podman"

    def __init__(
        self,
        store: ImageStore,
        runtime: PodmanRuntime,
        lives: Callable[[], list[PodLife] | None],
        tell: Callable[[Happened], None],
        settings: ImagesConfig,
        disks: list[Path],
        period_s: float = PERIOD_S,
    ) -> None:
        """`lives` are those of this node's pods, None while they are not known yet; `tell` is told what happens to the node;
        `disks` are folders on those whose shortage counts, and the image store's is added."""
        self._store, self._runtime = store, runtime
        self._lives, self._tell = lives, tell
        self._settings, self._disks = settings, disks
        self._period_s = period_s
        self._garbage = ImageGarbage(settings.pinned, settings.min_age_s, settings.max_age_s)
        self._version = NO_VERSION
        self._images: list[Image] = []
        self._status: list[dict[str, object]] = []
        self._next_round = 0.0
        self._failed_before = False

    def status(self) -> list[dict[str, object]]:
        """What the Node's status says of images."""
        return self._status

    async def run(self, ready: asyncio.Event) -> None:
        """Look until cancelled."""
        ready.set()
        await asyncio.sleep(min(FIRST_LOOK_S, self._period_s))
        opened = False
        while True:
            try:
                if not opened:
                    await self._store.open()
                    self._disks.append(self._store.folder)
                    opened = True
                await self._look()
            except RuntimeTrouble as trouble:
                log.warning("= garbage is left reason=%s", trouble)
            await asyncio.sleep(self._period_s)

    async def _look(self) -> None:
        await self._list()
        if (lives := self._lives()) is None:
            return  # what they need looks like garbage
        await self._collect_sandboxes(lives)
        self._look_for_garbage()
        short = any(map(short_of_disk, self._disks))
        if short or time.monotonic() >= self._next_round:
            self._next_round = time.monotonic() + IMAGES_PERIOD_S
            await self._round(short)

    async def _collect_sandboxes(self, lives: list[PodLife]) -> None:
        try:
            over = [life.pod.uid for life in lives if life.record.final is not None and not life.containers.alive]
            await self._runtime.collect({life.pod.uid for life in lives}, over)
        except RuntimeTrouble as trouble:
            self._tell(Happened("Warning", "ContainerGCFailed", str(trouble)))

    async def _list(self) -> None:
        version = await self._store.version()
        if version == self._version and version != NO_VERSION:
            return
        self._images = await self._store.images()
        self._version = version
        self._status = image_garbage.status(self._images)

    def _look_for_garbage(self) -> list[Image]:
        return self._garbage.look(self._images, self._wanted(), time.monotonic())

    def _wanted(self) -> set[str]:
        """The images that pods name."""
        specs = [life.pod.spec for life in self._lives() or () if life.record.final is None]
        return {container.image for spec in specs for container in (*spec.init_containers, *spec.containers)}

    # Images

    async def _round(self, short: bool) -> None:
        """Remove images as far as the disk asks for it."""
        settings, disk = self._settings, self._store.disk()
        if disk.capacity <= 0:
            self._tell(Happened("Warning", "InvalidDiskCapacity", "invalid capacity 0 on image filesystem"))
            return
        full = settings.high_percent < 100 and disk.used_percent >= settings.high_percent
        if not (short or full or settings.max_age_s):
            self._failed_before = False
            return
        self._images = await self._store.images()  # for what containers use of them now
        free = self._look_for_garbage()
        local, free = [image for image in free if image.is_local], [image for image in free if not image.is_local]
        if short:
            await self._remove(free, None)
            if local and any(map(short_of_disk, self._disks)):
                await self._remove(local, None)
            return
        await self._remove(self._garbage.old(free, time.monotonic()), None)
        if not full:
            return
        too_much = disk.too_much(settings.low_percent)
        log.info("= images are to go used_percent=%d bytes=%d", disk.used_percent, too_much)
        freed = await self._remove(free, too_much)
        self._told_of_round(too_much, freed)

    def _told_of_round(self, too_much: int, freed: int) -> None:
        if freed >= too_much:
            self._failed_before = False
            return
        why = (
            "Failed to garbage collect required amount of images. "
            f"Attempted to free {too_much} bytes, but only found {freed} bytes eligible to free."
        )
        self._tell(Happened("Warning", "FreeDiskSpaceFailed", why))
        if self._failed_before:  # as kubelet: the first time may be the disk of a machine that just starts
            self._tell(Happened("Warning", "ImageGCFailed", why))
        self._failed_before = True

    async def _remove(self, free: list[Image], at_least: int | None) -> int:
        """Remove images in this order, until so many bytes are free or, without a figure, all are gone: the bytes."""
        freed = 0
        for image in self._garbage.to_remove(free, time.monotonic()):
            if at_least is not None and freed >= at_least:
                break
            if any(map(image.is_called, self._wanted())):
                continue  # by a pod that came meanwhile
            try:
                gone = await self._store.remove(image)
            except RuntimeTrouble as trouble:
                log.warning("= image is left id=%s reason=%s", image.id[:12], trouble)
                continue
            if gone:
                freed += image.size
                log.info("= image removed id=%s names=%s bytes=%d", image.id[:12], ",".join(image.tags), image.size)
        if freed:
            await self._list()
        return freed
