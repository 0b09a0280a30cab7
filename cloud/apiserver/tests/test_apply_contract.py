"""Server-side apply and managed fields as any Kubernetes API must answer them; on the embedded server, or `--kubeconfig FILE`."""

import json
from typing import Any

from cloud.apiserver.tests.core import device
from cloud.apiserver.tests.http import APPLY, JSON_PATCH, Answer, Api


def config_map(name: str, **data: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def apply(api: Api, path: str, config: Any, manager: str = "alice", **query: Any) -> Answer:
    where = path if path.endswith("/status") else f"{path}/{config['metadata']['name']}"
    query = ({"fieldManager": manager} if manager else {}) | query
    return api.patch(where, json.dumps(config).encode(), APPLY, query=query)


def owned(obj: Any, manager: str) -> Any:
    """The fields of a manager; fails the test unless it has just one entry."""
    (entry,) = [e for e in obj["metadata"]["managedFields"] if e["manager"] == manager]
    return entry["fieldsV1"]


def managers(obj: Any) -> dict[str, str]:
    return {e["manager"]: e["operation"] for e in obj["metadata"].get("managedFields", [])}


# --- who owns what


def test_whoever_creates_and_changes_an_object_is_noted(api: Api, maps: str) -> None:
    created = api.post(maps, config_map("noted", a="1", b="1"), query={"fieldManager": "maker"}).ok()
    (entry,) = created["metadata"]["managedFields"]
    assert entry.pop("time").endswith("Z")
    fields: Any = {"f:data": {".": {}, "f:a": {}, "f:b": {}}}
    assert entry == {
        "manager": "maker",
        "operation": "Update",
        "apiVersion": "v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    agent = {"User-Agent": "tool-of-mine/1.2 (linux)"}
    patched = api.patch(f"{maps}/noted", {"data": {"b": "2"}}, headers=agent).ok()
    assert owned(patched, "maker") == {"f:data": {".": {}, "f:a": {}}}
    assert owned(patched, "tool-of-mine") == {"f:data": {"f:b": {}}}


def test_a_list_is_owned_item_by_item_where_it_has_keys(api: Api, devices: str) -> None:
    made = device("keys", properties=[{"name": "speed", "desired": {"value": "1"}}])
    created = api.post(devices, made, query={"fieldManager": "maker"}).ok()
    assert owned(created, "maker")["f:spec"]["f:properties"] == {
        ".": {},
        'k:{"name":"speed"}': {".": {}, "f:desired": {".": {}, "f:value": {}}, "f:name": {}},
    }


def test_the_status_is_owned_apart(api: Api, devices: str) -> None:
    api.post(devices, device("apart"), query={"fieldManager": "maker"}).ok()
    path = f"{devices}/apart/status"
    patched = api.patch(path, {"status": {"state": "ok"}}, query={"fieldManager": "maker"}).ok()
    entries = {e.get("subresource", ""): e["fieldsV1"] for e in patched["metadata"]["managedFields"]}
    assert set(entries) == {"", "status"}
    assert "f:status" not in entries[""]
    assert entries["status"] == {"f:status": {".": {}, "f:state": {}}}


def test_managers_can_be_forgotten_and_are_not_by_clients_that_know_none(api: Api, maps: str) -> None:
    created = api.post(maps, config_map("forget", a="1"), query={"fieldManager": "maker"}).ok()
    del created["metadata"]["managedFields"]
    created["data"]["b"] = "1"
    updated = api.put(f"{maps}/forget", created, query={"fieldManager": "other"}).ok()
    assert managers(updated) == {"maker": "Update", "other": "Update"}
    reset = api.patch(f"{maps}/forget", {"metadata": {"managedFields": [{}]}}).ok()
    assert "managedFields" not in reset["metadata"]
    assert reset["data"] == {"a": "1", "b": "1"}


def test_entries_can_be_changed_by_a_patch(api: Api, maps: str) -> None:
    created = api.post(maps, config_map("moved", a="1"), query={"fieldManager": "maker"}).ok()
    entries = created["metadata"]["managedFields"]
    entries[0] |= {"manager": "mover", "operation": "Apply"}
    operations = [{"op": "replace", "path": "/metadata/managedFields", "value": entries}]
    patched = api.patch(f"{maps}/moved", operations, JSON_PATCH).ok()
    assert managers(patched) == {"mover": "Apply"}
    operations[0]["value"] = [
        {"manager": "bad", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {"bad": {}}}
    ]
    answer = api.patch(f"{maps}/moved", operations, JSON_PATCH)
    assert answer.code == 422 or managers(answer.ok()) == {"mover": "Apply"}


def test_a_write_that_changes_nothing_leaves_version_and_managers(api: Api, maps: str) -> None:
    first = api.post(maps, config_map("still", a="1"), query={"fieldManager": "maker"}).ok()
    again = api.patch(f"{maps}/still", {"data": {"a": "1"}}, query={"fieldManager": "other"}).ok()
    assert again["metadata"] == first["metadata"]


# --- apply


def test_an_apply_creates_then_changes_then_leaves_alone(api: Api, maps: str) -> None:
    created = apply(api, maps, config_map("made", a="1", b="1"))
    assert created.code == 201
    assert managers(created.body) == {"alice": "Apply"}
    assert owned(created.body, "alice") == {"f:data": {"f:a": {}, "f:b": {}}}
    changed = apply(api, maps, config_map("made", a="2"))
    assert (changed.code, changed.body["data"]) == (200, {"a": "2"})
    same = apply(api, maps, config_map("made", a="2")).ok()
    assert same["metadata"]["resourceVersion"] == changed.body["metadata"]["resourceVersion"]


def test_a_configuration_may_be_yaml(api: Api, maps: str) -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: yaml}\ndata:\n  day: '2026-01-01'\n  on: 'yes'\n"
    answer = api.patch(f"{maps}/yaml", text, APPLY, query={"fieldManager": "alice"})
    assert answer.ok()["data"] == {"day": "2026-01-01", "on": "yes"}


def test_others_keep_what_they_set(api: Api, maps: str) -> None:
    apply(api, maps, config_map("both", a="1")).ok()
    apply(api, maps, config_map("both", b="1"), "bob").ok()
    api.patch(f"{maps}/both", {"data": {"c": "1"}}, query={"fieldManager": "carol"}).ok()
    found = apply(api, maps, config_map("both")).ok()
    assert found["data"] == {"b": "1", "c": "1"}
    assert managers(found) | {"alice": "Apply"} == {"alice": "Apply", "bob": "Apply", "carol": "Update"}


def test_a_field_of_another_value_conflicts_until_it_is_forced(api: Api, maps: str) -> None:
    apply(api, maps, config_map("fought", a="1", b="1")).ok()
    api.patch(f"{maps}/fought", {"data": {"a": "2"}}, query={"fieldManager": "kubectl-edit"}).ok()
    failed = apply(api, maps, config_map("fought", a="1", b="2")).failed(409, "Conflict")
    assert failed["message"] == 'Apply failed with 1 conflict: conflict with "kubectl-edit" using v1: .data.a'
    assert failed["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "kubectl-edit" using v1', "field": ".data.a"}
    ]
    assert api.get(f"{maps}/fought").ok()["data"] == {"a": "2", "b": "1"}
    forced = apply(api, maps, config_map("fought", a="1", b="2"), force="true").ok()
    assert forced["data"] == {"a": "1", "b": "2"}
    assert managers(forced) == {"alice": "Apply"}


def test_all_conflicts_are_named_with_their_managers(api: Api, maps: str) -> None:
    apply(api, maps, config_map("many", a="1", b="1")).ok()
    apply(api, maps, config_map("many", c="1"), "bob").ok()
    failed = apply(api, maps, config_map("many", a="2", b="2", c="2"), "carol").failed(409, "Conflict")
    assert failed["message"] == (
        'Apply failed with 3 conflicts: conflicts with "alice":\n- .data.a\n- .data.b\nconflicts with "bob":\n- .data.c'
    )
    assert {cause["field"] for cause in failed["details"]["causes"]} == {".data.a", ".data.b", ".data.c"}


def test_what_nobody_owned_conflicts_with_whoever_wrote_it_before(api: Api, maps: str) -> None:
    api.post(maps, config_map("before", a="1", b="1")).ok()
    api.patch(f"{maps}/before", {"metadata": {"managedFields": [{}]}}).ok()
    failed = apply(api, maps, config_map("before", a="2")).failed(409, "Conflict")
    assert failed["message"] == 'Apply failed with 1 conflict: conflict with "before-first-apply" using v1: .data.a'
    forced = apply(api, maps, config_map("before", a="2"), force="true").ok()
    assert managers(forced) == {"alice": "Apply", "before-first-apply": "Update"}
    assert forced["data"] == {"a": "2", "b": "1"}


def test_an_equal_value_is_shared(api: Api, maps: str) -> None:
    apply(api, maps, config_map("shared", a="1")).ok()
    both = apply(api, maps, config_map("shared", a="1"), "bob").ok()
    assert managers(both) == {"alice": "Apply", "bob": "Apply"}
    assert apply(api, maps, config_map("shared"), "bob").ok()["data"] == {"a": "1"}


def test_items_of_a_device_have_owners_of_their_own(api: Api, devices: str) -> None:
    speed, load = ({"name": name, "desired": {"value": "1"}} for name in ("speed", "load"))
    apply(api, devices, device("items", properties=[speed])).ok()
    more = {**device("items"), "spec": {"properties": [load]}}
    both = apply(api, devices, more, "bob").ok()
    assert [p["name"] for p in both["spec"]["properties"]] == ["speed", "load"]
    other = {**device("items"), "spec": {"properties": [{"name": "speed", "desired": {"value": "2"}}]}}
    failed = apply(api, devices, other, "bob").failed(409, "Conflict")
    assert [c["field"] for c in failed["details"]["causes"]] == ['.spec.properties[name="speed"].desired.value']
    left = apply(api, devices, device("items")).ok()
    assert left["spec"]["properties"] == [load]


def test_the_status_is_applied_by_its_subresource_only(api: Api, devices: str) -> None:
    first = apply(api, devices, device("status") | {"status": {"state": "no"}}).ok()
    assert "status" not in first
    config = device("status") | {"status": {"state": "ok"}}
    found = apply(api, f"{devices}/status/status", {**config, "spec": {**config["spec"], "nodeName": "other"}}).ok()
    assert (found["status"], found["spec"]["nodeName"]) == ({"state": "ok"}, "gw")
    entries = {e.get("subresource", ""): e["fieldsV1"] for e in found["metadata"]["managedFields"]}
    assert entries["status"] == {"f:status": {"f:state": {}}}
    assert "f:status" not in entries[""]
    failed = apply(api, f"{devices}/status/status", {**config, "status": {"state": "bad"}}, "bob").failed(
        409, "Conflict"
    )
    assert failed["message"] == (
        'Apply failed with 1 conflict: conflict with "alice" with subresource "status": .status.state'
    )
    assert apply(api, f"{devices}/none/status", config | {"metadata": {"name": "none"}}).code == 404


def test_a_dry_run_of_an_apply_shows_and_keeps_nothing(api: Api, maps: str) -> None:
    assert apply(api, maps, config_map("dry", a="1"), dryRun="All").body["data"] == {"a": "1"}
    assert api.get(f"{maps}/dry").code == 404
    first = apply(api, maps, config_map("dry", a="1")).ok()
    assert apply(api, maps, config_map("dry", a="2"), dryRun="All").ok()["data"] == {"a": "2"}
    assert api.get(f"{maps}/dry").ok() == first


def test_an_apply_needs_a_manager_and_a_plain_configuration(api: Api, maps: str, devices: str) -> None:
    failed = apply(api, maps, config_map("bad"), "").failed(422, "Invalid")
    assert "fieldManager: Required value: is required for apply patch" in failed["message"]
    apply(api, maps, config_map("bad"), "x" * 129).failed(422, "Invalid")
    query = {"force": "true"}
    assert (
        "force: Forbidden: may not be specified for non-apply patch"
        in (api.patch(f"{maps}/bad", {}, query=query).failed(422, "Invalid")["message"])
    )
    managed = config_map("bad") | {"metadata": {"name": "bad", "managedFields": [{"manager": "x"}]}}
    assert apply(api, maps, managed).failed(400, "BadRequest")["message"] == "metadata.managedFields must be nil"
    failed = apply(api, maps, config_map("bad") | {"apiVersion": "v2"}).failed(400, "BadRequest")
    assert "Incorrect version specified in apply patch" in failed["message"]
    other = config_map("bad") | {"metadata": {"name": "other"}}
    api.patch(f"{maps}/bad", json.dumps(other).encode(), APPLY, query={"fieldManager": "a"}).failed(400, "BadRequest")
    for text in (b"{", b"a: [", b"[]", b"- a"):
        assert api.patch(f"{maps}/bad", text, APPLY, query={"fieldManager": "a"}).code == 400
    unknown = apply(api, devices, device("bad", nosuch="1"))
    assert unknown.code in (400, 500)  # 500 of kube-apiserver up to 1.36
    assert ".spec.nosuch: field not declared in schema" in unknown.body["message"]
    assert api.get(f"{maps}/bad").code == 404


def test_an_old_version_in_the_configuration_conflicts(api: Api, maps: str) -> None:
    first = apply(api, maps, config_map("old", a="1")).ok()
    apply(api, maps, config_map("old", a="2")).ok()
    config = config_map("old", a="3")
    config["metadata"]["resourceVersion"] = first["metadata"]["resourceVersion"]
    failed = apply(api, maps, config).failed(409, "Conflict")
    assert "the object has been modified" in failed["message"]


def test_containers_of_a_pod_are_merged_by_name_and_ports_by_number_and_protocol(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    container = {"name": "c", "image": "i", "ports": [{"containerPort": 80, "protocol": "TCP"}]}
    pod: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    try:
        created = apply(api, path, pod | {"spec": {"nodeName": "none", "containers": [container]}})
        assert created.code == 201
        assert owned(created.body, "alice")["f:spec"]["f:containers"] == {
            'k:{"name":"c"}': {
                ".": {},
                "f:image": {},
                "f:name": {},
                "f:ports": {
                    'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}, "f:protocol": {}}
                },
            }
        }
        changed = apply(
            api, path, pod | {"spec": {"containers": [{"name": "c", "image": "j"}]}}, "bob", force="true"
        ).ok()
        assert changed["spec"]["containers"][0]["image"] == "j"
        assert changed["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    finally:
        api.delete(f"{path}/p", query={"gracePeriodSeconds": 0})
