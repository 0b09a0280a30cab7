"""The main job's figures: reports from MQTT to the edge's disk and to Kubernetes, and what edgecore costs at rest.

All over real processes with their default configuration: the embedded Kubernetes API, cloudcore and edgecore, 50 devices.
"""

import asyncio
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

from bench import publisher
from bench.results import Figure, Figures
from edgewire import board, topics
from hedgerow.cluster import Cluster, DeviceView
from hedgerow.stack import Ports, Stack, until
from hil_tests.bench.mosquitto import MosquittoMissing, mosquitto
from hil_tests.bench.mqtt_client import MqttClient

DEVICES = 50
NODE = "edge-1"
SUSTAINED_S = 30
PACED_S, PACED_RATE = 15, 1000
SINGLES, SINGLES_PER_S = 1000, 25
STARTS = 5
DEADLINE_S = 30.0
KUBEEDGE = "KubeEdge 1.23.1"


async def measure() -> Figures:
    """Every figure of the main job. Takes about two minutes."""
    found: Figures = {}
    with tempfile.TemporaryDirectory(prefix="hedgerow-bench-") as folder:
        async with _site(Path(folder)) as site:
            found |= await site.at_rest()
            found |= await site.one_at_a_time()
            found |= await site.paced()
            found |= await site.sustained(await _mosquitto_rate(Path(folder)))
            found |= await site.start_again()
    with tempfile.TemporaryDirectory(prefix="hedgerow-bench-") as folder:
        await _demo(Path(folder))
        found["demo_second_run_s"] = Figure(
            await _demo(Path(folder)), "s", {"aim, at most": 5}, "command started to every device in Kubernetes"
        )
    return found


class _Site:
    """A running stack whose devices are those of the publisher."""

    def __init__(self, stack: Stack, cluster: Cluster, changed: asyncio.Event) -> None:
        self._stack = stack
        self._cluster = cluster
        self._changed = changed

    async def at_rest(self) -> Figures:
        """edgecore's memory with all devices known and the link up, before any report."""
        memory = psutil.Process(self._stack.edgecore.pid).memory_full_info()
        return {
            "edgecore_idle_rss_mb": Figure(
                memory.rss / 2**20,
                "MB",
                {"aim, at most": 40, KUBEEDGE: "69, and a broker", "this Python alone": _bare_rss_mb()},
                f"{DEVICES} devices, linked, broker included; {memory.uss / 2**20:.1f} MB shared with nobody",
            )
        }

    async def one_at_a_time(self) -> Figures:
        """From a report's PUBLISH to its value in the Device's status, as a watch tells it."""
        times: list[float] = []
        with MqttClient(self._stack.ports.mqtt) as mqtt:
            topic = topics.of_device("default/bench-0", topics.UPDATE)
            for number in range(1, SINGLES + 1):
                began = time.perf_counter()
                value = str(-number)  # the publisher counts upwards: nobody has reported this
                await asyncio.to_thread(mqtt.publish, topic, board.report({publisher.PROPERTY: (value, 0)}))
                await self._until(lambda wanted=value: self._reported("default/bench-0") == wanted)
                times.append(1e3 * (time.perf_counter() - began))
                await asyncio.sleep(max(0.0, 1 / SINGLES_PER_S - (time.perf_counter() - began)))
        times.sort()
        reference: dict[str, float | str] = {"aim, below": 15, KUBEEDGE: "7.8 to 9.0"}
        return {
            "report_to_kubernetes_p50_ms": Figure(statistics.median(times), "ms", reference),
            "report_to_kubernetes_p99_ms": Figure(
                times[int(len(times) * 0.99)], "ms", {"aim, below": 40, KUBEEDGE: "13.6 to 16.7"}
            ),
        }

    async def paced(self) -> Figures:
        """The latency of a PUBACK, which is sent when the report is on disk, at a steady rate."""
        result = await _publish(self._stack.ports.mqtt, "--seconds", str(PACED_S), "--rate", str(PACED_RATE))
        return {
            "puback_p99_ms_at_1000_per_s": Figure(
                result["p99_ms"], "ms", {"aim, below": 50, "p50 in the same run": result["p50_ms"]}
            )
        }

    async def sustained(self, mosquitto_rate: float | None) -> Figures:
        """As many reports as edgecore acknowledges, and how soon after the last one Kubernetes has every newest value."""
        result = await _publish(self._stack.ports.mqtt, "--seconds", str(SUSTAINED_S))
        last = result["last"]
        await self._until(lambda: all(self._reported(id) == value for id, value in last.items()))
        behind = time.time() - result["ended"]
        loaded = psutil.Process(self._stack.edgecore.pid).memory_info().rss / 2**20
        reference: dict[str, float | str] = {"aim, at least": 5000, KUBEEDGE: "38 to 357"}
        if mosquitto_rate is not None:
            reference["mosquitto in the same run, PUBACK before disk, no twins"] = mosquitto_rate
        return {
            "twin_reports_per_second": Figure(
                result["per_second"], "1/s", reference, f"over {result['seconds']:.0f} s"
            ),
            "newest_in_kubernetes_s": Figure(
                behind, "s", {"aim, at most": 2}, "after the last report was acknowledged"
            ),
            "edgecore_loaded_rss_mb": Figure(loaded, "MB", {KUBEEDGE: 111}, "after those reports"),
        }

    async def start_again(self) -> Figures:
        """From edgecore's start to its link, with what it knows on disk."""
        log_file = self._stack.folder / "logs" / "edgecore.log"
        times = []
        for _ in range(STARTS):
            await self._stack.edgecore.stop()
            known = log_file.stat().st_size
            began = time.perf_counter()
            await self._stack.edgecore.start()
            await until(lambda at=known: b"cloud connected" in _after(log_file, at), self._stack.edgecore.last_words)  # type: ignore[misc]
            times.append(time.perf_counter() - began)
        reference: dict[str, float | str] = {"aim, at most": 0.6, KUBEEDGE: "0.052 to 0.071"}
        reference["this Python alone, start to end"] = await _bare_start_s()
        return {"edgecore_start_s": Figure(statistics.median(times), "s", reference, f"median of {STARTS}")}

    async def ready(self) -> None:
        """Wait until the node has accepted every device."""
        await self._until(lambda: sum(_accepted(device) for device in self._cluster.devices.values()) == DEVICES)

    def _reported(self, device: str) -> str | None:
        found = self._cluster.devices[device].reported(publisher.PROPERTY)
        return found.value if found is not None else None

    async def _until(self, condition: Any) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def _site(folder: Path) -> AsyncIterator[_Site]:
    stack = Stack(folder, node=NODE, ports=Ports.any(), log_level="info")
    changed = asyncio.Event()
    try:
        await stack.start(mapper=False)
        async with Cluster(stack.kubeconfig) as cluster:
            await until(cluster.serves_devices, stack.cloudcore.last_words)
            await cluster.apply(_manifests())
            watch = asyncio.create_task(cluster.watch_devices(changed.set))
            site = _Site(stack, cluster, changed)
            await site.ready()
            yield site
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
    finally:
        await stack.stop()


