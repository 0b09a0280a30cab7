"""Definitions in and out: which devices are served, what an edit restarts, what a mistake costs."""

import json
from typing import Any

import pytest

from edgewire import board, topics
from mappers.driver import BusDown
from mappers.health import State
from mappers.mapper import Effect, Ignore, Listen, Mapper
from mappers.tests.fakes import Toy, device_json, model_json, payload

MODEL = model_json(temp="FLOAT", level="FLOAT")
INDEX = topics.mapper_index("toy")


def topic(name: str) -> str:
    return topics.mapper_device("toy", f"default/{name}")


def index(*names: str) -> bytes:
    return json.dumps({"devices": [f"default/{n}" for n in names]}).encode()


def define(
    mapper: Mapper, name: str, address: dict[str, Any] | None = None, **properties: dict[str, Any]
) -> list[Effect]:
    properties = properties or {"temp": {"cell": 1}}
    return mapper.received(topic(name), payload(device_json(name, address, **properties), MODEL), 0)


def serving(*names: str) -> Mapper:
    mapper = Mapper(Toy())
    mapper.received(INDEX, index(*names), 0)
    for name in names:
        assert define(mapper, name) == [Listen(f"default/{name}")]
    return mapper


def test_a_device_is_served_once_both_index_and_definition_are_there_in_either_order() -> None:
    mapper = Mapper(Toy())
    assert mapper.received(INDEX, index("a"), 0) == []
    assert define(mapper, "a") == [Listen("default/a")]
    assert define(mapper, "b") == []
    assert mapper.received(INDEX, index("a", "b"), 0) == [Listen("default/b")]
    assert [d.id for d in mapper.on_bus("line1")] == ["default/a", "default/b"]


def test_a_device_that_leaves_the_index_is_removed() -> None:
    mapper = serving("a", "b")
    assert mapper.received(INDEX, index("b"), 0) == [Ignore("default/a")]
    assert [d.id for d in mapper.on_bus("line1")] == ["default/b"]


def test_a_device_whose_definition_is_emptied_is_removed() -> None:
    mapper = serving("a")
    assert mapper.received(topic("a"), b"", 0) == [Ignore("default/a")]
    assert mapper.buses() == set()


def test_an_emptied_index_removes_every_device() -> None:
    mapper = serving("a", "b")
    assert mapper.received(INDEX, b"", 0) == [Ignore("default/a"), Ignore("default/b")]


def test_the_same_definition_again_changes_nothing() -> None:
    mapper = serving("a")
    device = mapper.on_bus("line1")[0]
    plan = device.plan
    again = device_json("a", temp={"cell": 1})
    again["metadata"]["resourceVersion"] = "99"
    again["status"] = {"twins": []}
    assert mapper.received(topic("a"), payload(again, MODEL), 0) == []
    assert mapper.on_bus("line1") == [device]
    assert device.plan is plan


def test_a_changed_property_keeps_the_device_and_a_changed_address_does_not() -> None:
    mapper = serving("a")
    device = mapper.on_bus("line1")[0]
    assert define(mapper, "a", temp={"cell": 2}, level={"cell": 3}) == []
    assert mapper.on_bus("line1") == [device]
    assert [p.visitor for p in device.plan.points] == [2, 3]
    assert define(mapper, "a", {"line": "line2"}) == [Listen("default/a")]
    assert mapper.buses() == {"line2"}
    assert not mapper.serves(device)


REFUSED = "unknown key `cel` in Device property 'temp' visitors.configData: did you mean `cell`?"


def test_an_unusable_definition_is_unhealthy_with_one_log_line_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    mapper = serving("a", "b")
    caplog.clear()
    assert define(mapper, "a", temp={"cel": 1}) == [
        Ignore("default/a"),
        State("default/a", "unhealthy", "DefinitionRefused", REFUSED),
    ]
    assert define(mapper, "a", temp={"cel": 1}) == []
    assert caplog.messages == [
        "< device cannot be used device=default/a reason=unknown key `cel` in Device property 'temp' "
        "visitors.configData: did you mean `cell`?"
    ]
    assert [d.id for d in mapper.on_bus("line1")] == ["default/b"]
    assert mapper.reconnected() == [State("default/a", "unhealthy", "DefinitionRefused", REFUSED)]
    assert define(mapper, "a") == [Listen("default/a")]
    assert mapper.reconnected() == []


