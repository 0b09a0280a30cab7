"""What any Kubernetes API must answer; the embedded server by default, any cluster with `--kubeconfig FILE`.

A namespace and the definitions made here have random names and are removed.
"""

import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import kubernetes.client
import kubernetes.config
import kubernetes.watch
import pytest

from cloud.apiserver.tests import http
from cloud.apiserver.tests.conftest import DEFINITIONS, DEVICES, define, eventually
from cloud.apiserver.tests.core import device
from cloud.apiserver.tests.http import Api


@pytest.fixture
def maps(api: Api, namespace: str) -> Iterator[str]:
    """The path of the config maps of the namespace; all are removed afterwards."""
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    yield path
    for item in api.get(path).ok()["items"]:
        if item["metadata"].get("finalizers"):
            api.patch(f"{path}/{item['metadata']['name']}", {"metadata": {"finalizers": None}})
    api.delete(path)


@pytest.fixture
def devices(api: Api, namespace: str, device_definitions: None) -> Iterator[str]:
    """The path of the devices of the namespace; all are removed afterwards."""
    path = f"{DEVICES}/namespaces/{namespace}/devices"
    yield path
    api.delete(path)


def config_map(name: str, value: str = "v", **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": {"k": value}}


def names(listed: Any) -> list[str]:
    return [item["metadata"]["name"] for item in listed["items"]]


def version_of(obj: Any) -> int:
    return int(obj["metadata"]["resourceVersion"])


# --- create, read, change, delete


def test_an_object_goes_through_its_life(api: Api, maps: str, namespace: str) -> None:
    created = api.post(maps, config_map("life"))
    assert created.code == 201
    meta = created.body["metadata"]
    assert (meta["name"], meta["namespace"]) == ("life", namespace)
    assert meta["uid"]
    assert meta["creationTimestamp"]
    assert api.get(f"{maps}/life").ok()["data"] == {"k": "v"}
    updated = api.put(f"{maps}/life", created.body | {"data": {"k": "2"}}).ok()
    assert version_of(updated) > version_of(created.body)
    assert updated["metadata"]["uid"] == meta["uid"]
    deleted = api.delete(f"{maps}/life").ok()
    assert (deleted["kind"], deleted["status"], deleted["details"]["uid"]) == ("Status", "Success", meta["uid"])
    missing = api.get(f"{maps}/life").failed(404, "NotFound")
    assert missing["message"] == 'configmaps "life" not found'
    assert missing["details"] == {"name": "life", "kind": "configmaps"}


def test_a_name_is_taken_once(api: Api, maps: str) -> None:
    api.post(maps, config_map("once")).ok()
    assert (
        api.post(maps, config_map("once")).failed(409, "AlreadyExists")["message"] == 'configmaps "once" already exists'
    )


def test_an_old_version_conflicts(api: Api, maps: str) -> None:
    first = api.post(maps, config_map("old")).ok()
    api.put(f"{maps}/old", first | {"data": {"k": "2"}}).ok()
    failed = api.put(f"{maps}/old", first | {"data": {"k": "3"}}).failed(409, "Conflict")
    assert "the object has been modified; please apply your changes to the latest version" in failed["message"]
    patch = {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}, "data": {"k": "4"}}
    api.patch(f"{maps}/old", patch).failed(409, "Conflict")


def test_an_update_that_changes_nothing_keeps_its_version(api: Api, maps: str) -> None:
    first = api.post(maps, config_map("same")).ok()
    assert version_of(api.put(f"{maps}/same", first).ok()) == version_of(first)


def test_generated_names_are_free(api: Api, maps: str) -> None:
    found = {api.post(maps, {"metadata": {"generateName": "g-"}}).ok()["metadata"]["name"] for _ in range(5)}
    assert len(found) == 5
    assert all(name.startswith("g-") for name in found)


