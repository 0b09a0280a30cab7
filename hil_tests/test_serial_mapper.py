"""Serial instruments on their whole way: emulated scale and receiver, the mapper as a process, gateway, cloud, Kubernetes."""

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from edgewire import topics
from hil_tests.bench import demo
from hil_tests.bench.mqtt_client import MqttClient
from hil_tests.bench.nmea_receiver import NmeaReceiver
from hil_tests.bench.scale import Scale
from hil_tests.conftest import NODE, Site, running_site
from hil_tests.test_modbus_mapper import FAST, Gateway, MapperProcess, gateway, until

__all__ = ["gateway"]  # a fixture


class Workshop:
    """The site with a scale and a receiver, and what Kubernetes says of them."""

    def __init__(self, site: Site, scale: Scale, receiver: NmeaReceiver, mapper: MapperProcess) -> None:
        self.site, self.scale, self.receiver, self.mapper = site, scale, receiver, mapper

    def reported(self, device: str, property: str) -> str:
        """The value in Kubernetes, empty before the first."""
        view = self.site.cluster.devices.get(f"default/{device}")
        found = view.reported(property) if view is not None else None
        return "" if found is None else found.value

    def condition(self, device: str, type: str) -> tuple[str, str]:
        """Status and message of a condition."""
        view = self.site.cluster.devices.get(f"default/{device}")
        found = view.condition(type) if view is not None else None
        return ("", "") if found is None else (found.status, found.message)

    def state(self, device: str) -> str:
        """Online, offline or unhealthy."""
        return self.site.cluster.devices[f"default/{device}"].status.state

    async def until_reported(self, device: str, property: str, value: str) -> None:
        """Wait for a value to be in Kubernetes."""
        try:
            await self.site.until(f"{device} {property} {value}", lambda: self.reported(device, property) == value)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.reported(device, property)!r}\n{self.mapper.log()}") from error

    async def call(self, device: str, method: str) -> dict[str, Any]:
        """The answer to a call of a method, over the gateway's broker."""
        about = f"default/{device}"
        return await asyncio.to_thread(self._call, about, json.dumps({"event_id": "c1", "method": method}))

    def _call(self, about: str, call: str) -> dict[str, Any]:
        with MqttClient(self.site.stack.ports.mqtt) as client:
            client.subscribe(topics.of_device(about, topics.METHOD_RESULT))
            client.publish(topics.of_device(about, topics.METHOD), call)
            answer: dict[str, Any] = json.loads(client.next(topics.of_device(about, topics.METHOD_RESULT)))
        return answer

    async def tare(self, number: int) -> None:
        """Desire that the scale is tared."""
        await self.site.cluster.set_desired("default/scale", "tare", str(number))


def configured(folder: Path, port: int) -> MapperProcess:
    """A serial mapper for the broker on this port."""
    mapper = MapperProcess(folder, port)
    config = {"protocol": "serial", "broker": {"port": port}, "devices": FAST}
    (folder / "mapper.yaml").write_text(json.dumps(config))
    return mapper


@pytest.fixture
async def workshop(tmp_path: Path) -> AsyncIterator[Workshop]:
    async with Scale(link=tmp_path / "scale") as scale, NmeaReceiver(link=tmp_path / "gps", rate=10) as receiver:
        scale.put("12.34")
        async with running_site(tmp_path / "site") as site:
            mapper = configured(tmp_path, site.stack.ports.mqtt)
            await mapper.start()
            try:
                await site.cluster.apply(demo.serial_manifests(NODE, scale=scale.port, receiver=receiver.port))
                yield Workshop(site, scale, receiver, mapper)
            finally:
                assert await mapper.stop() == 0


