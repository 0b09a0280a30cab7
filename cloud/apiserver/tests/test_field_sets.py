"""Sets of field paths: held against plain sets of tuples."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.apiserver import field_sets
from cloud.apiserver.field_sets import FieldSet, FieldSetError, Path

_elements = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"y"'])
_paths = st.sets(st.lists(_elements, min_size=1, max_size=3).map(tuple), max_size=6)


def members(fields: FieldSet) -> set[Path]:
    return set(field_sets.paths(fields))


@given(_paths)
def test_a_set_holds_the_paths_it_was_made_of(found: set[Path]) -> None:
    assert members(field_sets.of(*found)) == found


@given(_paths)
def test_a_set_is_its_json_and_equal_sets_are_one(found: set[Path]) -> None:
    encoded = field_sets.encode(field_sets.of(*sorted(found)))
    assert encoded is field_sets.encode(field_sets.of(*sorted(found, reverse=True)))
    assert members(field_sets.decode(encoded)) == found
    assert field_sets.parse(field_sets.decode(encoded)) == field_sets.of(*found)


@given(_paths, _paths)
def test_the_algebra_is_that_of_sets(one: set[Path], other: set[Path]) -> None:
    left, right = field_sets.of(*one), field_sets.of(*other)
    before = repr((left, right))
    assert members(field_sets.union(left, right)) == one | other
    assert members(field_sets.difference(left, right)) == one - other
    assert members(field_sets.intersection(left, right)) == one & other
    assert field_sets.includes(left, right) is (other <= one)
    assert field_sets.disjoint(left, right) is one.isdisjoint(other)
    assert repr((left, right)) == before


def test_disjoint_sets_may_share_the_beginnings_of_paths() -> None:
    assert field_sets.disjoint(field_sets.of(("f:a", "f:b")), field_sets.of(("f:a",), ("f:a", "f:c")))


@given(_paths, _paths)
def test_what_lies_below_a_path_can_go_with_it(one: set[Path], other: set[Path]) -> None:
    left = field_sets.difference_below(field_sets.of(*one), field_sets.of(*other))
    assert members(left) == {path for path in one if not any(path[: len(gone)] == gone for gone in other)}


@given(_paths, _paths)
def test_every_result_is_written_in_one_way_only(one: set[Path], other: set[Path]) -> None:
    left, right = field_sets.of(*one), field_sets.of(*other)
    assert field_sets.union(left, right) == field_sets.of(*(one | other))
    assert field_sets.difference(left, right) == field_sets.of(*(one - other))
    assert field_sets.intersection(left, right) == field_sets.of(*(one & other))


def test_paths_read_as_in_messages() -> None:
    path = ("f:spec", "f:ports", 'k:{"protocol":"TCP","containerPort":80}', "f:name")
    assert field_sets.text(path) == '.spec.ports[containerPort=80,protocol="TCP"].name'
    assert field_sets.text(("f:metadata", "f:finalizers", 'v:"a/b"')) == '.metadata.finalizers[="a/b"]'


@pytest.mark.parametrize(
    "written", [[], "x", {"a": {}}, {"f:a": 1}, {"k:{": {}}, {"k:1": {}}, {"x:a": {}}, {"f:a": {"b": {}}}]
)
def test_what_is_no_set_is_refused(written: Any) -> None:
    with pytest.raises(FieldSetError):
        field_sets.parse(written)
