"""CustomResourceDefinitions, in the core."""

from typing import Any

import pytest

from cloud.apiserver.status import ApiError
from cloud.apiserver.tests.core import Core, device, widgets


@pytest.fixture
def core() -> Core:
    return Core()


def version(name: str, storage: bool = True, **schema: Any) -> dict[str, Any]:
    openapi = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, **schema}
    return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": openapi}}


def test_a_definition_is_established_at_once(core: Core) -> None:
    created = core.create("customresourcedefinitions", widgets())
    conditions = {c["type"]: c["status"] for c in created["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    assert created["status"]["acceptedNames"]["listKind"] == "WidgetList"
    assert created["status"]["storedVersions"] == ["v1"]
    assert core.create("widgets", {"metadata": {"name": "w"}})["apiVersion"] == "test.example/v1"


def test_a_definition_is_served_only_when_it_is_committed(core: Core) -> None:
    from cloud.apiserver.writes import WriteOptions

    written = core.objects.create(core.resource("customresourcedefinitions"), "", widgets(), WriteOptions())
    assert core.objects.registry.find("test.example", "v1", "widgets") is None
    core.done(written)
    assert core.objects.registry.find("test.example", "v1", "widgets") is not None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"names": {"plural": "gadgets", "kind": "Widget"}}, "metadata.name"),
        ({"names": {"kind": "Widget"}}, "spec.names.plural"),
        ({"scope": "Everywhere"}, "spec.scope"),
        ({"versions": []}, "spec.versions"),
        ({"versions": [version("v1"), version("v2")]}, "spec.versions"),
        ({"versions": [version("v1", False)]}, "spec.versions"),
        ({"versions": [version("v1", type="string")]}, "spec.versions[0].schema.openAPIV3Schema.type"),
        (
            {"versions": [version("v1", properties={"a": {"type": "text"}})]},
            "spec.versions[0].schema.openAPIV3Schema.properties[a].type",
        ),
        ({"versions": [{"name": "v1", "served": True, "storage": True}]}, "spec.versions[0].schema.openAPIV3Schema"),
        (
            {"versions": [version("v1") | {"additionalPrinterColumns": [{"name": "x", "jsonPath": ".a["}]}]},
            "spec.versions[0].additionalPrinterColumns",
        ),
        (
            {"versions": [version("v1") | {"selectableFields": [{"jsonPath": ".a["}]}]},
            "spec.versions[0].selectableFields",
        ),
    ],
)
def test_a_definition_that_cannot_be_served_is_invalid(core: Core, change: dict[str, Any], field: str) -> None:
    with pytest.raises(ApiError) as caught:
        core.create("customresourcedefinitions", widgets(**change))
    assert caught.value.code == 422
    assert caught.value.details is not None
    assert field in [cause["field"] for cause in caught.value.details["causes"]]


def test_names_and_scope_stay(core: Core) -> None:
    core.create("customresourcedefinitions", widgets())
    with pytest.raises(ApiError) as caught:
        core.patch("customresourcedefinitions", "widgets.test.example", {"spec": {"scope": "Cluster"}})
    assert "field is immutable" in caught.value.message


def test_a_changed_schema_holds_for_the_next_write(core: Core) -> None:
    core.create("customresourcedefinitions", widgets())
    core.create("widgets", {"metadata": {"name": "w"}, "spec": {"size": 5}})
    versions = widgets()["spec"]["versions"]
    versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["size"]["maximum"] = 3
    changed = core.patch("customresourcedefinitions", "widgets.test.example", {"spec": {"versions": versions}})
    assert changed["metadata"]["generation"] == 2
    with pytest.raises(ApiError):
        core.patch("widgets", "w", {"spec": {"name": "x"}})
    assert core.patch("widgets", "w", {"spec": {"size": 2}})["spec"] == {"size": 2}


