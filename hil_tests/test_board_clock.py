"""A board's own clock, set by the firmware: `machine.RTC` on the bench's board, and how far off it is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from device_fw.tools import firmware, sources
from hil_tests.bench.unix_board import Unavailable, UnixBoard
from hil_tests.conftest import missing

T_S = 1900000000  # in 2030, a Sunday

MAIN = f"""
from device_fw.boards.hardware import Board
board = Board("pico", {{}}, buses=object())
print("before", board.unix_ms())
board.set_unix_ms({T_S * 1000 + 123})
print("off", board.unix_ms() - {T_S * 1000})
"""


@pytest.fixture
def board(tmp_path: Path) -> Iterator[UnixBoard]:
    """A board whose clock nobody has set: it begins in 2000."""
    try:
        made = UnixBoard(tmp_path / "board", heap_kb=160, clock_s=-30 * 365 * 86400)
        made.push(_pico())
    except (Unavailable, firmware.FirmwareError) as error:
        missing(str(error))
        return
    yield made
    made.close()


def _pico() -> dict[str, bytes]:
    found = sources.closure(["device_fw.boards.hardware", "device_fw.boards.pico"])
    return firmware.compiled({**{path: file.read_bytes() for path, file in found.items()}, "main.py": MAIN.encode()})


def test_a_clock_that_nobody_set_tells_nothing_until_the_firmware_sets_it(board: UnixBoard) -> None:
    board.power_on()
    board.expect("before 0\\s")
    off_ms = int(board.expect(r"off (-?\d+)\s")[1])
    assert -1000 <= off_ms < 5000
