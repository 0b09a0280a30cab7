"""What passes through a mapper: bounded, the newest of each kind, only to devices that ask for it."""

import json
from typing import Any

import pytest
from msgspec import Struct

from edgewire import topics
from mappers.mapper import Ignore, Listen, Mapper
from mappers.relays import LARGEST, Courier, Mail, Relayed, Relays
from mappers.tests.fakes import Toy, device_json, model_json, payload

CHUNK, OFFER = topics.OTA_CHUNK, topics.OTA_OFFER
MODEL = model_json(temp="INT")


class Address(Struct, frozen=True):
    """Of a device that takes firmware."""

    line: str = "line1"
    updates: bool = True

    @property
    def relays(self) -> tuple[str, ...]:
        return (OFFER, CHUNK) if self.updates else ()


class Updated(Toy):
    """The toy protocol with such devices."""

    address_type: type[Any] = Address


class Through:
    """A driver that notes what passes through."""

    def __init__(self) -> None:
        self.taken: list[tuple[Any, str, bytes]] = []

    def relay(self, said: Any) -> None:
        self.said = said

    def hand_over(self, address: Any, kind: str, payload: bytes) -> None:
        self.taken.append((address, kind, payload))


def serving(**devices: dict[str, Any]) -> tuple[Mapper, list[Any]]:
    mapper = Mapper(Updated())
    index = json.dumps({"devices": [f"default/{name}" for name in devices]}).encode()
    effects = [*mapper.received(topics.mapper_index("toy"), index, 0)]
    for name, address in devices.items():
        topic = topics.mapper_device("toy", f"default/{name}")
        effects += mapper.received(topic, payload(device_json(name, address, temp={"cell": 1}), MODEL), 0)
    return mapper, effects


def test_only_a_device_whose_driver_passes_messages_through_hears_them() -> None:
    mapper, effects = serving(a={}, b={"updates": False})
    assert effects == [Listen("default/a", (OFFER, CHUNK)), Listen("default/b")]
    assert topics.of_device("default/a", OFFER) in mapper.filters()
    assert topics.of_device("default/b", OFFER) not in mapper.filters()
    gone = mapper.received(topics.mapper_device("toy", "default/a"), b"", 0)
    assert gone == [Ignore("default/a", (OFFER, CHUNK))]


def test_the_newest_message_of_each_kind_is_handed_over_once() -> None:
    mapper, _ = serving(a={}, b={"updates": False})
    for device, kind, content in (("a", OFFER, b"1"), ("a", OFFER, b"2"), ("a", CHUNK, b"\0"), ("b", OFFER, b"3")):
        mapper.received(topics.of_device(f"default/{device}", kind), content, 0)
    driver = Through()
    courier = Courier(mapper, "line1", driver, lambda outputs: None)
    courier.follow()
    courier.follow()
    assert driver.taken == [(Address(), OFFER, b"2"), (Address(), CHUNK, b"\0")]


def test_what_a_device_says_is_told_the_gateway_in_its_name() -> None:
    mapper, _ = serving(a={}, b={"updates": False})
    told: list[Relayed] = []
    driver = Through()
    Courier(mapper, "line1", driver, told.extend)
    driver.said(topics.OTA_GET, b"{}")
    assert told == [Relayed("default/a", topics.OTA_GET, b"{}")]


def test_what_waits_for_a_device_goes_with_it() -> None:
    mapper, _ = serving(a={})
    mapper.received(topics.of_device("default/a", OFFER), b"1", 0)
    mapper.received(topics.mapper_device("toy", "default/a"), b"", 0)
    assert mapper.mail.take("default/a") == {}


def test_a_message_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="more than is passed on"):
        Mail().put("default/a", CHUNK, bytes(LARGEST + 1))


def test_of_each_topic_one_message_is_on_its_way_and_the_newest_waits() -> None:
    relays = Relays()
    get = topics.of_device("default/a", topics.OTA_GET)
    for content in (b"1", b"2"):
        relays.put(Relayed("default/a", topics.OTA_GET, content))
    assert list(relays.take()) == [(get, b"2")]
    relays.put(Relayed("default/a", topics.OTA_GET, b"3"))
    assert list(relays.take()) == []
    relays.acknowledged("default/a")
    relays.acknowledged(get)
    assert list(relays.take()) == [(get, b"3")]
    relays.put(Relayed("default/a", topics.OTA_GET, b"4"))
    relays.lost()
    assert list(relays.take()) == []