def test_several_versions_show_the_same_object(core: Core) -> None:
    core.create("customresourcedefinitions", widgets(versions=[version("v1"), version("v2", storage=False)]))
    core.create("widgets", {"metadata": {"name": "w"}, "spec": {"a": 1}})
    newer = core.objects.registry.find("test.example", "v2", "widgets")
    assert newer is not None
    assert newer.storage == "widgets.test.example"
    assert newer.stored_as == "test.example/v1"
    from cloud.apiserver.writes import WriteOptions

    patched = core.objects.patch(
        newer, "default", "w", ("application/merge-patch+json", b'{"spec":{"a":2}}'), WriteOptions()
    )
    assert core.done(patched)["apiVersion"] == "test.example/v1"
    assert core.get("widgets", "w")["spec"] == {"a": 2}


def test_a_definition_takes_its_objects_along(core: Core) -> None:
    core.create("customresourcedefinitions", widgets())
    core.create("widgets", {"metadata": {"name": "w"}})
    core.delete("customresourcedefinitions", "widgets.test.example")
    assert core.objects.registry.find("test.example", "v1", "widgets") is None
    assert core.names("customresourcedefinitions") == []
    assert core.objects.state.current_all("widgets.test.example") == []


def test_a_definition_waits_for_objects_that_finalizers_hold(core: Core) -> None:
    core.create("customresourcedefinitions", widgets())
    core.create("widgets", {"metadata": {"name": "w", "finalizers": ["test.example/hold"]}})
    core.delete("customresourcedefinitions", "widgets.test.example")
    with pytest.raises(ApiError) as caught:
        core.create("widgets", {"metadata": {"name": "new"}})
    assert caught.value.code == 405
    core.patch("widgets", "w", {"metadata": {"finalizers": []}})
    assert core.names("customresourcedefinitions") == []


def test_a_selectable_field_can_be_selected_by(core: Core) -> None:
    core.create("customresourcedefinitions", widgets({"selectableFields": [{"jsonPath": ".spec.name"}]}))
    created = core.create("widgets", {"metadata": {"name": "w"}, "spec": {"name": "x"}})
    assert "spec.name" in core.resource("widgets").selectable
    stored = core.objects.state.current("widgets.test.example", "default", created["metadata"]["name"])
    assert stored is not None
    assert stored.fields == {"spec.name": "x"}


def test_the_projects_devices_are_checked(core: Core) -> None:
    core.define_devices()
    core.create(
        "devicemodels",
        {
            "metadata": {"name": "m"},
            "spec": {"protocol": "modbus", "properties": [{"name": "t", "type": "INT", "accessMode": "ReadOnly"}]},
        },
    )
    core.create("devices", device(protocol={"protocolName": "modbus", "configData": {"anything": [1, {"goes": True}]}}))
    for bad in (
        device("b1", deviceModelRef={"name": ""}),
        device("b2", properties=[{"name": "a"}, {"name": "a"}]),
        device("b3", properties=[{"name": "a b"}]),
        device("b4", properties=[{"name": "a", "desired": {"value": 5}}]),
        device("b5", properties=[{"name": "a", "reportCycle": -1}]),
    ):
        with pytest.raises(ApiError) as caught:
            core.create("devices", bad)
        assert caught.value.code == 422, bad
    with pytest.raises(ApiError) as caught:
        core.create(
            "devicemodels", {"metadata": {"name": "n"}, "spec": {"properties": [{"name": "t", "type": "REAL"}]}}
        )
    assert 'supported values: "INT", "FLOAT"' in caught.value.message


def test_a_device_status_as_cloudcore_writes_it_passes(core: Core) -> None:
    core.define_devices()
    core.create("devices", device())
    status = {
        "twins": [
            {
                "propertyName": "temp",
                "reported": {"value": "21 °C", "metadata": {"timestamp": "1700000000000", "type": "STRING"}},
                "observedDesired": {"value": "", "metadata": {}},
            }
        ],
        "state": "online",
        "lastOnlineTime": "2026-01-01T00:00:00Z",
        "lastError": "",
        "conditions": [
            {
                "type": "Accepted",
                "status": "True",
                "observedGeneration": 1,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
                "reason": "Accepted",
                "message": "",
            }
        ],
    }
    assert core.patch("devices", "s1", {"status": status}, "status")["status"] == status
