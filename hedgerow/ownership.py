"""The lock on a stack's folder: one process runs it, or changes it at rest."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from hedgerow.children import ChildError


@contextlib.contextmanager
def owned(folder: Path, command: str = "hedgerow up") -> Iterator[None]:
    """Hold a folder for this process alone, which runs a command. Raises ChildError when another one has it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a+")
    except OSError as error:
        raise ChildError(f"cannot use the folder {folder}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            raise ChildError(f"another `{command}` (process {owner}) runs in {folder}: give --data") from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def is_owned(folder: Path) -> bool:
    """Whether a process holds a folder."""
    try:
        lock = (folder / "lock").open()
    except OSError:
        return False
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
