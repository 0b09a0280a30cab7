"""A board and the gateway's real core, over the built-in broker: what one desires the other does, whoever comes first."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from device_fw.tests.watcher import Watcher, until
from device_fw.tools import firmware
from edge_gateway.broker.server import Broker
from edge_gateway.edge_core import EdgeCore
from edge_gateway.event_bus import EventBus
from edge_gateway.store.memory import MemoryStore
from edgewire import message as wire
from edgewire import topics
from edgewire.service import serve
from hil_tests.bench import board_firmware, demo
from hil_tests.bench.micropython_board import MicroPythonBoard, Unavailable
from hil_tests.bench.unix_board import UnixBoard
from hil_tests.conftest import missing

ID = "default/board-1"
MODEL, DEVICE = demo.board_manifests("edge-1", ("board-1",))


class Gateway:
    """A gateway without a cloud: the test says what Kubernetes would."""

    def __init__(self, broker: Broker, core: EdgeCore, events: EventBus) -> None:
        self.broker, self._core, self._events = broker, core, events
        self._version = 0

    def knows(self, model: dict[str, Any], led: str | None = None) -> None:
        """The model and the device come from Kubernetes, with a desired value of the LED."""
        device = json.loads(json.dumps(DEVICE))
        if led is not None:
            next(p for p in device["spec"]["properties"] if p["name"] == "led")["desired"] = {"value": led}
        self._insert("default/devicemodel/board-model", model)
        self._insert("default/device/board-1", device)

    def _insert(self, resource: str, content: dict[str, Any]) -> None:
        self._version += 1
        made = {"uid": resource, "resourceVersion": str(self._version), "generation": self._version}
        content = {**content, "metadata": {**content["metadata"], **made}}
        message = wire.build(
            "update", resource, Raw(json.dumps(content).encode()), source="test", resource_version=str(self._version)
        )
        self._events.perform(self._core.from_cloud(message, wire.now_ms()))


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    store = MemoryStore()
    broker = Broker(store, port=0)
    core = EdgeCore("edge-1", wanted=broker.wanted, machine={})
    events = EventBus(core, store, broker)
    events.open()
    serving = asyncio.create_task(serve(broker))
    try:
        await until(lambda: broker.port)
        yield Gateway(broker, core, events)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


@pytest.fixture
def board(tmp_path: Path, gateway: Gateway) -> Iterator[MicroPythonBoard]:
    try:
        umqtt = firmware.umqtt_simple(Path(__file__).resolve().parents[1] / firmware.CACHE)
        config = {"name": ID, "host": "127.0.0.1", "port": gateway.broker.port}
        made = MicroPythonBoard(tmp_path / "board", config, umqtt=umqtt)
        made.start()
    except (Unavailable, firmware.FirmwareError) as error:
        missing(str(error))
        return
    yield made
    made.kill()


async def twin(site: Watcher) -> dict[str, str]:
    """What the gateway knows that the device reported."""
    answers = topics.of_device(ID, topics.GET_RESULT)
    heard = len(site.on(answers))
    site.say(topics.of_device(ID, topics.GET), {"event_id": "t"})
    await until(lambda: len(site.on(answers)) > heard)
    twins = site.on(answers)[-1].get("twin", {})
    return {name: entry["actual"]["value"] for name, entry in twins.items() if "actual" in entry}


async def test_a_board_does_what_kubernetes_desires_and_the_gateway_learns_it(
    board: MicroPythonBoard, gateway: Gateway
) -> None:
    gateway.knows(MODEL)
    async with Watcher(gateway.broker.port) as site:
        gateway.knows(MODEL, led="ON")
        await until(lambda: board.outputs().get("led") == "ON")
        async with asyncio.timeout(10):
            while (await twin(site)).get("led") != "ON":
                pass
        assert set(await twin(site)) == {"temperature", "led", "interval"}


async def test_a_desired_value_set_while_the_board_is_off_is_followed_when_it_is_back(
    board: MicroPythonBoard, gateway: Gateway
) -> None:
    gateway.knows(MODEL)
    await until(lambda: "event=connected" in board.console.read_text())
    board.kill()
    gateway.knows(MODEL, led="ON")
    gateway.knows(MODEL, led="OFF")
    gateway.knows(MODEL, led="ON")
    board.start()
    await until(lambda: board.outputs().get("led") == "ON")
    await until(lambda: "event=output" in board.console.read_text())  # the output is set a moment before
    assert board.console.read_text().count("event=output") == 1


async def test_a_board_that_was_there_before_its_device_is_heard_once_the_device_is_known(
    board: MicroPythonBoard, gateway: Gateway
) -> None:
    await until(lambda: "event=report_refused code=404" in board.console.read_text())
    gateway.knows(MODEL, led="ON")
    await until(lambda: board.outputs().get("led") == "ON")


async def test_a_property_that_the_model_lacks_keeps_nothing_else_from_the_gateway(
    board: MicroPythonBoard, gateway: Gateway
) -> None:
    smaller = json.loads(json.dumps(MODEL))
    smaller["spec"]["properties"] = [p for p in smaller["spec"]["properties"] if p["name"] != "interval"]
    gateway.knows(smaller)
    async with Watcher(gateway.broker.port) as site, asyncio.timeout(10):
        while set(await twin(site)) != {"temperature", "led"}:
            pass
    await until(lambda: "event=report_refused" in board.console.read_text())


async def test_a_value_that_the_board_cannot_take_does_not_set_the_two_talking_for_ever(
    board: MicroPythonBoard, gateway: Gateway
) -> None:
    gateway.knows(MODEL)
    await until(lambda: "event=connected" in board.console.read_text())
    async with Watcher(gateway.broker.port) as site:
        gateway.knows(MODEL, led="BLUE")
        await until(lambda: "event=desired_not_followed" in board.console.read_text())
        update = topics.of_device(ID, topics.UPDATE)
        await until(lambda: len([r for r in site.on(update) if "temperature" in r["twin"]]) >= 2)
        assert len([r for r in site.on(update) if set(r["twin"]) == {"led"}]) <= 1
        gateway.knows(MODEL, led="ON")
        await until(lambda: board.outputs().get("led") == "ON")


async def test_a_board_whose_clock_is_an_hour_behind_is_heard_all_the_same(gateway: Gateway, tmp_path: Path) -> None:
    gateway.knows(MODEL)
    config = {"name": ID, "host": "127.0.0.1", "port": gateway.broker.port}
    async with Watcher(gateway.broker.port) as site:
        for number, behind_s in enumerate((0, 3600)):
            try:
                made = UnixBoard(tmp_path / f"board-{number}", heap_kb=128, clock_s=-behind_s)
                made.push(board_firmware.files(config))
            except (Unavailable, firmware.FirmwareError) as error:
                missing(str(error))
            with made:
                heard = len(site.on(topics.of_device(ID, topics.UPDATE)))
                made.power_on()
                await until(partial(_more, site, heard))
                if behind_s:  # at first it cannot know better; the gateway's answer tells it
                    await asyncio.to_thread(made.expect, r"event=time source=gateway step_ms=3[56]\d{5}\b")
                    await until(lambda: abs(_reported_at(site) - time.time() * 1000) < 60_000)
                    latest = _reported_at(site)
                    async with asyncio.timeout(10):
                        while (await _times(site)).get("led", 0) < latest:
                            pass


def _more(site: Watcher, heard: int) -> bool:
    """Whether the board said something since."""
    return len(site.on(topics.of_device(ID, topics.UPDATE))) > heard


def _reported_at(site: Watcher) -> int:
    """The source time of the LED in its last report."""
    reports = [r for r in site.on(topics.of_device(ID, topics.UPDATE)) if "led" in r["twin"]]
    return int(reports[-1]["twin"]["led"]["actual"]["metadata"]["timestamp"])


async def _times(site: Watcher) -> dict[str, int]:
    """The source times that the gateway holds."""
    await twin(site)
    found = site.on(topics.of_device(ID, topics.GET_RESULT))[-1]["twin"]
    return {name: int(entry["actual"]["metadata"]["timestamp"]) for name, entry in found.items() if "actual" in entry}
