"""docs/hil.md says what is so."""

import re
from pathlib import Path

from device_fw.tools import board_file
from hil_tests.bench import desk
from hil_tests.bench.bench_file import load
from hil_tests.bench.boards import CAPABILITIES
from hil_tests.bench.kinds import KINDS

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "hil.md").read_text()


def test_the_desk_of_the_page_is_a_bench(tmp_path: Path) -> None:
    (example,) = re.findall(r"(?s)```yaml\n(# desk\.yaml\n.*?)```", PAGE)
    file = tmp_path / "desk.yaml"
    file.write_text(example)
    bench = load(file)
    assert set(bench.boards) == {"pico", "esp32"}
    assert desk.lacking(bench, ["board.power", "modbus-tcp", "modbus-rtu", "serial", "ble"]) == ""


def test_the_board_file_of_the_page_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"(?s)```yaml\n(# pico\.yaml\n.*?)```", PAGE)
    file = tmp_path / "pico.yaml"
    file.write_text(example)
    described = board_file.load(file)
    assert {"temperature", "led"} <= set(described.properties)


def test_every_capability_and_every_kind_stands_in_the_page() -> None:
    for name, meaning in CAPABILITIES.items():
        assert f"| `{name}` | {meaning} |" in PAGE
    for kind in KINDS:
        assert f"| `{kind}` | " in PAGE


def test_every_test_of_the_fault_matrix_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", PAGE.partition("## Fault matrix")[2])
    assert len(named) > 20
    for file, test in named:
        assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{test}"
