"""Rules of schemas: where they stand, what they see, when they are looked at and what they say."""

import sys
from typing import Any

import pytest

from cloud.apiserver import cel
from cloud.apiserver.schema import SchemaError
from cloud.apiserver.status import Cause
from cloud.apiserver.tests.core import Core, device, widgets
from cloud.apiserver.tests.test_objects import refused
from cloud.apiserver.validations import Validations, escaped
from cloud.apiserver.writes import WriteOptions


def schema(spec: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"spec": spec}}


def rule(text: str, **more: Any) -> dict[str, Any]:
    return {"x-kubernetes-validations": [{"rule": text, **more}]}


def check(
    spec: dict[str, Any], new: Any, old: Any = None, causes: list[Cause] | None = None
) -> list[tuple[str, str, str]]:
    found = Validations(schema(spec)).check({"spec": new}, old and {"spec": old}, causes or [])
    return [(cause.reason, cause.field, cause.message) for cause in found]


NUMBERS = {"type": "object", "properties": {"n": {"type": "integer"}}}


def test_a_broken_rule_says_its_message() -> None:
    spec = NUMBERS | rule("self.n > 1", message="n must be above 1")
    assert check(spec, {"n": 2}) == []
    assert check(spec, {"n": 1}) == [("FieldValueInvalid", "spec", 'Invalid value: "object": n must be above 1')]
    silent = NUMBERS | rule("self.n > 1")
    assert check(silent, {"n": 1})[0][2] == 'Invalid value: "object": failed rule: self.n > 1'


def test_a_message_can_be_an_expression() -> None:
    spec = NUMBERS | rule("self.n > 1", message="too small", messageExpression="string(self.n) + ' is too small'")
    assert check(spec, {"n": 1})[0][2].endswith(": 1 is too small")
    failing = NUMBERS | rule("self.n > 1", message="too small", messageExpression="self.nosuch")
    assert check(failing, {"n": 1})[0][2].endswith(": too small")


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("FieldValueInvalid", 'Invalid value: "object": no'),
        ("FieldValueForbidden", "Forbidden: no"),
        ("FieldValueRequired", "Required value: no"),
        ("FieldValueDuplicate", 'Duplicate value: "object"'),
    ],
)
def test_a_rule_chooses_its_reason_and_its_field(reason: str, message: str) -> None:
    spec = NUMBERS | rule("false", message="no", reason=reason, fieldPath=".n")
    assert check(spec, {"n": 1}) == [(reason, "spec.n", message)]


def test_an_evaluation_that_fails_is_a_broken_rule() -> None:
    spec = NUMBERS | rule("self.n > 1", message="n must be above 1")
    ((reason, field, message),) = check(spec, {"m": 1})
    assert (reason, field) == ("FieldValueInvalid", "spec")
    assert message.endswith("evaluating rule: n must be above 1")


def test_rules_stand_at_items_values_and_properties() -> None:
    text = {"type": "string"} | rule("self.startsWith('a')", message="a")
    spec = {
        "type": "object",
        "properties": {
            "one": text,
            "list": {"type": "array", "items": text},
            "map": {"type": "object", "additionalProperties": text},
        },
    }
    value = {"one": "b", "list": ["a", "b"], "map": {"x": "b", "y": "a"}}
    assert [field for _, field, _ in check(spec, value)] == ["spec.one", "spec.list[1]", "spec.map.x"]


def test_what_has_not_changed_is_not_looked_at() -> None:
    text = {"type": "string"} | rule("self.startsWith('a')", message="a")
    spec = {"type": "object", "properties": {"one": text, "two": text}}
    assert [field for _, field, _ in check(spec, {"one": "b", "two": "c"}, {"one": "b", "two": "a"})] == ["spec.two"]


def test_a_rule_about_a_change_needs_one() -> None:
    spec = NUMBERS | rule("self.n >= oldSelf.n", message="n must not fall")
    assert check(spec, {"n": 1}) == []
    assert check(spec, {"n": 2}, {"n": 1}) == []
    assert [message for _, _, message in check(spec, {"n": 1}, {"n": 2})] == [
        'Invalid value: "object": n must not fall'
    ]
    optional = NUMBERS | rule("oldSelf.hasValue() || self.n == 0", optionalOldSelf=True, message="begin with 0")
    assert len(check(optional, {"n": 1})) == 1
    assert check(optional, {"n": 1}, {"n": 0}) == []


