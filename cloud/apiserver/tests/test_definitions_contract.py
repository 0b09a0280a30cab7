"""Definitions, their objects and what the API says of both; on the embedded server, or `--kubeconfig FILE`."""

import secrets

from cloud.apiserver.tests import http
from cloud.apiserver.tests.conftest import DEFINITIONS, DEVICES, define, eventually
from cloud.apiserver.tests.core import device
from cloud.apiserver.tests.http import Api

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
