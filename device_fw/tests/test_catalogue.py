"""What boards and drivers say of themselves: complete, of the right types, and loaded by the real MicroPython."""

import ast
import subprocess

import pytest

from device_fw import drivers
from device_fw.firmware.properties import TYPES
from device_fw.tests.conftest import PINS, ROOT
from device_fw.tools import catalogue, firmware
from device_fw.tools.pins import listed
from edgewire.ota_manifest import ARCHITECTURES
from hil_tests.bench import micropython_board

BOARDS = catalogue.boards()
DRIVERS = catalogue.drivers()
DOCUMENTATION = (ROOT / "docs/sensors.md").read_text()


def test_the_boards_and_drivers_are_there() -> None:
    assert {"unix", "esp32", "esp32_s2", "esp32_s3", "esp32_c3", "pico", "pico_w"} <= set(BOARDS)
    assert {"digital_in", "digital_out", "adc", "pwm", "chip", "simulated"} <= set(DRIVERS)
    assert {"bme280", "sht3x", "ds18b20", "dht"} <= set(DRIVERS)


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_says_what_the_tools_ask(name: str) -> None:
    board = BOARDS[name]
    assert board.ARCH in ARCHITECTURES
    assert board.PLATFORM in ("esp32", "rp2", "linux")
    assert len(set(board.PINS)) == len(board.PINS)
    assert set(board.ANALOG) <= set(board.PINS)
    assert set(board.I2C) <= set(board.OUTPUTS) <= set(board.PINS)
    assert len(board.I2C) == 2
    assert board.ADC_VOLTS == 3.3
    assert board.NETWORK in (True, False)
    assert board.WATCHDOG_MS > 1000
    assert callable(board.temperature)


@pytest.mark.parametrize("name", BOARDS)
def test_the_documentation_has_the_boards_pins(name: str) -> None:
    b = BOARDS[name]
    transport = "mqtt, serial" if b.NETWORK else "serial"
    cells = (
        f"`{name}`",
        listed(b.PINS),
        listed(b.ANALOG),
        "{}, {}".format(*b.I2C),
        transport,
        f"{b.WATCHDOG_MS / 1000:g} s",
    )
    assert f"| {' | '.join(cells)} |" in DOCUMENTATION.splitlines()


@pytest.mark.parametrize("name", DRIVERS)
def test_the_documentation_has_the_drivers_keys_and_deadlines(name: str) -> None:
    driver = DRIVERS[name]
    row = next(line for line in DOCUMENTATION.splitlines() if line.startswith(f"| `{name}` |"))
    for key in (*driver.READINGS, *driver.OPTIONS):
        assert f"`{key}`" in row, key
    assert row.endswith(f"| {driver.DEADLINE_MS} ms |")


@pytest.mark.parametrize("name", DRIVERS)
def test_a_driver_says_what_the_tools_ask(name: str) -> None:
    driver = DRIVERS[name]
    for kind, unit, digits in driver.READINGS.values():
        assert kind in TYPES
        assert isinstance(unit, str)
        assert 0 <= digits <= 4
    assert set(driver.OUTPUTS) <= set(driver.READINGS)
    assert hasattr(driver, "write") == bool(driver.OUTPUTS)
    assert 0 <= driver.SHORTEST_MS <= driver.INTERVAL_MS
    assert 0 < driver.DEADLINE_MS <= 300
    assert driver.PIN in ("", "in", "out", "pwm", "analog", "i2c", "onewire")
    assert bool(driver.PIN) == any(role in driver.OPTIONS for role in drivers.PINS)
    needed = {key: 1 for key, default in driver.OPTIONS.items() if default is None}
    assert set(drivers.complete(driver.OPTIONS, needed)) == set(driver.OPTIONS)


@pytest.mark.parametrize("name", DRIVERS)
def test_no_driver_sleeps_or_reaches_past_its_buses(name: str) -> None:
    tree = ast.parse((ROOT / f"device_fw/drivers/{name}.py").read_bytes())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported -= {"typing", "device_fw.boards.buses"}  # for the type checker
    assert {module for module in imported if module.partition(".")[0] != "device_fw"} <= {"struct"}


def test_all_of_them_load_on_micropython_and_compile(micropython: None) -> None:
    modules = [f"device_fw.boards.{name}" for name in BOARDS] + [f"device_fw.drivers.{name}" for name in DRIVERS]
    code = f"for name in {modules}: __import__(name)\nprint('ok')"
    env = {**micropython_board.environment([ROOT, PINS]), "HEDGEROW_BOARD_CLOCK": "0"}
    done = subprocess.run(
        micropython_board.command("-c", code), env=env, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout == "ok\n", done.stdout + done.stderr
    paths = [f"{module.replace('.', '/')}.py" for module in modules]
    assert len(firmware.compiled({path: (ROOT / path).read_bytes() for path in paths}, "armv6m")) == len(modules)
