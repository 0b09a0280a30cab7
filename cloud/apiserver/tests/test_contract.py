"""What any Kubernetes API must answer; the embedded server by default, any cluster with `--kubeconfig FILE`.

A namespace and the definitions made here have random names and are removed. What concerns one topic has a file of its own,
`test_<topic>_contract.py`.
"""

import secrets
from pathlib import Path
from typing import Any

import kubernetes.client
import kubernetes.config
import kubernetes.watch
import pytest

from cloud.apiserver.tests import http
from cloud.apiserver.tests.conftest import eventually
from cloud.apiserver.tests.core import config_map, device
from cloud.apiserver.tests.http import Api, names, version_of

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
