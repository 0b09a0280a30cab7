"""Which images of a node are garbage, and what the Node says of those that it has. A core, told the time and what there is.

The rules are kubelet's (pkg/kubelet/images/image_gc_manager.go): above one mark of the disk, images go until it is below another,
those that were not used for longest first; never one that is in use, is pinned, or came a moment ago. What a pod of this node
names counts as in use while the pod is not over, though its container waits to be started again: offline it could not come back.
Beyond kubelet's rules, an image of no registry goes only where a disk is short, and last: nobody could pull it again.
"""

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import astuple, dataclass
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from edge_gateway.edged.image_names import spellings

REPORTED, NAMES_REPORTED = 50, 5
"""Images in a Node's status, and names of each, at most (kubelet: nodeStatusMaxImages, MaxNamesPerImageInNodeStatus)."""
ALWAYS_PINNED = ("localhost/podman-pause:*",)
"""What Podman makes itself for the sandboxes of pods."""
_NO_REGISTRY = "localhost/"
"""What Podman puts before the names of images that were built or loaded without one."""


class Image(NamedTuple):
    """An image of the machine."""

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    size: int
    """Bytes."""
    containers: int
    """How many containers were made from it, whoever made them."""

    @property
    def is_local(self) -> bool:
        """Whether it has a name that no registry knows: what was built or loaded here, and cannot be pulled again."""
        return any(tag.startswith(_NO_REGISTRY) for tag in self.tags)

    def is_called(self, name: str) -> bool:
        """Whether a container that names an image so means this one."""
        spelled = spellings(name)
        return any(known in spelled for known in (*self.tags, *self.digests)) or (
            len(name) >= 12 and self.id.removeprefix("sha256:").startswith(name.removeprefix("sha256:"))
        )


class Disk(NamedTuple):
    """The file system that images are on; bytes."""

    capacity: int
    available: int

    @property
    def used_percent(self) -> int:
        """How full it is, as kubelet counts."""
        return 100 - self.available * 100 // self.capacity

    def too_much(self, low_percent: int) -> int:
        """The bytes to free so that no more than that is used."""
        return max(0, self.capacity * (100 - low_percent) // 100 - self.available)


@dataclass(slots=True)
class _Known:
    first_seen: float
    last_used: float


class ImageGarbage:
    """What is known of the images of one node."""

    def __init__(self, pinned: Collection[str], min_age_s: float, max_age_s: float) -> None:
        """`pinned` are names and patterns of them; what nobody used for `max_age_s` goes in any case, unless that is 0."""
        self._pinned = (*ALWAYS_PINNED, *pinned)
        self._min_age_s, self._max_age_s = min_age_s, max_age_s
        self._known: dict[str, _Known] = {}
        self._began: float | None = None

    def look(self, images: Iterable[Image], wanted: Collection[str], now: float) -> list[Image]:
        """Note what there is; `wanted` are the names in pods. What nobody uses comes back.

        The longest unused is the first; local ones are behind all others.
        """
        since = now
        if self._began is None:
            self._began, since = now, -math.inf  # what was there before edgecore is as old as anything
        known: dict[str, _Known] = {}
        free = []
        for image in images:
            seen = known[image.id] = self._known.get(image.id) or _Known(since, -math.inf)
            if image.containers or any(image.is_called(name) for name in wanted):
                seen.last_used = now
            elif not self._is_pinned(image):
                free.append(image)
        self._known = known
        return sorted(free, key=lambda image: (image.is_local, *astuple(known[image.id])[::-1]))

    def _is_pinned(self, image: Image) -> bool:
        return any(fnmatchcase(tag, pattern) for tag in (*image.tags, *image.digests) for pattern in self._pinned)

    def old(self, free: Iterable[Image], now: float) -> list[Image]:
        """Those that nobody used for too long, as far as edgecore was there to see it."""
        if not self._max_age_s or self._began is None:
            return []
        known = ((image, self._known[image.id], self._began) for image in free)
        return [image for image, seen, began in known if now - max(began, *astuple(seen)) > self._max_age_s]

    def to_remove(self, free: Iterable[Image], now: float) -> Iterator[Image]:
        """Those that are old enough to go, in this order."""
        for image in free:
            if now - self._known[image.id].first_seen >= self._min_age_s:
                yield image


def status(images: Iterable[Image]) -> list[dict[str, Any]]:
    """What the Node's status says of them: names and bytes, the largest first."""
    largest = sorted(images, key=lambda image: (-image.size, image.id))[:REPORTED]
    return [{"names": [*image.digests, *image.tags][:NAMES_REPORTED], "size_bytes": image.size} for image in largest]
