"""What `podman run` leaves in files about what it started: reading them spares asking it once more."""

from pathlib import Path
from typing import NamedTuple


class Started(NamedTuple):
    """What runs."""

    container: str
    """Its id."""
    conmon: int
    """Its parent, as a number of a process; 0 where there is none any more."""
    pid: int
    """Its first process."""


class Notes:
    """The files of one start."""

    def __init__(self, folder: Path, name: str) -> None:
        self._conmon, self._pid = folder / f"{name}.conmon", folder / f"{name}.pid"

    def options(self) -> list[str]:
        """What podman is told."""
        return ["--conmon-pidfile", str(self._conmon), "--pidfile", str(self._pid)]

    def read(self, container: str) -> Started:
        """What runs, as far as they say."""
        return Started(container, _number(self._conmon), _number(self._pid))

    def remove(self) -> None:
        """They have been read."""
        for file in (self._conmon, self._pid):
            file.unlink(missing_ok=True)


def _number(file: Path) -> int:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return 0
