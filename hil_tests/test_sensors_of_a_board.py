"""A board from its board file: the real firmware as bytecode, with the drivers it names, on the emulated board and its chips."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from device_fw.tests.watcher import Watcher, until
from device_fw.tools import board_file, firmware
from hil_tests.bench import board_rom, micropython_board
from hil_tests.bench import mosquitto as bench_mosquitto
from hil_tests.bench.unix_board import Unavailable, UnixBoard
from hil_tests.conftest import missing

GREENHOUSE = Path(__file__).resolve().parents[1] / "examples/greenhouse"
D = "$hw/events/device/default/greenhouse/"
ROM = "28ff641f75160419"
HEAP_KB = 192

Surroundings = dict[str, Any]


@pytest.fixture
def described(tmp_path: Path) -> board_file.BoardFile:
    """The example's board file, for the emulated board and in a hurry."""
    shutil.copy(GREENHOUSE / "model.yaml", tmp_path)
    content = yaml.safe_load((GREENHOUSE / "board.yaml").read_text())
    content["board"] = "unix"
    for name in ("air", "humidity"):
        content["properties"][name]["interval_ms"] = 100
    content["properties"]["water"]["interval_ms"] = 1000
    (tmp_path / "board.yaml").write_text(yaml.safe_dump(content))
    return board_file.load(tmp_path / "board.yaml")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[int]:
    """mosquitto; its port."""
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    try:
        with bench_mosquitto.mosquitto(folder) as port:
            yield port
    except bench_mosquitto.MosquittoMissing as error:
        missing(str(error))


@pytest.fixture
def sources(described: board_file.BoardFile, broker: int) -> dict[str, bytes]:
    """All that the board's flash holds, before it is compiled."""
    try:
        files = firmware.collect(described)
    except firmware.FirmwareError as error:
        missing(str(error))
        raise
    config = {**described.configuration(), "host": "127.0.0.1", "port": broker}
    return {**files, "config.json": json.dumps(config).encode()}


@pytest.fixture
def board(tmp_path: Path, sources: dict[str, bytes]) -> Iterator[UnixBoard]:
    """The board, off, with its firmware and its sensors."""
    try:
        made = UnixBoard(tmp_path / "board", heap_kb=HEAP_KB)
    except Unavailable as error:
        missing(str(error))
        raise
    made.push(firmware.compiled(sources, "x64"))
    surround(made, weather())
    yield made
    made.close()


def weather() -> Surroundings:
    """What is around the board."""
    return {
        "i2c": [{"kind": "bme280", "sda": 4, "scl": 5, "address": 0x76, "temperature": 21.5, "humidity": 45.0}],
        "onewire": [{"pin": 6, "rom": ROM, "temperature": 4.5}],
        "pins": {"7": 1},
    }


def surround(board: UnixBoard, said: Surroundings) -> None:
    """Change what is around the board."""
    new = board.folder / "hardware.new"
    new.write_text(json.dumps(said))
    new.rename(board.folder / "hardware.json")


def newest(site: Watcher) -> dict[str, str]:
    """The last reported value of each property."""
    found: dict[str, str] = {}
    for report in site.on(D + "twin/update"):
        found.update({name: twin["actual"]["value"] for name, twin in report["twin"].items()})
    return found


def near(text: str | None, wanted: float, by: float) -> bool:
    """Whether a value was reported, and is as wanted."""
    return text is not None and abs(float(text) - wanted) <= by


def warm(site: Watcher, celsius: float) -> Callable[[], bool]:
    """Whether the air has that temperature by now."""
    return lambda: near(newest(site).get("air"), celsius, 0.1)


async def test_all_its_sensors_and_outputs_report(board: UnixBoard, broker: int) -> None:
    async with Watcher(broker) as site:
        board.power_on()
        await until(lambda: {"air", "humidity", "water", "door", "pump"} <= set(newest(site)))
        found = newest(site)
        assert near(found["air"], 21.5, 0.02)
        assert near(found["humidity"], 45, 0.1)
        assert (found["water"], found["door"], found["pump"]) == ("4.5", "false", "false")
        assert "event=sensor_failed" not in board.printed()


async def test_the_configuration_of_one_board_changes_what_its_firmware_measures(
    board: UnixBoard, broker: int, sources: dict[str, bytes]
) -> None:
    config = json.loads(sources["config.json"])
    config["properties"] = {"pump": {"options": {"initial": True}}, "air": {"digits": 0}}
    board.push({"config.json": json.dumps(config).encode()})
    async with Watcher(broker) as site:
        board.power_on()
        await until(lambda: {"air", "pump"} <= set(newest(site)))
        assert newest(site)["pump"] == "true"
        assert newest(site)["air"] in ("21", "22")  # of 21.5, give or take a hundredth


async def test_what_changes_around_it_is_reported(board: UnixBoard, broker: int) -> None:
    async with Watcher(broker) as site:
        board.power_on()
        await until(warm(site, 21.5))
        surround(board, {**weather(), "pins": {"7": 0}, "i2c": [{**weather()["i2c"][0], "temperature": -7.25}]})
        await until(warm(site, -7.25))
        await until(lambda: newest(site)["door"] == "true")


async def test_a_delta_switches_its_output(board: UnixBoard, broker: int) -> None:
    async with Watcher(broker) as site:
        board.power_on()
        await until(lambda: newest(site).get("pump") == "false")
        desired = {"twin": {"pump": {"expected": {"value": "true"}}}, "delta": {"pump": "true"}}
        site.say(D + "twin/update/delta", desired)
        await until(lambda: newest(site)["pump"] == "true")
        assert json.loads((board.folder / "pins.json").read_text()) == {"15": 1}


async def test_a_sensor_that_fails_is_told_once_and_harms_no_other(board: UnixBoard, broker: int) -> None:
    async with Watcher(broker) as site:
        surround(board, {**weather(), "onewire": []})
        board.power_on()
        await until(warm(site, 21.5))
        surround(board, {**weather(), "i2c": [{**weather()["i2c"][0], "fault": "silent"}]})
        board.expect(r"sensor_failed property=air reason='no answer \(0x76 on sda 4, scl 5\)'")
        await until(lambda: "air: no answer (0x76" in site.on(D + "state/update")[-1].get("message", ""))
        await until(lambda: newest(site).get("water") == "4.5")
        surround(board, {**weather(), "i2c": [{**weather()["i2c"][0], "temperature": 30}]})
        await until(warm(site, 30))
        assert board.printed().count("sensor_failed property=water reason='no answer") == 1
        assert board.printed().count("sensor_back property=water") == 1


_HEAP = """
import gc, json, machine, emulated_pins, onewire
from emulated import bme280, ds18b20, surroundings
from device_fw.firmware import agent, config, mqtt_link, station
loaded = config.load("config.json")
gc.collect()
before = gc.mem_alloc()
from device_fw import boards
board = boards.load(loaded)
gc.collect()
print(gc.mem_alloc() - before)
"""


def test_four_drivers_take_no_more_of_the_heap_than_the_documentation_says(
    tmp_path: Path, sources: dict[str, bytes]
) -> None:
    for path, content in firmware.compiled(sources, "x64").items():
        (tmp_path / "flash" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "flash" / path).write_bytes(content)
    try:
        line = micropython_board.command("-c", _HEAP)
    except Unavailable as error:
        missing(str(error))
    env = {**micropython_board.environment([tmp_path / "flash", board_rom.SOURCES]), "HEDGEROW_BOARD_CLOCK": "0"}
    done = subprocess.run(
        line, cwd=tmp_path / "flash", env=env, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) < 40_000  # 7,000 of it where the table of names happens to be doubled
