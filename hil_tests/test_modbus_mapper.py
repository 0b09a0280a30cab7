"""The Modbus mapper, a process of its own, between an emulated PLC and a real broker; and between the PLC and the gateway."""

import asyncio
import contextlib
import copy
import json
import queue
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from edge_gateway.broker.server import Broker
from edge_gateway.edge_core import EdgeCore
from edge_gateway.event_bus import EventBus
from edge_gateway.store.memory import MemoryStore
from edgewire import board, message, topics
from edgewire.service import serve
from hil_tests.bench import demo
from hil_tests.bench.mosquitto import MosquittoMissing, free_port, mosquitto
from hil_tests.bench.mqtt_client import MqttClient
from hil_tests.bench.plc import Plc
from hil_tests.conftest import missing

DEADLINE_S = 15.0
FAST = {"collect_cycle_s": 0.05, "probe_limit_s": 0.2, "attempts": 2}


async def until(condition: Callable[[], object | Awaitable[object]]) -> None:
    """Wait for a condition; TimeoutError after the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found = condition()
            if await found if isinstance(found, Awaitable) else found:
                return
            await asyncio.sleep(0.01)  # other processes give no event


class MapperProcess:
    """`python -m mappers mapper.yaml`."""

    def __init__(self, folder: Path, port: int) -> None:
        self._config = folder / "mapper.yaml"
        self._config.write_text(json.dumps({"broker": {"port": port}, "devices": FAST}))  # JSON is YAML
        self._log = folder / "mapper.log"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "mappers", str(self._config), stdout=log, stderr=log
            )

    async def stop(self, how: int = signal.SIGTERM) -> int:
        """End it, and give its exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(how)
        async with asyncio.timeout(DEADLINE_S):
            return await self._process.wait()

    def log(self) -> str:
        return self._log.read_text()


class Site:
    """What the gateway would say and hear, on a plain broker."""

    def __init__(self, client: "RetainingClient") -> None:
        self._client = client
        self.values: dict[str, str] = {}
        """`<device>/<property>` -> the newest value reported."""
        self.states: list[tuple[str, str]] = []
        self.stamps: dict[str, list[int]] = {}
        self.reports = 0

    def hear(self) -> None:
        """Take in what came."""
        with contextlib.suppress(queue.Empty):
            while True:
                topic, payload = self._client.messages.get_nowait()
                found = topics.device_topic(topic)
                if found is None:
                    continue
                name, content = found[0].partition("/")[2], json.loads(payload)
                if found[1] == topics.STATE:
                    self.states.append((name, content["state"]))
                    continue
                self.reports += 1
                for property, entry in content["twin"].items():
                    self.values[f"{name}/{property}"] = entry["actual"]["value"]
                    self.stamps.setdefault(f"{name}/{property}", []).append(entry["actual"]["metadata"]["timestamp"])

    def state(self, name: str) -> str:
        self.hear()
        return next((state for device, state in reversed(self.states) if device == name), "")

    def value(self, name: str) -> str:
        self.hear()
        return self.values.get(name, "")

    async def define(self, manifests: list[dict[str, Any]]) -> None:
        """Publish, retained, what the gateway tells mappers of its devices."""
        models = {m["metadata"]["name"]: m for m in manifests if m["kind"] == "DeviceModel"}
        devices = [m for m in manifests if m["kind"] == "Device"]
        for device in devices:
            id = f"default/{device['metadata']['name']}"
            content = {"device": device, "model": models[device["spec"]["deviceModelRef"]["name"]]}
            await self._retain(topics.mapper_device("modbus", id), content)
        await self._retain(
            topics.mapper_index("modbus"), {"devices": [f"default/{d['metadata']['name']}" for d in devices]}
        )

    async def desire(self, name: str, **values: str) -> None:
        topic = topics.of_device(f"default/{name}", topics.DELTA)
        assert await asyncio.to_thread(self._client.publish, topic, json.dumps({"delta": values}))

    async def _retain(self, topic: str, content: object) -> None:
        assert await asyncio.to_thread(self._client.retain, topic, json.dumps(content))


