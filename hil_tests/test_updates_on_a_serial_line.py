"""Updates of a board without a network: the same messages, over its serial line and the gateway's serial mapper."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from edgewire import device, ota, topics
from hil_tests.bench import mosquitto, updates
from hil_tests.bench.ota_gateway import OtaGateway
from hil_tests.bench.unix_board import Unavailable, UnixBoard
from hil_tests.conftest import missing
from hil_tests.test_serial_mapper import configured

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


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[OtaGateway]:
    """A gateway's part on a broker of its own, and the real mapper."""
    try:
        with mosquitto.mosquitto(tmp_path) as port, OtaGateway(port) as found:
            mapper = configured(tmp_path, port)
            await mapper.start()
            try:
                yield found
            finally:
                assert await mapper.stop() == 0
    except mosquitto.MosquittoMissing as error:
        missing(str(error))


def definition(port: str) -> bytes:
    """The device and its model, as the mapper learns them."""
    names = {"temperature": "FLOAT", **dict.fromkeys(ota.PROPERTIES, "STRING"), ota.FIRMWARE_PROGRESS: "INT"}
    properties = [{"name": name, "type": type, "accessMode": "ReadOnly"} for name, type in names.items()]
    metadata = {"namespace": "default", "uid": "1", "resourceVersion": "1"}
    of_device = {
        "deviceModelRef": {"name": "b"},
        "nodeName": "edge-1",
        "protocol": {"protocolName": "serial", "configData": {"port": port, "framing": "board"}},
        "properties": [{"name": name} for name in names],
    }
    model = {"metadata": {**metadata, "name": "b"}, "spec": {"protocol": "serial", "properties": properties}}
    parsed = device.parse_device(json.dumps({"metadata": {**metadata, "name": "b1"}, "spec": of_device}).encode())
    return device.encode_mapper_device(device.MapperDevice(parsed, device.parse_model(json.dumps(model).encode())))


@pytest.mark.timeout(120)
async def test_a_board_without_a_network_is_updated_too(board: UnixBoard, site: OtaGateway) -> None:
    first, second = (updates.signed(_files(version), version, n) for n, version in ((1, "1.0.0"), (2, "1.1.0")))
    board.push(updates.serial_flash(first, DEVICE))
    board.power_on()
    site.retain(topics.mapper_device("serial", DEVICE), definition(board.port))
    site.retain(topics.mapper_index("serial"), json.dumps({"devices": [DEVICE]}))
    await asyncio.to_thread(site.until, DEVICE, DEADLINE_S, firmware="1.0.0")
    site.offer(DEVICE, second)
    await asyncio.to_thread(site.until, DEVICE, DEADLINE_S, firmware="1.1.0", state=ota.CONFIRMED)


def _files(version: str) -> dict[str, bytes]:
    return {**updates.sources("serial"), "version.txt": version.encode()}