def test_items_belong_together_by_their_keys() -> None:
    item = {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}}
    keyed = {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    spec = keyed | {"items": item | rule("self.v >= oldSelf.v", message="fell")}
    old = [{"k": "a", "v": 1}, {"k": "b", "v": 5}]
    assert check(spec, [{"k": "b", "v": 5}, {"k": "a", "v": 2}, {"k": "c", "v": 0}], old) == []
    assert [field for _, field, _ in check(spec, [{"k": "b", "v": 4}, {"k": "a", "v": 1}], old)] == ["spec[0]"]
    with pytest.raises(SchemaError, match="oldSelf cannot be used on the uncorrelatable portion"):
        Validations(schema({"type": "array", "items": item | rule("self.v >= oldSelf.v")}))


def test_values_read_as_their_schema_says() -> None:
    spec = {
        "type": "object",
        "properties": {
            "ratio": {"type": "number"},
            "raw": {"type": "string", "format": "byte"},
            "in": {"type": "integer"},
            "a-b": {"type": "integer"},
            "a.b/c": {"type": "integer"},
            "x__y": {"type": "integer"},
        },
    }
    text = (
        "self.ratio * 2.0 == 2.0 && self.raw == b'ab' && self.__in__ == 1 && self.a__dash__b == 2 "
        "&& self.a__dot__b__slash__c == 3 && self.x__underscores__y == 4"
    )
    value = {"ratio": 1, "raw": "YWI=", "in": 1, "a-b": 2, "a.b/c": 3, "x__y": 4}
    assert check(spec | rule(text), value) == []
    assert escaped("1a") is None


def test_at_the_root_only_the_name_of_the_metadata_shows() -> None:
    root = Validations(schema(NUMBERS) | rule("self.metadata.name == 'a' && !has(self.metadata.labels)", message="no"))
    obj = {"metadata": {"name": "a", "labels": {"b": "c"}}, "spec": {"n": 1}}
    assert root.check(obj, None, []) == []
    (cause,) = root.check(obj | {"metadata": {"name": "b"}}, None, [])
    assert cause.field == "<nil>"


def test_an_invalid_object_is_not_held_against_rules() -> None:
    spec = NUMBERS | rule("self.n > 1")
    ((_, field, message),) = check(spec, {}, causes=[Cause("FieldValueRequired", "Required value", "spec.n")])
    assert field == "<nil>"
    assert "some validation rules were not checked because the object was invalid" in message
    assert len(check(spec, {"n": 1}, causes=[Cause("FieldValueInvalid", "", "spec.m")])) == 1


@pytest.mark.parametrize(
    ("found", "path"),
    [
        ({"rule": "self +"}, ".rule"),
        ({"rule": " "}, ".rule"),
        ({"rule": "true", "messageExpression": "1"}, ".messageExpression"),
        ({"rule": "true", "reason": "Bad"}, ".reason"),
        ({"rule": "true", "fieldPath": "n"}, ".fieldPath"),
    ],
)
def test_a_bad_rule_is_refused_with_its_place(found: dict[str, Any], path: str) -> None:
    with pytest.raises(SchemaError) as caught:
        Validations(schema(NUMBERS | {"x-kubernetes-validations": [found]}))
    assert caught.value.path == ".properties[spec].x-kubernetes-validations[0]" + path


# --- with everything around


def ruled(text: str) -> dict[str, Any]:
    return widgets({"schema": {"openAPIV3Schema": schema(NUMBERS | rule(text, message="no"))}})


def test_a_definition_with_a_bad_rule_is_invalid() -> None:
    error = refused(422, "Invalid", Core().create, "customresourcedefinitions", ruled("self.n +"))
    assert error.details is not None
    (cause,) = error.details["causes"]
    where = "spec.versions[0].schema.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule"
    assert cause["field"] == where
    assert cause["message"].startswith(
        'Invalid value: "self.n +": compilation failed: ERROR: <input>:1:9: Syntax error'
    )


def test_what_is_not_evaluated_is_said_when_it_is_defined(monkeypatch: pytest.MonkeyPatch) -> None:
    core = Core()
    resource = core.resource("customresourcedefinitions")
    written = core.objects.create(resource, "", ruled("isIP(self.n)"), WriteOptions())
    assert written.warnings == [
        "spec.versions[0].schema.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule is not evaluated: "
        "isIP is not known here"
    ]
    core.done(written)
    core.create("widgets", {"metadata": {"name": "w"}, "spec": {"n": 0}})
    monkeypatch.setitem(sys.modules, "cel_expr_python", None)
    cel._environment.cache_clear()
    try:
        core = Core()
        written = core.objects.create(resource, "", ruled("self.n > 1"), WriteOptions())
        assert "cel-expr-python is not installed" in written.warnings[0]
    finally:
        cel._environment.cache_clear()


def test_the_rules_of_devices_hold() -> None:
    core = Core()
    core.define_devices()
    visited = [{"name": "p", "visitors": {"protocolName": "ble"}}]
    error = refused(
        422, "Invalid", core.create, "devices", device(protocol={"protocolName": "modbus"}, properties=visited)
    )
    assert error.message == (
        'Device.devices.kubeedge.io "s1" is invalid: spec: Invalid value: "object": '
        "the protocolName of a property's visitors must be that of the device"
    )
    core.create("devices", device(protocol={"protocolName": "ble"}, properties=visited))
    core.create("devices", device("s2", properties=visited))
    refused(422, "Invalid", core.patch, "devices", "s1", {"spec": {"protocol": {"protocolName": "modbus"}}})
    assert core.patch("devices", "s1", {"status": {"state": "ok"}}, "status")["status"] == {"state": "ok"}


@pytest.mark.parametrize(
    ("property", "message"),
    [
        ({"minimum": "2", "maximum": "1.5"}, "minimum must not be above maximum"),
        ({"type": "INT", "minimum": "none"}, "minimum and maximum"),
        ({"type": "INT", "minimum": "-1", "maximum": "1e3"}, ""),
        ({"type": "STRING", "minimum": "a", "maximum": "1"}, ""),
    ],
)
def test_the_rules_of_device_models_hold(property: dict[str, Any], message: str) -> None:
    core = Core()
    core.define_devices()
    found = {"name": "p", "type": "FLOAT", "accessMode": "ReadWrite"} | property
    model = {"metadata": {"name": "m"}, "spec": {"properties": [found]}}
    if message:
        error = refused(422, "Invalid", core.create, "devicemodels", model)
        assert message in error.message
        assert "spec.properties[0]" in error.message
    else:
        core.create("devicemodels", model)
