"""The built-in broker beside mosquitto: how many messages, how late, and what idle clients cost. Both by turns, in one run.

The built-in broker runs in edgecore as it does on a gateway, without a cloud; the topics are none of the gateway's.
"""

import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench.results import Figure, Figures
from edge_gateway.broker import packets
from hil_tests.bench.mosquitto import MosquittoMissing, free_port, mosquitto

ROUNDS = 3
FLOOD_S, PACED_S, RATE = 3, 5, 500
IDLE = 1000
DEADLINE_S = 20.0
SETTINGS = "autosave_on_changes false\nset_tcp_nodelay true\n"
"""Of mosquitto, to have it at its best: else it saves its database at every message of QoS 1, and comes to 160 a second."""
OURS, THEIRS = "built-in", "mosquitto"
IN_RUN = "mosquitto in the same run"


async def measure() -> Figures:
    """Every figure of the broker. Takes about a minute."""
    with tempfile.TemporaryDirectory(prefix="hedgerow-bench-") as folder, contextlib.ExitStack() as stack:
        ports = {OURS: stack.enter_context(edgecore(Path(folder) / OURS))}
        with contextlib.suppress(MosquittoMissing):
            (Path(folder) / THEIRS).mkdir()
            ports[THEIRS] = stack.enter_context(mosquitto(Path(folder) / THEIRS, settings=SETTINGS))
        servers = {name: _listening(port) for name, port in ports.items()}
        idle = {name: await _idle(port, servers[name]) for name, port in ports.items()}
        found: Figures = {}
        for qos, aim in ((0, 0.7), (1, 0.8), (2, None)):
            rates = await _by_turns(ports, "flood", "--qos", str(qos), "--seconds", str(FLOOD_S))
            reference: dict[str, float | str] = {"aim, of mosquitto's at least": aim} if aim else {}
            name, note = f"broker_qos{qos}_per_second", "one publisher, one subscriber, messages of 100 bytes"
            found[name] = _beside(_medians(rates, "per_second"), "1/s", reference, note)
        paced = await _by_turns(ports, "paced", "--rate", str(RATE), "--seconds", str(PACED_S))
        reference = {"aim, times mosquitto's at most": 2}
        reference["p50 in the same run"] = _medians(paced, "p50_ms")[OURS]
        found[f"broker_p99_ms_at_{RATE}_per_s"] = _beside(_medians(paced, "p99_ms"), "ms", reference, "QoS 1")
        found[f"broker_{IDLE}_idle_clients_mb"] = _idle_figure(idle)
    return found


def _beside(found: dict[str, float], unit: str, reference: dict[str, float | str], note: str) -> Figure:
    if THEIRS in found:
        reference = {**reference, IN_RUN: found[THEIRS], "ratio": found[OURS] / found[THEIRS]}
    return Figure(found[OURS], unit, reference, f"{note}; median of {ROUNDS}")


def _idle_figure(idle: dict[str, tuple[float, float]]) -> Figure:
    before, after = idle[OURS]
    reference: dict[str, float | str] = {"aim, at most": 30, "the whole edgecore with them": after}
    if THEIRS in idle:
        reference[IN_RUN] = idle[THEIRS][1] - idle[THEIRS][0]
        reference["the whole mosquitto with them"] = idle[THEIRS][1]
    return Figure(after - before, "MB", reference, "each with a last will and a subscription of its own")


def _medians(found: dict[str, list[dict[str, float]]], key: str) -> dict[str, float]:
    return {name: statistics.median(result[key] for result in results) for name, results in found.items()}


async def _by_turns(ports: dict[str, int], *options: str) -> dict[str, list[dict[str, float]]]:
    """What the same load found of each broker, round by round."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ports}
    for _ in range(ROUNDS):
        for name, port in ports.items():
            found[name].append(await _load(port, *options))
    return found


async def _load(port: int, *options: str) -> dict[str, float]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.mqtt_load", "--port", str(port), *options), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the load failed with code {process.returncode}")
    found: dict[str, float] = json.loads(output)
    return found


async def _idle(port: int, server: psutil.Process) -> tuple[float, float]:
    """Resident MB of a broker without clients, and with `IDLE` of them."""
    before = _resident(server)
    writers = []
    try:
        for number in range(IDLE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(writer)
            will = packets.Will(f"bench/state/{number}", b"offline", 1, False)
            writer.write(packets.encode_connect(packets.Connect(f"idle-{number}", keepalive=60, will=will)))
            writer.write(packets.encode_subscribe(1, [(f"bench/idle/{number}/orders", 1)]))
            async with asyncio.timeout(DEADLINE_S):
                await reader.readexactly(4 + 5)  # CONNACK, SUBACK
        return before, _resident(server)
    finally:
        for writer in writers:
            writer.close()


def _resident(process: psutil.Process) -> float:
    return float(process.memory_info().rss / 2**20)


def _listening(port: int) -> psutil.Process:
    """The child of this process that serves a port."""
    for process in psutil.Process().children():
        listening = [one for one in process.net_connections("tcp4") if one.status == psutil.CONN_LISTEN]
        if any(one.laddr.port == port for one in listening):
            return process
    raise RuntimeError(f"no child listens on port {port}")


@contextlib.contextmanager
def edgecore(folder: Path) -> Iterator[int]:
    """Run edgecore without a cloud, and yield its broker's port."""
    folder.mkdir()
    port = free_port()
    config = folder / "edgecore.yaml"
    config.write_text(json.dumps({"data_dir": str(folder), "broker": {"port": port}}))
    log = folder / "log"
    with log.open("wb") as stderr:
        process = psutil.Popen([sys.executable, "-m", "edge_gateway", str(config)], stderr=stderr)
    try:
        until = time.monotonic() + DEADLINE_S
        while "broker serves" not in log.read_text():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"edgecore did not start: {log.read_text()[-500:]}")
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(DEADLINE_S)
