"""Bindings, evictions and scales, on the embedded server or on any cluster; see `test_contract` for how to run it on one."""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from cloud.apiserver.tests.conftest import DEFINITIONS, define, eventually
from cloud.apiserver.tests.core import scalable
from cloud.apiserver.tests.http import APPLY, JSON_PATCH, Api


@pytest.fixture
def node(api: Api) -> Iterator[str]:
    """The name of a node of its own."""
    name = f"contract-{secrets.token_hex(4)}"
    api.post("/api/v1/nodes", {"metadata": {"name": name}}).ok()
    yield name
    api.delete(f"/api/v1/nodes/{name}")


def pod(name: str, **spec: Any) -> dict[str, Any]:
    """A pod that no scheduler takes."""
    containers = [{"name": "c", "image": "example.test/i:1"}]
    return {"metadata": {"name": name}, "spec": {"schedulerName": "nobody", "containers": containers, **spec}}


def binding(name: str, node: str, **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **meta}, "target": {"kind": "Node", "name": node}}


def test_a_binding_gives_a_pod_its_node(api: Api, pods: str, node: str) -> None:
    created = api.post(pods, pod("bound")).ok()
    answer = api.post(f"{pods}/bound/binding", binding("bound", node, annotations={"note": "x"}))
    assert (answer.code, answer.body["kind"], answer.body["status"]) == (201, "Status", "Success")
    found = api.get(f"{pods}/bound").ok()
    assert found["spec"]["nodeName"] == node
    assert found["metadata"]["annotations"]["note"] == "x"
    assert found["metadata"]["uid"] == created["metadata"]["uid"]
    (scheduled,) = [c for c in found["status"]["conditions"] if c["type"] == "PodScheduled"]
    assert scheduled["status"] == "True"


def test_a_pod_is_bound_once(api: Api, pods: str, node: str) -> None:
    api.post(pods, pod("taken")).ok()
    api.post(f"{pods}/taken/binding", binding("taken", node)).ok()
    failed = api.post(f"{pods}/taken/binding", binding("taken", "other")).failed(409, "Conflict")
    why = f'pod taken is already assigned to node "{node}"'
    assert failed["message"] == f'Operation cannot be fulfilled on pods/binding "taken": {why}'


def test_a_binding_names_its_pod_and_a_node(api: Api, pods: str, node: str) -> None:
    api.post(pods, pod("free")).ok()
    api.post(f"{pods}/free/binding", binding("other", node)).failed(400, "BadRequest")
    api.post(f"{pods}/missing/binding", binding("missing", node)).failed(404, "NotFound")
    assert api.post(f"{pods}/free/binding", binding("free", "")).code in (422, 500)
    assert api.post(f"{pods}/free/binding", binding("free", node, uid="another")).code == 409
    assert "nodeName" not in api.get(f"{pods}/free").ok()["spec"]


def test_a_dry_binding_binds_nothing(api: Api, pods: str, node: str) -> None:
    api.post(pods, pod("dry")).ok()
    api.post(f"{pods}/dry/binding", binding("dry", node), query={"dryRun": "All"}).ok()
    assert "nodeName" not in api.get(f"{pods}/dry").ok()["spec"]


def test_an_evicted_pod_goes(api: Api, pods: str, node: str) -> None:
    api.post(pods, pod("away")).ok()
    answer = api.post(f"{pods}/away/eviction", {"metadata": {"name": "away"}})
    assert (answer.code, answer.body["status"]) == (201, "Success")
    eventually(lambda: api.get(f"{pods}/away").code == 404, "the end of the pod")
    api.post(f"{pods}/away/eviction", {"metadata": {"name": "away"}}).failed(404, "NotFound")


def test_an_evicted_pod_on_a_node_says_why_and_waits_for_the_node(api: Api, pods: str, node: str) -> None:
    api.post(pods, pod("away")).ok()
    api.post(f"{pods}/away/binding", binding("away", node)).ok()
    eviction = {"metadata": {"name": "away"}, "deleteOptions": {"gracePeriodSeconds": 17}}
    api.post(f"{pods}/away/eviction", eviction).ok()
    found = api.get(f"{pods}/away").ok()
    assert found["metadata"]["deletionTimestamp"]
    assert found["metadata"]["deletionGracePeriodSeconds"] == 17
    (disrupted,) = [c for c in found["status"]["conditions"] if c["type"] == "DisruptionTarget"]
    assert (disrupted["status"], disrupted["reason"]) == ("True", "EvictionByEvictionAPI")


