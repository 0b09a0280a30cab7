"""Merge patch, JSON patch and strategic merge patch."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.apiserver import patches, strategic
from cloud.apiserver.status import ApiError


@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [  # RFC 7386, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": "foo"}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ],
)
def test_merge_patch_follows_rfc_7386(document: Any, patch: Any, result: Any) -> None:
    assert patches.apply(patches.MERGE, document, patch, "K") == result


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
_objects = st.dictionaries(st.sampled_from("abc"), _json, max_size=3)


@given(_objects, _objects)
def test_a_merge_patch_twice_is_a_merge_patch_once(document: dict[str, Any], patch: dict[str, Any]) -> None:
    before = repr(document)
    once = patches.merge(document, patch)
    assert patches.merge(once, patch) == once
    assert repr(document) == before


def test_json_patch_applies_its_operations_in_order() -> None:
    document = {"a": {"b": [1, 2]}}
    operations = [
        {"op": "test", "path": "/a/b/0", "value": 1},
        {"op": "add", "path": "/a/b/-", "value": 3},
        {"op": "replace", "path": "/a/b/0", "value": 0},
        {"op": "move", "from": "/a/b/1", "path": "/c"},
    ]
    assert patches.apply(patches.JSON, document, operations, "K") == {"a": {"b": [0, 3]}, "c": 2}


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "test", "path": "/a", "value": 2}],
        [{"op": "remove", "path": "/missing"}],
        [{"op": "no-such", "path": "/a"}],
        [{"op": "add"}],
        ["add"],
        [{"op": "copy", "path": "/b"}],
        [{"op": "copy", "from": 1, "path": "/b"}],
        [{"op": "copy", "from": "/missing", "path": "/b"}],
        [{"op": "add", "path": "/l", "value": []}, {"op": "copy", "from": "/l/-", "path": "/b"}],
    ],
)
def test_a_json_patch_that_does_not_apply_is_unprocessable(operations: Any) -> None:
    with pytest.raises(ApiError) as caught:
        patches.apply(patches.JSON, {"a": 1}, operations, "K")
    assert caught.value.code == 422


def test_a_json_patch_cannot_grow_without_bound() -> None:
    # Two hundred bytes of operations, and each doubles what is there: thirty of them would fill any memory.
    doubling = [{"op": "copy", "from": "/l", "path": "/l/-"}] * 30
    for operations in (doubling, [{"op": "test", "path": "", "value": None}] * (patches.OPERATIONS_LIMIT + 1)):
        with pytest.raises(ApiError) as caught:
            patches.apply(patches.JSON, {"l": ["x" * 100]}, operations, "K")
        assert (caught.value.code, caught.value.reason) == (413, "RequestEntityTooLarge")
    few = patches.apply(patches.JSON, {"l": [1]}, doubling[:2], "K")
    assert few == {"l": [1, [1], [1, [1]]]}


@pytest.mark.parametrize(
    ("media_type", "patch"),
    [
        (patches.JSON, {"a": 1}),
        (patches.MERGE, [1]),
        (patches.STRATEGIC, "text"),
        (patches.JSON, [{"op": "replace", "path": "", "value": 1}]),
    ],
)
def test_a_patch_of_the_wrong_shape_is_a_bad_request(media_type: str, patch: Any) -> None:
    with pytest.raises(ApiError) as caught:
        patches.apply(media_type, {"a": 1}, patch, "K")
    assert caught.value.code == 400


def test_custom_resources_take_no_strategic_merge_patch() -> None:
    patches.check(patches.STRATEGIC, built_in=True)
    with pytest.raises(ApiError) as caught:
        patches.check(patches.STRATEGIC, built_in=False)
    assert caught.value.code == 415


def test_conditions_merge_by_type() -> None:
    node = {
        "status": {
            "conditions": [
                {"type": "Ready", "status": "False", "reason": "x"},
                {"type": "DiskPressure", "status": "False"},
            ]
        }
    }
    patch = {"status": {"conditions": [{"type": "Ready", "status": "True", "reason": None}]}}
    assert strategic.merge(node, patch, "Node")["status"]["conditions"] == [
        {"type": "Ready", "status": "True"},
        {"type": "DiskPressure", "status": "False"},
    ]


def test_containers_merge_by_name_and_their_lists_by_their_keys() -> None:
    pod = {
        "spec": {
            "containers": [
                {"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]},
                {"name": "b", "image": "1"},
            ]
        }
    }
    patch = {
        "spec": {
            "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
            "containers": [
                {"name": "a", "env": [{"name": "Y", "value": "2"}]},
                {"name": "b", "$patch": "delete"},
                {"name": "c", "image": "3"},
            ],
        }
    }
    assert strategic.merge(pod, patch, "Pod")["spec"]["containers"] == [
        {"name": "c", "image": "3"},
        {"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]},
    ]


def test_lists_without_a_merge_key_are_replaced() -> None:
    node = {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}
    patch = {"spec": {"taints": [{"key": "b", "effect": "NoSchedule"}]}}
    assert strategic.merge(node, patch, "Node")["spec"]["taints"] == [{"key": "b", "effect": "NoSchedule"}]


def test_finalizers_merge_as_a_set_and_single_ones_can_be_taken_out() -> None:
    obj = {"metadata": {"finalizers": ["a.b/c", "a.b/d"]}}
    added = strategic.merge(obj, {"metadata": {"finalizers": ["a.b/e", "a.b/c"]}}, "ConfigMap")
    assert added["metadata"]["finalizers"] == ["a.b/c", "a.b/d", "a.b/e"]
    removed = strategic.merge(obj, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a.b/c"]}}, "ConfigMap")
    assert removed["metadata"]["finalizers"] == ["a.b/d"]


def test_directives_replace_delete_and_retain() -> None:
    obj = {"data": {"a": "1", "b": "2"}, "spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}
    assert strategic.merge(obj, {"data": {"$patch": "replace", "c": "3"}}, "ConfigMap")["data"] == {"c": "3"}
    assert strategic.merge(obj, {"data": {"$patch": "delete"}}, "ConfigMap")["data"] == {}
    patch = {"spec": {"volumes": [{"$retainKeys": ["name", "hostPath"], "name": "v", "hostPath": {"path": "/x"}}]}}
    assert strategic.merge(obj, patch, "Pod")["spec"]["volumes"] == [{"name": "v", "hostPath": {"path": "/x"}}]
    replaced = {"spec": {"volumes": [{"$patch": "replace"}, {"name": "w"}]}}
    assert strategic.merge(obj, replaced, "Pod")["spec"]["volumes"] == [{"name": "w"}]


@pytest.mark.parametrize(
    "patch",
    [{"$patch": "no-such"}, {"status": {"conditions": [{"status": "True"}]}}, {"status": {"conditions": ["x"]}}],
)
def test_a_strategic_patch_that_cannot_be_followed_is_a_bad_request(patch: Any) -> None:
    with pytest.raises(ApiError) as caught:
        strategic.merge({"status": {"conditions": []}}, patch, "Node")
    assert caught.value.code == 400
