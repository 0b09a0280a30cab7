"""The firmware on MicroPython's Unix port: how soon a board reports, how fast it publishes, and whether fifty of them lose
anything.

The rate is that of its link alone, one QoS 1 message of 100 bytes on its way at a time, each also received back. The fifty run
the whole firmware and report to a whole site (embedded Kubernetes, cloudcore, edgecore), where each report is answered.
"""

import asyncio
import contextlib
import json
import queue
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import site
from bench.broker import edgecore
from bench.results import Figure, Figures
from device_fw.tools import firmware
from hil_tests.bench import demo, micropython_board
from hil_tests.bench.micropython_board import MicroPythonBoard
from hil_tests.bench.mosquitto import MosquittoMissing, mosquitto
from hil_tests.bench.mqtt_client import MqttClient

STARTS = 10
PUBLISH_S = 3
BOARDS, EACH_PER_S, FOR_S = 50, 10, 60
DEADLINE_S = 60.0
_UPDATES, _RESULTS = "$hw/events/device/default/+/twin/update", "$hw/events/device/default/+/twin/update/result"
_SOURCE = Path(firmware.__file__).parents[1] / "firmware/mqtt_client.py"

_PUBLISH = """
from device_fw.firmware.mqtt_client import MqttClient
from device_fw.firmware.ticks import Clock
clock, heard = Clock(), [0]
def count(topic, payload):
    heard[0] += 1
link = MqttClient("bench", "127.0.0.1", {port})
link.set_callback(count)
link.connect()
link.subscribe("bench")
message = "x" * 100
begin = clock.now()
while clock.now() - begin < {seconds} * 1000:
    for _ in range(100):
        link.publish("bench", message, qos=1)
took_ms = clock.now() - begin
while heard[0] < link.acknowledged:
    link.poll(1000)
print(link.acknowledged * 1000 // took_ms)
"""


async def measure() -> Figures:
    """Every figure of the firmware. Takes about two minutes."""
    with tempfile.TemporaryDirectory(prefix="hedgerow-bench-") as name:
        folder = Path(name)
        found = await asyncio.to_thread(_alone, folder)
        return {**found, **await _together(folder)}


def _alone(folder: Path) -> Figures:
    with edgecore(folder / "edgecore") as port:
        starts = _starts(folder / "board", port)
        rates = {"built-in": _rate(folder / "publisher", port)}
    with contextlib.suppress(MosquittoMissing):
        (folder / "mosquitto").mkdir()
        with mosquitto(folder / "mosquitto", settings="autosave_on_changes false\nset_tcp_nodelay true\n") as port:
            rates["mosquitto"] = _rate(folder / "publisher", port)
    slowest: dict[str, float | str] = {"aim": 1.0, "slowest": max(starts)}
    both: dict[str, float | str] = {"aim, at least": 5000}
    if "mosquitto" in rates:
        both["to mosquitto"] = rates["mosquitto"]
    return {
        "firmware_first_report_s": Figure(
            statistics.median(starts), "s", slowest, f"from power-on to the broker; median of {STARTS}"
        ),
        "firmware_qos1_per_second": Figure(
            rates["built-in"], "1/s", both, "to the built-in broker, 100 bytes, sent back"
        ),
    }


def _starts(folder: Path, port: int) -> list[float]:
    """Seconds from power-on to the first report, each time."""
    config = {"name": "default/bench", "host": "127.0.0.1", "port": port}
    made = MicroPythonBoard(folder, config, heap="96k", as_bytecode=True)
    found = []
    with MqttClient(port) as client:
        client.subscribe(_UPDATES)
        made.start()  # which puts the files there
        made.kill()
        _empty(client)
        for _ in range(STARTS):
            began = time.perf_counter()
            made.switch_on()
            while "bench/twin/update" not in client.messages.get(timeout=DEADLINE_S)[0]:
                pass
            found.append(time.perf_counter() - began)
            made.kill()
            _empty(client)
    return found


def _empty(client: MqttClient) -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            client.messages.get(timeout=0.1)


def _rate(folder: Path, port: int) -> float:
    """Messages a second that the link publishes at QoS 1."""
    config = {"name": "default/bench", "host": "127.0.0.1", "port": port}
    firmware.assemble(folder, config, firmware.umqtt_simple())
    shutil.copy(_SOURCE, folder / "device_fw/firmware")
    (folder / "publish.py").write_text(_PUBLISH.format(port=port, seconds=PUBLISH_S))
    done = subprocess.run(
        micropython_board.command("publish.py", heap="192k"),
        cwd=folder,
        env=micropython_board.environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    return float(done.stdout)


async def _together(folder: Path) -> Figures:
    names = [f"bench-{number}" for number in range(BOARDS)]
    async with site.running(folder / "site") as running:
        await running.cluster.apply(_manifests(running.stack.node, tuple(names)))
        await running.until(lambda: sum(site.accepted(device) for device in running.cluster.devices.values()) == BOARDS)
        return await asyncio.to_thread(_count, folder / "boards", names, running.stack.ports.mqtt)


def _manifests(node: str, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """The boards as Devices, each told how often to read."""
    found = demo.board_manifests(node, names)
    for manifest in found:
        for described in manifest["spec"]["properties"] if manifest["kind"] == "Device" else ():
            if described["name"] == "interval":
                described["desired"] = {"value": str(1000 // EACH_PER_S)}
    return found


def _count(folder: Path, names: list[str], port: int) -> Figures:
    """Have the boards report for a minute, and look for what is missing."""
    reports: dict[str, list[int]] = {name: [] for name in names}
    answered: dict[str, set[int]] = {name: set() for name in names}
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(MqttClient(port))
        client.subscribe(_UPDATES)
        client.subscribe(_RESULTS)
        for name in names:
            config = {
                "name": f"default/{name}",
                "host": "127.0.0.1",
                "port": port,
                "heartbeat_ms": 950 // EACH_PER_S,  # with every reading
            }
            stack.enter_context(MicroPythonBoard(folder / name, config))
        until = time.monotonic() + FOR_S
        while time.monotonic() < until:
            _take(client, reports, answered)
    while _take(client, reports, answered):
        pass
    sent = sum(len(of_board) for of_board in reports.values())
    missing = sum(_gaps(of_board) for of_board in reports.values())
    unanswered = sum(len(set(reports[name][:-1]) - answered[name]) for name in names)
    return {
        "firmware_50_boards_reports_per_second": Figure(
            sent / FOR_S, "1/s", {"aim": BOARDS * EACH_PER_S}, f"{BOARDS} boards, {EACH_PER_S}/s each, for {FOR_S} s"
        ),
        "firmware_50_boards_lost": Figure(
            missing, "reports", {"aim": 0, "not answered by the gateway": unanswered}, f"of {sent} in the same run"
        ),
    }


def _take(client: MqttClient, reports: dict[str, list[int]], answered: dict[str, set[int]]) -> bool:
    """Take in a message; whether there was one."""
    try:
        topic, payload = client.messages.get(timeout=0.5)
    except queue.Empty:
        return False
    name, event = topic.split("/")[4], int(json.loads(payload)["event_id"] or 0)
    if topic.endswith("/result"):
        answered[name].add(event)
    else:
        reports[name].append(event)
    return True


def _gaps(events: list[int]) -> int:
    """A board numbers what it sends: how many numbers between the first report and the last are missing."""
    return max(events) - min(events) + 1 - len(set(events)) if events else 1
