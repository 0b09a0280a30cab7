"""The Modbus mapper's figures: what its process takes at given loads, and how fast its driver asks one server.

The emulated servers, the broker (mosquitto) and the mapper are processes of their own; only the mapper's is counted.
"""

import asyncio
import contextlib
import json
import queue
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
from msgspec import Struct
from pymodbus.client import AsyncModbusTcpClient

from bench.results import Figure, Figures
from edgewire import topics
from edgewire.device import ModelProperty
from hil_tests.bench.mosquitto import mosquitto
from hil_tests.bench.mqtt_client import MqttClient
from mappers.driver import DriverError, read_config
from mappers.modbus import Modbus, ModbusDriver
from mappers.modbus_address import Address
from mappers.modbus_registers import HOLDING, INPUT, Visitor, VisitorConfig

WARM_S, MEASURED_S = 3.0, 12.0
TAGS = 100
SEQUENTIAL_S, ROUNDS = 1.5, 4
BARE = "a bare loop of pymodbus and paho in the same run"
THINGSBOARD = "ThingsBoard IoT Gateway 3.8.5, one request a tag"


class Load(Struct):
    """Devices, all alike, and how often they are read."""

    devices: int
    cycle_ms: int
    floats: bool = False
    """float32 values instead of uint16 with a scale."""
    bare: bool = False
    """A bare loop instead of the mapper."""


class Measured(Struct):
    """What a load took, over `MEASURED_S`."""

    cpu_percent: float
    reads: float
    """Requests for each device, in all."""
    values: float
    """Values that came to the broker, by the second."""
    memory_mb: float
    log: str

    @property
    def left_out(self) -> int:
        """Cycles that the mapper said it left out."""
        return sum(int(n) for n in re.findall(r"cycles left out .*cycles=(\d+)", self.log))


async def measure() -> Figures:
    """Every figure of the Modbus mapper. Takes about a minute and a half. Raises MosquittoMissing."""
    return {**await _loads(), **await _sequential(), **await _grouping()}


async def _loads() -> Figures:
    scaled, bare = await _under(Load(10, 150)), await _under(Load(10, 150, bare=True))
    floats = await _under(Load(10, 150, floats=True))
    many, greedy = await _under(Load(200, 1000)), await _under(Load(10, 1))
    against: dict[str, float | str] = {"aim, at most": 5, BARE: bare.cpu_percent, THINGSBOARD: "52 (and 67 MB)"}
    note = "10 devices of 100 tags at 150 ms, all changing, to MQTT"
    return {
        "modbus_10x100_at_150ms_cpu": Figure(
            scaled.cpu_percent, "% of a core", {**against, "values/s": scaled.values, "of": 1e5 / 15}, f"{note}; uint16"
        ),
        "modbus_10x100_at_150ms_float32_cpu": Figure(
            floats.cpu_percent,
            "% of a core",
            {**against, "values/s": floats.values, "of": 1e5 / 15},
            f"{note}; float32",
        ),
        "modbus_200x100_at_1s_cpu": Figure(
            many.cpu_percent,
            "% of a core",
            {
                "aim, below": 25,
                "reads of each device": many.reads,
                "in s": MEASURED_S,
                "left out": float(many.left_out),
            },
            "200 devices of 100 registers at 1 s, all changing",
        ),
        "modbus_mapper_rss_mb": Figure(many.memory_mb, "MB", {}, "the mapper of those 200 devices"),
        "modbus_10x100_at_1ms_values_per_s": Figure(
            greedy.values,
            "1/s",
            {
                "reads/s": 10 * greedy.reads / MEASURED_S,
                "devices that say so": greedy.log.count("cycles left out"),
                "CPU, %": greedy.cpu_percent,
                "MB": greedy.memory_mb,
                THINGSBOARD: "0 (and 743 MB)",
            },
            "10 devices of 100 tags at 1 ms, which is more than can be done",
        ),
    }


