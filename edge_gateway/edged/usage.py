"""What containers and the machine use of processors and memory: read from cgroups where a container has one, else from /proc.

Nothing is read before somebody asks. A container without a cgroup is its first process with all that come from it, or are in its
session: their processor time and what their children, who have ended, had of it; memory that they share counts for each of
them. Sources: proc(5), Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst; the working set is cAdvisor's: what is
used less the files that have not been read for a while.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from edge_gateway.edged.runtime import Processes
from edge_gateway.kernel_files import text

_TICKS, _PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
_BUSY = (0, 1, 2, 5, 6, 7)
"""Columns of the first line of /proc/stat: all but idle, waiting for a disk, and guests, who are in `user` already."""


class Used(NamedTuple):
    """Processor time since the beginning, nanoseconds, and the working set in bytes."""

    cpu_ns: int
    memory_bytes: int


class Process(NamedTuple):
    """One line of a table of processes."""

    pid: int
    parent: int
    session: int
    cpu_ticks: int
    pages: int


class Table:
    """All processes of a moment."""

    def __init__(self, processes: Iterable[Process]) -> None:
        self._all = {process.pid: process for process in processes}
        self._children: dict[int, list[int]] = {}
        for process in self._all.values():
            self._children.setdefault(process.parent, []).append(process.pid)

    def of(self, pid: int) -> list[Process]:
        """A process, those in its session, and all that come from any of them."""
        found: dict[int, Process] = {}
        todo = [pid, *(p.pid for p in self._all.values() if p.session == pid)]
        while todo:
            process = self._all.get(todo.pop())
            if process is not None and process.pid not in found:
                found[process.pid] = process
                todo += self._children.get(process.pid, ())
        return list(found.values())

    def pages(self, pids: Iterable[int]) -> int:
        """Memory pages of some processes."""
        return sum(self._all[pid].pages for pid in pids if pid in self._all)


class UsageReader:
    """Of one machine, at one moment."""

    def __init__(self, root: Path = Path("/")) -> None:
        """`root` is where /proc and /sys are."""
        self._root = root
        self._table: Table | None = None

    def machine(self) -> Used:
        """Of all that runs."""
        fields = text(self._root / "proc/stat").partition("\n")[0].split()[1:]
        ticks = sum(int(fields[column]) for column in _BUSY if column < len(fields))
        memory = _numbers(text(self._root / "proc/meminfo").replace(":", ""))
        used = memory.get("MemTotal", 0) - memory.get("MemFree", 0) - memory.get("Inactive(file)", 0)
        return Used(_ns(ticks), max(0, used) * 1024)

    def container(self, processes: Processes) -> Used | None:
        """Of a container; None when it is over."""
        groups = dict(self._groups(processes)) if processes.mark else {}
        if "" in groups and (used := self._version_2(groups[""])) is not None:
            return used
        if "cpuacct" in groups and "memory" in groups and (used := _version_1(groups["cpuacct"], groups["memory"])):
            return used
        found = self._processes.of(processes.pid)
        if not found:
            return None
        return Used(_ns(sum(p.cpu_ticks for p in found)), sum(p.pages for p in found) * _PAGE)

    @property
    def _processes(self) -> Table:
        if self._table is None:
            self._table = Table(_table(self._root / "proc"))
        return self._table

    def _groups(self, processes: Processes) -> Iterator[tuple[str, Path]]:
        """Controller -> folder of the cgroup that has these processes and no others; version 2's has no name."""
        top = self._root / "sys/fs/cgroup"
        for line in text(self._root / "proc" / str(processes.pid) / "cgroup").splitlines():
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            parts = path.strip("/").split("/")
            own = next((n for n, part in enumerate(parts, 1) if processes.mark in part), 0)
            if not own:
                continue
            for name in controllers.split(","):
                at = top / name if name else top / "unified" if (top / "unified").is_dir() else top
                yield name, at.joinpath(*parts[:own])

    def _version_2(self, folder: Path) -> Used | None:
        """None where the kernel does not count for this cgroup."""
        cpu = _numbers(text(folder / "cpu.stat")).get("usage_usec")
        if cpu is None:
            return None
        current = text(folder / "memory.current")
        if current.isdigit():
            idle = _numbers(text(folder / "memory.stat")).get("inactive_file", 0)
            return Used(cpu * 1000, max(0, int(current) - idle))
        # Without the controller for memory, as a Pi's kernel is by default.
        files = [folder / "cgroup.procs", *folder.rglob("*/cgroup.procs")]
        pids = {int(pid) for file in files for pid in text(file).split() if pid.isdigit()}
        return Used(cpu * 1000, self._processes.pages(pids) * _PAGE) if pids else None


def _version_1(cpu: Path, memory: Path) -> Used | None:
    time, usage = text(cpu / "cpuacct.usage"), text(memory / "memory.usage_in_bytes")
    if not time.isdigit() or not usage.isdigit():
        return None
    return Used(int(time), max(0, int(usage) - _numbers(text(memory / "memory.stat")).get("total_inactive_file", 0)))


def _table(proc: Path) -> Iterator[Process]:
    for folder in proc.iterdir():
        if folder.name.isdigit() and (found := parse_stat(text(folder / "stat"))) is not None:
            yield found


def parse_stat(stat: str) -> Process | None:
    """A process from its /proc/<pid>/stat, whose second field is a name that may have anything in it."""
    pid, _, rest = stat.partition(" (")
    fields = rest.rpartition(")")[2].split()
    try:
        return Process(int(pid), int(fields[1]), int(fields[3]), sum(map(int, fields[11:15])), int(fields[21]))
    except (IndexError, ValueError):
        return None


def _numbers(lines: str) -> dict[str, int]:
    """Lines of a name and a number."""
    rows = (line.split() for line in lines.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}


def _ns(ticks: int) -> int:
    return ticks * 1_000_000_000 // _TICKS
