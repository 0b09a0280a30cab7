"""Values beside the twin: a mapper process with an emulated PLC pushes over MQTT and HTTP, and shows gauges."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil_tests.bench.mosquitto import MosquittoMissing, free_port, mosquitto
from hil_tests.bench.plc import Plc
from hil_tests.conftest import missing
from hil_tests.test_modbus_mapper import (
    FAST,
    Broken,
    MapperProcess,
    RetainingClient,
    Site,
    broker,
    connected,
    device,
    hearing,
    plc,
    plc_manifests,
    until,
)
from mappers.tests.test_pusher import Server

__all__ = ["broker", "plc"]  # fixtures


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[int]:
    """The port of a second broker."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    try:
        with mosquitto(folder, port := free_port()):
            yield port
    except MosquittoMissing as error:
        missing(str(error))


@pytest.fixture
def web() -> Iterator[Server]:
    server = Server()
    try:
        yield server
    finally:
        server.close()


def scrape(port: int) -> str:
    """What Prometheus would fetch; empty while nothing is served."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())
    except urllib.error.URLError:
        return ""


async def test_a_value_goes_everywhere_its_property_says(
    tmp_path: Path, broker: Broken, elsewhere: int, plc: Plc, web: Server
) -> None:
    metrics = free_port()
    config = {"broker": {"port": broker.port}, "devices": FAST, "metrics": {"port": metrics}}
    manifests = plc_manifests(plc)
    for p in device(manifests, "boiler")["spec"]["properties"]:
        if p["name"] == "temperature":
            p["pushMethod"] = {
                "mqtt": {"topic": "site/boiler/temperature"},
                "http": {"url": f"{web.url}/values"},
                "prometheus": {"metric": "boiler_celsius"},
            }
        if p["name"] == "pressure":
            address = f"mqtt://127.0.0.1:{elsewhere}"
            p["pushMethod"] = {"mqtt": {"topic": "p", "address": address, "qos": 0, "format": "value"}}
    mapper = MapperProcess(tmp_path, broker.port)
    (tmp_path / "mapper.yaml").write_text(json.dumps(config))
    async with hearing(broker.port) as site, connected(broker.port) as here, connected(elsewhere) as there:
        await asyncio.to_thread(here.subscribe, "site/#")
        await asyncio.to_thread(there.subscribe, "p")
        await mapper.start()
        try:
            await site.define(manifests)
            await everywhere(site, plc, here, there, web, metrics)
            plc.faults[1].silent = True
            await until(lambda: site.state("boiler") == "offline")
            text = await asyncio.to_thread(scrape, metrics)
            assert "boiler_celsius" not in text
            assert 'hedgerow_device_up{namespace="default",device="boiler"} 0' in text
        finally:
            assert await mapper.stop() == 0
    assert "Traceback" not in mapper.log()


async def everywhere(
    site: Site, plc: Plc, here: RetainingClient, there: RetainingClient, web: Server, metrics: int
) -> None:
    await until(lambda: site.value("boiler/temperature") == "18.0")
    pushed = json.loads(await asyncio.to_thread(here.next, "site/boiler/temperature"))
    assert (pushed["device"], pushed["property"], pushed["value"], pushed["unit"]) == (
        "boiler",
        "temperature",
        18.0,
        "°C",
    )
    assert await asyncio.to_thread(there.next, "p") == b"1.20"
    await until(lambda: web.values() == [18.0])
    await plc.set("boiler/temperature", 21.4)
    await until(lambda: web.values() == [18.0, 21.4])
    assert json.loads(await asyncio.to_thread(here.next, "site/boiler/temperature"))["value"] == 21.4
    text = await asyncio.to_thread(scrape, metrics)
    assert 'boiler_celsius{namespace="default",device="boiler"} 21.4\n' in text
    assert 'hedgerow_device_up{namespace="default",device="meter"} 1\n' in text
