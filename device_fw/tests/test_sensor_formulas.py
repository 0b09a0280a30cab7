"""What drivers compute, over all that a converter can say: whole numbers against the data sheets' formulas in floating point."""

from emulated import bme280 as by_floats
from emulated.bme280 import Bme280
from hypothesis import given
from hypothesis import strategies as st

from device_fw.drivers import bme280, crc8, dht, ds18b20, sht3x


def calibration() -> bme280.Calibration:
    """That of the emulated chip, as a driver reads it."""
    chip = Bme280(lambda: 0)
    chip.write(b"\x88", {})
    low = chip.read(26, {})
    chip.write(b"\xe1", {})
    return bme280.Calibration(low, chip.read(7, {}))


OF_CHIP = calibration()
WITHIN = (400_000, 620_000)  # of temperature: -13 to 57 °C with that calibration


@given(st.integers(*WITHIN))
def test_bme280_temperature(raw: int) -> None:
    fine = OF_CHIP.fine(raw)
    assert abs(OF_CHIP.centidegrees(fine) / 100 - by_floats.fine(raw) / 5120) < 0.011


@given(st.integers(*WITHIN), st.integers(200_000, 700_000))
def test_bme280_pressure(raw_temperature: int, raw: int) -> None:
    fine = OF_CHIP.fine(raw_temperature)
    assert abs(OF_CHIP.pressure_256(raw, fine) / 256 - by_floats.pascal(raw, fine)) < 0.5


@given(st.integers(*WITHIN), st.integers(0, 0xFFFF))
def test_bme280_humidity(raw_temperature: int, raw: int) -> None:
    fine = OF_CHIP.fine(raw_temperature)
    exact = min(100.0, max(0.0, by_floats.percent(raw, fine)))
    assert abs(OF_CHIP.humidity_1024(raw, fine) / 1024 - exact) < 0.1


@given(st.floats(-55, 125))
def test_ds18b20_gives_back_what_was_encoded_to_a_sixteenth(celsius: float) -> None:
    raw = round(celsius * 16) & 0xFFFF
    assert abs(ds18b20.celsius(raw & 0xFF, raw >> 8) - celsius) <= 1 / 32


@given(st.binary(min_size=8, max_size=8), st.integers(0, 71))
def test_a_flipped_bit_is_noticed(data: bytes, bit: int) -> None:
    framed = bytearray(data + bytes((crc8.maxim(data),)))
    assert crc8.maxim(framed) == 0
    framed[bit // 8] ^= 1 << bit % 8
    assert crc8.maxim(framed) != 0
    word = data[:2]
    other = bytes((word[0] ^ 1 << bit % 8, word[1]))
    assert crc8.sensirion(word) != crc8.sensirion(other)


@given(st.integers(0, 1000), st.integers(-400, 800))
def test_dht22_gives_back_what_was_encoded(humidity: int, celsius: int) -> None:
    sign = 0x80 if celsius < 0 else 0
    frame = bytes((humidity >> 8, humidity & 0xFF, abs(celsius) >> 8 | sign, abs(celsius) & 0xFF))
    assert dht.dht22(frame) == (celsius / 10, humidity / 10)


@given(st.integers(0, 0xFFFF))
def test_sht3x_stays_within_its_range(raw: int) -> None:
    assert -45 <= sht3x.celsius(raw) <= 130
    assert 0 <= sht3x.percent(raw) <= 100
