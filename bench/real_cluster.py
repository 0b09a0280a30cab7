"""The main job on a real kube-apiserver with etcd, as KubeEdge's figures were measured; needs what `make test-cluster` builds.

One report at a time from MQTT to a Device's status; and 1,000 and 5,000 reports of 50 devices, as fast as they come.
"""

import asyncio
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from bench import main_job, publisher
from bench.results import Figure, Figures
from bench.site import Site, running
from hedgerow.stack import Stack
from hil_tests.bench.cluster_site import install, stack_of
from hil_tests.bench.kubernetes_cluster import KubernetesCluster, lacking

BURSTS = {1_000: (0.2, 2.8, 31), 5_000: (0.7, 130, 165)}
"""Reports -> of KubeEdge 1.23.1 on kube-apiserver 1.36, seconds until the last is acknowledged, on disk, in the cloud."""


async def measure() -> Figures:
    """Every figure on a real API server, or none where there is none. Takes a minute and a half."""
    if lacking():
        return {}
    with tempfile.TemporaryDirectory(prefix="hedgerow-bench-") as folder:
        cluster = KubernetesCluster(Path(folder) / "kubernetes")
        await asyncio.to_thread(cluster.start)
        try:
            await asyncio.to_thread(install, cluster)
            return await _measured(Path(folder), cluster)
        finally:
            await asyncio.to_thread(cluster.stop)


async def _measured(folder: Path, cluster: KubernetesCluster) -> Figures:
    found: Figures = {}
    stack: Stack = stack_of(folder / "site", cluster, node="edge-1")
    async with running(folder, stack, cluster.admin) as site:
        await site.install(main_job.DEVICES)
        for name, figure in (await main_job.one_at_a_time(site)).items():
            figure.note = f"kube-apiserver {cluster.version}, etcd on the same disk; {_load()}"
            found[f"kube_apiserver_{name}"] = figure
        for reports in BURSTS:
            found |= await _burst(site, reports, cluster.version)
    return found


async def _burst(site: Site, reports: int, version: str) -> Figures:
    """From the first PUBLISH until the last PUBACK, and until Kubernetes has every device's newest value."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    devices = []
    for number in range(main_job.DEVICES):
        made = partial(publisher.Device, f"bench-{number}", 0, ended)
        devices.append((await loop.create_connection(made, "127.0.0.1", site.stack.ports.mqtt))[1])
    await asyncio.gather(*(device.connected for device in devices))
    began = time.perf_counter()
    for number in range(reports):
        devices[number % len(devices)].send(time.perf_counter())
    async with asyncio.timeout(publisher.DRAIN_S):
        while any(device.acknowledged < device.sent for device in devices):
            ended.clear()
            await ended.wait()
    acknowledged = time.perf_counter() - began
    await site.until(lambda: all(site.reported(device.id) == str(device.sent) for device in devices))
    took = time.perf_counter() - began
    puback, disk, cloud = BURSTS[reports]
    reference: dict[str, Any] = {
        main_job.KUBEEDGE: cloud,
        "acknowledged, and on the gateway's disk": acknowledged,
        f"{main_job.KUBEEDGE}, acknowledged": puback,
        f"{main_job.KUBEEDGE}, on the gateway's disk": disk,
    }
    note = f"every newest value of {len(devices)} devices; kube-apiserver {version}; {_load()}"
    return {f"kube_apiserver_{reports}_reports_s": Figure(took, "s", reference, note)}


def _load() -> str:
    return f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
