"""The self-test of a firmware on trial."""

import json
from pathlib import Path
from typing import Any

import pytest

from device_fw.firmware import update_parts


class Sensors:
    """A board whose properties read as told: a value, or the error that is raised."""

    def __init__(self, **properties: "float | Exception") -> None:
        self.properties = properties

    def read(self, name: str) -> float:
        found = self.properties[name]
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def flash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A board's root folder, with its configuration."""
    (tmp_path / "config.json").write_text(json.dumps({"name": "default/b1", "host": "gateway"}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problem(**properties: "float | Exception") -> str:
    board: Any = Sensors(**properties)
    return update_parts.self_test(board)


def test_a_board_is_well_while_one_sensor_answers_or_it_has_none(flash: Path) -> None:
    assert problem(a=1.0, b=2.0) == ""
    assert problem(a=OSError("no answer"), b=2.0) == ""
    assert problem() == ""


def test_a_board_is_not_well_when_no_sensor_answers(flash: Path) -> None:
    assert problem(a=OSError("gone"), b=ValueError("no reading yet")) == "no property can be read: b: no reading yet"


def test_a_board_is_not_well_without_a_configuration_that_it_can_read(flash: Path) -> None:
    (flash / "config.json").write_text("{}")
    assert problem(a=1.0).startswith("config.json: key ")
    (flash / "config.json").unlink()
    assert problem(a=1.0).startswith("config.json: ")