@pytest.mark.parametrize(
    ("where", "what"),
    [
        (INDEX, b"[]"),
        (INDEX, b"not json"),
        (INDEX, b'{"devices": "default/a"}'),
        (topic("a"), b"\xff\xfe"),
        (topic("a"), b'{"device": {}}'),
        (topic("a"), payload(device_json("b", temp={"cell": 1}), MODEL)),
        (topics.of_device("default/a", topics.DELTA), b"not json"),
        (topics.of_device("default/a", topics.DELTA), b'{"delta": {"temp": 5}}'),
        (topics.of_device("default/a", topics.DELTA), b"[]"),
    ],
)
def test_a_malformed_message_costs_one_log_line_and_changes_nothing(
    where: str, what: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    mapper = serving("a")
    before = list(mapper.on_bus("line1"))
    caplog.clear()
    assert mapper.received(where, what, 0) == []
    assert len(caplog.messages) == 1
    assert f"topic={where}" in caplog.messages[0]
    assert mapper.on_bus("line1") == before


def test_messages_for_others_are_let_through_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    mapper = serving("a")
    caplog.clear()
    for where in (topics.mapper_index("modbus"), topics.of_device("default/a", topics.RESULT), "weather/today"):
        assert mapper.received(where, b"?", 0) == []
    assert caplog.messages == []


def test_a_desired_value_reaches_its_device() -> None:
    mapper = serving("a")
    device = mapper.on_bus("line1")[0]
    device.answered(device.reads(0), [1], 0, 1)
    delta = json.dumps({"delta": {"temp": "5"}}).encode()
    mapper.received(topics.of_device("default/a", topics.DELTA), delta, 0)
    mapper.received(topics.of_device("default/gone", topics.DELTA), delta, 0)
    assert [w.desired for w in device.writes(0)] == ["5"]
    assert board.delta(delta) == {"temp": "5"}


def test_the_device_due_first_goes_first() -> None:
    mapper = Mapper(Toy())
    mapper.received(INDEX, index("a", "b"), 0)
    for name, now in (("a", 5), ("b", 3)):
        mapper.received(topic(name), payload(device_json(name, temp={"cell": 1}), MODEL), now)
    first = mapper.next_on("line1")
    assert first is not None
    assert (first[0].id, first[1]) == ("default/b", 3)
    assert mapper.next_on("no such bus") is None


def test_a_bus_that_is_down_takes_its_own_devices_offline_only() -> None:
    mapper = serving("a", "b")
    define(mapper, "b", {"line": "line2"})
    assert mapper.bus_down("line2", BusDown("gone"), 0) == [State("default/b", "offline", "BusDown", "gone")]


HEARD_OF_A = ["$hw/events/device/default/a/twin/update/delta", "$hw/events/device/default/a/method/call"]


def test_a_new_session_is_subscribed_to_definitions_and_desired_values() -> None:
    assert serving("a").filters() == [INDEX, INDEX + "/+/+", *HEARD_OF_A]


def test_definitions_that_come_before_the_index_outlive_a_new_session_and_not_its_end() -> None:
    mapper = Mapper(Toy())
    define(mapper, "a")
    assert mapper.reconnected() == []
    assert mapper.received(INDEX, index("a"), 0) == [Listen("default/a")]
    define(mapper, "b")
    mapper.disconnected()
    assert mapper.received(INDEX, index("a", "b"), 0) == []


class Renamed(Toy):
    """Toy, under a second name."""

    aliases = ("plaything",)


def test_devices_of_a_drivers_other_name_are_served_too_and_may_change_their_name() -> None:
    mapper = Mapper(Renamed())
    assert [f for f in mapper.filters() if f.endswith("/devices")] == [
        topics.mapper_index("toy"), topics.mapper_index("plaything"),
    ]  # fmt: skip

    def says(protocol: str, devices: list[str]) -> list[Effect]:
        return mapper.received(topics.mapper_index(protocol), json.dumps({"devices": devices}).encode(), 0)

    def defines(protocol: str, content: bytes) -> list[Effect]:
        return mapper.received(topics.mapper_device(protocol, "default/a"), content, 0)

    says("toy", ["default/b"])
    says("plaything", ["default/a"])
    device = device_json("a", temp={"cell": 1})
    assert defines("plaything", payload(device, MODEL)) == [Listen("default/a")]
    device["spec"]["protocol"]["protocolName"] = "plaything"
    says("toy", ["default/a", "default/b"])
    assert defines("toy", payload(device, MODEL)) == []
    assert defines("plaything", b"") == says("plaything", []) == []
    assert [d.id for d in mapper.on_bus("line1")] == ["default/a"]
    assert says("toy", ["default/b"]) == [Ignore("default/a")]


class Mistaken(Toy):
    """Toy, with a mistake in what it makes of cell 13."""

    def visitor(self, address: Any, keys: Any, model: Any) -> int:
        return int(1 / (keys.cell - 13))


def test_a_mistake_in_a_driver_harms_only_the_device_it_is_made_with(caplog: pytest.LogCaptureFixture) -> None:
    mapper = Mapper(Mistaken())
    content = json.dumps({"devices": ["default/a", "default/b"]}).encode()
    mapper.received(INDEX, content, 0)
    (_, state) = define(mapper, "a", temp={"cell": 13})
    assert state == State(
        "default/a", "unhealthy", "DefinitionRefused", "the driver failed: ZeroDivisionError('division by zero')"
    )
    assert define(mapper, "b", temp={"cell": 14}) == [Listen("default/b")]
    assert "Traceback" in caplog.text


def test_a_mapper_with_a_name_serves_the_devices_that_name_it_and_no_others() -> None:
    roof, other = Mapper(Renamed(), instance="roof"), Mapper(Renamed())
    assert (roof.protocol, other.protocol) == ("toy@roof", "toy")
    assert not set(roof.filters()) & set(other.filters())
    assert topics.mapper_index("plaything@roof") in roof.filters()
    device = device_json("a", temp={"cell": 1})
    device["spec"]["protocol"]["protocolName"] = "toy@roof"
    for mapper, found in ((roof, [Listen("default/a")]), (other, [])):
        mapper.received(topics.mapper_index("toy@roof"), index("a"), 0)
        told = topics.mapper_device("toy@roof", "default/a")
        assert mapper.received(told, payload(device, MODEL), 0) == found
