"""Flashing that is cut off at any step, and done again: the board is complete, byte for byte, and runs."""

import itertools
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from device_fw.tools import board_file, firmware, signing
from device_fw.tools.flash import flash
from device_fw.tools.flash_errors import FlashError
from device_fw.tools.flash_order import Order
from device_fw.tools.flash_slots import Slots
from hil_tests.bench.small_firmware import Silent, SmallFirmware
from hil_tests.bench.unix_board import Unavailable, UnixBoard
from hil_tests.conftest import missing

ROOT = Path(__file__).resolve().parents[1]
BOARDS = 4
"""At a time: most of a cut is waiting."""
SILENT_S = 1.0

THEIRS = {"own/state": b"kept", "notes.txt": b"theirs"}
OURS_TO_REMOVE = {"old/slot": b"x" * 300, "lib/gone.py": b"x", "main.py.part": b"x"}


class Cut(Exception):
    """The tool is no more."""


class Desk:
    """A board that runs version 1, and as often as it is asked for, another one just like it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        with UnixBoard(folder / "first", flash_bytes=1 << 18) as board:
            self.unique_id = board.unique_id
            flash(order(board, 1), Silent())
            board.power_off()
            board.push({**THEIRS, **OURS_TO_REMOVE})
            self._image = board.flash_image.read_bytes()

    def board(self, number: int) -> UnixBoard:
        """A board, off; `number` tells it from the others that are there."""
        board = UnixBoard(self._folder / f"b{number}", flash_bytes=1 << 18, unique_id=self.unique_id)
        board.flash_image.write_bytes(self._image)
        return board


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Boards as they come back from a site."""
    try:
        yield Desk(tmp_path)
    except Unavailable as error:
        missing(str(error))


@pytest.fixture
def umqtt() -> Path:
    """umqtt.simple's file."""
    try:
        return firmware.umqtt_simple(ROOT / firmware.CACHE)
    except firmware.FirmwareError as error:
        missing(str(error))
        raise


def order(board: UnixBoard, number: int, on_command: Callable[[], None] | None = None, silent_s: float = 10.0) -> Order:
    """To have a version on a board."""
    return Order(SmallFirmware(number), port=board.port, on_command=on_command, answer_s=silent_s, patience_s=silent_s)


def commands(desk: Desk) -> int:
    """How many commands it takes to bring a board from version 1 to 2."""
    count = 0

    def on_command() -> None:
        nonlocal count
        count += 1

    with desk.board(0) as board:
        flash(order(board, 2, on_command), Silent())
    return count


def finish(board: UnixBoard) -> None:
    """Flash again, and see that everything is there: on the console, and byte for byte."""
    board.power_on()
    flash(order(board, 2), Silent())
    board.expect(SmallFirmware(2).line())
    board.power_off()
    found = board.files()
    config = found.pop("config.json")
    assert found == SmallFirmware(2).files() | THEIRS
    assert b"default/small" in config


def everywhere(desk: Desk, steps: range, cut: Callable[[UnixBoard, int], None]) -> None:
    """Cut a board off at each step, and finish it."""

    def one(number: int) -> None:
        board = desk.board(number)
        try:
            board.power_on()
            cut(board, number)
            finish(board)
        finally:
            board.close()

    with ThreadPoolExecutor(BOARDS) as pool:
        for _ in pool.map(one, steps):
            pass


@pytest.mark.timeout(180)
def test_power_cut_before_any_command_leaves_nothing_that_a_second_run_does_not_complete(desk: Desk) -> None:
    def cut(board: UnixBoard, at: int) -> None:
        count = 0

        def on_command() -> None:
            nonlocal count
            count += 1
            if count == at:
                board.power_off()
                raise Cut

        with pytest.raises(Cut):
            flash(order(board, 2, on_command), Silent())

    total = commands(desk)
    assert total > 15
    everywhere(desk, range(1, total + 1), cut)


@pytest.mark.timeout(180)
def test_power_cut_in_the_midst_of_any_write_to_the_flash_is_noticed_and_completed(desk: Desk) -> None:
    noticed: set[int] = set()

    def cut(board: UnixBoard, at: int) -> None:
        board.power_off()
        board.cut_power_after(at)
        board.power_on()
        try:
            flash(order(board, 2, silent_s=SILENT_S), Silent())
        except FlashError:
            if board.off_because == "cut":
                noticed.add(at)
        board.power_off()
        board.cut_power_after(0)  # if it did not come to that

    for first in itertools.count(1, 2 * BOARDS):
        batch = range(first, first + 2 * BOARDS)
        everywhere(desk, batch, cut)
        if noticed.isdisjoint(batch):  # there are no more writes
            break
    assert len(noticed) > 10


@pytest.mark.timeout(180)
def test_tool_killed_before_any_command_leaves_nothing_that_a_second_run_does_not_complete(desk: Desk) -> None:
    def cut(board: UnixBoard, at: int) -> None:
        count = 0

        def on_command() -> None:
            nonlocal count
            count += 1
            if count == at:
                raise Cut

        with pytest.raises(Cut):
            flash(order(board, 2, on_command), Silent())

    everywhere(desk, range(1, commands(desk) + 1), cut)


def test_a_second_run_on_a_complete_board_writes_nothing(desk: Desk) -> None:
    with desk.board(0) as board:
        first = flash(order(board, 2), Silent())
        again = flash(order(board, 2), Silent())
    assert first.written == ("config.py", "lib/two.py")
    assert first.removed == ("lib/gone.py", "main.py.part", "old/slot")
    assert (again.written, again.removed, again.password) == ((), (), "")
    assert again.image == first.image


@pytest.mark.timeout(240)
def test_a_signed_firmware_cut_off_anywhere_on_its_way_is_completed_and_starts(tmp_path: Path, umqtt: Path) -> None:
    """The real layout with slots, over one of another version: at a few of its commands, for each run compiles it anew."""
    path = tmp_path / "board.yaml"
    path.write_text("board: unix\nname: b1\nproperties:\n  temperature: {driver: simulated}\n")
    key = signing.new_key()
    described = board_file.load(path)

    def version(number: str) -> Slots:
        return Slots(described, umqtt, wanted_version=number, key=key, public=key.public, runtime="1.20.0")

    def flashed(board: UnixBoard, number: str, on_command: Callable[[], None] | None = None) -> None:
        flash(Order(version(number), {"host": "127.0.0.1"}, port=board.port, on_command=on_command), Silent())

    with UnixBoard(tmp_path / "board", heap_kb=256) as board:
        flashed(board, "1.0.0")
        total = 0

        def count() -> None:
            nonlocal total
            total += 1

        flashed(board, "1.1.0", count)
        for number, at in enumerate(range(8, total, total // 5)):
            left = at

            def on_command() -> None:
                nonlocal left
                left -= 1
                if not left:
                    board.power_off()
                    raise Cut

            wanted = f"2.{number}.0"
            with pytest.raises(Cut):
                flashed(board, wanted, on_command)
            board.power_on()
            flashed(board, wanted)
            board.expect(f"event=boot .*slot='a'.*version='{re.escape(wanted)}'")
            board.expect("event=started")
