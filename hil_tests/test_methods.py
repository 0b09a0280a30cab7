"""A method called by an application on the gateway's broker, carried out by the Modbus mapper on an emulated PLC."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edgewire import topics
from hil_tests.bench.plc import Plc
from hil_tests.test_modbus_mapper import (
    Gateway,
    RetainingClient,
    connected,
    device,
    gateway,
    mapping,
    plc,
    plc_manifests,
    twin,
    until,
)

__all__ = ["gateway", "plc"]  # fixtures

CALL = topics.of_device("default/boiler", topics.METHOD)
RESULT = topics.of_device("default/boiler", topics.METHOD_RESULT)


def manifests(plc: Plc) -> list[dict[str, Any]]:
    found = plc_manifests(plc)
    device(found, "boiler")["spec"]["methods"] = [{"name": "adjust", "propertyNames": ["setpoint", "pump"]}]
    return found


@pytest.fixture
async def application(tmp_path: Path, gateway: Gateway, plc: Plc) -> AsyncIterator[RetainingClient]:
    """An application beside a running mapper whose boiler is online."""
    gateway.apply(manifests(plc))
    async with mapping(tmp_path, gateway.broker.port), connected(gateway.broker.port) as client:
        await asyncio.to_thread(client.subscribe, topics.of_device("+/+", topics.GET_RESULT), RESULT)

        async def known() -> bool:
            return "setpoint" in await twin(client, "boiler")

        await until(known)
        yield client


async def call(client: RetainingClient, event: str, **arguments: str) -> dict[str, Any]:
    content = {"event_id": event, "method": "adjust", "arguments": arguments}
    assert await asyncio.to_thread(client.publish, CALL, json.dumps(content))
    answer: dict[str, Any] = json.loads(await asyncio.to_thread(client.next, RESULT))
    return answer


async def test_a_method_writes_registers_answers_what_they_hold_and_the_twin_follows(
    application: RetainingClient, plc: Plc
) -> None:
    answer = await call(application, "c1", setpoint="65.5", pump="false")
    assert (answer["event_id"], answer["result"]) == ("c1", {"setpoint": "65.5", "pump": "false"})
    assert (await plc.get("boiler/setpoint"), await plc.get("boiler/pump")) == (65.5, False)

    async def follows() -> bool:
        return (await twin(application, "boiler")).get("setpoint") == "65.5"

    await until(follows)


async def test_a_method_is_refused_by_the_limits_of_the_model_and_by_the_device(
    application: RetainingClient, plc: Plc
) -> None:
    answer = await call(application, "c1", setpoint="95", pump="false")
    assert (answer["code"], answer["reason"]) == (400, "setpoint: above the maximum 90")
    assert await plc.get("boiler/pump") is True
    plc.faults[1].refuses = {6: 4}
    answer = await call(application, "c2", setpoint="70")
    assert (answer["code"], "exception 4 (server device failure)" in answer["reason"]) == (502, True)


async def test_a_retained_call_is_not_made(tmp_path: Path, gateway: Gateway, plc: Plc) -> None:
    gateway.apply(manifests(plc))
    content = {"event_id": "c1", "method": "adjust", "arguments": {"setpoint": "65.5"}}
    async with connected(gateway.broker.port) as client:
        assert await asyncio.to_thread(client.retain, CALL, json.dumps(content))
        async with mapping(tmp_path, gateway.broker.port) as mapper:
            await until(lambda: "call refused, it is retained" in mapper.log())
            await until(lambda: len(plc.requests) > 20)
            assert await plc.get("boiler/setpoint") == 60.0