def test_a_bad_name_is_invalid_with_its_cause(api: Api, maps: str) -> None:
    failed = api.post(maps, config_map("Bad_Name")).failed(422, "Invalid")
    assert failed["message"].startswith('ConfigMap "Bad_Name" is invalid: metadata.name: Invalid value: "Bad_Name": ')
    (cause,) = failed["details"]["causes"]
    assert (cause["reason"], cause["field"]) == ("FieldValueInvalid", "metadata.name")


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"", b'{"metadata": {"name": 5}}', b'{"metadata": {"name": "x"}, "data": 5}']
)
def test_a_body_that_cannot_be_read_is_a_bad_request(api: Api, maps: str, body: bytes) -> None:
    assert api.post(maps, body).code in (400, 422)


def test_a_body_of_another_media_type_is_refused(api: Api, maps: str) -> None:
    api.post(maps, b"name: x", content_type="text/plain").failed(415, "UnsupportedMediaType")
    api.post(maps, config_map("patched")).ok()
    api.patch(f"{maps}/patched", {}, "application/json").failed(415, "UnsupportedMediaType")


def test_a_body_over_the_limit_is_refused(api: Api, maps: str) -> None:
    assert api.post(maps, config_map("big", "x" * (4 << 20))).code in (413, 422)
    api.close()


def test_nothing_is_created_where_there_is_no_namespace(api: Api) -> None:
    path = f"/api/v1/namespaces/none-{secrets.token_hex(4)}/configmaps"
    api.post(path, config_map("x")).failed(404, "NotFound")
    assert api.get(path).ok()["items"] == []


def test_paths_that_name_nothing_are_not_found(api: Api) -> None:
    for path in ("/api/v2/pods", "/apis/no.such/v1/things", "/api/v1/nosuch", "/nosuch"):
        assert api.get(path).code == 404


def test_a_method_without_meaning_is_not_allowed(api: Api, maps: str) -> None:
    api.post(maps, config_map("method")).ok()
    api.post(f"{maps}/method", config_map("method")).failed(405, "MethodNotAllowed")


def test_no_one_is_let_in_without_credentials(api: Api) -> None:
    connection = api.connect()
    try:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            connection.request("GET", "/api/v1/secrets", headers=headers)
            response = connection.getresponse()
            response.read()
            assert response.status in (401, 403)
    finally:
        connection.close()


def test_a_dry_run_changes_nothing(api: Api, maps: str) -> None:
    dry = {"dryRun": "All"}
    assert api.post(maps, config_map("dry"), query=dry).code == 201
    api.get(f"{maps}/dry").failed(404, "NotFound")
    api.post(maps, config_map("dry")).ok()
    assert api.patch(f"{maps}/dry", {"data": {"k": "2"}}, query=dry).ok()["data"] == {"k": "2"}
    api.delete(f"{maps}/dry", query=dry).ok()
    assert api.get(f"{maps}/dry").ok()["data"] == {"k": "v"}


# --- patches


def test_patches_of_all_kinds_apply(api: Api, maps: str) -> None:
    api.post(maps, config_map("patch", labels={"a": "1"})).ok()
    path = f"{maps}/patch"
    assert api.patch(path, {"data": {"k": None, "n": "1"}}).ok()["data"] == {"n": "1"}
    operations = [{"op": "test", "path": "/data/n", "value": "1"}, {"op": "add", "path": "/data/m", "value": "2"}]
    assert api.patch(path, operations, http.JSON_PATCH).ok()["data"] == {"n": "1", "m": "2"}
    strategic = {"metadata": {"finalizers": ["test.example/a"]}, "data": {"m": None}}
    patched = api.patch(path, strategic, http.STRATEGIC).ok()
    assert (patched["data"], patched["metadata"]["finalizers"]) == ({"n": "1"}, ["test.example/a"])
    taken = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["test.example/a"]}}
    assert "finalizers" not in api.patch(path, taken, http.STRATEGIC).ok()["metadata"]


def test_a_json_patch_whose_test_fails_changes_nothing(api: Api, maps: str) -> None:
    api.post(maps, config_map("test")).ok()
    operations = [{"op": "test", "path": "/data/k", "value": "x"}, {"op": "remove", "path": "/data/k"}]
    assert api.patch(f"{maps}/test", operations, http.JSON_PATCH).code == 422
    assert api.get(f"{maps}/test").ok()["data"] == {"k": "v"}