def _accepted(device: DeviceView) -> bool:
    condition = device.condition("Accepted")
    return condition is not None and condition.status == "True"


def _manifests() -> list[dict[str, Any]]:
    head = {"apiVersion": "devices.kubeedge.io/v1beta1"}
    of_model = [{"name": publisher.PROPERTY, "type": "INT", "accessMode": "ReadOnly"}]
    model = {"metadata": {"name": "bench"}, "spec": {"protocol": "mqtt", "properties": of_model}}
    spec = {
        "deviceModelRef": {"name": "bench"},
        "nodeName": NODE,
        "protocol": {"protocolName": "mqtt"},
        "properties": [{"name": publisher.PROPERTY}],
    }
    devices = [{"metadata": {"name": f"bench-{number}"}, "spec": spec} for number in range(DEVICES)]
    return [{**head, "kind": "DeviceModel", **model}, *({**head, "kind": "Device", **device} for device in devices)]


async def _publish(port: int, *options: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.publisher", "--port", str(port), "--devices", str(DEVICES), *options),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the publisher failed with code {process.returncode}")
    found: dict[str, Any] = json.loads(output)
    return found


async def _mosquitto_rate(folder: Path) -> float | None:
    """What the same publisher gets from mosquitto, or None where there is none."""
    try:
        with mosquitto(folder) as port:
            return float((await _publish(port, "--seconds", "5"))["per_second"])
    except MosquittoMissing:
        return None


async def _demo(folder: Path) -> float:
    """Run the tour; seconds from the command's start to its first step: every device has reported to Kubernetes."""
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hedgerow", "up", "--demo", "--once", "--data", str(folder)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    took, said = None, b""
    async for line in process.stdout:
        said += line
        if took is None and re.search(rb"ok.*every device", line):
            took = time.perf_counter() - began
    if await process.wait() or took is None:
        raise RuntimeError(f"the demo's tour failed:\n{said.decode()}")
    return took


def _bare_rss_mb() -> float:
    with psutil.Popen([sys.executable, "-c", "print(flush=True); input()"], stdin=-1, stdout=-1) as process:
        process.stdout.readline()
        rss = process.memory_info().rss / 2**20
        process.communicate(b"\n")
    return float(rss)


async def _bare_start_s() -> float:
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await process.wait()
    return time.perf_counter() - began


def _after(file: Path, offset: int) -> bytes:
    with file.open("rb") as log:
        log.seek(offset)
        return log.read()
