"""The figures of pods on a gateway, with plain processes and with Podman, beside the whole stack on the same machine."""

import asyncio
import contextlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psutil

from bench.results import Figure, Figures
from cloud.kube import Kube
from cloud.objects import PODS, Added, Modified
from cloud.writes import JSON, Request
from hedgerow.stack import Ports, Stack
from hil_tests.bench.podman_storage import IMAGE, PodmanStorage, lacking

NODE = "bench"
APPLIES, PODS_IDLE, PODS_OFFLINE = 20, 50, 20
IDLE_S = 30.0
DEADLINE_S = 300.0


async def measure() -> Figures:
    """Every figure of pods. Takes two minutes."""
    return {**await _processes(), **await _podman()}


async def _podman() -> Figures:
    """The same with Podman; nothing where it is not installed."""
    if lacking():
        return {}
    with tempfile.TemporaryDirectory(prefix="hedgerow-podman-") as folder:
        storage = PodmanStorage(Path(folder) / "storage")
        await asyncio.to_thread(storage.make)
        os.environ.update(storage.env)
        bench = _Bench(Path(folder) / "site", "podman", IMAGE, storage)
        await bench.stack.start(mapper=False)
        watch = asyncio.create_task(bench.watch())
        try:
            return await _podman_figures(bench)
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
            await bench.kube.close()
            await bench.stack.stop()
            await asyncio.to_thread(storage.remove)
            for name in storage.env:
                os.environ.pop(name)


async def _podman_figures(bench: "_Bench") -> Figures:
    load = os.getloadavg()[0]
    times = [await bench.apply_and_wait(f"one-{number}") for number in range(APPLIES)]
    busy_load = os.getloadavg()[0]
    await asyncio.gather(*(bench.apply_and_wait(f"more-{number}") for number in range(PODS_OFFLINE, PODS_IDLE)))
    await asyncio.sleep(5)
    idle, memory = await bench.idle()
    for number in range(PODS_OFFLINE, PODS_IDLE):
        await bench.delete(f"more-{number}")
    await _until(lambda: bench.containers() == PODS_OFFLINE, 1.0)
    back_load, back_s = os.getloadavg()[0], await bench.offline_restart(PODS_OFFLINE)
    return {
        "pod_apply_to_running_podman_p50_ms": Figure(
            1000 * statistics.median(times),
            "ms",
            {"aim, below": 3000, "slowest": 1000 * max(times), "load before": load, "load after": busy_load},
            f"{APPLIES} pods, one after the other, image present: from the request that creates it to its status Running",
        ),
        "pods_50_idle_podman_cpu_percent": Figure(
            100 * idle,
            "% of a core",
            {"aim, below": 2},
            "edgecore and what it calls, 50 pods with an HTTP probe every 10 s",
        ),
        "pods_50_podman_edgecore_rss_mb": Figure(memory, "MB", {"aim, at most": 60}),
        "pods_20_back_offline_podman_s": Figure(
            back_s,
            "s",
            {"aim, below": 15, "load before": back_load},
            f"after a power cut, without a cloud: from edgecore's start to all {PODS_OFFLINE}",
        ),
    }


async def _processes() -> Figures:
    with tempfile.TemporaryDirectory(prefix="hedgerow-pods-") as folder:
        bench = _Bench(Path(folder))
        await bench.stack.start(mapper=False)
        watch = asyncio.create_task(bench.watch())
        try:
            return await _figures(bench)
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
            await bench.kube.close()
            await bench.stack.stop()
            bench.power_cut()


async def _figures(bench: "_Bench") -> Figures:
    times = [await bench.apply_and_wait(f"one-{number}") for number in range(APPLIES)]
    for number in range(PODS_OFFLINE, PODS_IDLE):
        await bench.apply_and_wait(f"more-{number}")
    await asyncio.sleep(5)
    busy, edgecore = await bench.idle()
    [keeper] = (process.memory_info().rss / 2**20 for process in bench.keepers())
    back_s = await bench.offline_restart(PODS_IDLE)
    return {
        "pod_apply_to_running_p50_ms": Figure(
            1000 * statistics.median(times),
            "ms",
            {"aim, below": 1500, "slowest": 1000 * max(times)},
            f"{APPLIES} pods, one after the other: from the request that creates it to its status Running",
        ),
        "pods_50_idle_cpu_percent": Figure(
            100 * busy, "% of a core", {"aim, below": 2}, "edgecore and keeper, 50 pods with an exec probe every 10 s"
        ),
        "pods_50_edgecore_rss_mb": Figure(edgecore, "MB", {"aim, at most": 60, "keeper": keeper}),
        "pods_50_back_offline_s": Figure(
            back_s,
            "s",
            {"aim for 20 pods, below": 15},
            "after a power cut, without a cloud: from edgecore's start to all 50",
        ),
    }


