"""What is to be done for a device, and the mistakes in its definition, each named with its field."""

from decimal import Decimal
from typing import Any

import pytest

from mappers.driver import DefinitionError
from mappers.plan import Settings, make_plan
from mappers.tests.fakes import Address, Toy, definition, device_json, model_json

MODEL = model_json(
    temp={"type": "FLOAT", "accessMode": "ReadOnly", "minimum": "-40", "maximum": "125.5"},
    power="BOOLEAN",
    note="STRING",
)


def test_a_plan_holds_each_property_with_a_visitor() -> None:
    device = device_json(
        "a", {"line": "L", "unit": 3},
        temp={"cell": 7, "scale": 0.1, "valueOffset": -40, "collect": 250, "report": 5000, "desired": "5"},
        power={"cell": 1}, note={},
    )  # fmt: skip
    plan = make_plan(definition(device, MODEL), Toy(), Settings())
    assert plan.bus == "L"
    assert plan.address == Address("L", 3)
    assert plan.wanted == {"temp"}
    temp, power = plan.points
    assert (temp.name, temp.type, temp.visitor, temp.writable) == ("temp", "FLOAT", 7, False)
    assert (temp.minimum, temp.maximum) == (Decimal(-40), Decimal("125.5"))
    assert (temp.scaling.scale, temp.scaling.offset) == (Decimal("0.1"), Decimal(-40))
    assert (temp.collect_s, temp.report_s) == (0.25, 5.0)
    assert (power.collect_s, power.report_s, power.writable) == (1.0, 60.0, True)


def test_numbers_may_be_written_as_strings() -> None:
    device = device_json("a", {"unit": "3"}, temp={"cell": "7", "scale": "0.10"})
    plan = make_plan(definition(device, MODEL), Toy(), Settings())
    assert (plan.address, plan.points[0].visitor) == (Address(unit=3), 7)
    assert plan.points[0].scaling.scale == Decimal("0.1")


@pytest.mark.parametrize(
    ("address", "properties", "message"),
    [
        ({"unti": 1}, {}, "unknown key `unti` in Device spec.protocol.configData: did you mean `unit`?"),
        ({"unit": "x"}, {}, "`unit` in Device spec.protocol.configData: expected `int`, got `str`"),
        (
            {},
            {"tmp": {"cell": 1}},
            "Device property 'tmp' is not declared in device model 'toy-model': did you mean 'temp'?",
        ),
        (
            {},
            {"temp": {"cel": 1}},
            "unknown key `cel` in Device property 'temp' visitors.configData: did you mean `cell`?",
        ),
        (
            {},
            {"temp": {"cell": 1, "scal": 1}},
            "unknown key `scal` in Device property 'temp' visitors.configData: did you mean `scale`?",
        ),
        ({}, {"temp": {"cell": -1}}, "Device property 'temp' visitors.configData: `cell` must not be negative"),
        ({}, {"temp": {"scale": 0}}, "Device property 'temp' visitors.configData: `scale` must not be 0"),
        (
            {},
            {"temp": {"scale": "1e500"}},
            "Device property 'temp' visitors.configData: `scale` must be a finite number",
        ),
        (
            {},
            {"temp": {"cell": 1, "collect": -1}},
            "Device property 'temp': collectCycle must lie between 0 and 2678400000 ms",
        ),
    ],
)
def test_a_mistake_names_its_field(address: dict[str, Any], properties: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        make_plan(definition(device_json("a", address, **properties), MODEL), Toy(), Settings())
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"type": "INTEGER"}, "DeviceModel 'toy-model' property 'x': unknown type 'INTEGER': did you mean 'INT'?"),
        ({"type": "STREAM"}, "DeviceModel 'toy-model' property 'x': a STREAM cannot be polled"),
        ({"type": "INT", "minimum": "low"}, "DeviceModel property 'x': minimum 'low' is not a number"),
        ({"type": "INT", "maximum": "inf"}, "DeviceModel property 'x': maximum 'inf' is not a number"),
    ],
)
def test_a_mistake_in_the_model_names_its_field(field: dict[str, str], message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        make_plan(definition(device_json("a", x={"cell": 1}), model_json(x=field)), Toy(), Settings())
    assert str(caught.value) == message


def test_a_property_defined_twice_is_refused() -> None:
    device = device_json("a", temp={"cell": 1})
    device["spec"]["properties"] *= 2
    with pytest.raises(DefinitionError, match="defined twice"):
        make_plan(definition(device, MODEL), Toy(), Settings())


def test_points_defined_as_before_are_taken_over() -> None:
    old = definition(device_json("a", temp={"cell": 1}, power={"cell": 2}), MODEL)
    plan = make_plan(old, Toy(), Settings())
    new = definition(device_json("a", temp={"cell": 1, "desired": "3"}, power={"cell": 3}), MODEL)
    again = make_plan(new, Toy(), Settings(), (old, plan))
    assert again.points[0] is plan.points[0]
    assert again.points[1] is not plan.points[1]


def test_a_changed_model_or_address_changes_the_point() -> None:
    old = definition(device_json("a", temp={"cell": 1}), MODEL)
    plan = make_plan(old, Toy(), Settings())
    other_model = definition(device_json("a", temp={"cell": 1}), model_json(temp="INT"))
    assert make_plan(other_model, Toy(), Settings(), (old, plan)).points[0] is not plan.points[0]
    other_address = definition(device_json("a", {"unit": 9}, temp={"cell": 1}), MODEL)
    assert make_plan(other_address, Toy(), Settings(), (old, plan)).points[0] is not plan.points[0]
