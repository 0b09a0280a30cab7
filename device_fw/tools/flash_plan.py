"""What must change on a board so that it holds exactly the wanted files: a core, from two lists of files to a list of steps.

Nothing is remembered between two calls: what is there is read from the board, so a call after an interruption plans the rest.
Each file is written beside its place and renamed when it is whole, the files that start the firmware last: a board cut off in the
midst starts nothing half-written, and keeps its old file until the new one is there.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

PART = ".part"
"""Ends the name of a file that is being written."""
STARTS = ("main.py", "boot.py")
"""What MicroPython runs by itself."""


@dataclass(frozen=True)
class Present:
    """A file on the board."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Remove:
    """A file to be removed."""

    path: str

    def __str__(self) -> str:
        return f"remove {self.path}"


@dataclass(frozen=True)
class Write:
    """A file to be written."""

    path: str
    content: bytes

    @property
    def sha256(self) -> str:
        """Of its content, in hex."""
        return hashlib.sha256(self.content).hexdigest()

    def __str__(self) -> str:
        return f"write {self.path}, {len(self.content)} bytes"


Step = Remove | Write


def steps(
    wanted: Mapping[str, bytes],
    present: Mapping[str, Present],
    *,
    kept: Collection[str] = (),
    gone: Collection[str] = (),
) -> list[Step]:
    """What to remove, then what to write, in order. Paths have no leading slash.

    Removed is what is not wanted in a top folder that holds wanted files, or one of `gone`, and any file that was left
    half-written. Other files are somebody else's; so are those in `kept`, files or folders, wherever they are.
    """
    tops = {path.partition("/")[0] for path in wanted if "/" in path} | set(gone)
    removed = [
        Remove(path)
        for path in sorted(present)
        if path not in wanted and (path.endswith(PART) or (path.partition("/")[0] in tops and not _lies_in(path, kept)))
    ]
    return [*removed, *_writes(wanted, present)]


def lacking(plan: list[Step], present: Mapping[str, Present], free: int, block: int) -> int:
    """How many bytes are too few at the worst moment of a plan, of `free` bytes in blocks of `block`; 0: none."""
    worst = 0
    sizes = {path: file.size for path, file in present.items()}
    for step in plan:
        if isinstance(step, Write):
            free -= _on_disk(len(step.content), block)
            worst = min(worst, free)
        before = sizes.get(step.path)
        free += _on_disk(before, block) if before is not None else 0
    return -worst


def differences(wanted: Mapping[str, bytes], present: Mapping[str, Present]) -> list[str]:
    """The wanted files that are not on the board, or are others there."""
    return sorted(path for path, content in wanted.items() if not _same(content, present.get(path)))


def _writes(wanted: Mapping[str, bytes], present: Mapping[str, Present]) -> Iterator[Write]:
    changed = [path for path, content in wanted.items() if not _same(content, present.get(path))]
    for path in sorted(changed, key=lambda path: (path in STARTS, path)):
        yield Write(path, wanted[path])


def _same(content: bytes, found: Present | None) -> bool:
    return found is not None and found == Present(len(content), hashlib.sha256(content).hexdigest())


def _lies_in(path: str, kept: Collection[str]) -> bool:
    return any(path == keep or path.startswith(keep + "/") for keep in kept)


def _on_disk(size: int, block: int) -> int:
    return -(-size // block) * block
