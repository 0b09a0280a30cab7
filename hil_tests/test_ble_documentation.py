"""The examples of docs/ble.md, applied as they are written, on the virtual radio."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgewire.device import MapperDevice, parse_mapper_device
from hil_tests.bench.ble_bench import ble_bench
from mappers.plan import Plan, Settings, make_plan

BENCH = Path(__file__).parent / "bench"
DOCUMENT = Path(__file__).parent.parent / "docs" / "ble.md"


def definition(name: str, mac: str) -> MapperDevice:
    """A Device of the document with its model, at another address."""
    blocks = DOCUMENT.read_text(encoding="utf-8").split("```yaml\n")[1:]
    documents = [one for block in blocks for one in yaml.safe_load_all(block.split("```")[0])]
    device: dict[str, Any] = next(d for d in documents if d.get("kind") == "Device" and d["metadata"]["name"] == name)
    reference = device["spec"]["deviceModelRef"]["name"]
    model = next(d for d in documents if d.get("kind") == "DeviceModel" and d["metadata"]["name"] == reference)
    device["spec"]["protocol"]["configData"]["macAddress"] = mac
    return parse_mapper_device(json.dumps({"device": device, "model": model}).encode())


async def test_the_documented_thermometer_is_read_and_written(request: pytest.FixtureRequest) -> None:
    async with ble_bench(request.config) as bench:
        thermometer = await bench.thermometer(celsius=12.25)
        ble = bench.drivers()
        plan: Plan = make_plan(definition("cellar", thermometer.mac), ble, Settings())
        driver = ble.driver(plan.address.peer)
        assert await driver.read([point.visitor for point in plan.points]) == [12.25, 87, 60]
        await driver.close()


async def test_the_documented_beacon_is_heard(request: pytest.FixtureRequest) -> None:
    async with ble_bench(request.config) as bench:
        beacon = await bench.beacon()
        ble = bench.drivers()
        plan: Plan = make_plan(definition("attic", beacon.mac), ble, Settings())
        driver = ble.driver(plan.address.peer)
        temperature, humidity, button, pressure = plan.points
        await beacon.say("02ca09 03bf13 3a01")
        heard = await driver.read([temperature.visitor, humidity.visitor, button.visitor])
        assert heard == [25.06, 50.55, "press"]
        # The example of Ruuvi's specification of data format 5: 100044 Pa.
        await beacon.say_as_manufacturer(0x0499, bytes.fromhex("0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F"))
        (raw,) = await driver.read([pressure.visitor])
        assert isinstance(raw, int)
        assert pressure.scaling.apply(raw) == 100044
        await driver.close()


async def test_the_desks_instruments_are_read_at_the_cabinet() -> None:
    manifests = yaml.safe_load_all((BENCH / "ble.yaml").read_text(encoding="utf-8"))
    command = [sys.executable, "-m", "hedgerow", "mapper", "read", str(BENCH / "ble.yaml")]
    process = await asyncio.create_subprocess_exec(
        *command, "--driver", "hil_tests.bench.ble_desk:BleDesk",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, complained = await process.communicate()
    rows = [line.split() for line in said.decode().splitlines()]
    assert process.returncode == 0, complained.decode()
    devices = [m["metadata"]["name"] for m in manifests if m["kind"] == "Device"]
    assert {f"default/{name}" for name in devices} <= {row[0] for row in rows}
    assert [row[-1] for row in rows[1:]] == ["°C", "%", "s", "°C", "%"], "a value with its unit, and no error"
    assert ["battery", "87", "87", "%"] in rows
