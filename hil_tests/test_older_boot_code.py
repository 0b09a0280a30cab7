"""A board in the field keeps the boot code that it was flashed with; the newest firmware must get on with the first one."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_fw.tools import firmware, signing
from edgewire import ota
from hil_tests.bench import mosquitto, updates
from hil_tests.bench.ota_gateway import OtaGateway
from hil_tests.bench.unix_board import Unavailable, UnixBoard
from hil_tests.conftest import missing

DEVICE = "default/b1"
FIRST = Path(__file__).parent / "bench" / "first_boot_code.zip"
"""Its sources, as they were on 2026-11-22; never to be brought up to date."""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[OtaGateway]:
    """A gateway's part on a broker of its own."""
    try:
        with mosquitto.mosquitto(tmp_path) as port, OtaGateway(port) as found:
            yield found
    except mosquitto.MosquittoMissing as error:
        missing(str(error))


@pytest.fixture
def board(tmp_path: Path, gateway: OtaGateway) -> Iterator[UnixBoard]:
    """A board with today's firmware on the first boot code, which said that it is there."""
    try:
        made = UnixBoard(tmp_path / "board", heap_kb=updates.HEAP_KB, flash_bytes=1 << 20)
    except Unavailable as error:
        missing(str(error))
    with zipfile.ZipFile(FIRST) as content:
        boot = firmware.compiled({path: content.read(path) for path in content.namelist()})
    files = updates.flash(updates.build("1.0.0", 1), DEVICE, gateway.port)
    made.push({**{path: data for path, data in files.items() if path not in updates.boot()}, **boot})
    with made:
        gateway.until(DEVICE, firmware="1.0.0")
        yield made
        print(made.printed()[-3000:])  # noqa: T201, for whoever reads of a failure


@pytest.mark.timeout(180)
def test_updates_are_confirmed_reverted_and_refused_on_the_first_boot_code(
    board: UnixBoard, gateway: OtaGateway
) -> None:
    gateway.offer(DEVICE, updates.build("1.1.0", 2))
    gateway.until(DEVICE, state=ota.CONFIRMED, firmware="1.1.0")
    gateway.offer(DEVICE, updates.build("1.2.0", 3, {"main.py": updates.RAISES}))
    gateway.until(DEVICE, state=ota.REVERTED, reason=ota.EXCEPTION, firmware="1.1.0")
    gateway.offer(DEVICE, updates.build("1.3.0", 4, key=signing.new_key()))
    gateway.until(DEVICE, state=ota.REFUSED, reason=ota.BAD_SIGNATURE, firmware="1.1.0")
    board.power_off()
    assert "hedgerow_boot/changes.mpy" not in board.files()
