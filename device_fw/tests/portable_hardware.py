"""Boards made of drivers: when what is read, what a failure does to the others. Runs on CPython and on MicroPython."""

import emulated_pins

from device_fw.boards import unix
from device_fw.boards.buses import Buses
from device_fw.boards.equipment import with_changes
from device_fw.boards.hardware import Board
from device_fw.drivers import SensorError
from device_fw.tests.portable_chips import _now, surrounded
from device_fw.tests.portable_pins import refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ROM = "28ff641f75160419"


def board(**properties: object) -> Board:
    """A board with these properties on emulated pins."""
    buses = Buses(emulated_pins, unix, lambda: _now[0], lambda a, b: a - b)
    return Board("unix", properties, buses)  # type: ignore[arg-type]


def entry(driver: str, reading: str, interval_ms: int = 1000, **keys: object) -> "dict[str, object]":
    """One property of a configuration."""
    made: dict[str, object] = {"driver": driver, "reading": reading, "interval_ms": interval_ms, "type": "float"}
    made.update(keys)
    return made


def climate() -> "dict[str, Any]":
    """A board's surroundings with a BME280 and a DS18B20."""
    return surrounded(
        i2c=[{"kind": "bme280", "sda": 4, "scl": 5, "address": 0x76, "temperature": 21.5, "humidity": 45.0}],
        onewire=[{"pin": 6, "rom": ROM, "temperature": 4.0}],
    )


def test_each_sensor_is_read_at_its_own_interval_and_none_waits_for_another() -> None:
    climate()
    made = board(
        air=entry("bme280", "temperature", 5000),
        humidity=entry("bme280", "humidity", 5000),
        water=entry("ds18b20", "temperature", 2000, options={"pin": 6}),
    )
    log = []
    while _now[0] < 5200:
        for name in made.due(_now[0]):
            log.append((_now[0], name))
        _now[0] += max(1, made.wait_ms(_now[0]))
    assert sorted(log) == [
        (11, "air"), (11, "humidity"), (751, "water"), (2751, "water"), (4751, "water"), (5011, "air"), (5011, "humidity"),
    ]  # fmt: skip
    assert (made.read("water"), round(made.read("air"), 1)) == (4.0, 21.5)  # type: ignore[arg-type]


def test_a_sensor_that_fails_says_so_and_harms_no_other() -> None:
    said = climate()
    said["i2c"][0]["fault"] = "silent"
    made = board(air=entry("bme280", "temperature"), water=entry("ds18b20", "temperature", options={"pin": 6}))
    assert made.due(0) == ["air"]
    try:
        made.read("air")
    except SensorError as error:
        assert str(error).startswith("no answer (0x76")
    else:
        raise AssertionError
    _now[0] = 750
    assert made.due(750) == []  # ticks are whole: one more than it takes
    _now[0] = 751
    assert made.due(751) == ["water"]
    assert made.read("water") == 4.0
    said["i2c"][0]["fault"] = ""
    _now[0] = 1000
    assert made.due(1000) == []  # both measure
    _now[0] = 1011
    assert made.due(1011) == ["air"]
    assert made.read("air") != 0


def test_a_reading_that_does_not_fit_into_memory_or_makes_no_sense_stops_nothing() -> None:
    climate()
    for error in (MemoryError("no memory"), ValueError("nonsense")):
        made = board(air=entry("bme280", "temperature"), chip=entry("chip", "temperature"))

        def fail(error: Exception = error) -> None:
            raise error

        made._of["air"]._driver.start = fail
        assert sorted(made.due(_now[0])) == ["air", "chip"]
        try:
            made.read("air")
        except (MemoryError, ValueError) as seen:
            assert seen is error
        else:
            raise AssertionError
        assert made.read("chip") == 32


def test_an_output_is_written_and_says_what_it_is() -> None:
    surrounded()
    made = board(
        pump={"driver": "digital_out", "reading": "state", "type": "boolean", "writable": True, "options": {"pin": 2}},
        lamp={
            "driver": "digital_out",
            "reading": "state",
            "writable": True,
            "values": ["OFF", "ON"],
            "options": {"pin": 3},
        },
        fan={"driver": "pwm", "reading": "percent", "type": "int", "writable": True, "options": {"pin": 8}},
    )
    assert sorted(made.due(0)) == ["fan", "lamp", "pump"]
    made.write("pump", True)
    made.write("lamp", "ON")
    made.write("fan", 33)
    assert [made.read(name) for name in ("pump", "lamp", "fan")] == [True, "ON", 33]
    refused(made.write, "fan", 101)
    assert made.read("fan") == 33
    assert made.properties["lamp"].text(made.read("lamp")) == "ON"


def test_what_is_wrong_with_a_property_is_named() -> None:
    surrounded()
    for keys, reason in (
        (entry("bme281", "temperature"), "property x: no driver bme281 in this firmware"),
        (entry("bme280", "colour"), "property x: no reading colour of driver bme280"),
        (entry("digital_in", "state"), "property x: option pin is missing"),
        (entry("bme280", "temperature", options={"adress": 1}), "property x: unknown option adress"),
        ({"driver": "chip", "reading": "temperature", "type": "number"}, "property x: type number is none of"),
    ):
        assert refused(board, x=keys).startswith(reason), refused(board, x=keys)


def test_an_unset_clock_is_no_time() -> None:
    assert board().unix_ms() > 1700000000000


def test_the_configuration_of_one_board_changes_what_its_firmware_says() -> None:
    own: "dict[str, dict[str, Any]]" = {
        "water": {"driver": "ds18b20", "reading": "temperature", "dead_band": 1, "options": {"pin": 6}},
        "pump": {"driver": "digital_out", "reading": "state"},
    }
    changes: "dict[str, dict[str, Any]]" = {
        "water": {"dead_band": 2, "options": {"rom": ROM}},
        "lamp": {"driver": "digital_out"},
    }
    assert with_changes(own, changes) == {
        "water": {"driver": "ds18b20", "reading": "temperature", "dead_band": 2, "options": {"pin": 6, "rom": ROM}},
        "pump": own["pump"],
        "lamp": {"driver": "digital_out"},
    }
    assert own["water"]["options"] == {"pin": 6}
    assert with_changes({}, {}) == {}


def test_what_the_board_does_meanwhile_does_not_shorten_a_conversion() -> None:
    climate()
    made = board(water=entry("ds18b20", "temperature", options={"pin": 6}))
    _now[0] = 400  # since the board looked at its clock
    assert made.due(0) == []
    _now[0] = 1150
    assert made.due(1150) == []
    assert made.wait_ms(1150) == 1
    _now[0] = 1151
    assert made.due(1151) == ["water"]
    assert made.read("water") == 4.0