def test_an_eviction_obeys_its_options(api: Api, pods: str) -> None:
    created = api.post(pods, pod("kept")).ok()
    api.post(f"{pods}/kept/eviction", {"metadata": {"name": "other"}}).failed(400, "BadRequest")
    api.post(f"{pods}/kept/eviction", {"metadata": {"name": "kept"}}, query={"dryRun": "All"}).ok()
    wrong = {"metadata": {"name": "kept"}, "deleteOptions": {"preconditions": {"uid": "another"}}}
    api.post(f"{pods}/kept/eviction", wrong).failed(409, "Conflict")
    assert "deletionTimestamp" not in api.get(f"{pods}/kept").ok()["metadata"]
    version = created["metadata"]["resourceVersion"]
    right = {"metadata": {"name": "kept"}, "deleteOptions": {"preconditions": {"resourceVersion": version}}}
    api.post(f"{pods}/kept/eviction", right).ok()


def test_what_a_kubelet_would_answer_is_refused_clearly(api: Api, pods: str, node: str) -> None:
    containers = [{"name": "a", "image": "example.test/i:1"}, {"name": "b", "image": "example.test/i:1"}]
    api.post(pods, pod("two", containers=containers)).ok()
    assert api.get(f"{pods}/two/log", query={"container": "a"}).body == b""
    failed = api.get(f"{pods}/two/log").failed(400, "BadRequest")
    assert failed["message"] == "a container name must be specified for pod two, choose one of: [a b]"
    failed = api.get(f"{pods}/two/log", query={"container": "z"}).failed(400, "BadRequest")
    assert failed["message"] == "container z is not valid for pod two"
    failed = api.post(f"{pods}/two/exec", None, query={"container": "a", "command": "ls"}).failed(400, "BadRequest")
    assert failed["message"] == "pod two does not have a host assigned"
    api.post(f"{pods}/two/binding", binding("two", node)).ok()
    assert api.get(f"{pods}/two/log", query={"container": "a"}).code == 500


def test_discovery_names_the_subresources(api: Api) -> None:
    found = {r["name"]: r for r in api.get("/api/v1").ok()["resources"]}
    eviction = found["pods/eviction"]
    assert (eviction["group"], eviction["version"], eviction["kind"]) == ("policy", "v1", "Eviction")
    assert eviction["verbs"] == ["create"]
    assert found["pods/binding"]["kind"] == "Binding"


# --- scale


@pytest.fixture
def fleets(api: Api, namespace: str) -> Iterator[str]:
    """The path of objects of a definition with scale; the definition is removed afterwards."""
    group = f"scale-{secrets.token_hex(4)}.example"
    definition = scalable(group)
    define(api, definition)
    path = f"/apis/{group}/v1/namespaces/{namespace}/fleets"
    yield path
    api.delete(f"{DEFINITIONS}/fleets.{group}")


def fleet(api: Api, path: str, **spec: Any) -> dict[str, Any]:
    group, version = path.split("/")[2:4]
    body = {"apiVersion": f"{group}/{version}", "kind": "Fleet", "metadata": {"name": "f"}, "spec": spec}
    made: dict[str, Any] = api.post(path, body).ok()
    return made


def test_a_scale_shows_the_numbers_of_its_object(api: Api, fleets: str) -> None:
    made = fleet(api, fleets, replicas=2, colour="red")
    api.patch(f"{fleets}/f/status", {"status": {"replicas": 1, "selector": "app=f"}}).ok()
    scale = api.get(f"{fleets}/f/scale").ok()
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert scale["metadata"]["uid"] == made["metadata"]["uid"]
    assert scale["spec"] == {"replicas": 2}
    assert scale["status"] == {"replicas": 1, "selector": "app=f"}


