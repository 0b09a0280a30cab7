"""Drivers of sensors, against chips emulated at the level of registers and bits: runs on CPython and on MicroPython."""

import emulated_pins
from emulated.surroundings import around

from device_fw.boards import unix
from device_fw.boards.buses import Buses
from device_fw.drivers import SensorError, bme280, chip, complete, crc8, dht, ds18b20, sht3x

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_now = [0]
ROM = "28ff641f75160419"
OTHER = "280102030405069e"


def made(module: "Any", **options: object) -> "Any":
    """A driver on the emulated pins."""
    buses = Buses(emulated_pins, unix, lambda: _now[0], lambda a, b: a - b)
    full = complete(module.Driver.OPTIONS, options)
    if hasattr(module.Driver, "check"):
        module.Driver.check(full)
    return module.Driver(buses, full)


def surrounded(**said: object) -> "dict[str, Any]":
    """The board's surroundings, which the test may change."""
    _now[0] = 0
    around.now_ms = lambda: _now[0]
    around.say(said)
    return said


def reading(driver: "Any") -> "dict[str, Any]":
    """A conversion, and what came of it."""
    _now[0] += driver.start()
    found: dict[str, Any] = driver.read()
    return found


def failure(call: "Callable[..., object]", *arguments: object) -> str:
    """The text of the SensorError that the call must raise."""
    try:
        call(*arguments)
    except SensorError as error:
        return str(error)
    raise AssertionError("no SensorError")


def near(value: float, wanted: float, by: float) -> bool:
    """Whether a value is as wanted, but for the steps of the converter."""
    return abs(value - wanted) <= by


# --- CRCs, against the data sheets


def test_crcs_are_those_of_the_data_sheets() -> None:
    assert crc8.sensirion(b"\xbe\xef") == 0x92  # SHT3x-DIS, 4.12
    assert crc8.maxim(b"\x02\x1c\xb8\x01\x00\x00\x00") == 0xA2  # application note 27
    assert crc8.maxim(b"\x02\x1c\xb8\x01\x00\x00\x00\xa2") == 0


# --- BME280


def weather(**changes: object) -> "dict[str, Any]":
    """Air around a BME280."""
    sensor: dict[str, Any] = {"kind": "bme280", "sda": 4, "scl": 5, "address": 0x76}
    sensor.update(temperature=21.5, humidity=45.0, pressure=1013.25)
    sensor.update(changes)
    surrounded(i2c=[sensor])
    return sensor


def test_bme280_compensates_as_the_data_sheet_does() -> None:
    # BST-BMP280-DS001, 3.12, has the example; temperature and pressure of the BME280 are the same.
    low = b"\x70\x6b\x43\x67\x18\xfc\x7d\x8e\x43\xd6\xd0\x0b\x27\x0b\x8c\x00\xf9\xff\x8c\x3c\xf8\xc6\x70\x17\x00\x4b"
    calibration = bme280.Calibration(low, b"\x6a\x01\x00\x13\x29\x03\x1e")
    fine = calibration.fine(519888)
    assert fine == 128422
    assert calibration.centidegrees(fine) == 2508
    assert (
        calibration.pressure_256(415148, fine) == 25767233
    )  # it prints 25767236, that of floating point: 0.01 Pa apart
    assert calibration._humidity == (75, 362, 0, 313, 50, 30)


def test_bme280_measures_what_is_there() -> None:
    driver = made(bme280)
    for temperature, humidity, pressure in (
        (21.5, 45.0, 1013.25),
        (-38.2, 3.0, 330.0),
        (84.9, 97.5, 1090.0),
        (0, 60, 850),
    ):
        weather(temperature=temperature, humidity=humidity, pressure=pressure)
        found = reading(driver)
        assert near(found["temperature"], temperature, 0.02), found
        assert near(found["humidity"], humidity, 0.1), found
        assert near(found["pressure"], pressure, 0.05), found


def test_bme280_says_when_nothing_answers_and_comes_back() -> None:
    sensor = weather(fault="silent")
    driver = made(bme280)
    assert failure(reading, driver) == "no answer (0x76 on sda 4, scl 5)"
    sensor["fault"] = ""
    assert near(reading(driver)["temperature"], 21.5, 0.02)
    assert driver.start() == 10
    sensor["fault"] = "silent"
    assert "no answer" in failure(driver.read)
    sensor["fault"] = ""
    assert near(reading(driver)["temperature"], 21.5, 0.02)


