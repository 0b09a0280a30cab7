"""What an update keeps on flash: the files of an image on their way into the slot that does not run.

How far a download came is what lies there: the offer, the manifest as far as it came, each file as far as it came. After a
reset it goes on from there; what was written last may be missing then, and is asked for again.
"""

import gc
import hashlib
import os
from binascii import hexlify

from edgewire import ota_codes as codes
from edgewire.ota_messages import offer as encoded
from edgewire.ota_messages import parse_offer

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from device_fw.boot.slots import Slots
    from edgewire.ota_manifest import Manifest
    from edgewire.ota_messages import Offer

_PIECE = 1024
_SYNC = 4096  # bytes that a power cut may cost: one block of flash
_FOLDER = 0x4000  # in a stat's mode
_KEPT_BLOCKS = 4  # free, for the record and the configuration


class UpdateStore:
    """The passive slot, and what the boot code offers. Every method may raise OSError: ENOSPC when the flash is full."""

    def __init__(self, slots: "Slots", feed: "Callable[[], None]") -> None:
        """`feed` feeds the watchdog during long work."""
        self.slots = slots
        self.feed = feed
        self._file: "Any" = None
        self._unsaved = 0

    @property
    def _folder(self) -> str:
        return self.slots.folder(self.slots.passive) + "/"

    def holds(self, offer: "Offer") -> bool:
        """Whether a download of this very offer has begun."""
        try:
            with open(self._folder + codes.OFFER, "rb") as file:
                begun = parse_offer(file.read(codes.MAX_OFFER + 1))
        except (OSError, ValueError):
            return False
        return begun is not None and begun.id == offer.id and begun.size == offer.size

    def clear(self, offer: "Offer | None" = None) -> None:
        """Empty the slot; with an offer, begin its download."""
        self.close()
        self.slots.begin()
        folder = self._folder
        for name in (codes.SIGNATURE, codes.MANIFEST):  # first: from here on nothing takes it for an image
            _remove(folder + name)
        _empty(folder, self.feed)
        if offer is not None:
            _make_folders(folder + codes.OFFER)
            with open(folder + codes.OFFER + ".new", "w") as file:
                file.write(encoded(offer))
            os.rename(folder + codes.OFFER + ".new", folder + codes.OFFER)

    def open(self, path: str, size: int) -> "tuple[int, Any]":
        """Go on with a file of `size` bytes: how many there are, and their sha256 so far."""
        self.close()
        path = self._folder + path
        have = _size(path)
        if have > size:
            os.remove(path)
            have = 0
        digest = hashlib.sha256()
        if have:
            with open(path, "rb") as file:
                while True:
                    piece = file.read(_PIECE)
                    if not piece:
                        break
                    digest.update(piece)
                    self.feed()
        if have < size or not size:
            _make_folders(path)
            self._file = open(path, "ab")
            self._unsaved = 0
        return have, digest

    def write(self, data: "bytes | memoryview") -> None:
        """Append to the open file."""
        if self._file.write(data) != len(data):
            raise OSError(28, "no space")  # ENOSPC; a file system may write less than it was given
        self._unsaved += len(data)
        if self._unsaved >= _SYNC:
            self._file.flush()
            self._unsaved = 0

    def close(self) -> None:
        """End the open file; what was written is on flash."""
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def remove(self, path: str) -> None:
        """Drop a file that came out wrong."""
        self.close()
        _remove(self._folder + path)

    def manifest(self, size: int) -> bytes:
        """The manifest, as it came."""
        with open(self._folder + codes.MANIFEST, "rb") as file:
            data: bytes = file.read(size)
        return data

    def lacks_space(self, manifest: "Manifest") -> bool:
        """Whether the rest of an image does not fit."""
        stat = os.statvfs(self._folder)
        block, free = stat[0], stat[3]
        needed = _KEPT_BLOCKS + 2 * len({path.rsplit("/", 1)[0] for path, _, _ in manifest.files if "/" in path})
        for path, size, _ in manifest.files:
            needed += (size + block - 1) // block - (_size(self._folder + path) + block - 1) // block
        return needed > free

    def described(self, data: bytes) -> "Manifest":
        """A manifest read. OtaError when it is none."""
        from edgewire.ota_manifest import parse_manifest

        return parse_manifest(data)

    def misfit(self, manifest: "Manifest") -> str:
        """Why this board cannot run an image, `NONE` when it can."""
        from edgewire.ota_manifest import mpy_of

        slots = self.slots
        mpy, arch = mpy_of(slots.bytecode)
        return manifest.misfit(slots.board, slots.runtime, mpy, arch, slots.record["counter"])

    def seal(self, offer: "Offer") -> None:
        """All files are there and right: add the signature."""
        path = self._folder + codes.SIGNATURE
        with open(path + ".new", "w") as file:
            file.write(hexlify(offer.signature).decode())
        os.rename(path + ".new", path)


def chunk_bytes(limit: int) -> int:
    """How much to ask for at once: what the heap can take in several copies, and the link carries."""
    heap: "Any" = gc
    if not hasattr(heap, "mem_free"):
        return min(limit, codes.MAX_CHUNK)
    heap.collect()
    free: int = heap.mem_free()
    return max(64, min(limit, codes.MAX_CHUNK, free // 20))


def _size(path: str) -> int:
    try:
        return os.stat(path)[6]
    except OSError:
        return 0


def _remove(path: str) -> None:
    try:
        os.remove(path)
    except OSError as error:
        if error.errno != 2:  # ENOENT
            raise


def _empty(folder: str, feed: "Callable[[], None]") -> None:
    """Remove all that a folder holds; it need not be there. The folders within stay until they are empty."""
    waiting = [folder]
    while waiting:
        here = waiting[-1]
        try:
            names = os.listdir(here)
        except OSError:
            return
        folders = [here + name + "/" for name in names if os.stat(here + name)[0] & _FOLDER]
        for name in names:
            feed()
            if here + name + "/" not in folders:
                os.remove(here + name)
        waiting.extend(folders)
        if not folders:
            waiting.pop()
            if waiting:
                os.rmdir(here[:-1])


def _make_folders(path: str) -> None:
    """Make the folders that a file lies in."""
    at = path.find("/", 1)
    while at >= 0:
        try:
            os.stat(path[:at])
        except OSError:
            os.mkdir(path[:at])
        at = path.find("/", at + 1)
