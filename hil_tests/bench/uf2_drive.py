"""An emulated RP2 board in its boot loader: a folder stands for the drive RPI-RP2, and takes a .uf2 as the drive does.

Blocks count as they come; with the last one the drive goes away and the board starts. The flash keeps what it was given. What it
cannot prove: a real drive's FAT and its size, the kernel's caches, when USB devices come and go.
"""

import contextlib
import os
import select
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from device_fw.tools.flash_uf2 import INFO, TARGET

RP2040 = 0xE48BFF56
FLASH_AT = 0x10000000

_BLOCK = 512
_MAGIC = (0x0A324655, 0x9E5D5157)
_MAGIC_END = 0x0AB16F30
_TICK_S = 0.02
_JOIN_S = 10.0
_INFO = "UF2 Bootloader v3.0\r\nModel: Raspberry Pi RP2\r\nBoard-ID: RPI-RP2\r\n"


class Uf2Drive:
    """The board. `folder` exists as long as its drive is there."""

    def __init__(self, folder: Path, runs: Callable[[], None] = lambda: None, family: int = RP2040) -> None:
        """`runs` is called when an image has come whole: the board starts."""
        self.folder = folder
        self.flash: dict[int, bytes] = {}
        """Address -> 256 bytes: what was written."""
        self.starts = 0
        self.unplug_after: int | None = None
        """The drive goes away after so many blocks, once; asked at `boot`."""
        self.full = False
        """Nothing can be written to it; asked at `boot`."""
        self._runs = runs
        self._family = family
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def boot(self) -> None:
        """Plug it in with BOOTSEL held."""
        self.unplug()
        self.folder.mkdir(parents=True)
        if self.full:
            (self.folder / TARGET).symlink_to("/dev/full")
        elif self.unplug_after is not None:
            os.mkfifo(self.folder / TARGET)
        (self.folder / INFO).write_text(_INFO)
        self._stop.clear()
        self._thread = threading.Thread(target=self._serve, name=f"uf2 {self.folder.name}", daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        """Unplug it; harmless when it is."""
        if self._thread is not None:
            self._stop.set()
            if self._thread is not threading.current_thread():
                self._thread.join(_JOIN_S)
            self._thread = None
        self._vanish()

    def __enter__(self) -> Self:
        self.boot()
        return self

    def __exit__(self, *_: object) -> None:
        self.unplug()

    def _serve(self) -> None:
        blocks: dict[int, tuple[int, bytes]] = {}
        source = self._pieces if self.unplug_after is not None else self._grown
        limit, self.unplug_after = self.unplug_after, None
        rest = b""
        for piece in source():
            rest += piece
            while len(rest) >= _BLOCK:
                block, rest = rest[:_BLOCK], rest[_BLOCK:]
                if self._take(block, blocks):
                    self._vanish()
                    self.starts += 1
                    self._runs()
                    return
                if limit is not None and len(blocks) >= limit:
                    self._vanish()
                    return

    def _take(self, block: bytes, blocks: dict[int, tuple[int, bytes]]) -> bool:
        """Whether this block made it whole. As the ROM does: what is none of ours is passed over."""
        magic0, magic1, _, address, size, number, total, family = struct.unpack_from("<8I", block)
        (end,) = struct.unpack_from("<I", block, _BLOCK - 4)
        if (magic0, magic1) != _MAGIC or end != _MAGIC_END or family != self._family:
            return False
        self.flash[address] = block[32 : 32 + size]
        blocks[number] = (address, block)
        return bool(len(blocks) == total)

    def _grown(self) -> Iterator[bytes]:
        """What is new in any .uf2 of the folder, until stopped."""
        seen: dict[Path, int] = {}
        while not self._stop.wait(_TICK_S):
            for path in self.folder.glob("*.[uU][fF]2"):
                if path.is_symlink() or not path.is_file():
                    continue
                with contextlib.suppress(OSError), path.open("rb") as file:
                    file.seek(seen.get(path, 0))
                    if data := file.read():
                        seen[path] = file.tell()
                        yield data

    def _pieces(self) -> Iterator[bytes]:
        """What is written into the pipe that stands for the file, until stopped."""
        fd = os.open(self.folder / TARGET, os.O_RDONLY | os.O_NONBLOCK)
        try:
            while not self._stop.is_set():
                if select.select([fd], [], [], _TICK_S)[0]:
                    with contextlib.suppress(BlockingIOError):
                        if data := os.read(fd, _BLOCK):
                            yield data
                        else:
                            self._stop.wait(_TICK_S)
        finally:
            os.close(fd)

    def _vanish(self) -> None:
        for path in (self.folder / INFO, *(self.folder.glob("*") if self.folder.is_dir() else ())):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()