def test_bme280_names_another_chip_at_its_address() -> None:
    weather(fault="wrong-id")
    assert failure(made(bme280).start) == "chip id 0x58 of a BMP280 is no BME280's (0x76 on sda 4, scl 5)"
    weather(address=0x77)
    assert "no answer (0x76" in failure(made(bme280).start)
    assert made(bme280, address=0x77).start() == 10


def test_bme280_frees_a_bus_that_is_held() -> None:
    sensor = weather(fault="hung")
    driver = made(bme280)
    assert failure(driver.start) == "sda is held low (0x76 on sda 4, scl 5)"
    assert near(reading(driver)["temperature"], 21.5, 0.02)
    sensor["fault"] = "sda-held"
    assert "sda is held low" in failure(reading, driver)
    sensor["fault"] = "clock-held"
    assert "the bus is held" in failure(reading, driver)


def test_bme280_gives_nothing_that_was_not_measured() -> None:
    sensor = weather()
    driver = made(bme280)
    driver.start()
    assert "still measures" in failure(driver.read)
    driver.start()
    emulated_pins.SoftI2C(sda=emulated_pins.Pin(4), scl=emulated_pins.Pin(5)).writeto(0x76, b"\xe0\xb6")  # a reset
    assert "has not measured" in failure(driver.read)
    sensor["fault"] = "never-ready"
    assert "still measures" in failure(reading, driver)


def test_two_bme280_share_a_bus() -> None:
    sensor = weather()
    around.now()["i2c"].append(dict(sensor, address=0x77, temperature=5.0))
    one, other = made(bme280), made(bme280, address=0x77)
    assert near(reading(one)["temperature"], 21.5, 0.02)
    assert near(reading(other)["temperature"], 5.0, 0.02)


# --- SHT3x


def test_sht3x_formulas_are_those_of_the_data_sheet() -> None:
    assert (sht3x.celsius(0), sht3x.celsius(0xFFFF)) == (-45, 130)
    assert (sht3x.percent(0), sht3x.percent(0xFFFF)) == (0, 100)


def test_sht3x_measures_what_is_there() -> None:
    sensor = {"kind": "sht3x", "sda": 4, "scl": 5, "address": 0x44, "temperature": -12.3, "humidity": 81.2}
    surrounded(i2c=[sensor])
    driver = made(sht3x)
    found = reading(driver)
    assert near(found["temperature"], -12.3, 0.01)
    assert near(found["humidity"], 81.2, 0.01)
    sensor["fault"] = "crc"
    assert failure(reading, driver) == "CRC error (0x44 on sda 4, scl 5)"
    assert "answers, but not as an SHT3x" in failure(driver.start)
    sensor["fault"] = ""
    assert near(reading(driver)["humidity"], 81.2, 0.01)


def test_sht3x_does_not_wait_for_a_conversion() -> None:
    surrounded(i2c=[{"kind": "sht3x", "sda": 4, "scl": 5, "address": 0x45}])
    driver = made(sht3x, address=0x45)
    driver.start()
    assert "no answer" in failure(driver.read)


def test_a_bme280_is_no_sht3x() -> None:
    weather(address=0x44)
    assert "not as an SHT3x" in failure(made(sht3x).start)


# --- DS18B20


def wires(*sensors: "tuple[str, float]") -> "list[dict[str, Any]]":
    """Sensors on pin 6."""
    return surrounded(onewire=[{"pin": 6, "rom": rom, "temperature": t} for rom, t in sensors])["onewire"]  # type: ignore[no-any-return]


def test_ds18b20_formula_is_that_of_the_data_sheet() -> None:
    table = ((0x07D0, 125), (0x0550, 85), (0x0191, 25.0625), (0x00A2, 10.125), (0x0008, 0.5), (0, 0))
    for raw, wanted in table + ((0xFFF8, -0.5), (0xFF5E, -10.125), (0xFE6F, -25.0625), (0xFC90, -55)):
        assert ds18b20.celsius(raw & 0xFF, raw >> 8) == wanted


def test_ds18b20_alone_needs_no_rom() -> None:
    wires((ROM, -10.125))
    driver = made(ds18b20, pin=6)
    assert driver.start() == 750
    _now[0] += 750
    assert driver.read() == {"temperature": -10.125}


