"""What the node's containers and the node itself use, for whoever asks: `kubectl top`, as a `stream_server.Source`."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edge_gateway.edged.pod_life import PodLife
from edge_gateway.edged.runtime import Processes, RunId, Runtime
from edge_gateway.edged.usage import UsageReader, Used
from edge_gateway.kernel_files import text
from edgewire.usage import ContainerUsage, NodeUsage, encode


class _Runs(NamedTuple):
    life: PodLife
    container: str
    started_at: float
    processes: Processes


class UsageSource:
    """Of one node."""

    def __init__(self, lives: Callable[[], Iterable[PodLife]], runtime: Runtime, root: Path = Path("/")) -> None:
        """`lives` gives the node's pods; `root` is where /proc and /sys are."""
        self._lives = lives
        self._runtime = runtime
        self._root = root
        self._most: dict[RunId, int] = {}
        """Processor time told last: with a process that nobody waits for, what it used is gone from the table."""

    async def __call__(self, request: dict[str, Any]) -> AsyncGenerator[bytes]:
        """A `usage.NodeUsage`."""
        running = dict(self._running())
        used, machine = await asyncio.to_thread(self._read, running)
        most = {id: max(of.cpu_ns, self._most.get(id, 1)) for id, (of, _) in used.items()}
        self._most = most
        containers = tuple(
            ContainerUsage(
                run.life.pod.metadata.namespace,
                run.life.pod.metadata.name,
                run.life.pod.uid,
                run.container,
                used[id][1],
                run.started_at,
                most[id],
                used[id][0].memory_bytes,
            )
            for id, run in running.items()
            if id in used
        )
        now = time.time()
        yield encode(NodeUsage(now, now - _uptime(self._root), machine.cpu_ns, machine.memory_bytes, containers))

    def _running(self) -> Iterable[tuple[RunId, _Runs]]:
        processes = self._runtime.processes()
        for life in self._lives():
            for container in life.containers:
                id = RunId(life.pod.uid, container.name, container.record.attempt)
                if container.alive and id in processes:
                    yield id, _Runs(life, container.name, container.record.started_at, processes[id])

    def _read(self, running: Mapping[RunId, _Runs]) -> tuple[dict[RunId, tuple[Used, float]], Used]:
        """Of each that still runs, and when that was so; and of the machine."""
        reader = UsageReader(self._root)
        found = {}
        for id, run in running.items():
            used = reader.container(run.processes)
            if used is not None:
                found[id] = used, time.time()
        return found, reader.machine()


def _uptime(root: Path) -> float:
    """Seconds since the machine was started."""
    return float(text(root / "proc/uptime").split()[0])
