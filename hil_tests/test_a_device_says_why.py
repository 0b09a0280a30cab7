"""Why a device is not well, and why a desired value is not followed, stands in the Device: all processes, an emulated PLC."""

import asyncio
import contextlib
import copy
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hil_tests.bench import demo
from hil_tests.bench.plc import Plc
from hil_tests.conftest import NODE, Site, running_site
from hil_tests.test_modbus_mapper import MapperProcess, device, visitor

DEADLINE_S = 30.0


class Desk:
    """The site with a PLC, its devices and a Modbus mapper, and what Kubernetes says of them."""

    def __init__(self, site: Site, plc: Plc) -> None:
        self.site = site
        self.plc = plc
        self.manifests = demo.plc_manifests(NODE, plc.port)
        for name in ("boiler", "meter"):
            device(self.manifests, name)["spec"]["protocol"]["configData"]["timeout"] = 200

    async def apply(self, manifests: list[dict[str, Any]] | None = None) -> None:
        await self.site.cluster.apply(manifests or self.manifests)

    def condition(self, name: str, type: str) -> tuple[str, str, str]:
        """Status, reason and message; empty strings when the condition is not there."""
        view = self.site.cluster.devices.get(f"default/{name}")
        found = view.condition(type) if view is not None else None
        return (found.status, found.reason, found.message) if found is not None else ("", "", "")

    async def until(self, name: str, type: str, status: str, reason: str, message: str = "") -> None:
        """Wait for a condition; `message` is a part of its message."""

        def there() -> bool:
            found = self.condition(name, type)
            return found[:2] == (status, reason) and message in found[2]

        try:
            await self.site.until(f"{type} of {name} is {status}, {reason}", there, DEADLINE_S)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {self.condition(name, type)}") from error


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    plc = Plc(moving=False)
    await plc.start()
    try:
        async with running_site(tmp_path / "site") as site:
            mapper = MapperProcess(tmp_path, site.stack.ports.mqtt)
            await mapper.start()
            try:
                desk = Desk(site, plc)
                await desk.apply()
                await desk.until("boiler", "Healthy", "True", "Online")
                await desk.until("meter", "Healthy", "True", "Online")
                yield desk
            finally:
                await mapper.stop()
    finally:
        await plc.stop()


async def test_a_silent_device_says_its_last_error_until_it_answers(desk: Desk) -> None:
    desk.plc.faults[1].silent = True
    await desk.until("boiler", "Healthy", "False", "NoAnswer", "unit 1 did not answer within 200 ms")
    assert desk.site.cluster.devices["default/boiler"].status.state == "offline"
    assert desk.condition("meter", "Healthy")[0] == "True"
    described = await describe(desk.site, "boiler")
    if described:
        assert "did not answer within 200 ms" in described
    desk.plc.faults[1].silent = False
    await desk.until("boiler", "Healthy", "True", "Online")


async def test_a_wrong_definition_is_refused_with_key_reason_and_nearest_name_until_it_is_right(desk: Desk) -> None:
    wrong = copy.deepcopy(desk.manifests)
    keys = visitor(wrong, "boiler", "setpoint")
    keys["scal"] = keys.pop("scale")
    await desk.apply(wrong)
    await desk.until(
        "boiler", "Healthy", "False", "DefinitionRefused", "unknown key `scal` in Device property 'setpoint'"
    )
    assert "did you mean `scale`?" in desk.condition("boiler", "Healthy")[2]
    await desk.apply()
    await desk.until("boiler", "Healthy", "True", "Online")


async def test_a_refused_write_says_its_reason_until_the_value_is_followed(desk: Desk) -> None:
    desk.plc.faults[1].refuses = {6: 4}
    await desk.apply(desiring(desk, "80"))
    await desk.until("boiler", "Applied", "False", "Refused", "setpoint: '80': 127.0.0.1")
    assert "exception 4 (server device failure)" in desk.condition("boiler", "Applied")[2]
    assert desk.condition("boiler", "Healthy")[0] == "True"
    desk.plc.faults[1].refuses = {}
    await desk.apply(desiring(desk, "81"))
    await desk.until("boiler", "Applied", "True", "Applied")
    assert await desk.plc.get("boiler/setpoint") == 81


async def test_a_property_that_cannot_be_read_is_named_and_the_others_go_on(desk: Desk) -> None:
    beyond = copy.deepcopy(desk.manifests)
    visitor(beyond, "boiler", "pressure")["offset"] = 60_000
    await desk.apply(beyond)
    await desk.until("boiler", "Healthy", "False", "Unreadable", "pressure: ")
    assert "exception 2 (illegal data address)" in desk.condition("boiler", "Healthy")[2]
    assert desk.site.cluster.devices["default/boiler"].status.state == "online"
    await desk.apply()
    await desk.until("boiler", "Healthy", "True", "Online")


def desiring(desk: Desk, setpoint: str) -> list[dict[str, Any]]:
    manifests = copy.deepcopy(desk.manifests)
    for p in device(manifests, "boiler")["spec"]["properties"]:
        if p["name"] == "setpoint":
            p["desired"] = {"value": setpoint}
    return manifests


async def describe(site: Site, name: str) -> str:
    """What `kubectl describe device` prints; empty on a machine without kubectl."""
    if shutil.which("kubectl") is None:
        return ""
    arguments = ("--kubeconfig", str(site.stack.kubeconfig), "describe", "device", name)
    process = await asyncio.create_subprocess_exec("kubectl", *arguments, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(DEADLINE_S):
            printed, _ = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    return printed.decode()
