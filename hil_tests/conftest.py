"""What end-to-end tests share."""

import asyncio
import contextlib
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hedgerow.cluster import Cluster
from hedgerow.stack import Ports, Stack, until
from hil_tests.bench.cluster_site import install
from hil_tests.bench.kubernetes_cluster import KubernetesCluster, lacking
from hil_tests.bench.plugin import LACKS


def missing(what: str) -> None:
    """Skip a test that lacks a part of the machine; in CI nothing may be lacking."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must have it: {what}")
    pytest.skip(LACKS + what)


NODE = "edge-1"


@pytest.fixture(scope="session")
def real_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesCluster]:
    """A real kube-apiserver with its controllers and scheduler, and cloudcore's rights in it."""
    if shutil.which("kubectl") is None:
        missing("kubectl is not installed")
    if why := lacking():
        pytest.skip(
            f"{LACKS}{why}: `make test-cluster` builds them"
        )  # no package gives them, and a build takes minutes
    # A node that is away is found out, and its pods are evicted, after one second instead of five, and of ten.
    prompt = ("--node-monitor-period=1s", "--node-eviction-rate=10")
    cluster = KubernetesCluster(tmp_path_factory.mktemp("kubernetes"), {"kube-controller-manager": prompt})
    cluster.start()
    try:
        install(cluster)
        yield cluster
    finally:
        cluster.stop()


@dataclass
class Site:
    """The real processes: embedded Kubernetes API, cloudcore, edgecore."""

    stack: Stack
    cluster: Cluster
    changed: asyncio.Event

    async def until(self, what: str, condition: Callable[[], bool], deadline_s: float = 30.0) -> None:
        """Wait until what Kubernetes tells fulfils a condition."""
        try:
            async with asyncio.timeout(deadline_s):
                while not condition():
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError as error:
            raise AssertionError(f"not within {deadline_s:.0f} s: {what}") from error

    def reported(self, device: str) -> int:
        """The counter a device last reported to Kubernetes, -1 before its first report."""
        view = self.cluster.devices.get(f"default/{device}")
        found = view.reported("count") if view is not None else None
        return int(found.value) if found is not None else -1

    def state_of(self, device: str) -> str:
        """Whether the device was accepted by its node: the condition's status, empty before."""
        view = self.cluster.devices.get(f"default/{device}")
        condition = view.condition("Accepted") if view is not None else None
        return condition.status if condition is not None else ""

    def ready(self) -> bool:
        """Whether the node is linked."""
        node = self.cluster.nodes.get(NODE)
        return node is not None and node.ready


def counter_model() -> dict[str, Any]:
    """A DeviceModel with one counter."""
    return {
        "apiVersion": "devices.kubeedge.io/v1beta1",
        "kind": "DeviceModel",
        "metadata": {"name": "counter"},
        "spec": {"protocol": "mqtt", "properties": [{"name": "count", "type": "INT", "accessMode": "ReadWrite"}]},
    }


def counter(name: str) -> dict[str, Any]:
    """A Device of that model."""
    return {
        "apiVersion": "devices.kubeedge.io/v1beta1",
        "kind": "Device",
        "metadata": {"name": name},
        "spec": {
            "deviceModelRef": {"name": "counter"},
            "nodeName": NODE,
            "protocol": {"protocolName": "mqtt"},
            "properties": [{"name": "count"}],
        },
    }


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """The stack with two counters that its node has accepted."""
    async with running_site(tmp_path) as running:
        yield running


@contextlib.asynccontextmanager
async def running_site(
    folder: Path, *, ports: Ports | None = None, cloud_port: int | None = None, edge: dict[str, Any] | None = None
) -> AsyncIterator[Site]:
    """What the fixture `site` is; `cloud_port` is where edgecore looks for the cloud, when something lies between; `edge`
    are further keys of edgecore.yaml."""
    stack = Stack(folder, node=NODE, ports=ports or Ports.any(), cloud_port=cloud_port, edge=edge or {})
    changed = asyncio.Event()
    watches: list[asyncio.Task[None]] = []
    try:
        await stack.start(mapper=False)
        async with Cluster(stack.kubeconfig) as cluster:
            site = Site(stack, cluster, changed)
            await until(cluster.serves_devices, stack.cloudcore.last_words)
            await cluster.apply([counter_model(), counter("one"), counter("two")])
            watches += [
                asyncio.create_task(watch(changed.set)) for watch in (cluster.watch_devices, cluster.watch_nodes)
            ]
            await site.until(
                "the node has both counters", lambda: site.state_of("one") == site.state_of("two") == "True"
            )
            yield site
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        await stack.stop()


class LogBook:
    """A process's log from now on."""

    def __init__(self, site: Site, process: str) -> None:
        self._path = site.stack.folder / "logs" / f"{process}.log"
        self._from = self._path.stat().st_size

    def complaints(self) -> list[str]:
        """Its new lines of level WARNING and above, and whatever is no log line, such as a traceback."""
        with self._path.open(errors="replace") as log:
            log.seek(self._from)
            return [line for line in log.read().splitlines() if not re.match(r"[\d-]+ [\d:,]+ (DEBUG|INFO) ", line)]