def test_a_patch_of_what_is_not_there_is_not_found(api: Api, maps: str) -> None:
    api.patch(f"{maps}/nothing", {"data": {}}).failed(404, "NotFound")


# --- deletion


def test_a_finalizer_holds_what_is_deleted(api: Api, maps: str) -> None:
    api.post(maps, config_map("held", finalizers=["test.example/hold"])).ok()
    answer = api.delete(f"{maps}/held")
    assert answer.code in (200, 202)
    held = api.get(f"{maps}/held").ok()
    assert held["metadata"]["deletionTimestamp"]
    api.patch(f"{maps}/held", {"metadata": {"finalizers": None}}).ok()
    api.get(f"{maps}/held").failed(404, "NotFound")


def test_preconditions_guard_a_deletion(api: Api, maps: str) -> None:
    created = api.post(maps, config_map("guarded")).ok()
    stale = {"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}}
    api.delete(f"{maps}/guarded", stale).failed(409, "Conflict")
    meta = created["metadata"]
    api.delete(
        f"{maps}/guarded", {"preconditions": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}}
    ).ok()


def test_a_collection_is_deleted_by_its_selector(api: Api, maps: str) -> None:
    for name in ("x1", "x2", "y1"):
        api.post(maps, config_map(name, labels={"kind": name[0]})).ok()
    api.delete(maps, query={"labelSelector": "kind=x"}).ok()
    assert names(api.get(maps, query={"labelSelector": "kind"}).ok()) == ["y1"]


def test_a_namespace_takes_its_content_along(api: Api) -> None:
    name = f"contract-{secrets.token_hex(4)}"
    path = f"/api/v1/namespaces/{name}"
    api.post("/api/v1/namespaces", {"metadata": {"name": name}}).ok()
    api.post(f"{path}/configmaps", config_map("a")).ok()
    api.delete(path).ok()
    eventually(lambda: api.get(path).code == 404, "the end of the namespace")
    assert api.get(f"{path}/configmaps").ok()["items"] == []


# --- lists


def test_selectors_select(api: Api, maps: str) -> None:
    for name, tier in (("a", "front"), ("b", "back"), ("c", "back")):
        api.post(maps, config_map(name, labels={"tier": tier, "sel": "1"})).ok()

    def listed(**query: str) -> list[str]:
        return names(api.get(maps, query={"labelSelector": "sel=1", **query}).ok())

    assert listed() == ["a", "b", "c"]
    assert listed(labelSelector="tier=back,sel") == ["b", "c"]
    assert listed(labelSelector="tier in (front),sel") == ["a"]
    assert listed(labelSelector="sel,!other,tier!=back") == ["a"]
    assert listed(fieldSelector="metadata.name=b") == ["b"]
    assert listed(fieldSelector="metadata.name!=b") == ["a", "c"]
    api.get(maps, query={"fieldSelector": "spec.no=1"}).failed(400, "BadRequest")
    assert api.get(maps, query={"labelSelector": "a in b"}).code == 400


def test_pages_are_one_list_of_one_version(api: Api, maps: str) -> None:
    for number in range(5):
        api.post(maps, config_map(f"p{number}", labels={"page": "1"})).ok()
    query = {"limit": 2, "labelSelector": "page"}
    first = api.get(maps, query=query).ok()
    api.delete(f"{maps}/p3").ok()
    api.post(maps, config_map("p9", labels={"page": "1"})).ok()
    second = api.get(maps, query={**query, "continue": first["metadata"]["continue"]}).ok()
    third = api.get(maps, query={**query, "continue": second["metadata"]["continue"]}).ok()
    assert names(first) + names(second) + names(third) == ["p0", "p1", "p2", "p3", "p4"]
    assert version_of(first) == version_of(second) == version_of(third)
    assert not third["metadata"].get("continue")
    assert api.get(maps, query={**query, "continue": "nonsense"}).code == 400


