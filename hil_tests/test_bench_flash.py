"""The bench's board, emulated or real, is flashed, and updated over the air."""

import time
from pathlib import Path

import pytest

from device_fw.tools import OLDEST_RUNTIME, board_file, firmware
from device_fw.tools.errors import FirmwareError
from device_fw.tools.flash import flash
from device_fw.tools.flash_board import BoardConnection
from device_fw.tools.flash_order import Order
from device_fw.tools.flash_slots import Slots
from edgewire import ota
from hil_tests.bench import updates
from hil_tests.bench.boards import Board
from hil_tests.bench.broker import BenchBroker
from hil_tests.bench.ota_gateway import OtaGateway
from hil_tests.bench.small_firmware import Silent, SmallFirmware
from hil_tests.conftest import missing

ROOT = Path(__file__).resolve().parents[1]
UNIX = "board: unix\nname: default/b1\nproperties:\n  temperature: {driver: simulated}\n"


class Pulled(Exception):
    """The tool is no more."""


def small(board: Board, number: int) -> SmallFirmware:
    """The small firmware, for whatever this board is."""
    with BoardConnection(board.port) as connection:
        platform = connection.facts().platform
    made = SmallFirmware(number)
    made.platform = platform
    return made


@pytest.mark.timeout(300)
@pytest.mark.needs("board.repl", "board.push", "board.reset")
def test_a_board_is_flashed_and_only_what_changed_is_written_again(board: Board) -> None:
    board.power_on()
    flash(Order(small(board, 1), port=board.port), Silent())
    board.reset()
    board.expect(SmallFirmware(1).line(), 30)
    outcome = flash(Order(small(board, 2), port=board.port), Silent())
    assert set(outcome.written) == {"config.py", "lib/two.py"}
    board.reset()
    board.expect(SmallFirmware(2).line(), 30)


@pytest.mark.timeout(300)
@pytest.mark.needs("board.repl", "board.push", "board.reset")
def test_a_flashing_that_was_cut_off_is_completed(board: Board) -> None:
    board.power_on()
    commands = 0

    def on_command() -> None:
        nonlocal commands
        commands += 1
        if commands == 12:
            raise Pulled

    with pytest.raises(Pulled):
        flash(Order(small(board, 3), port=board.port, on_command=on_command), Silent())
    flash(Order(small(board, 3), port=board.port), Silent())
    board.reset()
    board.expect(SmallFirmware(3).line(), 30)


@pytest.mark.timeout(300)
@pytest.mark.needs("board.repl", "board.push", "board.network", "board.firmware", "board.tls")
def test_a_board_takes_an_update_over_the_air(board: Board, bench_broker: BenchBroker, tmp_path: Path) -> None:
    path = board.board_file
    if path is None:
        path = tmp_path / "board.yaml"
        path.write_text(UNIX)
    try:
        described, umqtt = board_file.load(path), firmware.umqtt_simple(ROOT / firmware.CACHE)
        new = {**firmware.compiled(firmware.collect(described, umqtt)), "version.txt": b"1.1.0"}
    except FirmwareError as error:
        missing(str(error))
        raise
    old = Slots(
        described, umqtt, wanted_version="1.0.0", key=updates.KEY, public=updates.KEY.public, runtime=OLDEST_RUNTIME
    )
    device = str(old.configuration["name"])
    board.power_on()
    with OtaGateway(bench_broker.port) as gateway:
        where = {"host": bench_broker.host, "port": bench_broker.port}
        flash(Order(old, where, port=board.port), Silent())
        gateway.until(device, firmware="1.0.0")
        gateway.offer(device, updates.signed(new, "1.1.0", int(time.time()) + 3600, board=described.board))
        gateway.until(device, state=ota.CONFIRMED, firmware="1.1.0")
