"""The plan of a board's pins: what a board cannot do is said before anything is soldered, or flashed."""

from typing import Any

import pytest

from device_fw.tools import catalogue
from device_fw.tools.errors import FirmwareError
from device_fw.tools.pins import PinPlan

Wish = tuple[str, dict[str, Any]]
BME: Wish = ("bme280", {})
PUMP: Wish = ("digital_out", {"pin": 2})


def plan(board: str, *wishes: Wish) -> None:
    """Give these drivers the pins they wish on that board."""
    pins = PinPlan(catalogue.boards()[board], "mqtt")
    for number, (driver, options) in enumerate(wishes):
        pins.add(f"p{number}", driver, options)


def test_buses_are_shared_and_so_are_equal_drivers() -> None:
    plan("pico_w", BME, ("sht3x", {}), ("bme280", {"address": 0x77}))
    plan("pico_w", ("ds18b20", {"pin": 3}), ("ds18b20", {"pin": 3, "rom": "28ff641f75160419"}))
    plan("pico_w", ("digital_in", {"pin": 3}), ("digital_in", {"pin": 3}))
    plan("pico_w", ("digital_out", {"pin": "LED"}))


@pytest.mark.parametrize(
    ("board", "wishes", "problem"),
    [
        ("pico_w", [("digital_out", {"pin": 23})], r"the board has no pin 23 to use; it has 0-22, 26-28, LED"),
        ("esp32", [("digital_out", {"pin": 34})], "pin 34 is an input only"),
        ("esp32", [("ds18b20", {"pin": 36})], "pin 36 is an input only"),
        ("pico_w", [("pwm", {"pin": "LED"})], "pin LED can be switched and nothing else"),
        ("esp32", [("pwm", {"pin": 35})], "pin 35 is an input only"),
        ("esp32", [("adc", {"pin": 25})], "pin 25 cannot measure voltages; 32-36, 39 can"),
        ("esp32", [("digital_in", {"pin": 6})], "the board has no pin 6 to use"),
        ("unix", [PUMP, ("digital_out", {"pin": 2, "inverted": True})], "pin 2 is used by 'p0' already"),
        ("unix", [BME, ("digital_out", {"pin": 4})], "pin 4 is used by 'p0' already"),
        ("unix", [BME, ("bme280", {"sda": 5, "scl": 4, "address": 0x77})], "pin 5 is used by 'p0' already"),
        ("unix", [("ds18b20", {"pin": 2}), PUMP], "pin 2 is used by 'p0' already"),
    ],
)
def test_what_cannot_be_is_said(board: str, wishes: list[Wish], problem: str) -> None:
    with pytest.raises(FirmwareError, match=problem):
        plan(board, *wishes)
