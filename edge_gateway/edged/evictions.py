"""Evicts pods for the disk they use: more than their limits, or the most of it when the machine has none left. A shell.

Limits are `emptyDir.sizeLimit`, and `ephemeral-storage` of containers, which counts a pod's emptyDirs on the disk and its logs.
They are looked at every ten seconds, of those pods only that have any, in a kubelet's words and with its one second to stop.
When the disk is short at three looks in a row (images that nobody needs go first), one pod goes, another one three looks later:
of those that use so much that it helps, the one of the lowest priority, then the one that uses the most beyond its request.
Static pods and those that are critical to the cluster stay, as with a kubelet.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from edge_gateway.edged import quantities
from edge_gateway.edged.orders import Orders
from edge_gateway.edged.pod_life import PodLife
from edge_gateway.edged.pods import Pod
from edge_gateway.edged.volumes import Volumes
from edge_gateway.machine_conditions import DISK_PART, short_of_disk

log = logging.getLogger(__name__)

PERIOD_S = 10.0
"""Kubelet's."""
SHORT_LOOKS = 3
WORTH_BYTES, WORTH_PART = 16 * 1024 * 1024, 0.05
"""A pod that uses less than both, the second a part of the disk, beyond its request does not make room by its end."""
CRITICAL = 2_000_000_000
"""Priorities from here on are those of the cluster's own pods (scheduling.SystemCriticalPriority)."""
STORAGE = "ephemeral-storage"


class Eviction(NamedTuple):
    """Which pod goes, and what its user is told."""

    uid: str
    message: str


class Evictions:
    """Of one node."""

    def __init__(
        self,
        lives: Callable[[], Iterable[PodLife]],
        evict: Callable[[Eviction], None],
        volumes: Volumes,
        orders: Orders,
        period_s: float = PERIOD_S,
    ) -> None:
        """`lives` are the pods that may go."""
        self._lives, self._evict = lives, evict
        self._volumes, self._orders = volumes, orders
        self._period_s = period_s
        self._short = 0

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(self._period_s)
            running = [life.pod for life in self._lives() if life.prepared and life.record.final is None]
            for eviction in await asyncio.to_thread(lambda pods: list(self._look(pods)), running):
                self._evict(eviction)

    def _look(self, running: list[Pod]) -> Iterator[Eviction]:
        over = {pod.uid: why for pod in running if (why := self._over_limit(pod))}
        yield from map(Eviction, over.keys(), over.values())
        self._short = self._short + 1 if not over and short_of_disk(self._volumes.disk) else 0
        if self._short >= SHORT_LOOKS:
            self._short = 0  # what went is given time to be removed before another one has to go
            yield from self._relief(running)

    def _over_limit(self, pod: Pod) -> str:
        """Which of its limits a pod exceeds, in kubelet's words; empty for none."""
        for volume in pod.volumes():
            if volume.empty_dir is not None and (limit := volume.empty_dir.size_limit) is not None:
                most = quantities.parse(limit)
                if most > 0 and size_of(self._volumes.source(pod, volume), int(most)) > most:
                    return f'Usage of EmptyDir volume "{volume.name}" exceeds the limit "{limit}". '
        limits = [c.resources.limits[STORAGE] for c in pod.spec.containers if STORAGE in c.resources.limits]
        total = sum(map(quantities.parse, limits))
        if total > 0 and self._used(pod, int(total)) > total:
            return f"Pod ephemeral local storage usage exceeds the total limit of containers {_amount(int(total))}. "
        return ""

    def _used(self, pod: Pod, enough: int) -> int:
        """Bytes of the disk that a pod uses, as far as `enough`."""
        own = [v for v in pod.volumes() if v.empty_dir is not None and v.empty_dir.medium != "Memory"]
        folders = [self._volumes.source(pod, volume) for volume in own]
        used = 0
        for folder in (*folders, self._orders.log_folder(pod)):
            used += size_of(folder, enough - used)
        return used

    def _relief(self, running: list[Pod]) -> Iterator[Eviction]:
        """The pod that goes so that there is room again."""
        disk, ranked = os.statvfs(self._volumes.disk), []
        worth = min(WORTH_BYTES, disk.f_blocks * disk.f_frsize * WORTH_PART)
        for pod in running:
            requests = [c.resources.requests[STORAGE] for c in pod.spec.containers if STORAGE in c.resources.requests]
            request = int(sum(map(quantities.parse, requests)))
            used = self._used(pod, 1 << 62)
            if pod.spec.priority < CRITICAL and used - request >= worth:
                ranked.append((pod.spec.priority, request - used, pod, used, request))
        if ranked:
            _, _, pod, used, request = min(ranked, key=lambda found: found[:2])
            least, free = int(disk.f_blocks * disk.f_frsize * DISK_PART), disk.f_bavail * disk.f_frsize
            why = f"The node was low on resource: {STORAGE}. Threshold quantity: {_amount(least)}, available: {_amount(free)}. "
            why += (
                f"Pod was using {_amount(used)}, request is {_amount(request)}, has larger consumption of {STORAGE}. "
            )
            yield Eviction(pod.uid, why)


def size_of(folder: Path, enough: int) -> int:
    """Bytes of the disk that a folder takes, files with several names once; no more is counted once it is more than `enough`."""
    used, waiting, known = 0, [folder], set()
    while waiting and used <= enough:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    found = entry.stat(follow_symlinks=False)
                    if found.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
                        if (found.st_dev, found.st_ino) in known:
                            continue
                        known.add((found.st_dev, found.st_ino))
                    used += found.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
        except OSError as error:  # somebody removes it meanwhile
            log.debug("= folder not counted reason=%s", error)
    return used


def _amount(size: int) -> str:
    """As Kubernetes writes a quantity of bytes."""
    for unit, bits in (("Gi", 30), ("Mi", 20), ("Ki", 10)):
        if size and size % (1 << bits) == 0:
            return f"{size >> bits}{unit}"
    return f"{size // 1024}Ki" if size >= 1024 else str(size)