def test_a_scale_changes_the_number_and_nothing_else(api: Api, fleets: str) -> None:
    made = fleet(api, fleets, replicas=2, colour="red")
    scale = api.get(f"{fleets}/f/scale").ok()
    assert api.put(f"{fleets}/f/scale", scale | {"spec": {"replicas": 3}}).ok()["spec"]["replicas"] == 3
    api.put(f"{fleets}/f/scale", scale | {"spec": {"replicas": 9}}).failed(409, "Conflict")
    assert api.patch(f"{fleets}/f/scale", {"spec": {"replicas": 4}}).ok()["spec"]["replicas"] == 4
    operations = [{"op": "replace", "path": "/spec/replicas", "value": 5}]
    assert api.patch(f"{fleets}/f/scale", operations, JSON_PATCH).ok()["spec"]["replicas"] == 5
    api.patch(f"{fleets}/f/scale", {"spec": {"replicas": 6}}, query={"dryRun": "All"}).ok()
    found = api.get(f"{fleets}/f").ok()
    assert found["spec"] == {"replicas": 5, "colour": "red"}
    assert found["metadata"]["generation"] == made["metadata"]["generation"] + 3


def test_a_scale_refuses_what_is_no_number_of_replicas(api: Api, fleets: str) -> None:
    fleet(api, fleets, replicas=2)
    failed = api.patch(f"{fleets}/f/scale", {"spec": {"replicas": -1}}).failed(422, "Invalid")
    assert "spec.replicas: Invalid value: -1: must be greater than or equal to 0" in failed["message"]
    assert api.patch(f"{fleets}/f/scale", {"spec": {"replicas": "many"}}).code in (400, 422)
    api.get(f"{fleets}/g/scale").failed(404, "NotFound")
    api.patch(f"{fleets}/f", {"spec": {"replicas": None}}).ok()
    api.get(f"{fleets}/f/scale").failed(500, "InternalError")


def test_the_number_of_replicas_has_an_owner_by_way_of_the_scale(api: Api, fleets: str) -> None:
    fleet(api, fleets, replicas=2, colour="red")
    api.patch(f"{fleets}/f/scale", {"spec": {"replicas": 3}}, query={"fieldManager": "scaler"}).ok()
    entries = {e["manager"]: e for e in api.get(f"{fleets}/f").ok()["metadata"]["managedFields"]}
    assert entries["scaler"]["subresource"] == "scale"
    assert entries["scaler"]["fieldsV1"] == {"f:spec": {"f:replicas": {}}}
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "f"}, "spec": {"replicas": 4}}
    query = {"fieldManager": "other"}
    failed = api.patch(f"{fleets}/f/scale", json.dumps(scale).encode(), APPLY, query=query).failed(409, "Conflict")
    assert 'conflict with "scaler" with subresource "scale"' in failed["message"]
    forced = api.patch(f"{fleets}/f/scale", json.dumps(scale).encode(), APPLY, query=query | {"force": "true"}).ok()
    assert forced["spec"]["replicas"] == 4
    found = api.get(f"{fleets}/f").ok()
    assert found["spec"] == {"replicas": 4, "colour": "red"}
    owners = {e["manager"]: (e["operation"], e.get("subresource")) for e in found["metadata"]["managedFields"]}
    assert owners["other"] == ("Apply", "scale")
    assert "scaler" not in owners
    scale["spec"] = {"replicas": -1}
    assert api.patch(f"{fleets}/f/scale", json.dumps(scale).encode(), APPLY, query=query).code in (400, 422)


def test_a_definition_with_impossible_paths_is_invalid(api: Api) -> None:
    definition = scalable(f"scale-{secrets.token_hex(4)}.example")
    scale = definition["spec"]["versions"][0]["subresources"]["scale"]
    scale |= {"specReplicasPath": ".status.replicas", "statusReplicasPath": ""}
    failed = api.post(DEFINITIONS, definition).failed(422, "Invalid")
    where = "spec.versions[0].subresources.scale" if "versions[0]" in failed["message"] else "spec.subresources.scale"
    found = {(cause["reason"], cause["field"]) for cause in failed["details"]["causes"]}
    assert ("FieldValueInvalid", f"{where}.specReplicasPath") in found
    assert ("FieldValueRequired", f"{where}.statusReplicasPath") in found
