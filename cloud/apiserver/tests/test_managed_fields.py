"""Ownership of fields: updates take, applies share, conflict or are forced, and what nobody applies any more is gone."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.apiserver import field_sets, field_types, managed_fields, typed_values
from cloud.apiserver.field_sets import FieldSet, FieldSetError
from cloud.apiserver.managed_fields import APPLY, NOBODY, UPDATE, Conflicts, Entry, Managed, Manager

_TEXT = {"type": "string"}
SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "a": _TEXT,
                "b": _TEXT,
                "labels": {"type": "object", "additionalProperties": _TEXT},
                "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": _TEXT},
                "plain": {"type": "array", "items": _TEXT},
                "set": {"type": "array", "items": _TEXT, "x-kubernetes-list-type": "set"},
                "items": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["k"],
                    "items": {"type": "object", "properties": {"k": _TEXT, "v": _TEXT, "w": _TEXT}},
                },
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        }
    },
}
TYPE = field_types.of_schema(SCHEMA)
TIME, LATER = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def by(name: str, operation: str = APPLY, version: str = "v1") -> Manager:
    return Manager(name, operation, version)


def apply(
    live: Any, config: Any, name: str = "a", managed: Managed = NOBODY, force: bool = False
) -> tuple[Any, Managed]:
    return managed_fields.applied(managed, by(name), live, config, TYPE, TIME, force=force)


def update(before: Any, after: Any, name: str = "u", managed: Managed = NOBODY, time: str = TIME) -> Managed:
    return managed_fields.updated(managed, by(name, UPDATE), before, after, TYPE, time)


def fields(managed: Managed, name: str) -> FieldSet:
    found = [field_sets.decode(entry.fields) for entry in managed if entry.manager.name == name]
    return found[0] if found else {}


# --- updates


def test_whoever_creates_an_object_owns_its_fields_and_what_holds_them() -> None:
    managed = update({}, {"spec": {"a": "1", "items": [{"k": "x", "v": "1"}], "set": ["s"], "plain": ["p"]}})
    assert fields(managed, "u") == {
        "f:spec": {
            ".": {},
            "f:a": {},
            "f:items": {".": {}, 'k:{"k":"x"}': {".": {}, "f:k": {}, "f:v": {}}},
            "f:set": {".": {}, 'v:"s"': {}},
            "f:plain": {},
        }
    }


def test_a_change_takes_the_field_from_whoever_owned_it() -> None:
    before = {"spec": {"a": "1", "b": "1"}}
    managed = update(before, {"spec": {"a": "2", "b": "1"}}, "two", update({}, before, "one"))
    assert fields(managed, "one") == {"f:spec": {".": {}, "f:b": {}}}
    assert fields(managed, "two") == {"f:spec": {"f:a": {}}}


def test_what_is_removed_is_nobodys() -> None:
    before = {"spec": {"a": "1", "b": "1"}}
    managed = update(before, {"spec": {"b": "1"}}, "two", update({}, before, "one"))
    assert [entry.manager.name for entry in managed] == ["one"]
    assert fields(managed, "one") == {"f:spec": {".": {}, "f:b": {}}}


def test_the_time_is_that_of_the_last_change_by_the_manager() -> None:
    first = {"spec": {"a": "1"}}
    managed = update({}, first)
    same = update(first, {"spec": {"a": "2"}}, managed=managed, time=LATER)
    assert [entry.time for entry in same] == [LATER]
    assert same[0].fields is managed[0].fields
    assert update(first, first, managed=managed, time=LATER) is managed


def test_nobody_owns_what_the_server_sets() -> None:
    managed = update({"metadata": {}}, {"kind": "K", "metadata": {"name": "n", "uid": "1", "labels": {"l": "1"}}})
    assert fields(managed, "u") == {"f:metadata": {"f:labels": {".": {}, "f:l": {}}}}


def test_the_oldest_of_many_updaters_are_put_together() -> None:
    managed = NOBODY
    before: Any = {"spec": {"labels": {}}}
    for n in range(14):
        after = {"spec": {"labels": {**before["spec"]["labels"], f"l{n}": "1"}}}
        managed = update(before, after, f"m{n}", managed, f"2026-01-01T00:00:{n:02}Z")
        before = after
    assert len(managed) == managed_fields.UPDATERS_LIMIT
    old = fields(managed, "ancient-changes")["f:spec"]["f:labels"]
    assert sorted(old) == ["f:l0", "f:l1", "f:l2", "f:l3", "f:l4"]
    assert fields(managed, "m13") == {"f:spec": {"f:labels": {"f:l13": {}}}}


# --- applies


def test_an_applier_owns_just_what_it_applied() -> None:
    live = {"spec": {"a": "1", "labels": {"x": "1"}}}
    merged, managed = apply(
        live, {"spec": {"b": "2", "labels": {"y": "2"}, "items": [{"k": "i"}]}}, managed=update({}, live)
    )
    assert merged == {"spec": {"a": "1", "b": "2", "labels": {"x": "1", "y": "2"}, "items": [{"k": "i"}]}}
    assert fields(managed, "a") == {
        "f:spec": {"f:b": {}, "f:labels": {"f:y": {}}, "f:items": {'k:{"k":"i"}': {".": {}, "f:k": {}}}}
    }


def test_equal_values_are_shared_and_others_conflict() -> None:
    live = {"spec": {"a": "1", "b": "1"}}
    managed = update({}, live)
    _, shared = apply(live, {"spec": {"a": "1"}}, managed=managed)
    assert fields(shared, "u") == fields(managed, "u")
    with pytest.raises(Conflicts) as caught:
        apply(live, {"spec": {"a": "2", "b": "1"}}, managed=managed)
    assert [(e.manager.name, field_sets.text(path)) for e, path in caught.value.found] == [("u", ".spec.a")]
    merged, forced = apply(live, {"spec": {"a": "2"}}, managed=managed, force=True)
    assert merged["spec"] == {"a": "2", "b": "1"}
    assert fields(forced, "u") == {"f:spec": {".": {}, "f:b": {}}}


def test_what_is_no_longer_applied_is_gone_unless_somebody_else_owns_it() -> None:
    live, managed = apply({}, {"spec": {"a": "1", "b": "1", "items": [{"k": "x", "v": "1"}], "set": ["s", "t"]}})
    live, managed = apply(live, {"spec": {"b": "1", "items": [{"k": "x"}]}}, "b", managed)
    live, managed = apply(live, {"spec": {"set": ["t"]}}, "a", managed)
    assert live == {"spec": {"b": "1", "items": [{"k": "x"}], "set": ["t"]}}
    live, managed = apply(live, {}, "b", managed)
    assert live == {"spec": {"set": ["t"]}}
    assert [entry.manager.name for entry in managed] == ["a"]


def test_an_item_goes_with_what_others_changed_in_it_unless_they_applied_it_too() -> None:
    live, managed = apply({}, {"spec": {"items": [{"k": "x", "v": "1"}]}})
    after = {"spec": {"items": [{"k": "x", "v": "1", "w": "2"}]}}
    updated = update(live, after, managed=managed)
    assert apply(after, {"spec": {}}, managed=updated) == ({"spec": {"items": []}}, apply({}, {"spec": {}})[1])
    live, managed = apply(live, {"spec": {"items": [{"k": "x", "w": "2"}]}}, "b", managed)
    assert live == after
    merged, owners = apply(live, {"spec": {}}, managed=managed)
    assert merged == {"spec": {"items": [{"k": "x", "w": "2"}]}}
    assert fields(owners, "b") == fields(managed, "b")


def test_maps_and_lists_of_one_owner_are_replaced() -> None:
    live = {"spec": {"whole": {"x": "1"}, "plain": ["1"], "free": {"l": [1], "m": {"x": 1}}}}
    config = {"spec": {"whole": {"y": "1"}, "plain": ["2"], "free": {"l": [2], "m": {"y": 2}}}}
    merged, managed = apply(live, config)
    assert merged == {"spec": {**config["spec"], "free": {"l": [2], "m": {"x": 1, "y": 2}}}}
    assert fields(managed, "a")["f:spec"] == {
        "f:whole": {},
        "f:plain": {},
        "f:free": {"f:l": {}, "f:m": {".": {}, "f:y": {}}},
    }


def test_items_come_in_the_order_applied_and_others_keep_their_place() -> None:
    live = {"spec": {"items": [{"k": k} for k in "abcd"]}}
    merged, _ = apply(live, {"spec": {"items": [{"k": k} for k in "cxa"]}})
    assert [item["k"] for item in merged["spec"]["items"]] == ["c", "b", "x", "a", "d"]


def test_what_became_one_value_since_is_owned_as_one() -> None:
    live = {"spec": {"whole": {"x": "1"}}}
    before = Entry(by("u", UPDATE), field_sets.encode({"f:spec": {"f:whole": {"f:x": {}}}}), TIME)
    with pytest.raises(Conflicts):
        apply(live, {"spec": {"whole": {"y": "1"}}}, managed=(before,))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"no": 1}, ".spec.no: field not declared in schema"),
        ({"items": [{"v": "1"}]}, '.spec.items: associative list with keys has an element that omits key field "k"'),
        ({"items": [{"k": "1"}, {"k": "1"}]}, '.spec.items: duplicate entries for key [k="1"]'),
    ],
)
def test_a_configuration_without_a_place_in_the_schema_is_refused(spec: Any, text: str) -> None:
    with pytest.raises(typed_values.TypedError) as caught:
        apply({}, {"spec": spec})
    assert str(caught.value) == text


def test_entries_are_written_and_read() -> None:
    _, managed = apply({}, {"spec": {"a": "1"}})
    managed = (*managed, Entry(Manager("k", UPDATE, "v1", "status"), field_sets.encode({"f:status": {}}), TIME))
    written = managed_fields.encode(managed)
    assert managed_fields.decode(msgspec.json.decode(written)) == managed
    bad: Any
    for bad in ({}, [1], [{"manager": "m"}], [{"operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {"x": {}}}]):
        with pytest.raises(FieldSetError):
            managed_fields.decode(bad)


# --- properties

_value: st.SearchStrategy[Any] = st.sampled_from(["1", "2"])
_map = st.dictionaries(st.sampled_from("xyz"), _value, max_size=2)
_item: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {"k": st.sampled_from("pqr")}, optional={"v": _value, "w": _value}
)
_spec = st.fixed_dictionaries(
    {},
    optional={
        "a": _value,
        "b": _value,
        "labels": _map,
        "whole": _map,
        "plain": st.lists(_value, max_size=2),
        "set": st.lists(st.sampled_from("st"), unique=True),
        "items": st.lists(_item, max_size=3, unique_by=lambda item: item["k"]),
        "free": _map,
    },
)
_configs: st.SearchStrategy[Any] = st.one_of(st.just({}), _spec.map(lambda spec: {"spec": spec}))
_history = st.lists(st.tuples(st.sampled_from("uab"), _configs), max_size=4)


def played(history: list[tuple[str, Any]]) -> tuple[Any, Managed]:
    """An object after updates by u and forced applies by a and b."""
    live: Any = {}
    managed = NOBODY
    for name, config in history:
        if name == "u":
            managed, live = update(live, config, name, managed), config
        else:
            live, managed = apply(live, config, name, managed, force=True)
    return live, managed


@settings(deadline=None)
@given(_history, _configs)
def test_an_apply_twice_is_an_apply_once(history: list[tuple[str, Any]], config: Any) -> None:
    live, managed = played(history)
    before = repr((live, managed, config))
    once, owners = apply(live, config, "a", managed, force=True)
    assert apply(once, config, "a", owners) == (once, owners)
    assert repr((live, managed, config)) == before


@settings(deadline=None)
@given(_history, _configs)
def test_a_forced_apply_ends_with_its_values_and_its_fields(history: list[tuple[str, Any]], config: Any) -> None:
    live, managed = played(history)
    merged, owners = apply(live, config, "a", managed, force=True)
    assert fields(owners, "a") == typed_values.fields_of(config, TYPE)
    assert typed_values.merge(merged, config, TYPE) == merged
    difference = typed_values.compare(config, merged, TYPE)
    assert difference.modified == {}
    assert difference.removed == {}


@settings(deadline=None)
@given(_history, _configs)
def test_an_apply_without_conflicts_changes_nothing_of_others(history: list[tuple[str, Any]], config: Any) -> None:
    live, managed = played(history)
    try:
        merged, owners = apply(live, config, "a", managed)
    except Conflicts:
        return
    change = typed_values.compare(live, merged, TYPE)
    for name in "ub":
        assert fields(owners, name) == fields(managed, name)
        assert field_sets.disjoint(fields(managed, name), field_sets.union(change.modified, change.added))


@settings(deadline=None)
@given(_configs, _configs)
def test_what_one_applied_alone_is_replaced_by_what_it_applies_next(first: Any, second: Any) -> None:
    live, managed = apply({}, first)
    replaced, owners = apply(live, second, managed=managed)
    fresh, owned = apply({}, second)
    assert owners == owned
    difference = typed_values.compare(fresh, replaced, TYPE)
    assert (difference.added, difference.modified, difference.removed) == ({}, {}, {})


@settings(deadline=None)
@given(_history)
def test_nobody_owns_what_is_not_there(history: list[tuple[str, Any]]) -> None:
    live, managed = played(history)
    there = typed_values.compare({}, live, TYPE).added
    for entry in managed:
        assert field_sets.includes(there, field_sets.decode(entry.fields))


@settings(deadline=None)
@given(_configs, _configs)
def test_a_comparison_tells_all_that_differs(one: Any, other: Any) -> None:
    change = typed_values.compare(one, other, TYPE)
    there, here = typed_values.compare({}, one, TYPE).added, typed_values.compare({}, other, TYPE).added
    assert change.added == field_sets.difference(here, there)
    assert change.removed == field_sets.difference(there, here)
    back = typed_values.compare(other, one, TYPE)
    assert (back.added, back.removed, back.modified) == (change.removed, change.added, change.modified)