class Broken:
    """A mosquitto that can be stopped and started again on its port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self.port = free_port()

    def start(self) -> None:
        self._stack.enter_context(mosquitto(self._folder, self.port))

    def stop(self) -> None:
        self._stack.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broken]:
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    broker = Broken(folder)
    try:
        broker.start()
    except MosquittoMissing as error:
        missing(str(error))
        return
    try:
        yield broker
    finally:
        broker.stop()


@pytest.fixture
async def plc() -> AsyncIterator[Plc]:
    plc = Plc(moving=False)
    await plc.start()
    try:
        yield plc
    finally:
        await plc.stop()


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator["RetainingClient"]:
    client = RetainingClient(port)
    await asyncio.to_thread(client.__enter__)
    try:
        yield client
    finally:
        await asyncio.to_thread(client.__exit__)


@contextlib.asynccontextmanager
async def hearing(port: int) -> AsyncIterator[Site]:
    async with connected(port) as client:
        kinds = (topics.UPDATE, topics.STATE)
        await asyncio.to_thread(client.subscribe, *(topics.of_device("+/+", kind) for kind in kinds))
        yield Site(client)


class RetainingClient(MqttClient):
    """A test's client that can also publish retained messages."""

    def retain(self, topic: str, payload: str) -> bool:
        info = self._client.publish(topic, payload, 1, retain=True)
        info.wait_for_publish(DEADLINE_S)
        return info.is_published()


@contextlib.asynccontextmanager
async def mapping(folder: Path, port: int) -> AsyncIterator[MapperProcess]:
    mapper = MapperProcess(folder, port)
    await mapper.start()
    try:
        yield mapper
    finally:
        code = await mapper.stop()
    assert code == 0, mapper.log()
    assert "Traceback" not in mapper.log(), mapper.log()


