"""The main job's figures: reports from MQTT to the edge's disk and to Kubernetes, and what edgecore costs at rest."""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from bench import footprint, publisher
from bench.results import Figure, Figures
from bench.site import Site, running
from edgewire import board, topics
from hil_tests.bench.mosquitto import MosquittoMissing, mosquitto
from hil_tests.bench.mqtt_client import MqttClient

DEVICES = 50
SUSTAINED_S = 30
PACED_S, PACED_RATE = 15, 1000
SINGLES, SINGLES_PER_S = 1000, 25
STARTS = 5
KUBEEDGE = "KubeEdge 1.23.1"


async def measure() -> Figures:
    """Every figure of the main job. Takes about two and a half minutes."""
    found: Figures = {}
    with tempfile.TemporaryDirectory(prefix="hedgerow-bench-") as folder:
        mosquitto_rate = await _mosquitto_rate(Path(folder))
        async with running(Path(folder)) as site:
            await site.install(DEVICES)
            found |= await one_at_a_time(site)
            found |= await _paced(site)
            found |= await _sustained(site, mosquitto_rate)
            found |= await _start_again(site)
    found |= await _at_rest()
    with tempfile.TemporaryDirectory(prefix="hedgerow-bench-") as folder:
        first, second = await _demo(Path(folder)), await _demo(Path(folder))
    reference: dict[str, float | str] = {"aim, at most": 5, "the first run": first}
    found["demo_second_run_s"] = Figure(second, "s", reference, "`hedgerow up --demo` to fresh values of every device")
    return found


async def one_at_a_time(site: Site) -> Figures:
    """From a report's PUBLISH to its value in the Device's status, as a watch tells it."""
    times: list[float] = []
    with MqttClient(site.stack.ports.mqtt) as mqtt:
        topic = topics.of_device("default/bench-0", topics.UPDATE)
        for number in range(1, SINGLES + 1):
            began = time.perf_counter()
            value = str(-number)  # the publisher counts upwards: nobody has reported this
            await asyncio.to_thread(mqtt.publish, topic, board.report({publisher.PROPERTY: (value, 0)}))
            await site.until(partial(_shows, site, value))
            times.append(1e3 * (time.perf_counter() - began))
            await asyncio.sleep(max(0.0, 1 / SINGLES_PER_S - (time.perf_counter() - began)))
    times.sort()
    p50, p99 = statistics.median(times), times[int(len(times) * 0.99)]
    return {
        "report_to_kubernetes_p50_ms": Figure(p50, "ms", {"aim, below": 15, KUBEEDGE: "7.8 to 9.0"}),
        "report_to_kubernetes_p99_ms": Figure(p99, "ms", {"aim, below": 40, KUBEEDGE: "13.6 to 16.7"}),
    }


def _shows(site: Site, value: str) -> bool:
    return site.reported("default/bench-0") == value


async def _paced(site: Site) -> Figures:
    """The latency of a PUBACK, which is sent when the report is on disk, at a steady rate."""
    result = await _publish(site.stack.ports.mqtt, "--seconds", str(PACED_S), "--rate", str(PACED_RATE))
    reference: dict[str, float | str] = {"aim, below": 50, "p50 in the same run": result["p50_ms"]}
    return {"puback_p99_ms_at_1000_per_s": Figure(result["p99_ms"], "ms", reference)}


async def _sustained(site: Site, mosquitto_rate: float | None) -> Figures:
    """As many reports as edgecore acknowledges, and how soon after the last one Kubernetes has every newest value."""
    result = await _publish(site.stack.ports.mqtt, "--seconds", str(SUSTAINED_S))
    last = result["last"]
    await site.until(lambda: all(site.reported(id) == value for id, value in last.items()))
    behind = time.time() - result["ended"]
    loaded = site.edgecore().memory_info().rss / 2**20
    reference: dict[str, float | str] = {"aim, at least": 5000, KUBEEDGE: "38 to 357"}
    if mosquitto_rate is not None:
        reference["mosquitto in the same run, PUBACK before disk, no twins"] = mosquitto_rate
        reference["ratio"] = result["per_second"] / mosquitto_rate
    return {
        "twin_reports_per_second": Figure(result["per_second"], "1/s", reference, f"over {result['seconds']:.0f} s"),
        "newest_in_kubernetes_s": Figure(behind, "s", {"aim, at most": 2}, "after the last report was acknowledged"),
        "edgecore_loaded_rss_mb": Figure(loaded, "MB", {KUBEEDGE: 111}, "after those reports"),
    }


async def _start_again(site: Site) -> Figures:
    """From edgecore's start to its link, with what it knows on disk."""
    times = [await site.restart_edgecore() for _ in range(STARTS)]
    reference: dict[str, float | str] = {"aim, at most": 0.6, KUBEEDGE: "0.052 to 0.071"}
    reference["this Python alone, start to end"] = await _bare_start_s()
    return {"edgecore_start_s": Figure(statistics.median(times), "s", reference, f"median of {STARTS}")}


async def _at_rest() -> Figures:
    """edgecore's memory with all devices known and the link up, and where it goes."""
    parts = dict(await footprint.measure(DEVICES))
    reference: dict[str, float | str] = {"aim, at most": 40, KUBEEDGE: "69, and a broker"}
    note = f"{DEVICES} devices, linked, broker included"
    return {"edgecore_idle_rss_mb": Figure(sum(parts.values()), "MB", reference, note, parts)}


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
        if took is None and line.startswith(b"ok every device"):
            took = time.perf_counter() - began
    if await process.wait() or took is None:
        raise RuntimeError(f"the demo's tour failed:\n{said.decode()}")
    return took


async def _bare_start_s() -> float:
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await process.wait()
    return time.perf_counter() - began
