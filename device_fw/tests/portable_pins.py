"""Drivers of pins, on emulated ones, and what all drivers share: runs on CPython and on MicroPython."""

import emulated_pins

from device_fw.drivers import adc, complete, digital_in, digital_out, pwm, simulated
from device_fw.tests.portable_chips import made, near, reading, surrounded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def refused(call: "Callable[..., object]", *arguments: "Any", **keys: "Any") -> str:
    """The text of the ValueError that the call must raise."""
    try:
        call(*arguments, **keys)
    except ValueError as error:
        return str(error)
    raise AssertionError("no ValueError")


def wait(ms: int) -> None:
    """Let time pass."""
    from device_fw.tests import portable_chips

    portable_chips._now[0] += ms


# --- options


def test_options_are_completed_and_what_is_wrong_is_named() -> None:
    known = {"pin": None, "pull": ("none", "up"), "inverted": False, "scale": 1.0, "rom": "", "average": 8}
    given = {"pin": 5, "scale": 2}
    assert complete(known, given) == {
        "pin": 5, "pull": "none", "inverted": False, "scale": 2, "rom": "", "average": 8,
    }  # fmt: skip
    assert complete(known, {"pin": "LED"})["pin"] == "LED"
    assert refused(complete, known, {}) == "option pin is missing"
    assert refused(complete, known, {"pin": 1, "pul": 1}).startswith("unknown option pul; known are average, inverted")
    for key, value, problem in (
        ("pin", -1, "-1 is no whole number from 0"),
        ("pin", True, "True is no whole number from 0"),
        ("pull", "left", "'left' is none of none, up"),
        ("inverted", 1, "1 is no bool"),
        ("scale", "1", "'1' is no number"),
        ("rom", 1, "1 is no str"),
        ("average", 1.5, "1.5 is no whole number from 0"),
    ):
        wrong: dict[str, object] = {"pin": 1}
        wrong[key] = value
        assert refused(complete, known, wrong) == f"option {key}: {problem}"


# --- digital in


def test_an_input_follows_its_pin_once_it_is_quiet() -> None:
    pins = surrounded(pins={"10": 0})["pins"]
    driver = made(digital_in, pin=10, debounce_ms=20)
    assert reading(driver) == {"state": False, "count": 0}
    pins["10"] = 1
    assert reading(driver) == {"state": False, "count": 0}
    wait(19)
    assert reading(driver) == {"state": False, "count": 0}
    wait(1)
    assert reading(driver) == {"state": True, "count": 1}


def test_bounces_count_once_and_spikes_not_at_all() -> None:
    pins = surrounded(pins={"11": 0})["pins"]
    driver = made(digital_in, pin=11, debounce_ms=20)
    pins["11"] = [1, 0, 1, 0, 1]
    reading(driver)
    wait(30)
    assert reading(driver) == {"state": True, "count": 1}
    pins["11"] = [1, 0, 1]
    reading(driver)
    wait(30)
    assert reading(driver) == {"state": True, "count": 1}


def test_a_change_between_two_readings_is_counted() -> None:
    pins = surrounded(pins={"12": 0})["pins"]
    driver = made(digital_in, pin=12, debounce_ms=20, edges="both")
    reading(driver)
    pins["12"] = 1
    emulated_pins.Pin(12).value()  # where the emulation notices: a board's interrupt needs nobody to look
    wait(50)
    pins["12"] = 0
    emulated_pins.Pin(12).value()
    wait(50)
    assert reading(driver) == {"state": False, "count": 2}


def test_the_edges_that_are_asked_for_count() -> None:
    pins = surrounded(pins={})["pins"]
    outcome = []
    for number, edges in enumerate(("rising", "falling", "both")):
        pin = 13 + number
        pins[str(pin)] = 0
        driver = made(digital_in, pin=pin, debounce_ms=0, edges=edges)
        pins[str(pin)] = [1, 0, 1, 0, 1]
        outcome.append(reading(driver)["count"])
    assert outcome == [3, 2, 5]


def test_an_inverted_input_is_true_when_low_and_a_pull_decides_an_open_one() -> None:
    pins = surrounded(pins={})["pins"]
    driver = made(digital_in, pin=16, pull="up", inverted=True, debounce_ms=0)
    assert reading(driver) == {"state": False, "count": 0}
    pins["16"] = 0
    assert reading(driver) == {"state": True, "count": 1}
    assert reading(made(digital_in, pin=17, pull="down")) == {"state": False, "count": 0}


# --- outputs


def test_an_output_has_its_initial_state_and_takes_another() -> None:
    surrounded()
    for inverted in (False, True):
        driver = made(digital_out, pin=2, inverted=inverted, initial=True)
        assert reading(driver) == {"state": True}
        assert emulated_pins.Pin(2).value() == int(not inverted)
        driver.write("state", False)
        assert reading(driver) == {"state": False}
        assert emulated_pins.Pin(2).value() == int(inverted)


def test_a_pwm_is_set_by_percent_duty_or_frequency() -> None:
    surrounded()
    driver = made(pwm, pin=3, frequency_hz=500, initial=25)
    assert reading(driver) == {"percent": 16384 * 100 / 65535, "duty": 16384, "frequency": 500}
    driver.write("percent", 50)
    assert reading(driver)["duty"] == 32768
    driver.write("duty", 65535)
    assert reading(driver)["percent"] == 100
    driver.write("frequency", 20000)
    assert reading(driver) == {"percent": 100, "duty": 65535, "frequency": 20000}
    for key, value in (("percent", 101), ("percent", -1), ("duty", 65536), ("frequency", 0), ("frequency", 100000000)):
        refused(driver.write, key, value)
    assert reading(driver) == {"percent": 100, "duty": 65535, "frequency": 20000}
    refused(made, pwm, pin=3, initial=101)


def test_an_inverted_pwm_is_low_for_its_share() -> None:
    surrounded()
    driver = made(pwm, pin=4, inverted=True, initial=0)
    assert driver._pwm.duty_u16() == 65535
    assert reading(driver)["percent"] == 0


# --- analog, simulated


def test_an_adc_gives_volts_and_what_they_stand_for() -> None:
    volts = surrounded(volts={"26": 1.65})["volts"]
    driver = made(adc, pin=26, scale=100.0, offset=-50, average=4)
    found = reading(driver)
    assert near(found["volts"], 1.65, 0.001)
    assert near(found["value"], 115, 0.1)
    volts["26"] = 5.0
    assert reading(driver)["volts"] == 3.3
    refused(made, adc, pin=26, average=0)
    refused(made, adc, pin=26, average=65)


def test_a_simulated_sensor_wanders_within_its_limits_the_same_for_the_same_seed() -> None:
    options = {"seed": 1, "minimum": -1.0, "maximum": 1.0, "step": 0.25}
    one, other = made(simulated, **options), made(simulated, **options)
    values = [reading(one)["value"] for _ in range(500)]
    assert values == [reading(other)["value"] for _ in range(500)]
    assert (min(values), max(values)) == (-1, 1)
    assert max([abs(a - b) for a, b in zip(values, values[1:])]) == 0.25