def test_a_table_has_cells_and_metadata(api: Api, maps: str) -> None:
    api.post(maps, config_map("cells")).ok()
    table = api.get(maps, accept=http.TABLE, query={"fieldSelector": "metadata.name=cells"}).ok()
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Data", "Age"]
    (row,) = table["rows"]
    assert row["cells"][:2] == ["cells", 1]
    assert row["object"]["kind"] == "PartialObjectMetadata"
    single = api.get(f"{maps}/cells", accept=http.TABLE, query={"includeObject": "None"}).ok()
    assert single["rows"][0].get("object") is None
    whole = api.get(f"{maps}/cells", accept=http.TABLE, query={"includeObject": "Object"}).ok()
    assert whole["rows"][0]["object"]["data"] == {"k": "v"}


def test_metadata_alone_can_be_read(api: Api, maps: str) -> None:
    api.post(maps, config_map("meta")).ok()
    listed = api.get(maps, accept=http.PARTIAL_LIST).ok()
    assert listed["kind"] == "PartialObjectMetadataList"
    assert all("data" not in item for item in listed["items"])
    assert api.get(f"{maps}/meta", accept=http.PARTIAL).ok()["kind"] == "PartialObjectMetadata"


# --- custom resources


def test_a_device_goes_through_its_life(api: Api, devices: str) -> None:
    created = api.post(devices, device("s1")).ok()
    assert created["metadata"]["generation"] == 1
    assert "status" not in created
    status = {"status": {"state": "online", "twins": [{"propertyName": "t", "reported": {"value": "21"}}]}}
    patched = api.patch(f"{devices}/s1/status", status).ok()
    assert patched["status"]["twins"][0]["reported"]["value"] == "21"
    assert patched["metadata"]["generation"] == 1
    assert "status" not in api.patch(f"{devices}/s1", {"status": {"state": "offline"}}).ok() or (
        api.get(f"{devices}/s1").ok()["status"]["state"] == "online"
    )
    changed = api.patch(f"{devices}/s1", {"spec": {"nodeName": "other"}}).ok()
    assert changed["metadata"]["generation"] == 2
    assert changed["status"]["state"] == "online"
    assert api.get(f"{devices}/s1/status").ok()["metadata"]["name"] == "s1"


def test_a_device_that_breaks_its_schema_is_invalid(api: Api, devices: str) -> None:
    bad = device("bad", properties=[{"name": "p", "collectCycle": -1}, {"name": "q", "collectCycle": "soon"}])
    failed = api.post(devices, bad).failed(422, "Invalid")
    assert failed["details"]["kind"] == "Device"
    found = {cause["field"]: (cause["reason"], cause["message"]) for cause in failed["details"]["causes"]}
    assert found["spec.properties[0].collectCycle"][0] == "FieldValueInvalid"
    assert "should be greater than or equal to 0" in found["spec.properties[0].collectCycle"][1]
    assert found["spec.properties[1].collectCycle"][0] == "FieldValueTypeInvalid"
    assert 'must be of type integer: "string"' in found["spec.properties[1].collectCycle"][1]


def test_required_fields_and_repeated_names_are_named(api: Api, devices: str) -> None:
    failed = api.post(devices, device("bad", deviceModelRef={})).failed(422, "Invalid")
    assert "spec.deviceModelRef.name: Required value" in failed["message"]
    failed = api.post(devices, device("bad", properties=[{"name": "p"}, {"name": "p"}])).failed(422, "Invalid")
    assert "spec.properties[1]: Duplicate value" in failed["message"]


def test_unknown_fields_are_pruned_and_refused_when_strict(api: Api, devices: str) -> None:
    odd = device("odd", bogus=1)
    failed = api.post(devices, odd, query={"fieldValidation": "Strict"}).failed(400, "BadRequest")
    assert 'strict decoding error: unknown field "spec.bogus"' in failed["message"]
    answer = api.post(devices, odd, query={"fieldValidation": "Warn"})
    assert "bogus" not in answer.ok()["spec"]
    assert any('unknown field \\"spec.bogus\\"' in warning for warning in answer.warnings)
    free = device("free", protocol={"protocolName": "p", "configData": {"any": {"thing": [1]}}})
    assert api.post(devices, free, query={"fieldValidation": "Strict"}).ok()["spec"]["protocol"]["configData"] == {
        "any": {"thing": [1]}
    }