def device(manifests: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(m for m in manifests if m["kind"] == "Device" and m["metadata"]["name"] == name)


def plc_manifests(plc: Plc) -> list[dict[str, Any]]:
    """The demo's manifests, polled as fast as the mapper's configuration says."""
    manifests = demo.plc_manifests("edge-1", plc.port)
    for name in ("boiler", "meter"):
        for p in device(manifests, name)["spec"]["properties"]:
            p.pop("collectCycle", None)
    return manifests


def visitor(manifests: list[dict[str, Any]], name: str, property: str) -> dict[str, Any]:
    """The `visitors.configData` of a property, to edit."""
    found = next(p for p in device(manifests, name)["spec"]["properties"] if p["name"] == property)
    config: dict[str, Any] = found["visitors"]["configData"]
    return config


async def test_the_values_of_every_device_are_reported_scaled_and_follow_the_plc(
    tmp_path: Path, broker: Broken, plc: Plc
) -> None:
    async with hearing(broker.port) as site, mapping(tmp_path, broker.port):
        await site.define(plc_manifests(plc))
        await until(lambda: site.value("boiler/temperature") and site.value("meter/tariff"))
        assert site.values == {
            "boiler/temperature": "18.0", "boiler/pressure": "1.20", "boiler/alarm": "false", "boiler/pump": "true",
            "boiler/setpoint": "60.0", "meter/power": "250.0", "meter/voltage": "230.0", "meter/energy": "123456",
            "meter/tariff": "1",
        }  # fmt: skip
        assert sorted(site.states) == [("boiler", "online"), ("meter", "online")]
        assert site.reports == 2
        for n in range(5):
            await plc.set("boiler/temperature", 21.4 + n / 10)
            await plc.set("meter/power", 21.4 + n)
            await until(lambda n=n: site.value("boiler/temperature") == f"{21.4 + n / 10:.1f}")  # type: ignore[misc]
            await until(lambda n=n: site.value("meter/power") == f"{21.4 + n:.1f}")  # type: ignore[misc]
        for stamps in site.stamps.values():
            assert stamps == sorted(set(stamps))


async def test_a_desired_value_reaches_the_register_and_comes_back_and_a_wrong_one_is_refused(
    tmp_path: Path, broker: Broken, plc: Plc
) -> None:
    async with hearing(broker.port) as site, mapping(tmp_path, broker.port) as mapper:
        await site.define(plc_manifests(plc))
        await until(lambda: site.state("boiler") == "online" and site.value("boiler/setpoint"))
        await site.desire("boiler", setpoint="65.5", pump="false")
        await until(lambda: site.value("boiler/setpoint") == "65.5" and site.value("boiler/pump") == "false")
        assert await plc.get("boiler/setpoint") == 65.5
        assert await plc.get("boiler/pump") is False
        before = len(site.stamps["boiler/setpoint"])
        await site.desire("boiler", setpoint="95")
        await until(lambda: site.value("boiler/setpoint") and len(site.stamps["boiler/setpoint"]) > before)
        assert site.value("boiler/setpoint") == "65.5"
        assert await plc.get("boiler/setpoint") == 65.5
        assert mapper.log().count("desired value refused device=default/boiler property=setpoint value='95'") == 1
        assert "reason=above the maximum 90" in mapper.log()


async def test_an_edited_device_follows_without_a_restart(tmp_path: Path, broker: Broken, plc: Plc) -> None:
    other = Plc(moving=False)
    await other.start()
    await other.set("meter/tariff", 3)
    try:
        async with hearing(broker.port) as site, mapping(tmp_path, broker.port):
            manifests = plc_manifests(plc)
            await site.define(manifests)
            await until(lambda: site.value("boiler/temperature") == "18.0" and site.value("meter/tariff") == "1")
            edited = copy.deepcopy(manifests)
            visitor(edited, "boiler", "temperature")["scale"] = 1
            device(edited, "meter")["spec"]["protocol"]["configData"]["port"] = other.port
            await site.define(edited)
            await until(lambda: site.value("boiler/temperature") == "180" and site.value("meter/tariff") == "3")
            assert len(site.stamps["boiler/pressure"]) == 1, "a property that did not change was reported again"
            await site.define([m for m in edited if m["metadata"]["name"] != "meter"])
            asked = len(other.requests)
            await plc.set("boiler/pressure", 2)
            await until(lambda: site.value("boiler/pressure") == "2.00")
            await plc.set("boiler/pressure", 3)
            await until(lambda: site.value("boiler/pressure") == "3.00")
            assert len(other.requests) <= asked + 3, "a removed device was polled on"
    finally:
        await other.stop()


async def test_a_device_that_cannot_be_used_is_unhealthy_and_the_other_goes_on(
    tmp_path: Path, broker: Broken, plc: Plc
) -> None:
    async with hearing(broker.port) as site, mapping(tmp_path, broker.port) as mapper:
        manifests = plc_manifests(plc)
        wrong = copy.deepcopy(manifests)
        visitor(wrong, "boiler", "setpoint")["register"] = "HoldingRegisters"
        await site.define(wrong)
        await until(lambda: site.state("boiler") == "unhealthy" and site.value("meter/tariff") == "1")
        assert mapper.log().count("device cannot be used") == 1
        assert "`register` 'HoldingRegisters' is not known: did you mean HoldingRegister?" in mapper.log()
        await site.define(manifests)
        await until(lambda: site.state("boiler") == "online" and site.value("boiler/setpoint") == "60.0")


async def test_a_desired_value_set_while_the_plc_is_away_is_written_once_and_only_the_newest(
    tmp_path: Path, broker: Broken, plc: Plc
) -> None:
    async with hearing(broker.port) as site, mapping(tmp_path, broker.port):
        await site.define(plc_manifests(plc))
        await until(lambda: site.value("boiler/setpoint") == "60.0")
        await plc.stop()
        await until(lambda: site.state("boiler") == "offline" and site.state("meter") == "offline")
        for value in ("61", "62", "63"):
            await site.desire("boiler", setpoint=value)
        plc.requests.clear()
        await plc.start()
        await until(lambda: site.value("boiler/setpoint") == "63.0")
        assert [r for r in plc.requests if r[1] in (6, 16)] == [(1, 6, 0, 0)]  # no count in function 6
        await until(lambda: site.state("meter") == "online")


async def test_a_silent_unit_goes_offline_alone(tmp_path: Path, broker: Broken, plc: Plc) -> None:
    async with hearing(broker.port) as site, mapping(tmp_path, broker.port):
        manifests = plc_manifests(plc)
        for name in ("boiler", "meter"):
            device(manifests, name)["spec"]["protocol"]["configData"]["timeout"] = 100
        await site.define(manifests)
        await until(lambda: site.value("boiler/setpoint") and site.value("meter/tariff"))
        plc.faults[1].silent = True
        await until(lambda: site.state("boiler") == "offline")
        await plc.set("meter/tariff", 4)
        await until(lambda: site.value("meter/tariff") == "4")
        assert site.state("meter") == "online"
        plc.faults[1].silent = False
        await until(lambda: site.state("boiler") == "online")


async def test_what_changed_while_the_broker_was_away_arrives_when_it_is_back(
    tmp_path: Path, broker: Broken, plc: Plc
) -> None:
    async with mapping(tmp_path, broker.port) as mapper:
        async with hearing(broker.port) as site:
            await site.define(plc_manifests(plc))
            await until(lambda: site.value("boiler/temperature") and site.value("meter/tariff"))
        broker.stop()
        asked = len(plc.requests)
        for temperature in (30, 40, 50):
            await plc.set("boiler/temperature", temperature)
            await until(lambda asked=asked: len(plc.requests) > asked + 20)  # type: ignore[misc]
            asked = len(plc.requests)
        broker.start()
        async with hearing(broker.port) as site:
            await until(lambda: site.state("boiler") == "online" and site.state("meter") == "online")
            await until(lambda: site.value("boiler/temperature") == "50.0")
            await site.desire("boiler", setpoint="70")
            await until(lambda: site.value("boiler/setpoint") == "70.0")
        assert "broker unreachable" in mapper.log()


async def test_a_mapper_with_a_misspelt_key_says_so_and_ends(tmp_path: Path) -> None:
    mapper = MapperProcess(tmp_path, 1)
    (tmp_path / "mapper.yaml").write_text("brokr: {}\n")
    await mapper.start()
    assert mapper._process is not None
    async with asyncio.timeout(DEADLINE_S):
        assert await mapper._process.wait() == 2
    assert mapper.log() == "mapper: unknown key `brokr` in mapper.yaml: did you mean `broker`?\n"


class Gateway:
    """The gateway's core on its own broker, without a cloud: the test says what Kubernetes would."""

    def __init__(self) -> None:
        store = MemoryStore()
        self.broker = Broker(store, port=0)
        core = EdgeCore("edge-1", wanted=self.broker.wanted, machine={})
        self._core, self._events, self._version = core, EventBus(core, store, self.broker), 0
        self._events.open()

    def apply(self, manifests: list[dict[str, Any]]) -> None:
        """`kubectl apply`."""
        for manifest in manifests:
            self._version += 1
            metadata = {
                **manifest["metadata"],
                "uid": manifest["metadata"]["name"],
                "resourceVersion": str(self._version),
            }
            resource = f"default/{manifest['kind'].lower()}/{metadata['name']}"
            content = Raw(json.dumps({**manifest, "metadata": metadata}).encode())
            said = message.build("update", resource, content, source="test", resource_version=str(self._version))
            self._events.perform(self._core.from_cloud(said, message.now_ms()))


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    gateway = Gateway()
    serving = asyncio.create_task(serve(gateway.broker))
    try:
        await until(lambda: gateway.broker.port)
        yield gateway
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def desiring(manifests: list[dict[str, Any]], name: str, **values: str) -> list[dict[str, Any]]:
    """The manifests with desired values."""
    manifests = copy.deepcopy(manifests)
    for p in device(manifests, name)["spec"]["properties"]:
        if p["name"] in values:
            p["desired"] = {"value": values[p["name"]]}
    return manifests


async def twin(client: MqttClient, name: str) -> dict[str, str]:
    """What the gateway knows that a device reported."""
    id = f"default/{name}"
    await asyncio.to_thread(client.publish, topics.of_device(id, topics.GET), board.get("t"))
    answer = await asyncio.to_thread(client.next, topics.of_device(id, topics.GET_RESULT))
    return {n: entry["actual"]["value"] for n, entry in json.loads(answer).get("twin", {}).items() if "actual" in entry}


async def test_with_the_gateway_a_desired_value_becomes_a_register_whoever_is_there_first(
    tmp_path: Path, gateway: Gateway, plc: Plc
) -> None:
    async def holds(setpoint: float, pump: bool) -> bool:
        return await plc.get("boiler/setpoint") == setpoint and await plc.get("boiler/pump") is pump

    async def reported() -> bool:
        found = await twin(client, "boiler")
        return found.get("setpoint") == "71.0" and found.get("pump") == "false"

    manifests = plc_manifests(plc)
    gateway.apply(desiring(manifests, "boiler", setpoint="70"))  # before there is a mapper
    async with mapping(tmp_path, gateway.broker.port) as mapper:
        await until(lambda: holds(70, True))
        gateway.apply(desiring(manifests, "boiler", setpoint="71", pump="false"))
        await until(lambda: holds(71, False))
        async with connected(gateway.broker.port) as client:
            await asyncio.to_thread(client.subscribe, topics.of_device("+/+", topics.GET_RESULT))
            await until(reported)
            assert (await twin(client, "meter"))["energy"] == "123456"
        assert [r[:3] for r in plc.requests].count((1, 6, 0)) == 2
        assert "refused" not in mapper.log()


async def test_with_the_gateway_a_value_the_plc_refuses_is_tried_once_and_not_with_every_report(
    tmp_path: Path, gateway: Gateway, plc: Plc
) -> None:
    plc.faults[1].refuses = {6: 4}
    async with mapping(tmp_path, gateway.broker.port) as mapper:
        gateway.apply(desiring(plc_manifests(plc), "boiler", setpoint="80"))
        await until(lambda: "desired value refused" in mapper.log())
        for n in range(10):  # every report that differs brings the desired value again
            asked = len(plc.requests)
            await plc.set("boiler/setpoint", 20 + n)
            await until(lambda asked=asked: len(plc.requests) > asked + 6)  # type: ignore[misc]
        assert mapper.log().count("desired value refused") == 1
        assert "reason=127.0.0.1" in mapper.log()
        assert "answered exception 4 (server device failure), writing HoldingRegister 0" in mapper.log()
        assert [r[:3] for r in plc.requests].count((1, 6, 0)) == 1
