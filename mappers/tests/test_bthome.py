"""BTHome v2 packets. The examples with their values are those of https://bthome.io/format."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers import bthome
from mappers.driver import BadAnswer, Refused


def objects(content: str) -> tuple[tuple[str, Any], ...]:
    """What a packet's objects are read as."""
    return bthome.parse(bytes.fromhex("40" + content)).objects


@pytest.mark.parametrize(
    ("content", "name", "value"),
    [
        ("0161", "battery", 97), ("02ca09", "temperature", 25.06), ("03bf13", "humidity", 50.55),
        ("04138a01", "pressure", 1008.83), ("05138a14", "illuminance", 13460.67), ("065e1f", "mass_kg", 80.3),
        ("073e1d", "mass_lb", 74.86), ("08ca06", "dew_point", 17.38), ("0960", "count", 96),
        ("0a138a14", "energy", 1346.067), ("0b021b00", "power", 69.14), ("0c020c", "voltage", 3.074),
        ("0d120c", "pm2.5", 3090), ("0e021c", "pm10", 7170), ("0f01", "generic_boolean", True), ("1001", "power_on", True),
        ("1100", "opening", False), ("12e204", "co2", 1250), ("133301", "tvoc", 307), ("14020c", "moisture", 30.74),
        ("1501", "battery_low", True), ("1a00", "door", False), ("2101", "motion", True), ("2d01", "window", True),
        ("2e23", "humidity", 35), ("2f23", "moisture", 35), ("3d0960", "count", 24585), ("3e2a2c0960", "count", 1611213866),
        ("3f020c", "rotation", 307.4), ("400c00", "distance_mm", 12), ("414e00", "distance_m", 7.8),
        ("424e3400", "duration", 13.39), ("434e34", "current", 13.39), ("444e34", "speed", 133.9),
        ("451101", "temperature", 27.3), ("4632", "uv_index", 5.0), ("478756", "volume", 2215.1),
        ("48dc87", "volume_ml", 34780), ("49dc87", "volume_flow_rate", 34.78), ("4a020c", "voltage", 307.4),
        ("4b138a14", "gas", 1346.067), ("4c41018a01", "gas", 25821.505), ("4d12138a14", "energy", 344593.17),
        ("4e87562a01", "volume", 19551.879), ("4f87562a01", "water", 19551.879), ("505d396164", "timestamp", 1684093277),
        ("518756", "acceleration", 22.151), ("528756", "gyroscope", 22.151),
        ("530c48656c6c6f20576f726c6421", "text", "Hello World!"),
        ("540400ff0102", "raw", b"\x00\xff\x01\x02"), ("57ea", "temperature", -22), ("58ea", "temperature", -7.7),
        ("3a01", "button", "press"), ("3a80", "button", "hold_press"), ("3c0103", "dimmer", -3), ("3c0203", "dimmer", 3),
        ("f00100", "device_type", 1),
    ],
)  # fmt: skip
def test_every_kind_of_object_is_read(content: str, name: str, value: Any) -> None:
    assert objects(content) == ((name, value),)


def test_a_packet_holds_several_objects_and_its_number() -> None:
    packet = bthome.parse(bytes.fromhex("40 0009 0161 02ca09 0c020c 02cb09".replace(" ", "")))
    assert packet.id == 9
    assert packet.value("battery") == 97
    assert packet.value("temperature", 2) == 25.07
    assert packet.value("temperature", 3) is None
    assert packet.value("humidity") is None


def test_a_button_at_rest_says_nothing() -> None:
    packet = bthome.parse(bytes.fromhex("403a003a01"))
    assert packet.value("button") is None
    assert packet.value("button", 2) == "press"


def test_objects_after_one_that_is_not_known_are_left_alone() -> None:
    assert objects("0161 ee0102ca09".replace(" ", "")) == (("battery", 97),)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "empty"),
        ("0002ca09", "version 0"),
        ("2002ca09", "version 1"),
        ("4002ca", "ends within object 0x02"),
        ("4002", "ends within"),
        ("4053", "ends within"),
        ("405305", "ends within"),
        ("400f02", "neither 0 nor 1"),
        ("403a77", "not known"),
        ("403c0701", "not known"),
        ("405301ff", "not UTF-8"),
    ],
)
def test_garbage_is_no_packet(data: str, reason: str) -> None:
    with pytest.raises(BadAnswer, match=reason):
        bthome.parse(bytes.fromhex(data))


def test_an_encrypted_packet_is_refused_with_what_to_do() -> None:
    with pytest.raises(Refused, match="turn its encryption off"):
        bthome.parse(bytes.fromhex("41a47266c95f730011223378237214"))


@given(st.binary(max_size=40))
def test_no_bytes_make_the_parser_fail_or_give_more_than_they_hold(data: bytes) -> None:
    try:
        packet = bthome.parse(data)
    except (BadAnswer, Refused):
        return
    assert data[0] >> 5 == 2
    for name, value in packet.objects:
        assert name in bthome.NAMES
        assert value == value
    assert len(packet.objects) <= len(data) // 2 + 1


@given(st.lists(st.tuples(st.sampled_from([0x02, 0x45, 0x57, 0x08]), st.integers(-128, 127)), max_size=8))
def test_what_a_beacon_measures_is_what_is_read(measured: list[tuple[int, int]]) -> None:
    factors = {0x02: (2, "0.01"), 0x45: (2, "0.1"), 0x57: (1, "1"), 0x08: (2, "0.01")}
    content = b"".join(bytes([n]) + raw.to_bytes(factors[n][0], "little", signed=True) for n, raw in measured)
    read = [value for _, value in bthome.parse(b"\x40" + content).objects]
    assert read == [float(raw * Decimal(factors[n][1])) for n, raw in measured]


def test_a_packet_counts_once_however_often_it_is_repeated() -> None:
    repeats = bthome.Repeats()
    numbered = [bytes.fromhex("4000013a01"), bytes.fromhex("4000013a01"), bytes.fromhex("4000023a01")]
    assert [repeats.new(bthome.parse(data), data) for data in numbered] == [True, False, True]
    plain = [bytes.fromhex("403a01"), bytes.fromhex("403a01"), bytes.fromhex("403a02")]
    assert [repeats.new(bthome.parse(data), data) for data in plain] == [True, False, True]