def test_a_custom_resource_needs_a_version_to_be_replaced_and_takes_no_strategic_patch(api: Api, devices: str) -> None:
    api.post(devices, device("s2")).ok()
    assert api.put(f"{devices}/s2", device("s2", nodeName="x")).failed(422, "Invalid")
    assert api.patch(f"{devices}/s2", {"spec": {"nodeName": "x"}}, http.STRATEGIC).code == 415


def test_a_definition_is_served_and_goes_with_its_objects(api: Api, namespace: str) -> None:
    group = f"t{secrets.token_hex(4)}.contract.example"
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {"size": {"type": "integer", "default": 3}, "port": {"x-kubernetes-int-or-string": True}},
            }
        },
    }
    column = {"name": "Size", "type": "integer", "jsonPath": ".spec.size"}
    version = {
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": [column],
    }
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", **version}],
        },
    }
    define(api, definition)
    path = f"/apis/{group}/v1/namespaces/{namespace}/widgets"
    widget = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"port": "http"}}
    assert api.post(path, widget).ok()["spec"] == {"size": 3, "port": "http"}
    table = api.get(path, accept=http.TABLE).ok()
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Size"]
    assert table["rows"][0]["cells"] == ["w", 3]
    resources = api.get(f"/apis/{group}/v1").ok()["resources"]
    assert [r["name"] for r in resources] == ["widgets"]
    api.delete(f"{DEFINITIONS}/widgets.{group}").ok()
    eventually(lambda: api.get(path).code == 404, "the end of the definition")
    eventually(lambda: api.get(f"{DEFINITIONS}/widgets.{group}").code == 404, "the end of its object")


def test_a_bad_definition_is_invalid(api: Api) -> None:
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "wrong.contract.example"},
        "spec": {
            "group": "contract.example",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
            ],
        },
    }
    assert "metadata.name" in api.post(DEFINITIONS, definition).failed(422, "Invalid")["message"]


# --- watches


def test_a_watch_tells_of_each_change_once_and_in_order(api: Api, maps: str) -> None:
    start = api.get(maps).ok()["metadata"]["resourceVersion"]
    with api.watch(maps, resourceVersion=start, labelSelector="w=1") as watching:
        api.post(maps, config_map("other")).ok()
        api.post(maps, config_map("w", labels={"w": "1"})).ok()
        api.patch(f"{maps}/w", {"data": {"k": "2"}}).ok()
        api.patch(f"{maps}/w", {"metadata": {"labels": {"w": "2"}}}).ok()
        api.patch(f"{maps}/w", {"metadata": {"labels": {"w": "1"}}}).ok()
        api.delete(f"{maps}/w").ok()
        events = watching.take(5)
    assert [type for type, _ in events] == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]
    versions = [version_of(obj) for _, obj in events]
    assert versions == sorted(set(versions))
    assert versions[0] > int(start)


def test_a_watch_of_one_object_sees_nothing_else(api: Api, maps: str) -> None:
    start = api.get(maps).ok()["metadata"]["resourceVersion"]
    with api.watch(maps, resourceVersion=start, fieldSelector="metadata.name=one") as watching:
        api.post(maps, config_map("two")).ok()
        api.post(maps, config_map("one")).ok()
        (event,) = watching.take(1)
    assert event[1]["metadata"]["name"] == "one"


def test_a_watch_without_a_version_begins_with_what_is_there(api: Api, maps: str) -> None:
    for name in ("a", "b"):
        api.post(maps, config_map(name, labels={"there": "1"})).ok()
    with api.watch(maps, labelSelector="there") as watching:
        assert sorted((t, o["metadata"]["name"]) for t, o in watching.take(2)) == [("ADDED", "a"), ("ADDED", "b")]
        api.delete(f"{maps}/a").ok()
        assert watching.take(1)[0][0] == "DELETED"


def test_a_watch_ends_with_its_timeout(api: Api, maps: str) -> None:
    begun = time.monotonic()
    with api.watch(maps, timeoutSeconds=1, allowWatchBookmarks="true") as watching:
        events = watching.rest()
    assert 0.5 < time.monotonic() - begun < 10
    assert {type for type, _ in events} <= {"ADDED", "BOOKMARK"}


