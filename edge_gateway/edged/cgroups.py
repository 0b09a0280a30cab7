"""A cgroup for each container, where this machine lets edgecore make some: limits are kept, and all of a container can be ended.

Version 2 only, at the top of the hierarchy as kubelet's own are, so that systemd leaves them alone when it restarts edgecore.
Controllers that the kernel lacks are done without; the node's conditions tell of the one for memory.
"""

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from edge_gateway.edged import quantities

log = logging.getLogger(__name__)

PIDS = 4096
"""Processes and threads of one container, at most: what keeps one that forks without end from taking the machine along."""
PERIOD_US = 100_000
_CONTROLLERS = ("cpu", "memory", "pids")


class Cgroups:
    """The cgroups of one gateway."""

    def __init__(self, name: str, root: Path = Path("/sys/fs/cgroup")) -> None:
        """`name` tells gateways of one machine apart."""
        hybrid = root / "unified"
        self._top = hybrid if hybrid.is_dir() else root
        self._folder = self._top / f"hedgerow-{name}"
        self._usable: bool | None = None

    @property
    def usable(self) -> bool:
        """Whether edgecore may make any."""
        if self._usable is None:
            self._usable = self._begin()
        return self._usable

    def _begin(self) -> bool:
        if not (self._top / "cgroup.procs").exists():
            return False
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as error:
            log.info("= no cgroups for containers reason=%s", error.strerror)
            return False
        for folder in (self._top, self._folder):
            for controller in _CONTROLLERS:
                _write(folder / "cgroup.subtree_control", f"+{controller}")
        return True

    def make(self, id: str, limits: Mapping[str, str | int | float]) -> str:
        """A run's cgroup with its limits: the folder, empty where there are none. Raises OSError."""
        if not self.usable:
            return ""
        folder = self._of(id)
        folder.mkdir(exist_ok=True)
        _write(folder / "pids.max", str(PIDS))
        if "memory" in limits:
            _write(folder / "memory.max", str(int(quantities.parse(limits["memory"]))))
            _write(folder / "memory.swap.max", "0")
            _write(folder / "memory.oom.group", "1")
        if "cpu" in limits:
            quota = max(1000, int(quantities.parse(limits["cpu"]) * PERIOD_US))
            _write(folder / "cpu.max", f"{quota} {PERIOD_US}")
        return str(folder)

    def out_of_memory(self, id: str) -> bool:
        """Whether the kernel killed something of a run because its memory was used up."""
        try:
            lines = (self._of(id) / "memory.events").read_text().splitlines()
        except OSError:
            return False
        return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in lines)

    def remove(self, id: str) -> None:
        """A run is over: end what may be left of it, and drop its cgroup."""
        folder = self._of(id)
        if self.usable and folder.exists():
            _write(folder / "cgroup.kill", "1")
            with suppress(OSError):  # what is being ended takes a moment; the next run of edgecore sweeps
                folder.rmdir()

    def sweep(self) -> None:
        """Drop what is empty."""
        if self.usable:
            for folder in self._folder.glob("*/"):
                with suppress(OSError):
                    folder.rmdir()
            with suppress(OSError):
                self._folder.rmdir()
            self._usable = None

    def _of(self, id: str) -> Path:
        return self._folder / id.replace("/", "_")


def _write(file: Path, content: str) -> None:
    """A setting of the kernel's; one that it does not have, or refuses, is left as it is."""
    try:
        file.write_text(content)
    except OSError as error:
        log.debug("= cgroup setting refused file=%s content=%s reason=%s", file, content, error.strerror)