def test_several_ds18b20_share_a_pin() -> None:
    wires((ROM, 20.5), (OTHER, 85.0))
    one, other = made(ds18b20, pin=6, rom=ROM), made(ds18b20, pin=6, rom=OTHER)
    one.start()
    other.start()
    _now[0] += 750
    assert (one.read(), other.read()) == ({"temperature": 20.5}, {"temperature": 85.0})
    assert failure(reading, made(ds18b20, pin=6)).startswith(
        "CRC error; if there are several on this pin, each needs its rom"
    )


def test_a_coarser_ds18b20_is_faster() -> None:
    wires((ROM, 20.9))
    driver = made(ds18b20, pin=6, resolution_bits=9)
    assert driver.start() == 93
    _now[0] += 94
    assert driver.read() == {"temperature": 20.5}


def test_a_ds18b20_that_is_not_there_is_named_with_those_that_are() -> None:
    sensors = wires((ROM, 20.0))
    found = failure(reading, made(ds18b20, pin=6, rom=OTHER))
    assert found == f"no answer ({OTHER} on pin 6); there: {ROM}"
    sensors[0]["fault"] = "silent"
    assert failure(made(ds18b20, pin=6).start) == "no answer (DS18B20 on pin 6): nothing on the line"


def test_a_ds18b20_with_a_bad_line_or_without_power_is_told() -> None:
    sensors = wires((ROM, 20.0))
    driver = made(ds18b20, pin=6, rom=ROM)
    sensors[0]["fault"] = "crc"
    assert failure(reading, driver).startswith(f"CRC error ({ROM} on pin 6)")
    sensors[0]["fault"] = "power"
    assert "was without power during the conversion" in failure(reading, driver)
    sensors[0]["fault"] = ""
    assert reading(driver) == {"temperature": 20.0}


def test_a_search_finds_all_ds18b20_on_a_pin() -> None:
    roms = [ROM, OTHER, "28aabbccddeeff" + "{:02x}".format(crc8.maxim(bytes.fromhex("28aabbccddeeff")))]
    wires(*[(rom, 20.0) for rom in roms])
    wire = Buses(emulated_pins, unix, lambda: 0, lambda a, b: 0).one_wire(6)
    assert sorted([bytes(rom).hex() for rom in wire.scan()]) == sorted(roms)


def test_a_rom_id_that_is_none_is_refused() -> None:
    assert crc8.maxim(bytes.fromhex(ROM)) == crc8.maxim(bytes.fromhex(OTHER)) == 0
    for text, reason in (
        ("28ff64", "is not 16 hexadecimal digits"),
        ("28ff641f75160zzz", "is not 16 hexadecimal digits"),
        ("28ff641f75160418", "is misspelt: its CRC is 19"),
        ("10" + OTHER[2:14] + "{:02x}".format(crc8.maxim(bytes.fromhex("10" + OTHER[2:14]))), "is of a DS18S20"),
    ):
        try:
            made(ds18b20, pin=6, rom=text)
        except ValueError as error:
            assert reason in str(error), str(error)
        else:
            raise AssertionError(text)


# --- DHT, chip


def test_dht_formats_are_those_of_the_data_sheets() -> None:
    assert dht.dht22(b"\x02\x8c\x01\x5f\xee") == (35.1, 65.2)
    assert dht.dht22(b"\x02\x8c\x80\x65\x73")[0] == -10.1
    assert dht.dht11(b"\x35\x00\x18\x04\x51") == (24.4, 53.0)
    assert dht.dht11(b"\x35\x00\x0a\x81\xc0")[0] == -10.1


def test_dht_is_asked_after_it_woke_up_and_its_sum_is_checked() -> None:
    sensor = {"pin": 7, "kind": "dht11", "temperature": -3.4, "humidity": 61.0}
    surrounded(dht=[sensor])
    driver = made(dht, pin=7, kind="dht11")
    assert (driver.start(), driver.start()) == (1000, 0)
    assert driver.read() == {"temperature": -3.4, "humidity": 61.0}
    sensor["kind"] = "dht22"
    assert reading(made(dht, pin=7)) == {"temperature": -3.4, "humidity": 61.0}
    sensor["fault"] = "crc"
    assert failure(driver.read) == "checksum error (DHT on pin 7)"
    sensor["fault"] = "silent"
    assert failure(driver.read) == "no answer (DHT on pin 7)"


def test_the_chip_tells_its_own_temperature() -> None:
    surrounded(chip_temperature=41.5)
    assert reading(made(chip)) == {"temperature": 41.5}