def test_initial_events_end_with_a_marked_bookmark(api: Api, maps: str) -> None:
    api.post(maps, config_map("first", labels={"initial": "1"})).ok()
    query: dict[str, Any] = {
        "sendInitialEvents": "true",
        "allowWatchBookmarks": "true",
        "resourceVersionMatch": "NotOlderThan",
    }
    with api.watch(maps, labelSelector="initial", **query) as watching:
        assert watching.next()[0] == "ADDED"
        type, bookmark = watching.next()
        assert type == "BOOKMARK"
        assert bookmark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert version_of(bookmark) > 0
        api.delete(f"{maps}/first").ok()
        assert watching.take(1)[0][0] == "DELETED"


def test_a_watch_from_a_version_long_gone_is_told_so(api: Api, maps: str) -> None:
    old = api.post(maps, config_map("grows")).ok()["metadata"]["resourceVersion"]
    for number in range(
        14
    ):  # more than the embedded server keeps; a cluster keeps minutes, but nothing of its first day
        api.patch(f"{maps}/grows", {"data": {"k": str(number) * 700_000}}).ok()
    embedded = int(old) < 100_000
    with api.watch(maps, resourceVersion=old if embedded else "1") as watching:
        if watching.code == 410:
            body = json.loads(watching.response.read())
        else:
            type, body = watching.next()
            assert type == "ERROR"
        assert (body["kind"], body["code"], body["reason"]) == ("Status", 410, "Expired")


