"""What a process of the keeper sees at other paths: mounts in a namespace of its own, made before it becomes the container.

Imported where it is needed only: mount(2) is reached by ctypes, without which the keeper takes a megabyte less.
"""

import ctypes
import os
from collections.abc import Sequence
from contextlib import suppress

_NEW_NAMESPACE = 0x00020000
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 32, 4096, 16384, 1 << 18
_KEPT = 2 | 4 | 8
"""nosuid, nodev and noexec: the same numbers in statvfs(3) as in mount(2)."""

_libc = ctypes.CDLL(None, use_errno=True)


def see(mounts: Sequence[Sequence[str]]) -> None:
    """Have each `(source, path, how)`; `how` is ro, rw, or `try` for one that may be missing. Raises OSError."""
    try:
        if _libc.unshare(_NEW_NAMESPACE) != 0:
            raise _error("a namespace for mounts")
        _mount("none", "/", _RECURSIVE | _PRIVATE)
    except OSError:
        if any(how != "try" for _, _, how in mounts):
            raise
        return
    for source, path, how in mounts:
        if how == "try":
            with suppress(OSError):
                _bind(source, path)
        else:
            _bind(source, path)
            if how == "ro":
                _mount("none", path, _REMOUNT | _BIND | _READ_ONLY | os.statvfs(path).f_flag & _KEPT)


def _bind(source: str, path: str) -> None:
    """Mount a folder or file at a path; where there is none, an empty one is left there."""
    if os.path.isdir(source):
        os.makedirs(path, exist_ok=True)
    elif not os.path.exists(path):
        os.makedirs(os.path.dirname(path) or "/", exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
    _mount(source, path, _BIND | _RECURSIVE)


def _mount(source: str, path: str, flags: int) -> None:
    if _libc.mount(os.fsencode(source), os.fsencode(path), None, ctypes.c_ulong(flags), None) != 0:
        raise _error(path)


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), what)
