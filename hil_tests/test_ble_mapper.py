"""From a Bluetooth thermometer to Kubernetes and back: all processes, and the mapper with a virtual radio in this one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edgewire.service import serve
from hil_tests.bench.ble_bench import Bench, ble_bench
from hil_tests.bench.ble_instruments import INTERVAL, TEMPERATURE
from hil_tests.conftest import NODE, Site, running_site
from mappers.exchange import Exchange
from mappers.mapper import Mapper
from mappers.mqtt import BrokerConfig
from mappers.plan import Settings

FAST = Settings(collect_cycle_s=0.1, probe_limit_s=0.2, attempts=1)
MODEL: dict[str, Any] = {
    "apiVersion": "devices.kubeedge.io/v1beta1",
    "kind": "DeviceModel",
    "metadata": {"name": "ble-model"},
    "spec": {
        "protocol": "ble",
        "properties": [
            {"name": "temperature", "type": "FLOAT", "accessMode": "ReadOnly"},
            {"name": "interval", "type": "INT", "accessMode": "ReadWrite"},
        ],
    },
}


def device(name: str, address: dict[str, Any], protocol: str = "ble", **visitors: dict[str, Any]) -> dict[str, Any]:
    """A Device of that model."""
    return {
        "apiVersion": "devices.kubeedge.io/v1beta1",
        "kind": "Device",
        "metadata": {"name": name},
        "spec": {
            "deviceModelRef": {"name": "ble-model"},
            "nodeName": NODE,
            "protocol": {"protocolName": protocol, "configData": {"timeout": 500, **address}},
            "properties": [
                {"name": property, "visitors": {"protocolName": protocol, "configData": content}}
                for property, content in visitors.items()
            ],
        },
    }


class Desk:
    """The site with a Bluetooth mapper."""

    def __init__(self, site: Site, bench: Bench) -> None:
        self.site = site
        self.bench = bench

    async def until_reported(self, device: str, property: str, value: str) -> None:
        """Wait until Kubernetes knows a value."""
        await self.site.cluster.wait_reported(f"default/{device}", property, value, 30.0)

    async def until_state(self, device: str, state: str, why: str = "") -> None:
        """Wait until Kubernetes knows a state, and what it says of it."""

        def there() -> bool:
            view = self.site.cluster.devices.get(f"default/{device}")
            healthy = view.condition("Healthy") if view is not None else None
            return view is not None and view.status.state == state and why in (healthy.message if healthy else "")

        await self.site.until(f"{device} is {state}", there)


@pytest.fixture
async def desk(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Desk]:
    async with running_site(tmp_path) as site, ble_bench(request.config) as bench:
        exchange = Exchange(Mapper(bench.drivers(), FAST), BrokerConfig(port=site.stack.ports.mqtt))
        mapper = asyncio.create_task(serve(exchange.poller, exchange.connection))
        try:
            await site.cluster.apply([MODEL])
            yield Desk(site, bench)
        finally:
            mapper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await mapper


async def test_a_thermometers_values_reach_kubernetes_and_a_desired_one_reaches_it(desk: Desk) -> None:
    desk.bench.virtual  # noqa: B018  # its power is cut
    thermometer = await desk.bench.thermometer(celsius=21.5)
    await desk.site.cluster.apply(
        [
            device(
                "cellar",
                {"macAddress": thermometer.mac},
                temperature={"characteristicUUID": TEMPERATURE, "mode": "notify"},
                interval={"characteristicUUID": INTERVAL, "type": "uint16"},
            )
        ]
    )
    await desk.until_reported("cellar", "temperature", "21.5")
    await desk.until_reported("cellar", "interval", "60")
    await thermometer.notify(-3.25)
    await desk.until_reported("cellar", "temperature", "-3.25")
    await desk.site.cluster.set_desired("default/cellar", "interval", "300")
    await desk.until_reported("cellar", "interval", "300")
    assert thermometer.interval == b"\x2c\x01"

    thermometer.off()
    await desk.until_state("cellar", "offline", "was not seen")
    thermometer.set(7.0)
    thermometer.on()
    await desk.until_reported("cellar", "temperature", "7.0")
    await desk.until_state("cellar", "online")


async def test_a_beacon_that_falls_silent_is_offline_and_comes_back(desk: Desk) -> None:
    desk.bench.virtual  # noqa: B018
    beacon = await desk.bench.beacon()
    await beacon.say("02ca09")
    await desk.site.cluster.apply(
        [device("attic", {"macAddress": beacon.mac, "silenceS": 2}, "bluetooth", temperature={"bthome": "temperature"})]
    )
    await desk.until_reported("attic", "temperature", "25.06")
    await beacon.say("022a0a")
    await desk.until_reported("attic", "temperature", "26.02")
    await desk.until_state("attic", "online")
    beacon.off()
    await desk.until_state("attic", "offline", "nothing was heard for 2 s")
    beacon.on()
    await desk.until_state("attic", "online")


async def test_an_adapter_that_is_off_is_said_of_its_devices(desk: Desk) -> None:
    thermometer = await desk.bench.thermometer(celsius=21.5)
    await desk.bench.virtual.power(False)
    notifying = {"characteristicUUID": TEMPERATURE, "mode": "notify"}
    await desk.site.cluster.apply([device("cellar", {"macAddress": thermometer.mac}, temperature=notifying)])
    await desk.until_state("cellar", "offline", "No powered Bluetooth adapters found")
    await desk.bench.virtual.power(True)
    await desk.until_reported("cellar", "temperature", "21.5")
    await desk.until_state("cellar", "online")
