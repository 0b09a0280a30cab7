"""`hedgerow flash` gets in by itself: whatever the board does, and however late it answers."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_fw.tools import flash_entry
from device_fw.tools.flash_board import BoardConnection
from device_fw.tools.flash_errors import NoAnswer
from hil_tests.bench.late_line import LateLine
from hil_tests.bench.small_firmware import SmallFirmware
from hil_tests.bench.unix_board import Unavailable, UnixBoard
from hil_tests.conftest import missing

MOMENTS = 30


@pytest.fixture
def board(tmp_path: Path) -> Iterator[UnixBoard]:
    """A board at work, with the small firmware."""
    try:
        made = UnixBoard(tmp_path / "board", flash_bytes=1 << 18)
    except Unavailable as error:
        missing(str(error))
    made.push({**SmallFirmware().files(), "config.json": b"{}"})
    with made:
        made.expect(SmallFirmware().line(), 30)
        yield made


@pytest.mark.parametrize(
    ("after", "late_s"),
    [
        (b"KeyboardInterrupt", 0.6),
        (b"raw REPL; CTRL-B", 0.6),
        (b"raw REPL; CTRL-B", 2.5),
        (b"OK", 0.6),
        (b"R\x01", 0.6),
    ],
)
def test_a_board_that_answers_late_is_entered(board: UnixBoard, after: bytes, late_s: float) -> None:
    with LateLine(board.port, after, late_s) as line, BoardConnection(line.port) as connection:
        assert connection.facts().platform == "linux"
        assert set(connection.files()) == {*SmallFirmware().files(), "config.json"}


def test_ctrl_c_at_any_moment_of_the_start_leads_to_the_repl_with_the_flash_as_it_is(board: UnixBoard) -> None:
    moments = random.Random(1)
    for _ in range(MOMENTS):
        board.cycle()
        time.sleep(moments.random() / 25)  # into the start, wherever that is by then
        board.write(b"\x03")
        with BoardConnection(board.port) as connection:
            assert set(connection.files()) == {*SmallFirmware().files(), "config.json"}


def test_a_board_that_nobody_hears_is_told_of_before_it_is_given_up(
    board: UnixBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flash_entry, "QUIET_S", 0.5)
    said: list[str] = []
    board.power_off()
    with pytest.raises(NoAnswer, match="answers no raw REPL within 2 s"):
        BoardConnection(board.port, say=said.append).open(2.0)
    assert len(said) == 1
    assert "press the board's reset button" in said[0]
