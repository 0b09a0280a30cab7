"""Updates of a board without a network: the same messages, over its serial line and the gateway's serial mapper."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewire import ota
from hil_tests.bench import updates
from hil_tests.bench.ota_gateway import OtaGateway
from hil_tests.bench.unix_board import Unavailable, UnixBoard
from hil_tests.conftest import missing
from hil_tests.test_linked_board import mapper
from hil_tests.test_modbus_mapper import Gateway, MapperProcess, gateway

__all__ = ["gateway", "mapper"]  # fixtures

DEVICE = "default/b1"
DEADLINE_S = 40.0


@pytest.fixture
def board(tmp_path: Path) -> Iterator[UnixBoard]:
    try:
        made = UnixBoard(tmp_path / "board", heap_kb=updates.HEAP_KB)
    except Unavailable as error:
        missing(str(error))
        raise
    yield made
    print(made.printed()[-3000:])  # noqa: T201, for whoever reads of a failure
    made.close()


def manifests(port: str) -> list[dict[str, Any]]:
    own = {"name": "temperature", "type": "FLOAT", "accessMode": "ReadOnly"}
    of_updates = [
        {"name": name, "type": "INT" if name == ota.FIRMWARE_PROGRESS else "STRING", "accessMode": "ReadOnly"}
        for name in ota.PROPERTIES
    ]
    api = "devices.kubeedge.io/v1beta1"
    protocol = {"protocolName": "serial", "configData": {"port": port, "framing": "board"}}
    model = {"protocol": "serial", "properties": [own, *of_updates]}
    device = {
        "deviceModelRef": {"name": "b"},
        "nodeName": "edge-1",
        "protocol": protocol,
        "properties": [{"name": p["name"]} for p in model["properties"]],  # type: ignore[index]
    }
    return [
        {"apiVersion": api, "kind": "DeviceModel", "metadata": {"name": "b"}, "spec": model},
        {"apiVersion": api, "kind": "Device", "metadata": {"name": "b1"}, "spec": device},
    ]


@pytest.mark.timeout(120)
async def test_a_board_without_a_network_is_updated_too(
    board: UnixBoard, gateway: Gateway, mapper: MapperProcess
) -> None:
    first, second = (updates.signed(_files(version), version, n) for n, version in ((1, "1.0.0"), (2, "1.1.0")))
    board.push(updates.serial_flash(first, DEVICE))
    with await asyncio.to_thread(OtaGateway(gateway.broker.port).__enter__) as site:
        gateway.apply(manifests(board.port))
        board.power_on()
        await asyncio.to_thread(site.until, DEVICE, DEADLINE_S, firmware="1.0.0")
        site.offer(DEVICE, second)
        await asyncio.to_thread(site.until, DEVICE, DEADLINE_S, firmware="1.1.0", state=ota.CONFIRMED)


def _files(version: str) -> dict[str, bytes]:
    return {**updates.sources("serial"), "version.txt": version.encode()}
