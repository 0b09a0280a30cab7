"""The gateway's side of MQTT, on the built-in broker and on a real mosquitto alike."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from edge_gateway.broker.server import Broker
from edge_gateway.edge_core import EdgeCore
from edge_gateway.event_bus import EventBus
from edge_gateway.external_broker import ExternalBroker
from edge_gateway.store.sqlite import SqliteStore
from edgewire import message as wire
from edgewire import rollout, topics
from edgewire.rollout import Metadata, Plan, Report, Wave
from edgewire.service import serve
from edgewire.tests.firmware_image import firmware
from hedgerow.stack import until
from hil_tests.bench.mosquitto import MosquittoMissing, mosquitto
from hil_tests.bench.mqtt_client import MqttClient
from hil_tests.bench.played_board import PlayedBoard, manifests
from hil_tests.conftest import missing

DEVICE = "default/pump"
UPDATE = topics.of_device(DEVICE, topics.UPDATE)
RESULT = topics.of_device(DEVICE, topics.RESULT)


class Edge:
    """A gateway without a cloud: store, core, event bus, one broker."""

    def __init__(self, folder: Path, port: int, core: EdgeCore, events: EventBus) -> None:
        self.folder, self.port, self.core, self.events = folder, port, core, events

    def from_cloud(self, operation: str, resource: str, content: dict[str, Any]) -> None:
        message = wire.build(
            operation, resource, Raw(json.dumps(content).encode()), source="test", resource_version="1"
        )
        self.events.perform(self.core.from_cloud(message, wire.now_ms()))


@pytest.fixture(params=["builtin", "mosquitto"])
async def edge(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Edge]:
    with contextlib.ExitStack() as stack:
        port = 0
        if request.param == "mosquitto":
            try:
                port = stack.enter_context(mosquitto(tmp_path))
            except MosquittoMissing as error:
                missing(str(error))
        async with running_edge(tmp_path, request.param, port) as edge:
            edge.from_cloud("insert", "default/devicemodel/pump", MODEL)
            edge.from_cloud("insert", "default/device/pump", device())
            yield edge


@contextlib.asynccontextmanager
async def running_edge(folder: Path, kind: str, port: int) -> AsyncIterator[Edge]:
    store = SqliteStore(folder / "edge.db")
    broker: Broker | ExternalBroker
    if kind == "builtin":
        broker = Broker(store, port=port)
    else:
        broker = ExternalBroker("127.0.0.1", port, client_id="edgecore-test")
    core = EdgeCore("edge-1", wanted=broker.wanted, machine={})
    events = EventBus(core, store, broker)
    events.open()
    defined = asyncio.Event()
    definitions = events._define

    def define() -> None:
        definitions()
        defined.set()

    broker.on_connected(define)
    serving = asyncio.create_task(serve(broker))
    try:
        async with asyncio.timeout(10):
            await defined.wait()
            await asyncio.sleep(0)
        yield Edge(folder, broker.port if isinstance(broker, Broker) else port, core, events)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await store.close()


MODEL = {
    "metadata": {"name": "pump", "namespace": "default", "uid": "m1", "resourceVersion": "1", "generation": 1},
    "spec": {
        "protocol": "modbus",
        "properties": [
            {"name": "speed", "type": "INT", "accessMode": "ReadWrite"},
            {"name": "temperature", "type": "FLOAT", "accessMode": "ReadOnly"},
        ],
    },
}


def device(desired: str | None = None, generation: int = 1) -> dict[str, Any]:
    speed: dict[str, Any] = {"name": "speed"}
    if desired is not None:
        speed["desired"] = {"value": desired}
    return {
        "metadata": {
            "name": "pump",
            "namespace": "default",
            "uid": "d1",
            "resourceVersion": str(generation),
            "generation": generation,
        },
        "spec": {
            "deviceModelRef": {"name": "pump"},
            "nodeName": "edge-1",
            "protocol": {"protocolName": "modbus"},
            "properties": [speed, {"name": "temperature"}],
        },
    }


def report(**values: str) -> str:
    return json.dumps({"event_id": "e1", "twin": {name: {"actual": {"value": v}} for name, v in values.items()}})


async def in_thread(call: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(call)


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_report_is_answered_with_what_changed(edge: Edge, qos: int) -> None:
    def client() -> tuple[bytes, bytes]:
        with MqttClient(edge.port) as mqtt:
            document = topics.of_device(DEVICE, topics.DOCUMENT)
            mqtt.subscribe(RESULT, document)
            assert mqtt.publish(UPDATE, report(speed="10"), qos=qos)
            return mqtt.next(RESULT), mqtt.next(document)

    result, document = map(json.loads, await in_thread(client))
    assert result["event_id"] == "e1"
    assert result["twin"]["speed"]["actual"]["value"] == "10"
    assert document["twin"]["speed"]["last"] is None
    assert document["twin"]["speed"]["current"]["actual"]["value"] == "10"


@pytest.mark.parametrize("edge", ["builtin"], indirect=True)
@pytest.mark.parametrize("qos", [1, 2])
async def test_no_acknowledgement_before_the_report_is_on_disk(edge: Edge, qos: int) -> None:
    """Another process holds the database: the report cannot be written, so its sender must not be told that it is safe."""
    blocker = sqlite3.connect(edge.folder / "edge.db", isolation_level=None, check_same_thread=False)
    blocker.execute("BEGIN EXCLUSIVE")

    def client() -> bool:
        with MqttClient(edge.port) as mqtt:
            early = mqtt.publish(UPDATE, report(speed="11"), qos=qos, deadline_s=1.0)
            blocker.execute("ROLLBACK")
            assert mqtt.publish(UPDATE, report(speed="12"), qos=qos)
            return early

    assert not await in_thread(client)
    blocker.close()
    with contextlib.closing(sqlite3.connect(edge.folder / "edge.db")) as store:
        rows = store.execute("SELECT value FROM twin WHERE key = ?", [f"{DEVICE}/speed"]).fetchall()
    assert json.loads(rows[0][0])["reported"] == "12"


async def test_a_device_is_told_what_it_should_be_when_that_changes_and_when_it_comes_online(edge: Edge) -> None:
    delta = topics.of_device(DEVICE, topics.DELTA)
    loop = asyncio.get_running_loop()

    def client() -> tuple[bytes, bytes]:
        with MqttClient(edge.port) as mqtt:
            mqtt.subscribe(delta)
            loop.call_soon_threadsafe(edge.from_cloud, "update", "default/device/pump", device("42", 2))
            on_change = mqtt.next(delta)
            mqtt.publish(topics.of_device(DEVICE, topics.STATE), '{"state":"online"}')
            return on_change, mqtt.next(delta)

    on_change, on_return = map(json.loads, await in_thread(client))
    assert on_change["delta"] == on_return["delta"] == {"speed": "42"}


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [
        ("not json", 400, "malformed"),
        ('{"event_id":"e9","twin":{"speed":{"actual":{"value":7}}}}', 400, "str"),
        ('{"event_id":"e9","twin":{"speed":{"actual":{"value":"fast"}}}}', 400, "'speed'"),
        ('{"event_id":"e9","twin":{"colour":{"actual":{"value":"red"}}}}', 404, "'colour'"),
        (json.dumps({"event_id": "e9", "twin": {"speed": {"actual": {"value": "9" * 5000}}}}), 413, "4096"),
    ],
    ids=["malformed JSON", "wrong JSON type", "wrong value type", "unknown property", "value over 4 KiB"],
)
async def test_bad_input_is_answered_with_code_and_reason(edge: Edge, payload: str, code: int, reason: str) -> None:
    def client() -> bytes:
        with MqttClient(edge.port) as mqtt:
            mqtt.subscribe(RESULT)
            mqtt.publish(UPDATE, payload)
            return mqtt.next(RESULT)

    answer = json.loads(await in_thread(client))
    assert answer["code"] == code
    assert reason in answer["reason"]
    assert answer["event_id"] == ("" if payload == "not json" else "e9")


async def test_mappers_find_their_devices_retained_and_see_them_go(edge: Edge) -> None:
    loop = asyncio.get_running_loop()
    of_pump = topics.mapper_device("modbus", DEVICE)

    def client() -> tuple[bytes, bytes, bytes]:
        with MqttClient(edge.port) as mqtt:
            mqtt.subscribe(*topics.mapper_filters("modbus"))
            definition = mqtt.next(of_pump)
            loop.call_soon_threadsafe(edge.from_cloud, "delete", "default/device/pump", {})
            return definition, mqtt.next(of_pump), mqtt.next(topics.mapper_index("modbus"))

    definition, gone, index = await in_thread(client)
    assert json.loads(definition)["device"]["metadata"]["name"] == "pump"
    assert json.loads(definition)["model"]["spec"]["properties"][0]["name"] == "speed"
    assert gone == b""
    assert index == b""


async def test_a_board_gets_its_firmware_without_a_cloud(edge: Edge) -> None:
    for number, manifest in enumerate(manifests("edge-1", "board")):
        kind = manifest["kind"].lower()
        metadata = {**manifest["metadata"], "namespace": "default", "uid": f"u{number}", "generation": 1}
        edge.from_cloud("insert", f"default/{kind}/{metadata['name']}", {**manifest, "metadata": metadata})
    built = firmware(size=50_000)
    plan = Plan(Metadata("default", "new", "u9"), "edge-1", "", built.image, [Wave(["board"])])
    edge.from_cloud("insert", "default/devicefirmware/new", json.loads(rollout.encode_plan(plan)[1]))
    for name, part in built.objects().items():
        edge.from_cloud("insert", f"default/firmwarepart/{name}", part)

    def play() -> bytes:
        with PlayedBoard(edge.port, "default/board") as board:
            assert board.finished.wait(20)
            return board.received

    assert await asyncio.to_thread(play) == built.stream
    await until(lambda: _counts(edge) == {"updated": 1}, lambda: f"not updated: {_counts(edge)}")


def _counts(edge: Edge) -> dict[str, int]:
    message = edge.core.message_for("default/devicefirmware/new", 0)
    return message.read(Report).counts if message is not None else {}
