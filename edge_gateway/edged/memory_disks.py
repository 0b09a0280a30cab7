"""emptyDirs in memory that cannot grow beyond their size: a tmpfs of its own for each, where edgecore may mount. A shell."""

import logging
import os
import subprocess
from pathlib import Path

log = logging.getLogger(__name__)

MOUNT_S = 10.0


def mount(folder: Path, size: int) -> bool:
    """Make a folder a tmpfs of so many bytes; whether that was possible: it is a folder as before where not."""
    if os.geteuid() != 0:
        return False
    options = f"size={size},mode=0777,nosuid,nodev"
    return _run("mount", "-t", "tmpfs", "-o", options, "hedgerow", str(folder))


def unmount_all(folder: Path) -> None:
    """Let go of every tmpfs in a folder."""
    if folder.is_dir():
        for entry in folder.iterdir():
            if entry.is_mount():
                _run("umount", "--lazy", str(entry))


def _run(*words: str) -> bool:
    try:
        subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=MOUNT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("= %s of a volume in memory failed folder=%s reason=%s", words[0], words[-1], error)
        return False
    return True
