"""What figures are measured on: the embedded Kubernetes API, cloudcore and edgecore as processes with their default
configuration, and devices of one property that the publisher reports."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

from bench import publisher
from hedgerow.cluster import Cluster, DeviceView
from hedgerow.stack import Ports, Stack, until

DEADLINE_S = 30.0


class Site:
    """A running stack, and what Kubernetes tells of its devices."""

    def __init__(self, stack: Stack, cluster: Cluster, changed: asyncio.Event) -> None:
        self.stack = stack
        self.cluster = cluster
        self._changed = changed

    async def install(self, devices: int) -> None:
        """Give Kubernetes the devices `default/bench-0` and so on, and wait until their node has stored them all."""
        await until(self.cluster.serves_devices, self.stack.cloudcore.last_words)
        await self.cluster.apply(_manifests(self.stack.node, devices))
        await self.until(lambda: sum(accepted(device) for device in self.cluster.devices.values()) == devices)

    async def restart_edgecore(self) -> float:
        """Stop edgecore and start it: seconds from its start to its link."""
        log_file = self.stack.folder / "logs" / "edgecore.log"
        await self.stack.edgecore.stop()
        known = log_file.stat().st_size
        began = time.perf_counter()
        await self.stack.edgecore.start()
        await until(lambda: b"cloud connected" in _after(log_file, known), self.stack.edgecore.last_words)
        return time.perf_counter() - began

    def edgecore(self) -> psutil.Process:
        """The process of edgecore."""
        return psutil.Process(self.stack.edgecore.pid)

    def reported(self, device: str) -> str | None:
        """What Kubernetes has of a device's one property, or None."""
        found = self.cluster.devices[device].reported(publisher.PROPERTY)
        return found.value if found is not None else None

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what Kubernetes tells fulfils a condition. Raises TimeoutError."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def running(folder: Path, stack: Stack | None = None, kubeconfig: Path | None = None) -> AsyncIterator[Site]:
    """Start everything below a folder; stop it in the end. `stack` is another than the usual, `kubeconfig` whose rights count."""
    stack = stack or Stack(folder, ports=Ports.any())
    changed = asyncio.Event()
    try:
        await stack.start(mapper=False)
        async with Cluster(kubeconfig or stack.kubeconfig) as cluster:
            await until(cluster.serves_devices, stack.cloudcore.last_words)
            watch = asyncio.create_task(cluster.watch_devices(changed.set))
            try:
                yield Site(stack, cluster, changed)
            finally:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)
    finally:
        await stack.stop()


def _manifests(node: str, devices: int) -> list[dict[str, Any]]:
    head = {"apiVersion": "devices.kubeedge.io/v1beta1"}
    of_model = [{"name": publisher.PROPERTY, "type": "INT", "accessMode": "ReadOnly"}]
    model = {"metadata": {"name": "bench"}, "spec": {"protocol": "mqtt", "properties": of_model}}
    spec = {
        "deviceModelRef": {"name": "bench"},
        "nodeName": node,
        "protocol": {"protocolName": "mqtt"},
        "properties": [{"name": publisher.PROPERTY}],
    }
    each = [{"metadata": {"name": f"bench-{number}"}, "spec": spec} for number in range(devices)]
    return [{**head, "kind": "DeviceModel", **model}, *({**head, "kind": "Device", **device} for device in each)]


def accepted(device: DeviceView) -> bool:
    """Whether its node has stored it."""
    condition = device.condition("Accepted")
    return condition is not None and condition.status == "True"


def _after(file: Path, offset: int) -> bytes:
    with file.open("rb") as log:
        log.seek(offset)
        return log.read()