async def test_a_scale_is_weighed_and_tared_from_kubernetes(workshop: Workshop) -> None:
    await workshop.until_reported("scale", "weight", "12.34")
    await workshop.until_reported("scale", "stable", "true")
    await workshop.until_reported("scale", "serial-number", "WS-4711")
    await workshop.tare(1)
    await workshop.until_reported("scale", "weight", "0.00")
    await workshop.until_reported("scale", "tare", "1")
    assert workshop.scale.commands.count("T") == 1

    assert (await workshop.call("scale", "clear-tare"))["result"] == {"answer": "OK"}
    await workshop.until_reported("scale", "weight", "12.34")
    await workshop.tare(2)
    await workshop.until_reported("scale", "weight", "0.00")

    workshop.scale.put("20.00")
    await workshop.until_reported("scale", "weight", "7.66")
    workshop.scale.faults.silent = True
    await workshop.site.until("the scale is offline", lambda: workshop.state("scale") != "online")
    assert workshop.state("receiver") == "online"
    workshop.scale.faults.silent = False
    await workshop.site.until("the scale is online", lambda: workshop.state("scale") == "online")


async def test_a_refused_tare_says_the_scales_own_reason(workshop: Workshop) -> None:
    await workshop.until_reported("scale", "weight", "12.34")
    moving = Decimal("5")
    workshop.scale.put(moving, settled=False)
    workshop.scale.moved_at += 3600  # it goes on moving
    await workshop.until_reported("scale", "stable", "false")
    await workshop.tare(1)
    await workshop.site.until("the reason is told", lambda: workshop.condition("scale", "Applied")[0] == "False")
    assert "tare: '1': " in workshop.condition("scale", "Applied")[1]
    assert "answered 'not stable'" in workshop.condition("scale", "Applied")[1]
    workshop.scale.put(moving)
    await workshop.tare(2)
    await workshop.until_reported("scale", "tare", "2")


async def test_instruments_that_are_unplugged_are_offline_and_back_when_they_are_plugged_in(workshop: Workshop) -> None:
    await workshop.until_reported("scale", "weight", "12.34")
    await workshop.until_reported("receiver", "latitude", "48.117300000")
    await workshop.until_reported("receiver", "longitude", "-11.516666667")
    for instrument, name in ((workshop.scale, "scale"), (workshop.receiver, "receiver")):
        instrument.unplug()
        await workshop.site.until(f"{name} is offline", lambda name=name: workshop.state(name) == "offline")  # type: ignore[misc]
        status, message = workshop.condition(name, "Healthy")
        assert status == "False"
        assert "is gone: " in message or "is not there" in message
    workshop.scale.put("3.21")
    workshop.receiver.satellites = 5
    workshop.scale.plug()
    workshop.receiver.plug()
    await workshop.until_reported("scale", "weight", "3.21")
    await workshop.until_reported("receiver", "satellites", "5")
    await workshop.site.until(
        "both are online", lambda: workshop.state("scale") == workshop.state("receiver") == "online"
    )


async def test_a_device_that_is_only_written_is_online_and_does_what_is_desired(
    tmp_path: Path, gateway: Gateway
) -> None:
    def manifests(desired: str) -> list[dict[str, Any]]:
        sends = {"write": r"C{value:d}\r\n", "answer": "^OK"}
        return [
            {
                "kind": "DeviceModel",
                "metadata": {"name": "m"},
                "spec": {"properties": [{"name": "talks", "type": "BOOLEAN"}]},
            },
            {
                "kind": "Device",
                "metadata": {"name": "a", "namespace": "default"},
                "spec": {
                    "deviceModelRef": {"name": "m"},
                    "nodeName": "edge-1",
                    "protocol": {
                        "protocolName": "serial",
                        "configData": {"port": str(tmp_path / "scale"), "silenceS": 0.1},
                    },
                    "properties": [
                        {"name": "talks", "desired": {"value": desired}, "visitors": {"configData": sends}},
                    ],
                },
            },
        ]

    async with Scale(link=tmp_path / "scale") as scale:
        gateway.apply(manifests("false"))
        mapper = configured(tmp_path, gateway.broker.port)
        await mapper.start()
        try:
            await until(lambda: scale.commands == ["C0"])
            assert not scale.continuous
            gateway.apply(manifests("true"))
            await until(lambda: scale.commands == ["C0", "C1"])
        finally:
            assert await mapper.stop() == 0
        assert "offline" not in mapper.log()
