"""The inventory of boards: conditions, forgetting, several processes at once."""

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from device_fw.tools.inventory import Condition, Entry, Inventory, InventoryError

PICO = Entry(
    "pico_w", "e661", "/dev/ttyACM0", "default/greenhouse-1", "1.4.0", "ab12", "1.28.0", "2026-11-20T10:00:00Z", "desk"
)
ESP = Entry("esp32", "246f", "/dev/ttyUSB0", "plant/boiler", "1.3.0", "cd34", "1.27.0", "2026-11-21T10:00:00Z", "van")


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    found = Inventory(tmp_path / "bench" / "boards.json")
    found.record(PICO)
    found.record(ESP)
    return found


def test_boards_come_by_device_name_and_only_once(inventory: Inventory, tmp_path: Path) -> None:
    newer = replace(PICO, firmware="1.5.0", port="/dev/ttyACM1")
    inventory.record(newer)
    assert inventory.find() == [newer, ESP]
    assert Inventory(tmp_path / "bench" / "boards.json").find() == [newer, ESP]
    assert Inventory(tmp_path / "none.json").find() == []


def test_the_file_can_be_read_by_anybody(inventory: Inventory, tmp_path: Path) -> None:
    found = json.loads((tmp_path / "bench" / "boards.json").read_text())
    assert [entry["device"] for entry in found["_default"].values()] == ["default/greenhouse-1", "plant/boiler"]
    assert sorted(path.name for path in (tmp_path / "bench").iterdir()) == ["boards.json", "boards.json.lock"]


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        (["board=esp32"], [ESP]),
        (["board=esp"], []),
        (["board~^esp"], [ESP]),
        (["device~green", "firmware=1.4.0"], [PICO]),
        (["device~green", "firmware=1.3.0"], []),
        (["firmware~."], [PICO, ESP]),
        (["firmware=1x4.0"], []),
        (["runtime~1\\.2[78]", "station=van"], [ESP]),
    ],
)
def test_conditions_hold_together(inventory: Inventory, conditions: list[str], found: list[Entry]) -> None:
    assert inventory.find(map(Condition, conditions)) == found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("board", "is neither key=value nor key~expression"),
        ("borad=x", "no key 'borad': did you mean 'board'"),
        ("zzz=x", "no key 'zzz': keys are board, unique_id"),
        ("board~(", "is no regular expression"),
    ],
)
def test_a_wrong_condition_is_named(text: str, reason: str) -> None:
    with pytest.raises(InventoryError, match=reason):
        Condition(text)


def test_a_board_is_forgotten_by_name_or_id(inventory: Inventory) -> None:
    assert inventory.forget("boiler") == [ESP]
    assert inventory.forget("e661") == [PICO]
    assert inventory.find() == []
    with pytest.raises(InventoryError, match=r"no board 'e661' in .*; there are: none"):
        inventory.forget("e661")


@pytest.mark.parametrize("content", ["", "[]", "{", '{"_default": 3}', '{"_default": {"1": "x"}}'])
def test_a_damaged_file_is_named_and_stays(tmp_path: Path, content: str) -> None:
    path = tmp_path / "boards.json"
    path.write_text(content)
    with pytest.raises(InventoryError, match=r"boards\.json is no inventory.*remove it"):
        Inventory(path).find()
    with pytest.raises(InventoryError):
        Inventory(path).record(PICO)
    assert path.read_text() == content


def test_processes_that_record_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "boards.json"
    context = multiprocessing.get_context("spawn")
    several = [context.Process(target=_record_many, args=(path, station)) for station in range(3)]
    for process in several:
        process.start()
    for process in several:
        process.join(60)
        assert process.exitcode == 0
    assert len(Inventory(path).find()) == 60


def _record_many(path: Path, station: int) -> None:
    for number in range(20):
        Inventory(path).record(replace(PICO, unique_id=f"{station}-{number}"))
