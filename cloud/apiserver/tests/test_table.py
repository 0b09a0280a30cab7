"""Printer columns, ages and JSONPath."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cloud.apiserver.jsonpath import compile_path
from cloud.apiserver.resources import Registry
from cloud.apiserver.status import ApiError
from cloud.apiserver.table import custom_columns, human_duration, row
from cloud.apiserver.tests.core import Core

NOW = datetime(2026, 1, 2, tzinfo=UTC)
OBJECT: dict[str, Any] = {
    "metadata": {"name": "x", "annotations": {"a.b/c": "d"}},
    "spec": {"n": 3, "on": True, "list": [{"t": "a", "v": 1}, {"t": "b", "v": 2}]},
}


@pytest.mark.parametrize(
    ("path", "values"),
    [
        (".spec.n", [3]),
        ("spec.n", [3]),
        ("{.spec.n}", [3]),
        (".spec.missing.deeper", []),
        (".metadata.annotations['a.b/c']", ["d"]),
        (r".metadata.annotations.a\.b/c", ["d"]),
        (".spec.list[0].v", [1]),
        (".spec.list[-1].v", [2]),
        (".spec.list[5].v", []),
        (".spec.list[*].v", [1, 2]),
        ('.spec.list[?(@.t=="b")].v', [2]),
        (".spec.list[?(@.t!='b')].v", [1]),
        (".spec.list[?(@.v==2)].t", ["b"]),
        (".spec.on", [True]),
    ],
)
def test_a_json_path_finds(path: str, values: list[Any]) -> None:
    assert compile_path(path)(OBJECT) == values


@pytest.mark.parametrize("path", [".a[", ".a[?(@.b)]", ".a[b]", "..a"])
def test_a_json_path_that_cannot_be_read_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="cannot read"):
        compile_path(path)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (119, "119s"), (120, "2m"), (150, "2m30s"), (600, "10m"), (10799, "179m"), (10800, "3h"), (11000, "3h3m"),
        (8 * 3600, "8h"), (47 * 3600, "47h"), (49 * 3600, "2d1h"), (8 * 86400, "8d"), (800 * 86400, "2y70d"),
        (-1, "0s"), (-5, "<invalid>"),
    ],
)  # fmt: skip
def test_ages_read_as_kubectl_writes_them(seconds: int, text: str) -> None:
    assert human_duration(seconds) == text


def cells(declared: list[dict[str, Any]], obj: dict[str, Any]) -> list[Any]:
    made: list[Any] = row(custom_columns(declared), obj, NOW, "None")["cells"]
    return made


def test_custom_columns_show_values_by_their_type() -> None:
    created = (NOW - timedelta(minutes=5)).isoformat()
    obj = OBJECT | {"metadata": {"name": "x", "creationTimestamp": created.replace("+00:00", "Z")}}
    declared = [
        {"name": "N", "type": "integer", "jsonPath": ".spec.n"},
        {"name": "On", "type": "boolean", "jsonPath": ".spec.on"},
        {"name": "On text", "type": "string", "jsonPath": ".spec.on"},
        {"name": "All", "type": "string", "jsonPath": ".spec.list[*].v"},
        {"name": "Gone", "type": "string", "jsonPath": ".spec.gone"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    assert cells(declared, obj) == ["x", 3, True, "true", "1,2", None, "5m"]


def test_a_resource_without_columns_shows_name_and_age() -> None:
    assert [column.name for column in custom_columns([])] == ["Name", "Age"]


@pytest.mark.parametrize(
    ("plural", "obj", "expected"),
    [
        ("nodes", {"metadata": {"name": "n"}}, ["n", "Unknown", "<none>"]),
        (
            "nodes",
            {
                "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/edge": ""}},
                "spec": {"unschedulable": True},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            },
            ["n", "Ready,SchedulingDisabled", "edge"],
        ),
        (
            "nodes",
            {"metadata": {"name": "n"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}},
            ["n", "NotReady"],
        ),
        (
            "pods",
            {
                "metadata": {"name": "p"},
                "spec": {"containers": [{}, {}]},
                "status": {
                    "phase": "Running",
                    "containerStatuses": [
                        {"ready": True, "restartCount": 2},
                        {"state": {"waiting": {"reason": "Pull"}}},
                    ],
                },
            },
            ["p", "1/2", "Pull", "2"],
        ),
        (
            "pods",
            {"metadata": {"name": "p", "deletionTimestamp": "x"}, "spec": {"containers": [{}]}},
            ["p", "0/1", "Terminating"],
        ),
        ("configmaps", {"metadata": {"name": "c"}, "data": {"a": "1"}, "binaryData": {"b": ""}}, ["c", 2]),
        ("secrets", {"metadata": {"name": "s"}, "type": "Opaque"}, ["s", "Opaque", 0]),
        ("namespaces", {"metadata": {"name": "n"}, "status": {"phase": "Active"}}, ["n", "Active"]),
    ],
)
def test_built_in_kinds_have_the_columns_of_kubectl(plural: str, obj: dict[str, Any], expected: list[Any]) -> None:
    resource = Registry().find("", "v1", plural)
    assert resource is not None
    assert row(resource.columns, obj, NOW, "None")["cells"][: len(expected)] == expected


def test_an_event_shows_when_it_was_seen_last_and_about_what() -> None:
    resource = Registry().find("", "v1", "events")
    assert resource is not None
    event = {
        "metadata": {"name": "e"},
        "lastTimestamp": "2026-01-01T23:59:00Z",
        "type": "Normal",
        "reason": "R",
        "message": "m",
        "involvedObject": {"kind": "Pod", "name": "p"},
    }
    columns = [column for column in resource.columns if not column.priority]
    assert row(tuple(columns), event, NOW, "None")["cells"] == ["60s", "Normal", "R", "pod/p", "m"]


@pytest.mark.parametrize("part", ["conditions", "containerStatuses", "initContainerStatuses"])
def test_no_node_can_spoil_the_table_for_all_who_read_it(part: str) -> None:
    core = Core()
    spec = {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}
    core.create("pods", {"metadata": {"name": "p"}, "spec": spec})
    with pytest.raises(ApiError) as caught:
        core.patch("pods", "p", {"status": {part: [None]}}, "status")
    assert caught.value.code == 400
    core.patch("pods", "p", {"status": {part: [{"restartCount": None, "type": None, "state": None}]}}, "status")
    core.create("events", {"metadata": {"name": "e"}, "involvedObject": {"kind": None, "name": None}})
    for plural, name in (("pods", "p"), ("events", "e")):
        assert row(core.resource(plural).columns, core.get(plural, name), NOW, "None")["cells"]