def test_a_watch_of_a_table_sends_rows(api: Api, maps: str) -> None:
    start = api.get(maps).ok()["metadata"]["resourceVersion"]
    with api.watch(maps, accept=http.TABLE, resourceVersion=start) as watching:
        for name in ("t1", "t2"):
            api.post(maps, config_map(name)).ok()
        (_, first), (_, second) = watching.take(2)
    assert [first["kind"], second["kind"]] == ["Table", "Table"]
    assert first["rows"][0]["cells"][0] == "t1"
    assert [c["name"] for c in first["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert not second["columnDefinitions"]


def test_a_list_and_a_watch_from_its_version_lose_and_double_nothing(kubeconfig: Path, api: Api, maps: str) -> None:
    """Listing at any moment while others write, and watching from there, must give every change exactly once."""
    stop = threading.Event()
    written: dict[str, int] = {}

    def write(writer: int) -> None:
        own = Api(kubeconfig)
        number = 0
        while not stop.is_set():
            name = f"w{writer}-{number % 4}"
            answer = own.patch(f"{maps}/{name}", {"data": {"n": str(number)}})
            if answer.code == 404:
                answer = own.post(maps, config_map(name, str(number)))
            elif number % 7 == 6:
                own.delete(f"{maps}/{name}").ok()
                written.pop(name, None)
                number += 1
                continue
            written[name] = version_of(answer.ok())
            number += 1
        own.close()

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    try:
        followers = [_Follower(kubeconfig, maps) for _ in range(4)]
        for follower in followers:
            follower.join(20)
            assert not follower.is_alive()
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    for follower in followers:
        assert follower.problems == []
        assert follower.events > 20


class _Follower(threading.Thread):
    """Lists, watches for a second, and checks each event against what it knows by then."""

    def __init__(self, kubeconfig: Path, path: str) -> None:
        super().__init__()
        self._api = Api(kubeconfig)
        self._path = path
        self.problems: list[str] = []
        self.events = 0
        self.start()

    def run(self) -> None:
        listed = self._api.get(self._path).ok()
        known = {item["metadata"]["name"]: version_of(item) for item in listed["items"]}
        last = version_of(listed)
        with self._api.watch(self._path, resourceVersion=last, timeoutSeconds=1) as watching:
            for type, obj in watching.rest():
                self.events += 1
                name, version = obj["metadata"]["name"], version_of(obj)
                if version <= last:
                    self.problems.append(f"{type} {name} at {version} after {last}")
                last = version
                if (type == "ADDED") is (name in known):
                    self.problems.append(f"{type} of {name}, which was {'' if name in known else 'not '}there")
                if type == "DELETED":
                    known.pop(name, None)
                else:
                    known[name] = version
        # What a list says now must be reachable from what the watch said, by versions newer than it only.
        after = self._api.get(self._path).ok()
        for item in after["items"]:
            name, version = item["metadata"]["name"], version_of(item)
            if version <= last and known.get(name) != version:
                self.problems.append(f"{name} at {version} was never told of")
        self._api.close()


def test_many_watches_see_the_same(api: Api, maps: str) -> None:
    start = api.get(maps).ok()["metadata"]["resourceVersion"]
    with ExitStack() as stack:
        watches = [stack.enter_context(api.watch(maps, resourceVersion=start)) for _ in range(20)]
        for name in ("m1", "m2", "m3"):
            api.post(maps, config_map(name)).ok()
        found = [[obj["metadata"]["name"] for _, obj in watching.take(3)] for watching in watches]
    assert found == [["m1", "m2", "m3"]] * 20


# --- discovery


def test_discovery_names_what_is_served(api: Api, device_definitions: None) -> None:
    assert "v1" in api.get("/api").ok()["versions"]
    core = {resource["name"]: resource for resource in api.get("/api/v1").ok()["resources"]}
    assert {"pods", "nodes", "nodes/status", "configmaps", "secrets", "events", "namespaces"} <= set(core)
    assert core["pods"]["shortNames"] == ["po"]
    groups = {group["name"] for group in api.get("/apis").ok()["groups"]}
    assert {"devices.kubeedge.io", "coordination.k8s.io", "apiextensions.k8s.io"} <= groups
    devices = {resource["name"] for resource in api.get(DEVICES).ok()["resources"]}
    assert devices == {"devices", "devices/status", "devicemodels"}
    assert api.get("/apis/devices.kubeedge.io").ok()["preferredVersion"]["version"] == "v1beta1"
    assert api.get("/version").ok()["major"] == "1"
    for path in ("/healthz", "/livez", "/readyz"):
        assert api.get(path).body == b"ok"


def test_aggregated_discovery_names_the_same(api: Api, device_definitions: None) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    found = api.get("/apis", accept=accept).ok()
    assert found["kind"] == "APIGroupDiscoveryList"
    groups = {item["metadata"]["name"]: item for item in found["items"]}
    resources = {r["resource"]: r for r in groups["devices.kubeedge.io"]["versions"][0]["resources"]}
    assert set(resources) == {"devices", "devicemodels"}
    assert [s["subresource"] for s in resources["devices"]["subresources"]] == ["status"]


def test_the_published_schema_of_a_device_describes_it(api: Api, device_definitions: None) -> None:
    index = eventually(
        lambda: api.get("/openapi/v3").ok()["paths"].get("apis/devices.kubeedge.io/v1beta1"), "the schema's place"
    )
    schemas = api.get(index["serverRelativeURL"]).ok()["components"]["schemas"]
    (schema,) = [s for name, s in schemas.items() if name.endswith(".v1beta1.Device")]
    assert schema["properties"]["spec"]["properties"]["nodeName"]["type"] == "string"
    assert schema["x-kubernetes-group-version-kind"][0]["kind"] == "Device"


# --- built-in kinds cloudcore lives on


def test_a_node_reports_its_status_and_renews_its_lease(api: Api) -> None:
    name = f"node-{secrets.token_hex(4)}"
    path, lease = f"/api/v1/nodes/{name}", f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}"
    api.post("/api/v1/nodes", {"metadata": {"name": name, "labels": {"node-role.kubernetes.io/edge": ""}}}).ok()
    try:
        condition = {"type": "Ready", "status": "True", "reason": "EdgeReady", "message": "",
                     "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip
        api.patch(f"{path}/status", {"status": {"conditions": [condition]}}, http.STRATEGIC).ok()
        other = {"type": "EdgePressure", "status": "False"}
        patched = api.patch(f"{path}/status", {"status": {"conditions": [other]}}, http.STRATEGIC).ok()
        assert {c["type"]: c["status"] for c in patched["status"]["conditions"]} == {
            "Ready": "True",
            "EdgePressure": "False",
        }
        table = api.get(path, accept=http.TABLE).ok()
        # A cluster's own controller may taint a node nobody runs; its status column is the condition's all the same.
        assert table["rows"][0]["cells"][:3] == [name, "Ready", "edge"]
        spec = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": "2026-01-01T00:00:00.000000Z"}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": spec}
        assert api.put(lease, body | {"metadata": {"name": name, "namespace": "kube-node-lease"}}).code in (200, 201)
        renewed = api.patch(lease, {"spec": {"renewTime": "2026-01-01T00:00:10.000000Z"}}).ok()
        assert renewed["spec"]["renewTime"] == "2026-01-01T00:00:10.000000Z"
    finally:
        api.delete(lease)
        api.delete(path)


def test_events_are_found_by_what_they_are_about(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/events"
    about = {"kind": "Device", "name": "s1", "namespace": namespace, "apiVersion": "devices.kubeedge.io/v1beta1"}
    event = {
        "metadata": {"name": "s1.1"},
        "involvedObject": about,
        "reason": "Rejected",
        "message": "m",
        "type": "Warning",
    }
    api.post(path, event).ok()
    found = api.get(path, query={"fieldSelector": "involvedObject.name=s1,involvedObject.kind=Device"}).ok()
    assert names(found) == ["s1.1"]
    assert names(api.get(path, query={"fieldSelector": "reason=Other"}).ok()) == []
    newer = api.get(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events/s1.1").ok()
    assert (newer["note"], newer["regarding"]["name"]) == ("m", "s1")


def test_a_pod_is_found_by_its_node(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    node = f"nowhere-{secrets.token_hex(4)}"
    spec = {"nodeName": node, "containers": [{"name": "c", "image": "i"}], "automountServiceAccountToken": False}
    created = eventually(
        lambda: api.post(path, {"metadata": {"name": "p"}, "spec": spec}).code in (201, 409), "a pod in a new namespace"
    )
    assert created
    found = api.get("/api/v1/pods", query={"fieldSelector": f"spec.nodeName={node},status.phase!=Failed"}).ok()
    assert names(found) == ["p"]
    running = {"status": {"phase": "Running", "podIP": "10.0.0.1"}}
    assert api.patch(f"{path}/p/status", running).ok()["status"]["phase"] == "Running"
    held = api.delete(f"{path}/p").ok()
    assert held["metadata"]["deletionTimestamp"]
    api.delete(f"{path}/p", {"gracePeriodSeconds": 0}).ok()
    api.get(f"{path}/p").failed(404, "NotFound")


# --- the client library


def test_the_kubernetes_package_works(kubeconfig: Path, namespace: str, device_definitions: None) -> None:
    configuration = kubernetes.client.Configuration()
    kubernetes.config.load_kube_config(  # type: ignore[no-untyped-call]
        str(kubeconfig), client_configuration=configuration
    )
    with kubernetes.client.ApiClient(configuration) as client:
        core = kubernetes.client.CoreV1Api(client)
        custom: Any = kubernetes.client.CustomObjectsApi(client)
        place = ("devices.kubeedge.io", "v1beta1", namespace, "devices")
        before = custom.list_namespaced_custom_object(*place)["metadata"]["resourceVersion"]
        custom.create_namespaced_custom_object(*place, device("lib"))
        custom.patch_namespaced_custom_object_status(*place, "lib", {"status": {"state": "online"}})
        custom.delete_namespaced_custom_object(*place, "lib")
        watch: Any = kubernetes.watch.Watch()  # type: ignore[no-untyped-call]
        stream = watch.stream(custom.list_namespaced_custom_object, *place, resource_version=before, timeout_seconds=2)
        events = [(event["type"], event["object"].get("status")) for event in stream]
        assert events == [("ADDED", None), ("MODIFIED", {"state": "online"}), ("DELETED", {"state": "online"})]
        meta = kubernetes.client.V1ObjectMeta(name="lib")
        made = core.create_namespaced_config_map(
            namespace, kubernetes.client.V1ConfigMap(metadata=meta, data={"a": "b"})
        )
        assert core.read_namespaced_config_map("lib", namespace) == made
        with pytest.raises(kubernetes.client.ApiException) as caught:
            core.read_namespaced_config_map("nothing", namespace)
        assert caught.value.status == 404
        core.delete_namespaced_config_map("lib", namespace)
