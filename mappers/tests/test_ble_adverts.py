"""What a peripheral advertises, from any bytes to what is told."""

import time
from collections.abc import Callable
from typing import Any, cast

from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from hypothesis import given
from hypothesis import strategies as st

from edgewire.device import ModelProperty
from mappers import bthome
from mappers.ble_adverts import MOST_KEPT, Ear
from mappers.ble_config import Address, Visitor, VisitorConfig, make_visitor
from mappers.ble_radio import Radio, Sighting
from mappers.driver import BadAnswer, DriverError, Refused, Value, read_config

UNIT = Address(name="beacon")


class OneWatcher:
    """A radio that hands its only watcher what a test says was advertised."""

    def watch(self, peer: object, heard: Callable[[Sighting], None], failed: object) -> Callable[[], None]:
        self._heard = heard
        return lambda: None

    def advertise(self, at: float, manufacturer: dict[int, bytes] | None = None, service: bytes | None = None) -> None:
        data = AdvertisementData(
            "beacon", manufacturer or {}, {} if service is None else {bthome.SERVICE: service}, [], None, -50, ()
        )
        self._heard(Sighting(BLEDevice("00:00:00:00:00:01", "beacon", None), data, at))


def visitor(model: str, **keys: Any) -> Visitor:
    return make_visitor(UNIT, read_config(keys, VisitorConfig, "keys"), ModelProperty("p", type=model))


def listening(*visitors: Visitor) -> tuple[OneWatcher, list[tuple[Visitor, Value | DriverError]], Ear]:
    radio = OneWatcher()
    heard: list[tuple[Visitor, Value | DriverError]] = []
    ear = Ear(cast(Radio, radio), UNIT.peer)
    ear.listen(visitors, lambda visitor, value: heard.append((visitor, value)))
    return radio, heard, ear


TEMPERATURE = visitor("FLOAT", bthome="temperature")
BUTTON = visitor("STRING", bthome="button")
RAW = visitor("BYTES", serviceData="fcd2", type="bytes")
LEVEL = visitor("INT", manufacturerId=1, type="uint8", start=1)


@given(st.lists(st.tuples(st.binary(max_size=24), st.binary(max_size=6)), max_size=10))
def test_no_advertisement_makes_the_ear_fail_or_tell_what_is_no_value(packets: list[tuple[bytes, bytes]]) -> None:
    radio, heard, _ = listening(TEMPERATURE, BUTTON, RAW, LEVEL)
    for at, (service, manufacturer) in enumerate(packets):
        radio.advertise(10.0 * at, {1: manufacturer}, service)
    for who, value in heard:
        if isinstance(value, DriverError):
            assert isinstance(value, BadAnswer | Refused)
        elif who is TEMPERATURE:
            assert isinstance(value, int | float)
            assert value == value
        elif who is BUTTON:
            assert isinstance(value, str)
            assert value.endswith("press")
        elif who is LEVEL:
            assert value in {manufacturer[1] for _, manufacturer in packets if len(manufacturer) > 1}
        else:
            assert value in [service for service, _ in packets]


def test_a_repeated_packet_is_told_again_after_a_while_and_its_event_is_not() -> None:
    radio, heard, _ = listening(TEMPERATURE, BUTTON)
    packet = bytes.fromhex("40000102ca093a01")
    for at in (0.0, 0.1, 0.9, 1.1, 5.0):
        radio.advertise(at, service=packet)
    assert [value for who, value in heard if who is TEMPERATURE] == [25.06] * 3
    assert [value for who, value in heard if who is BUTTON] == ["press"]
    radio.advertise(5.1, service=bytes.fromhex("40000202ca093a01"))
    assert [value for who, value in heard if who is BUTTON] == ["press", "press"]


def test_a_packet_that_says_nothing_of_a_property_changes_nothing_of_it() -> None:
    radio, heard, _ = listening(TEMPERATURE)
    radio.advertise(0.0, service=bytes.fromhex("400161"))
    assert heard == []


async def test_values_that_come_in_different_packets_are_each_kept() -> None:
    radio, _, ear = listening()
    humidity = visitor("FLOAT", bthome="humidity")
    ear.listen([TEMPERATURE], lambda visitor, value: None)
    now = time.monotonic()
    radio.advertise(now, service=bytes.fromhex("4002ca09"))
    radio.advertise(now, service=bytes.fromhex("4003bf13"))
    assert [await ear.last(TEMPERATURE), await ear.last(humidity)] == [25.06, 50.55]


def test_a_peripheral_that_makes_up_companies_does_not_fill_the_memory() -> None:
    radio, heard, ear = listening(LEVEL)
    for company in range(10 * MOST_KEPT):
        radio.advertise(float(company), {company: b"\0\x07"})
    assert len(ear._last) <= MOST_KEPT + 2
    assert [value for _, value in heard] == [7]