async def _under(load: Load) -> Measured:
    with tempfile.TemporaryDirectory(prefix="hedgerow-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        port = stack.enter_context(mosquitto(folder))
        client = stack.enter_context(Counting(port))
        async with _servers(load.devices) as (servers, counts), _reader(folder, port, load, servers) as process:
            await asyncio.to_thread(client.define, load, servers)
            await asyncio.sleep(WARM_S)
            before, cpu, values, began = await counts(), process.cpu_times(), client.count(), time.monotonic()
            await asyncio.sleep(MEASURED_S)
            took, after, spent = time.monotonic() - began, await counts(), process.cpu_times()
            used = spent.user + spent.system - cpu.user - cpu.system
            return Measured(
                cpu_percent=100 * used / took,
                reads=(sum(after) - sum(before)) / load.devices,
                values=(client.count() - values) / took,
                memory_mb=process.memory_info().rss / 2**20,
                log=(folder / "mapper.log").read_text(),
            )


class Counting(MqttClient):
    """Says what a gateway would of its devices, and counts the values reported."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._values = 0

    def count(self) -> int:
        """Values reported so far."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._values += self.messages.get_nowait()[1].count(b'"actual"')
        return self._values

    def define(self, load: Load, ports: list[int]) -> None:
        """Publish the definitions."""
        self.subscribe(topics.of_device("+/+", topics.UPDATE), qos=0)
        properties = [{"name": f"p{n}", "type": "FLOAT"} for n in range(TAGS)]
        model = {"metadata": {"name": "m"}, "spec": {"properties": properties}}
        ids = [f"default/d{n}" for n in range(load.devices)]
        for id, port in zip(ids, ports, strict=True):
            spec = {
                "deviceModelRef": {"name": "m"},
                "protocol": {"protocolName": "modbus", "configData": {"ip": "127.0.0.1", "port": port}},
                "properties": [_property(n, load) for n in range(TAGS)],
            }
            device = {"metadata": {"name": id.partition("/")[2], "namespace": "default", "uid": id}, "spec": spec}
            self._retain(topics.mapper_device("modbus", id), {"device": device, "model": model})
        self._retain(topics.mapper_index("modbus"), {"devices": ids})

    def _retain(self, topic: str, content: object) -> None:
        self._client.publish(topic, json.dumps(content), 1, retain=True).wait_for_publish(10)


def _property(number: int, load: Load) -> dict[str, Any]:
    if load.floats:
        config = {"register": INPUT, "offset": 2 * number, "type": "float32"}
    else:
        config = {"register": HOLDING, "offset": number, "type": "uint16", "scale": "0.1"}
    return {
        "name": f"p{number}",
        "collectCycle": load.cycle_ms,
        "visitors": {"protocolName": "modbus", "configData": config},
    }


@asynccontextmanager
async def _reader(folder: Path, port: int, load: Load, servers: list[int]) -> AsyncIterator[psutil.Process]:
    (folder / "mapper.yaml").write_text(json.dumps({"protocol": "modbus", "broker": {"port": port}}))
    command = ["mappers", str(folder / "mapper.yaml")]
    if load.bare:
        options = ["--broker", str(port), "--cycle-ms", str(load.cycle_ms), "--ports", *map(str, servers)]
        command = ["bench.modbus_bare_loop", *options]
    with (folder / "mapper.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", *command, stdout=log, stderr=log)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def _servers(ports: int) -> AsyncIterator[tuple[list[int], Any]]:
    """Their ports, and how to ask for the requests they answered."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.modbus_servers", "--ports", str(ports)),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None

    async def line() -> list[int]:
        assert process.stdout is not None
        found: list[int] = json.loads(await process.stdout.readline())
        return found

    async def counts() -> list[int]:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        return await line()

    try:
        yield await line(), counts
    finally:
        process.stdin.close()
        await process.wait()


async def _sequential() -> Figures:
    """Requests a second, one after the other, of this driver and of pymodbus's client in turns, of the same server."""
    ours: list[float] = []
    theirs: list[float] = []
    async with _servers(1) as ((port,), _):
        driver, visitors = _driver(port)
        client = AsyncModbusTcpClient("127.0.0.1", port=port)
        await client.connect()
        for _ in range(ROUNDS):
            theirs.append(await _rate(lambda: client.read_holding_registers(0, count=TAGS, device_id=1)))
            ours.append(await _rate(lambda: driver.read(visitors)))
        client.close()
        await driver.close()
    best, other = max(ours), max(theirs)
    reference: dict[str, float | str] = {
        "pymodbus, registers not decoded": other, "ratio": best / other, "aim, ratio at least": 0.8,
    }  # fmt: skip
    return {"modbus_sequential_reads_per_s": Figure(best, "1/s", reference, "of 100 uint16, decoded; best of four")}


async def _rate(ask: Any) -> float:
    until = time.perf_counter() + SEQUENTIAL_S
    began, asked = time.perf_counter(), 0
    while time.perf_counter() < until:
        await ask()
        asked += 1
    return asked / (time.perf_counter() - began)


def _driver(port: int, spread: int = 1, **keys: Any) -> tuple[ModbusDriver, list[Visitor]]:
    unit = Address(ip="127.0.0.1", port=port)
    modbus, model = Modbus(), ModelProperty("p", type="FLOAT")
    configs = [{"register": HOLDING, "offset": spread * n, "type": "uint16", **keys} for n in range(TAGS)]
    visitors = [modbus.visitor(unit, read_config(c, VisitorConfig, "configData"), model) for c in configs]
    return modbus.driver(unit.bus), visitors


async def _grouping() -> Figures:
    """Requests for 100 floats over 400 registers, grouped and one by one."""
    async with _servers(1) as ((port,), counts):
        driver, visitors = _driver(port, 4, type="float32")
        found = await driver.read(visitors)
        assert not any(isinstance(value, DriverError) for value in found)
        (grouped,) = await counts()
        for visitor in visitors:
            await driver.read([visitor])
        (all_,) = await counts()
        await driver.close()
    reference: dict[str, float | str] = {"one by one": float(all_ - grouped), "aim, at most": 0.1 * (all_ - grouped)}
    return {"modbus_grouped_requests": Figure(float(grouped), "requests", reference, "100 floats over 400 registers")}