class _Bench:
    """The stack, and what Kubernetes says of its pods."""

    def __init__(
        self, folder: Path, runtime: str = "process", image: str = "none", storage: PodmanStorage | None = None
    ) -> None:
        edge = {"edged": {"runtime": runtime, "leave_running": False}}
        self.stack = Stack(folder, node=NODE, ports=Ports.any(), edge=edge)
        self._image = image
        self._storage = storage
        self.folder = self.stack.folder
        self.kube = Kube(self.stack.kubeconfig)
        self._running: set[str] = set()
        self._changed = asyncio.Event()

    async def watch(self) -> None:
        async with aclosing(self.kube.follow(PODS)) as events:
            async for event in events:
                if isinstance(event, Added | Modified):
                    if (json.loads(event.object.raw).get("status") or {}).get("phase") == "Running":
                        self._running.add(event.object.name)
                    self._changed.set()

    async def apply_and_wait(self, name: str) -> float:
        """Create a pod and wait until it is Running: seconds."""
        began = time.monotonic()
        answer = await self.kube.send(
            Request("POST", PODS.path("default"), json.dumps(_pod(name, self._image)).encode(), JSON)
        )
        assert answer.ok, answer.reason
        async with asyncio.timeout(DEADLINE_S):
            while name not in self._running:
                self._changed.clear()
                await self._changed.wait()
        return time.monotonic() - began

    async def delete(self, name: str) -> None:
        """Delete a pod at once."""
        now = json.dumps({"gracePeriodSeconds": 1}).encode()
        answer = await self.kube.send(Request("DELETE", PODS.path("default", name), now, JSON))
        assert answer.ok, answer.reason

    async def idle(self) -> tuple[float, float]:
        """What edgecore, its keeper, and what they call take of a core while nothing changes, and edgecore's memory in MB."""
        processes = [self.edgecore(), *self.keepers()]
        before, began = sum(map(_cpu_s, processes)), time.monotonic()
        await asyncio.sleep(IDLE_S)
        busy = (sum(map(_cpu_s, processes)) - before) / (time.monotonic() - began)
        return busy, self.edgecore().memory_info().rss / 2**20

    def containers(self) -> int:
        """How many run with Podman."""
        assert self._storage is not None
        return self._storage.containers()

    def edgecore(self) -> psutil.Process:
        assert self.stack.edgecore.pid is not None
        return psutil.Process(self.stack.edgecore.pid)

    def keepers(self) -> list[psutil.Process]:
        folder = str(self.folder / "edge" / "processes")
        return [process for process in psutil.process_iter(["cmdline"]) if folder in (process.info["cmdline"] or [])]

    def power_cut(self) -> None:
        if self._storage is not None:
            self._storage.power_cut()
        for keeper in self.keepers():
            children = keeper.children(recursive=True)
            keeper.kill()
            keeper.wait(DEADLINE_S)
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()

    async def offline_restart(self, pods: int) -> float:
        """Cut the power, start edgecore alone: seconds until all pods run again."""
        await self.stack.cloudcore.stop()
        await self.stack.apiserver.stop()
        await self.stack.edgecore.kill()
        self.power_cut()
        began = time.monotonic()
        await self.stack.edgecore.start()
        await _until(lambda: self._second_attempts() == pods)
        return time.monotonic() - began

    def _second_attempts(self) -> int:
        started = "edge/processes/runs/*_c_1.json" if self._storage is None else "edge/logs/pods/*/c/1.log"
        return len(list(self.folder.glob(started)))


def _pod(name: str, image: str) -> dict[str, Any]:
    call: dict[str, Any] = {"exec": {"command": ["true"]}}
    command = ["sleep", "100000"]
    if image != "none":  # a command beside a container costs a process of podman
        call = {"httpGet": {"port": 8080}}
        command = ["sh", "-c", "touch /tmp/index.html; exec httpd -f -p 8080 -h /tmp"]
    probe = {**call, "periodSeconds": 10}
    container = {"name": "c", "image": image, "command": command, "livenessProbe": probe}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def _cpu_s(process: psutil.Process) -> float:
    """What a process and its ended children took."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


async def _until(condition: Callable[[], bool], every_s: float = 0.02) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 (files tell nobody)
            await asyncio.sleep(every_s)
