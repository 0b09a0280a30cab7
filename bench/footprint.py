"""Where the memory of an idle edgecore goes: `python -m bench.footprint`.

Fresh interpreters import what edgecore imports, each one step more than the one before; then the real process serves MQTT and
holds the link, without devices and with them. A step's figure is what it adds to the resident memory. Pages of a
library that other processes map too count in full, as they do in `ps`.
"""

import asyncio
import statistics
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from hedgerow.cluster import Cluster
from hedgerow.stack import Ports, Stack, until

DEVICES = 50
RUNS = 3
DEADLINE_S = 30.0

IMPORTS = (
    ("Python itself", ""),
    ("logging, argparse, pathlib, dataclasses", "import argparse, dataclasses, logging, pathlib"),
    ("asyncio, ssl", "import asyncio, ssl"),
    ("sqlite3", "import sqlite3"),
    ("msgspec", "import msgspec"),
    ("PyYAML", "import yaml"),
    ("importlib.metadata (websockets imports it)", "import importlib.metadata"),
    ("websockets", "import websockets.asyncio.client"),
    ("our code", "import edge_gateway.__main__, edge_gateway.broker.server, edge_gateway.edge_hub"),
)
"""What edgecore imports, in the order in which one thing brings in another."""


def measure() -> list[tuple[str, float]]:
    """Step -> MB (MiB) that it adds; their sum is the idle edgecore. Takes about 15 s."""
    totals = [("", 0.0)]
    code = ""
    for step, more in IMPORTS:
        code += more + "\n"
        totals.append((step, _importing(code)))
    linked, holding = asyncio.run(_running())
    totals.append(("serving: store, broker, link over TLS", linked))
    totals.append((f"{DEVICES} devices", holding))
    return [(step, total - before) for (_, before), (step, total) in pairwise(totals)]


def _importing(code: str) -> float:
    return statistics.median(_resident_after(code) for _ in range(RUNS))


def _resident_after(code: str) -> float:
    with psutil.Popen([sys.executable, "-c", f"{code}print(flush=True); input()"], stdin=-1, stdout=-1) as process:
        process.stdout.readline()
        resident = _resident(process)
        process.communicate(b"\n")
    return resident


async def _running() -> tuple[float, float]:
    """Resident MB of a real edgecore that has its link, and of one that has its devices besides, started with them."""
    with tempfile.TemporaryDirectory(prefix="hedgerow-footprint-") as folder:
        stack = Stack(Path(folder), ports=Ports.any(), log_level="info")
        try:
            await stack.start(mapper=False)
            linked = await _restarted(stack)
            async with Cluster(stack.kubeconfig) as cluster:
                await until(cluster.serves_devices, stack.cloudcore.last_words)
                await cluster.apply(_manifests(stack.node))
                await _accepted(cluster)
            return linked, await _restarted(stack)
        finally:
            await stack.stop()


async def _restarted(stack: Stack) -> float:
    """Resident MB of edgecore once it is linked again. A median: where the allocator puts things is chance."""
    log_file = stack.folder / "logs" / "edgecore.log"
    found = []
    for _ in range(RUNS):
        await stack.edgecore.stop()
        known = log_file.stat().st_size
        await stack.edgecore.start()
        await until(lambda at=known: b"cloud connected" in log_file.read_bytes()[at:], stack.edgecore.last_words)  # type: ignore[misc]
        found.append(_resident(psutil.Process(stack.edgecore.pid)))
    return statistics.median(found)


async def _accepted(cluster: Cluster) -> None:
    """Wait until the node has stored every device."""
    changed = asyncio.Event()
    watch = asyncio.create_task(cluster.watch_devices(changed.set))
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not _all_accepted(cluster):
                changed.clear()
                await changed.wait()
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


def _all_accepted(cluster: Cluster) -> bool:
    conditions = [device.condition("Accepted") for device in cluster.devices.values()]
    return len(conditions) == DEVICES and all(found is not None and found.status == "True" for found in conditions)


def _manifests(node: str) -> list[dict[str, Any]]:
    head = {"apiVersion": "devices.kubeedge.io/v1beta1"}
    properties = [{"name": "count", "type": "INT", "accessMode": "ReadOnly"}]
    model = {"metadata": {"name": "counter"}, "spec": {"protocol": "mqtt", "properties": properties}}
    spec = {
        "deviceModelRef": {"name": "counter"},
        "nodeName": node,
        "protocol": {"protocolName": "mqtt"},
        "properties": [{"name": "count"}],
    }
    devices = [{"metadata": {"name": f"counter-{number}"}, "spec": spec} for number in range(DEVICES)]
    return [{**head, "kind": "DeviceModel", **model}, *({**head, "kind": "Device", **device} for device in devices)]


def _resident(process: psutil.Process) -> float:
    return float(process.memory_info().rss / 2**20)


def main() -> None:
    """Measure and print a table."""
    total = 0.0
    for step, added in measure():
        total += added
        print(f"{step:45}{added:+6.1f} MB{total:7.1f} MB")


if __name__ == "__main__":
    main()
