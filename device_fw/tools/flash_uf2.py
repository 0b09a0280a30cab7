"""Writes MicroPython to boards that show themselves as a drive: RP2040 and RP2350 in their boot loader.

The drive takes a UF2 file, writes each block as it comes, and goes away when it has them all; so errors of the last bytes are
none. A copy that was cut off leaves the boot loader where it is: the next call copies anew.
"""

import contextlib
import errno
import getpass
import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from device_fw.tools.flash_errors import BoardLost, NoBoard, RuntimeFailed, SeveralBoards, WrongBoard
from device_fw.tools.flash_runtime import Runtime

INFO = "INFO_UF2.TXT"
TARGET = "FIRMWARE.UF2"
GONE_S = 15.0
"""How long a drive may take to go away after the last block."""
_CHUNK = 16384
_POLL_S = 0.05
_CHIPS = {"RPI-RP2": "rp2040", "RP2350": "rp2350"}


def drives(roots: Iterable[Path] | None = None) -> list[Path]:
    """The mounted drives of boot loaders; or those among `roots`."""
    return sorted(path for path in (_mounted() if roots is None else roots) if (path / INFO).is_file())


def choose(given: Path | None, found: Iterable[Path]) -> Path:
    """The drive that is meant. NoBoard, SeveralBoards."""
    known = list(found)
    if given is not None:
        if (given / INFO).is_file():
            return given
        raise NoBoard(f"{given} is no drive of a boot loader: there is no {INFO} in it")
    if not known:
        raise NoBoard(
            "no board shows its drive: unplug it, hold BOOTSEL, plug it in, let BOOTSEL go, mount the drive if your system does "
            "not (or name its folder by --drive), and run this again"
        )
    if len(known) > 1:
        raise SeveralBoards(
            f"{len(known)} boards show their drives; say which by --drive: {', '.join(map(str, known))}"
        )
    return known[0]


def chip(drive: Path) -> str:
    """What is behind a drive, by its INFO_UF2.TXT; empty when that is not known here."""
    try:
        text = (drive / INFO).read_text(errors="replace")
    except OSError as error:
        raise BoardLost(
            f"the drive {drive} went away: plug the board in with BOOTSEL held, and run this again"
        ) from error
    found = re.search(r"^Board-ID:\s*(\S+)", text, re.MULTILINE)
    return _CHIPS.get(found[1], "") if found else ""


def write(runtime: Runtime, drive: Path, progress: Callable[[float], None] = lambda part: None) -> None:
    """Copy an image to a drive and wait until the drive has taken it and is gone. WrongBoard, RuntimeFailed, BoardLost."""
    behind = chip(drive)
    if behind and behind != runtime.chip.partition(" ")[0]:
        raise WrongBoard(f"this image is for {runtime.chip}, and the board at {drive} is an {behind}")
    _copy(runtime.content, drive, progress)
    begun = time.monotonic()
    while (drive / INFO).exists():
        if time.monotonic() - begun > GONE_S:
            raise RuntimeFailed(
                f"{drive} did not take the image within {GONE_S:g} s: unplug the board and run this again"
            )
        time.sleep(_POLL_S)


def _copy(content: bytes, drive: Path, progress: Callable[[float], None]) -> None:
    done = 0
    try:
        with (drive / TARGET).open("wb", buffering=0) as file:
            while done < len(content):
                done += file.write(content[done : done + _CHUNK])
                progress(done / len(content))
            os.fsync(file.fileno())
    except OSError as error:
        if done == len(content) and error.errno != errno.ENOSPC:
            return  # it has all and went away before we had closed it
        if error.errno == errno.ENOSPC:
            raise RuntimeFailed(
                f"{drive} is full: is it really the drive of a boot loader? Unplug the board and try again"
            ) from error
        raise BoardLost(
            f"the drive {drive} went away while the image was copied ({error.strerror}): plug the board in with BOOTSEL "
            "held, and run this again"
        ) from error


def _mounted() -> list[Path]:
    folders: set[Path] = set()
    with contextlib.suppress(OSError):
        for line in Path("/proc/mounts").read_text().splitlines():
            where, kind = line.split()[1:3]
            if kind in ("vfat", "msdos", "exfat", "fuseblk"):
                folders.add(Path(where.replace("\\040", " ")))
    for root in (Path("/media") / getpass.getuser(), Path("/run/media") / getpass.getuser(), Path("/Volumes")):
        with contextlib.suppress(OSError):
            folders.update(root.iterdir())
    return sorted(folders)
