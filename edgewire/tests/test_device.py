"""Devices and models: read from their resources, checked, compared by value."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewire import device
from edgewire.device import DeviceError, ModelProperty, parse_device, parse_model

DEVICE = """{
  "apiVersion": "devices.kubeedge.io/v1beta1", "kind": "Device",
  "metadata": {"name": "s1", "namespace": "site", "uid": "u1", "resourceVersion": "9", "generation": 2, "labels": {"a": "b"}},
  "spec": {
    "deviceModelRef": {"name": "meter"}, "nodeName": "edge1",
    "protocol": {"protocolName": "modbus", "configData": {"ip": "10.0.0.2", "port": 502}},
    "properties": [
      {"name": "speed", "desired": {"value": "5"}, "collectCycle": 500, "reportCycle": 60000, "reportToCloud": false,
       "visitors": {"protocolName": "modbus", "configData": {"register": "HoldingRegister", "offset": 3}}},
      {"name": "temp"}],
    "methods": [{"name": "later"}]},
  "status": {"twins": "whatever the cloud writes there"}
}"""
MODEL = """{
  "metadata": {"name": "meter", "namespace": "site"},
  "spec": {"protocol": "modbus", "properties": [
    {"name": "speed", "type": "INT", "accessMode": "ReadWrite", "minimum": "0", "maximum": "10", "unit": "1/s"},
    {"name": "temp", "type": "FLOAT", "accessMode": "ReadOnly", "description": "inside"},
    {"name": "label"}]}
}"""


def edited(text: str, old: str, new: str) -> bytes:
    assert old in text
    return text.replace(old, new).encode()


def test_a_device_is_read_and_what_is_not_known_is_let_through() -> None:
    read = parse_device(DEVICE.encode())
    assert (read.id, read.model_id) == ("site/s1", "site/meter")
    speed, temp = read.spec.properties
    assert speed.desired == device.Desired("5")
    assert (speed.collect_cycle, speed.report_cycle, speed.report_to_cloud) == (500, 60_000, False)
    assert speed.visitors.config_data == {"register": "HoldingRegister", "offset": 3}
    assert (temp.desired, temp.report_to_cloud, temp.visitors.config_data) == (None, True, {})


def test_a_model_is_read() -> None:
    read = parse_model(MODEL.encode())
    assert read.id == "site/meter"
    speed, temp = read.property("speed"), read.property("temp")
    assert speed is not None
    assert temp is not None
    assert (speed.type, speed.writable, temp.writable) == ("INT", True, False)
    assert read.property("label") == ModelProperty("label", type="STRING", access_mode="ReadWrite")
    assert read.property("nothing") is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{}", "Device: Object missing required field `metadata`"),
        (b'{"metadata":{}}', "Device: Object missing required field `name` - at `$.metadata`"),
        (
            edited(DEVICE, '"collectCycle": 500', '"collectCycle": "500"'),
            "Device: Expected `int`, got `str` - at `$.spec.properties[0].collectCycle`",
        ),
        (
            edited(DEVICE, '{"value": "5"}', '{"value": 5}'),
            "Device: Expected `str`, got `int` - at `$.spec.properties[0].desired.value`",
        ),
        (b"\xff", "Device: JSON is malformed"),
        (b'{"metadata":{"name":"\xff"}}', "Device: 'utf-8' codec can't decode"),
        (
            b'{"metadata":{"name":"s1"},"spec":{"protocol":{"configData":' + b'{"a":' * 50_000,
            "Device: maximum recursion depth",
        ),
    ],
)
def test_a_device_that_cannot_be_read_is_refused_with_the_field(content: bytes, reason: str) -> None:
    with pytest.raises(DeviceError) as caught:
        parse_device(content)
    assert reason in str(caught.value)


def test_a_model_or_definition_that_cannot_be_read_is_refused_with_the_field() -> None:
    with pytest.raises(DeviceError, match=r"DeviceModel: Expected `str`.*at `\$.spec.properties\[0\].minimum`"):
        parse_model(edited(MODEL, '"minimum": "0"', '"minimum": 0'))
    with pytest.raises(DeviceError, match="mapper device: Object missing required field `model`"):
        device.parse_mapper_device(b'{"device":' + DEVICE.encode() + b"}")


def test_a_definition_for_mappers_is_read_as_it_was_written() -> None:
    definition = device.MapperDevice(parse_device(DEVICE.encode()), parse_model(MODEL.encode()))
    assert device.parse_mapper_device(device.encode_mapper_device(definition)) == definition
    assert "status" not in json.loads(device.encode_mapper_device(definition))["device"]


@pytest.mark.parametrize(
    ("old", "new", "problems"),
    [
        ('"name": "temp"', '"name": "temp"', []),
        ('"name": "temp"', '"name": "tmep"', ["property 'tmep' is not declared in device model 'meter'"]),
        (
            '{"name": "temp"}',
            '{"name": "temp", "desired": {"value": "3"}}',
            ["desired value of property 'temp': the property is ReadOnly"],
        ),
        ('{"name": "temp"}', '{"name": "temp", "desired": {"value": ""}}', []),
        ('{"value": "5"}', '{"value": "fast"}', ["desired value of property 'speed': 'fast' is not an integer"]),
        ('{"value": "5"}', '{"value": "-1"}', ["desired value of property 'speed': '-1' is below the minimum 0"]),
        ('{"value": "5"}', '{"value": "11"}', ["desired value of property 'speed': '11' is above the maximum 10"]),
    ],
)
def test_what_a_user_should_correct_is_said_in_words(old: str, new: str, problems: list[str]) -> None:
    assert device.problems(parse_device(edited(DEVICE, old, new)), parse_model(MODEL.encode())) == problems


@pytest.mark.parametrize(
    ("value", "model", "problem"),
    [
        ("5", ModelProperty("p", type="INT"), None),
        ("5", ModelProperty("p", type="INT", access_mode="ReadOnly"), "the property is ReadOnly"),
        ("x" * 5000, ModelProperty("p"), "value of 5000 bytes is longer than 4096"),
        ("1.5", ModelProperty("p", type="FLOAT", minimum="1.6"), "'1.5' is below the minimum 1.6"),
        ("1.5", ModelProperty("p", type="FLOAT", minimum="low", maximum=""), None),
        ("zzz", ModelProperty("p", minimum="1", maximum="2"), None),
        ("9223372036854775807", ModelProperty("p", type="INT", maximum="9223372036854775807"), None),
        ("9223372036854775808", ModelProperty("p", type="INT", maximum="9223372036854775807"), "above the maximum"),
        ("1e9999999999999999999", ModelProperty("p", type="DOUBLE", maximum="1e308"), "above the maximum"),
        ("9223372036854775809", ModelProperty("p", type="INT", maximum="9007199254740992"), "above the maximum"),
    ],
)
def test_what_cannot_be_desired_is_said_in_words(value: str, model: ModelProperty, problem: str | None) -> None:
    why = device.desired_problem(value, model)
    assert (why is None) if problem is None else (why is not None and problem in why)


@pytest.mark.parametrize(
    ("type", "good", "bad"),
    [
        ("INT", ["0", "-7", "+7", "007", "9" * 40], ["", "1.0", "hot", "1_000", " 1", "1 ", "٣", "9" * 41, "-", "1e3"]),
        (
            "FLOAT",
            ["0", "-7.5", "+.5", "1e3", "nan", "inf", "-Infinity", "5."],
            ["", "hot", "1,5", "1_0", " 1", "1\n", "٣", "0x10", "e", "--1"],
        ),
        ("DOUBLE", ["21.25"], ["21.25 C"]),
        ("BOOLEAN", ["true", "false", "TRUE", "False", "1", "0"], ["", "yes", "ON", "2", " true"]),
        ("STRING", ["", "anything at all"], []),
        ("BYTES", ["AAEC"], []),
    ],
)
def test_a_value_must_be_of_its_propertys_type(type: str, good: list[str], bad: list[str]) -> None:
    assert [value for value in good if device.value_problem(value, type) is not None] == []
    assert [value for value in bad if device.value_problem(value, type) is None] == []


def test_a_long_bad_value_is_cut_short_in_the_reason() -> None:
    why = device.value_problem("x" * 4000, "INT")
    assert why == f"'{'x' * 37}...' is not an integer"


@given(st.floats())
def test_every_float_python_writes_is_a_number(value: float) -> None:
    assert device.value_problem(str(value), "FLOAT") is None
    assert device.same_value(str(value), repr(value).upper(), "FLOAT")
    assert math.isnan(value) or device.same_value(str(value), "12.5", "FLOAT") == (value == 12.5)


@given(st.text(max_size=8), st.text(max_size=8), st.sampled_from(sorted(device.TYPES)))
def test_sameness_is_symmetric_and_holds_of_equal_strings(one: str, other: str, type: str) -> None:
    assert device.same_value(one, one, type)
    assert device.same_value(one, other, type) == device.same_value(other, one, type)


@pytest.mark.parametrize(
    ("one", "other", "type", "same"),
    [
        ("25", "25.0", "FLOAT", True),
        ("25", "25.0", "STRING", False),
        ("25", "+025", "INT", True),
        ("25", "26", "INT", False),
        ("true", "1", "BOOLEAN", True),
        ("TRUE", "true", "BOOLEAN", True),
        ("false", "0", "BOOLEAN", True),
        ("true", "false", "BOOLEAN", False),
        ("ON", "true", "BOOLEAN", False),
        ("ON", "OFF", "BOOLEAN", False),
        ("nan", "NaN", "DOUBLE", True),
        ("hot", "25", "FLOAT", False),
        ("9223372036854775807", "9223372036854775806", "INT", False),
    ],
)
def test_values_are_compared_as_their_type_says(one: str, other: str, type: str, same: bool) -> None:
    assert device.same_value(one, other, type) is same
