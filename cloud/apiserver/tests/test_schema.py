"""Structural schemas: what they prune, fill in and refuse, in the API's words."""

from typing import Any

import pytest

from cloud.apiserver.schema import Schema, SchemaError


def schema_of(**properties: Any) -> Schema:
    return Schema({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}})


def texts(schema: Schema, spec: Any) -> list[str]:
    return [cause.text() for cause in schema.admit({"spec": spec}).causes]


def test_fields_that_the_schema_does_not_know_are_dropped_and_named() -> None:
    schema = schema_of(list={"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}})
    obj = {"kind": "K", "metadata": {"name": "x"}, "spec": {"b": 1, "list": [{"a": "1", "c": 2}]}, "more": 1}
    report = schema.admit(obj)
    assert obj == {"kind": "K", "metadata": {"name": "x"}, "spec": {"list": [{"a": "1"}]}}
    assert sorted(report.unknown) == ["more", "spec.b", "spec.list[0].c"]
    assert report.causes == []


def test_unknown_fields_are_kept_where_the_schema_says_so() -> None:
    schema = schema_of(free={"type": "object", "x-kubernetes-preserve-unknown-fields": True})
    obj = {"spec": {"free": {"any": [{"thing": None}]}}}
    assert schema.admit(obj).unknown == []
    assert obj == {"spec": {"free": {"any": [{"thing": None}]}}}


def test_known_fields_inside_a_preserved_object_are_still_checked() -> None:
    schema = schema_of(
        free={
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {"port": {"type": "integer"}},
        }
    )
    assert texts(schema, {"free": {"port": "x", "other": 1}}) == [
        'spec.free.port: Invalid value: "string": spec.free.port in body must be of type integer: "string"'
    ]


def test_additional_properties_are_checked_by_their_schema() -> None:
    schema = schema_of(labels={"type": "object", "additionalProperties": {"type": "string"}})
    assert texts(schema, {"labels": {"a": "b", "c": 1}}) == [
        'spec.labels.c: Invalid value: "integer": spec.labels.c in body must be of type string: "integer"'
    ]


def test_defaults_fill_what_is_missing_or_null_and_are_copies() -> None:
    schema = schema_of(
        list={"type": "array", "items": {"type": "string"}, "default": ["a"]}, n={"type": "integer", "default": 3}
    )
    one: dict[str, Any] = {"spec": {"n": None}}
    other: dict[str, Any] = {"spec": {}}
    assert schema.admit(one).causes == []
    schema.admit(other)
    one["spec"]["list"].append("b")
    assert one["spec"]["n"] == 3
    assert other["spec"]["list"] == ["a"]


def test_a_default_of_an_outer_object_does_not_create_it() -> None:
    schema = schema_of(outer={"type": "object", "properties": {"inner": {"type": "string", "default": "x"}}})
    obj: dict[str, Any] = {"spec": {}}
    schema.admit(obj)
    assert obj == {"spec": {}}


@pytest.mark.parametrize(
    ("openapi", "value", "message"),
    [
        ({"type": "string"}, 1, 'Invalid value: "integer": spec.f in body must be of type string: "integer"'),
        ({"type": "string"}, None, 'Invalid value: "null": spec.f in body must be of type string: "null"'),
        ({"type": "integer"}, True, 'Invalid value: "boolean": spec.f in body must be of type integer: "boolean"'),
        ({"type": "integer"}, 1.5, 'Invalid value: "number": spec.f in body must be of type integer: "number"'),
        ({"type": "boolean"}, "true", 'Invalid value: "string": spec.f in body must be of type boolean: "string"'),
        ({"type": "object"}, [], 'Invalid value: "array": spec.f in body must be of type object: "array"'),
        ({"type": "string", "enum": ["a", "b"]}, "c", 'Unsupported value: "c": supported values: "a", "b"'),
        ({"type": "string", "maxLength": 2}, "äöü", "Too long: may not be more than 2 bytes"),
        ({"type": "string", "minLength": 1}, "", 'Invalid value: "": spec.f in body should be at least 1 chars long'),
        ({"type": "string", "pattern": "^a+$"}, "b", "Invalid value: \"b\": spec.f in body should match '^a+$'"),
        (
            {"type": "integer", "minimum": 0},
            -1,
            "Invalid value: -1: spec.f in body should be greater than or equal to 0",
        ),
        ({"type": "integer", "maximum": 5}, 6, "Invalid value: 6: spec.f in body should be less than or equal to 5"),
        (
            {"type": "number", "minimum": 0, "exclusiveMinimum": True},
            0,
            "Invalid value: 0: spec.f in body should be greater than 0",
        ),
        ({"type": "integer", "multipleOf": 5}, 7, "Invalid value: 7: spec.f in body should be a multiple of 5"),
        (
            {"type": "array", "maxItems": 1, "items": {"type": "string"}},
            ["a", "b"],
            "Too many: 2: must have at most 1 items",
        ),
        (
            {"type": "array", "minItems": 1, "items": {"type": "string"}},
            [],
            "Invalid value: 0: spec.f in body should have at least 1 items",
        ),
        (
            {"type": "string", "format": "date-time"},
            "today",
            'Invalid value: "today": spec.f in body must be of type date-time: "today"',
        ),
        (
            {"x-kubernetes-int-or-string": True},
            1.5,
            'Invalid value: "number": spec.f in body must be of type integer,string: "number"',
        ),
        (
            {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
            ["a", "a"],
            None,
        ),
    ],
)
def test_a_wrong_value_is_refused_in_the_words_of_the_api(openapi: Any, value: Any, message: str | None) -> None:
    expected = f"spec.f: {message}" if message else 'spec.f[1]: Duplicate value: "a"'
    assert texts(schema_of(f=openapi), {"f": value}) == [expected]


@pytest.mark.parametrize(
    ("openapi", "value"),
    [
        ({"type": "integer"}, 2.0),
        ({"type": "number"}, 1),
        ({"type": "string", "nullable": True}, None),
        ({"x-kubernetes-int-or-string": True}, "50%"),
        ({"x-kubernetes-int-or-string": True}, 8080),
        ({"type": "string", "format": "no-such-format"}, "x"),
        ({"type": "string", "format": "date-time"}, "2026-01-01T00:00:00.123456Z"),
        ({"type": "string", "anyOf": [{"pattern": "^a"}, {"pattern": "b$"}]}, "xb"),
        ({"type": "string", "oneOf": [{"pattern": "^a"}, {"pattern": "b$"}]}, "xb"),
        ({"type": "string", "not": {"pattern": "^a"}}, "b"),
    ],
)
def test_a_right_value_passes(openapi: Any, value: Any) -> None:
    assert texts(schema_of(f=openapi), {"f": value}) == []


@pytest.mark.parametrize(
    ("openapi", "value"),
    [
        ({"type": "string", "anyOf": [{"pattern": "^a"}, {"pattern": "b$"}]}, "x"),
        ({"type": "string", "oneOf": [{"pattern": "^a"}, {"pattern": "b$"}]}, "ab"),
        ({"type": "string", "allOf": [{"pattern": "^a"}, {"pattern": "b$"}]}, "a"),
        ({"type": "string", "not": {"pattern": "^a"}}, "a"),
    ],
)
def test_combinations_are_value_validations(openapi: Any, value: Any) -> None:
    assert texts(schema_of(f=openapi), {"f": value}) != []


def test_a_combination_prunes_nothing() -> None:
    schema = schema_of(
        f={
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
            "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
        }
    )
    obj = {"spec": {"f": {"b": "1"}}}
    assert schema.admit(obj).causes == []
    assert obj == {"spec": {"f": {"b": "1"}}}


def test_a_missing_required_field_is_named() -> None:
    schema = Schema(
        {"type": "object", "required": ["spec"], "properties": {"spec": {"type": "object", "required": ["a"]}}}
    )
    assert [c.text() for c in schema.admit({}).causes] == ["spec: Required value"]
    assert [c.text() for c in schema.admit({"spec": {}}).causes] == ["spec.a: Required value"]


def test_items_of_a_map_list_may_not_repeat_their_key() -> None:
    schema = schema_of(
        f={
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "properties": {"name": {"type": "string"}, "v": {"type": "integer"}}},
        }
    )
    assert texts(schema, {"f": [{"name": "a"}, {"name": "b"}, {"name": "a", "v": 1}]}) == [
        'spec.f[2]: Duplicate value: {"name":"a"}'
    ]


def test_what_is_equal_to_the_stored_object_is_not_checked_again() -> None:
    schema = schema_of(f={"type": "string", "maxLength": 1}, g={"type": "string"})
    old = {"spec": {"f": "too long", "g": "a"}}  # stored before the limit was set
    assert schema.admit({"spec": {"f": "too long", "g": "b"}}, old).causes == []
    assert [c.field for c in schema.admit({"spec": {"f": "too long too", "g": "b"}}, old).causes] == ["spec.f"]


def test_true_is_not_taken_for_an_unchanged_one() -> None:
    schema = schema_of(list={"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}})
    old = {"spec": {"list": [{"n": 1}]}}
    assert [c.field for c in schema.admit({"spec": {"list": [{"n": True}]}}, old).causes] == ["spec.list[0].n"]


def test_a_list_item_that_moved_is_checked() -> None:
    schema = schema_of(list={"type": "array", "items": {"type": "string", "maxLength": 1}})
    old = {"spec": {"list": ["a", "b"]}}
    assert [c.field for c in schema.admit({"spec": {"list": ["a", "b", "cc"]}}, old).causes] == ["spec.list[2]"]


def test_an_embedded_resource_keeps_its_identity() -> None:
    schema = schema_of(template={"type": "object", "x-kubernetes-embedded-resource": True, "properties": {}})
    obj = {"spec": {"template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {}}}}
    report = schema.admit(obj)
    assert obj["spec"]["template"] == {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}
    assert report.unknown == ["spec.template.spec"]


@pytest.mark.parametrize(
    ("openapi", "path"),
    [
        ({"type": "text"}, ".properties[spec].properties[f].type"),
        ({"type": "string", "pattern": "("}, ".properties[spec].properties[f].pattern"),
        ("string", ".properties[spec].properties[f]"),
    ],
)
def test_a_schema_that_cannot_be_used_says_where(openapi: Any, path: str) -> None:
    with pytest.raises(SchemaError) as caught:
        schema_of(f=openapi)
    assert caught.value.path == path
