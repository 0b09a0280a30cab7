"""The local API's core: what is served, watched and refused, by plain calls."""

from typing import Any

import pytest

from edge_gateway.local_api.access import Rights
from edge_gateway.local_api.refusals import Refusal
from edge_gateway.local_api.tests.gateway import DEVICE, OPERATOR, TABLE, Gateway, objects
from edgewire import message

DEVICES = "/apis/devices.kubeedge.io/v1beta1/devices"
PODS = "/api/v1/pods"


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


def refused(gateway: Gateway, path: str, **how: Any) -> tuple[int, str]:
    with pytest.raises(Refusal) as caught:
        gateway.ask(path, **how)
    assert caught.value.status()["code"] == caught.value.code
    return caught.value.code, str(caught.value)


def desired(device: dict[str, Any]) -> dict[str, str]:
    return {p["name"]: p["desired"]["value"] for p in device["spec"]["properties"] if "desired" in p}


def wish(gateway: Gateway, value: str, name: str = "speed", **how: Any) -> Any:
    body = {"spec": {"properties": [{"name": name, "desired": {"value": value}}]}}
    return gateway.ask(DEVICE, method="PATCH", body=body, rights=OPERATOR, **how)


# Reading


def test_a_device_is_shown_with_its_live_twins(gateway: Gateway) -> None:
    gateway.report(temperature="21.5", speed="5")
    status = gateway.ask(DEVICE)["status"]
    twins = {t["propertyName"]: t for t in status["twins"]}
    assert twins["temperature"]["reported"]["value"] == "21.5"
    assert twins["temperature"]["reported"]["metadata"]["type"] == "float"
    assert twins["speed"]["observedDesired"]["value"] == "5"
    assert status["state"] == "online"
    assert {c["type"]: c["status"] for c in status["conditions"]} == {"Accepted": "True", "Healthy": "True"}


def test_a_pod_has_the_status_that_edged_told(gateway: Gateway) -> None:
    path = "/api/v1/namespaces/default/pods/web"
    assert gateway.ask(path)["status"] == {"phase": "Pending"}
    name = next(iter(gateway.core.names_of("pod")))
    gateway.api.marked(gateway.core.pods.status(name, "p1", {"phase": "Running"}, False))
    assert gateway.ask(path)["status"] == {"phase": "Running"}
    gateway.core.pods.status(name, "of-another-pod", {"phase": "Failed"}, True)
    assert gateway.ask(path)["status"] == {"phase": "Pending"}


def test_lists_are_of_their_kind_and_ordered(gateway: Gateway) -> None:
    found = gateway.ask(DEVICES)
    assert found["kind"] == "DeviceList"
    assert [item["metadata"]["name"] for item in found["items"]] == ["s1", "s2"]
    assert {item["kind"] for item in found["items"]} == {"Device"}
    assert gateway.ask("/api/v1/nodes")["items"][0]["status"]["conditions"][-1]["type"] == "Ready"
    assert gateway.ask("/api/v1/namespaces/elsewhere/pods")["items"] == []


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ({"labelSelector": "line=a"}, ["s1", "s2"]),
        ({"labelSelector": "line in (b, c)"}, []),
        ({"labelSelector": "line notin (b),!other"}, ["s1", "s2"]),
        ({"labelSelector": "line!=a"}, []),
        ({"fieldSelector": "metadata.name=s2"}, ["s2"]),
        ({"fieldSelector": "metadata.name!=s2,spec.nodeName=edge1"}, ["s1"]),
    ],
)
def test_selectors_choose(gateway: Gateway, selector: dict[str, Any], names: list[str]) -> None:
    assert [item["metadata"]["name"] for item in gateway.ask(DEVICES, **selector)["items"]] == names


def test_a_table_has_the_columns_of_the_cloud(gateway: Gateway) -> None:
    table = gateway.ask(DEVICES, TABLE)
    shown = [c["name"] for c in table["columnDefinitions"] if not c["priority"]]
    assert shown == ["Name", "Node", "Model", "State", "Accepted", "Age"]
    assert table["rows"][0]["cells"][:3] == ["s1", "edge1", "meter"]


def test_discovery_names_every_kind_with_its_verbs(gateway: Gateway) -> None:
    core = {r["name"]: r["verbs"] for r in gateway.ask("/api/v1")["resources"]}
    devices = {r["name"]: r["verbs"] for r in gateway.ask("/apis/devices.kubeedge.io/v1beta1")["resources"]}
    assert core.keys() == {"configmaps", "events", "nodes", "pods", "pods/log", "secrets"}
    assert "patch" in devices["devices"]
    assert "patch" not in devices["devicemodels"]
    assert gateway.ask("/healthz") == "ok"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/v1/namespaces/default/pods/nobody", 404),
        ("/api/v1/services", 404),
        ("/api/v1/pods/web", 404),
        ("/api/v1/namespaces/default/pods/web/exec", 404),
        ("/api/v1/namespaces/default/configmaps/settings/log", 404),
        ("/api", None),
        ("/nothing", 404),
        ("/api/v1/secrets", 403),
    ],
)
def test_what_is_not_there_is_said(gateway: Gateway, path: str, code: int | None) -> None:
    if code is None:
        assert gateway.ask(path)["versions"] == ["v1"]
    else:
        assert refused(gateway, path)[0] == code


def test_secrets_need_a_right_of_their_own(gateway: Gateway) -> None:
    assert refused(gateway, "/api/v1/secrets", rights=OPERATOR)[0] == 403
    assert gateway.ask("/api/v1/secrets", rights=Rights("vault", False, True))["items"] == []


def test_nothing_can_be_created_or_deleted(gateway: Gateway) -> None:
    assert refused(gateway, DEVICE, method="DELETE", rights=OPERATOR)[0] == 405
    assert refused(gateway, "/api/v1/namespaces/default/pods", method="POST", rights=OPERATOR)[0] == 405


@pytest.mark.parametrize(
    "selector", [{"labelSelector": "a b c"}, {"fieldSelector": "spec.x=1"}, {"labelSelector": "a" * 5000}]
)
def test_a_selector_that_is_none_is_refused(gateway: Gateway, selector: dict[str, Any]) -> None:
    assert refused(gateway, PODS, **selector)[0] == 400


# Watching


def test_a_watch_begins_where_the_list_ended(gateway: Gateway) -> None:
    version = gateway.ask(DEVICES)["metadata"]["resourceVersion"]
    watch = gateway.watch(DEVICES, resourceVersion=version)
    assert gateway.told(watch) == []
    gateway.report(temperature="1")
    assert gateway.told(watch) == [("MODIFIED", "s1")]
    assert gateway.woken == 1


def test_ten_changes_meanwhile_are_one_event(gateway: Gateway) -> None:
    watch = gateway.watch(DEVICES, resourceVersion=str(gateway.api.versions.newest))
    for number in range(10):
        gateway.report(temperature=str(number))
    (event,) = watch.events(gateway.now)
    assert event["object"]["status"]["twins"][0]["reported"]["value"] == "9"


def test_a_watch_hears_of_what_comes_and_goes(gateway: Gateway) -> None:
    path = "/api/v1/namespaces/default/configmaps"
    watch = gateway.watch(path, resourceVersion=str(gateway.api.versions.newest))
    fresh = objects()["default/configmap/settings"]
    fresh["metadata"]["name"] = "fresh"
    gateway.cloud(message.INSERT, "default/configmap/fresh", fresh)
    assert gateway.told(watch) == [("ADDED", "fresh")]
    gateway.cloud(message.DELETE, "default/configmap/fresh")
    gateway.cloud(message.DELETE, "default/configmap/settings")
    assert gateway.told(watch) == [("DELETED", "fresh"), ("DELETED", "settings")]
    assert gateway.told(watch) == []


def test_a_watch_without_a_version_begins_with_everything(gateway: Gateway) -> None:
    watch = gateway.watch(DEVICES, sendInitialEvents="true", allowWatchBookmarks="true")
    events = watch.events(gateway.now)
    assert [e["type"] for e in events] == ["ADDED", "ADDED", "BOOKMARK"]
    assert events[-1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert watch.bookmarks
    assert watch.bookmark(gateway.now)["object"]["metadata"]["resourceVersion"] == str(gateway.api.versions.newest)


def test_what_is_no_longer_selected_is_deleted_for_a_watch(gateway: Gateway) -> None:
    watch = gateway.watch(DEVICES, labelSelector="line=a", resourceVersion=str(gateway.api.versions.newest))
    moved = objects()["default/device/s2"]
    moved["metadata"] |= {"labels": {"line": "b"}, "generation": 2}
    gateway.cloud(message.UPDATE, "default/device/s2", moved)
    assert gateway.told(watch) == [("DELETED", "s2")]


def test_a_version_from_before_a_restart_is_expired(gateway: Gateway) -> None:
    version = str(gateway.api.versions.newest)
    gateway.now += 1000
    gateway.start()
    assert refused(gateway, DEVICES, watch="true", resourceVersion=version)[0] == 410
    assert refused(gateway, DEVICES, watch="true", resourceVersion="9" * 19)[0] == 410
    assert refused(gateway, DEVICES, watch="true", resourceVersion="abc")[0] == 400


# Desired values


def test_a_desired_value_counts_at_once_and_outlives_a_restart(gateway: Gateway) -> None:
    before = gateway.ask(DEVICE)
    after = wish(gateway, "7")
    assert desired(after) == {"speed": "7"}
    assert int(after["metadata"]["resourceVersion"]) > int(before["metadata"]["resourceVersion"])
    gateway.start()
    assert desired(gateway.ask(DEVICE)) == {"speed": "7"}


def test_the_device_is_told_and_the_cloud_is_to_know(gateway: Gateway) -> None:
    outcome = gateway.core.desire("default/s1", {"speed": "7"}, gateway.now)
    assert any(p.topic.endswith("/twin/update/delta") and b'"7"' in p.payload for p in outcome.publishes)
    assert outcome.dirty == ["device/default/s1/twin/edge_updated"]


def test_a_new_wish_of_the_cloud_replaces_the_local_one_and_an_old_one_does_not(gateway: Gateway) -> None:
    wish(gateway, "7")
    again = objects()["default/device/s1"]
    again["metadata"]["generation"] = 2
    gateway.cloud(message.UPDATE, "default/device/s1", again)  # an edit of something else: the wish in it is known
    assert desired(gateway.ask(DEVICE)) == {"speed": "7"}
    again["metadata"]["generation"] = 3
    again["spec"]["properties"][0]["desired"]["value"] = "9"
    gateway.cloud(message.UPDATE, "default/device/s1", again)
    assert desired(gateway.ask(DEVICE)) == {"speed": "9"}


def test_a_clock_that_went_back_does_not_lose_a_wish(gateway: Gateway) -> None:
    wish(gateway, "7")
    gateway.now -= 60_000
    assert desired(wish(gateway, "8")) == {"speed": "8"}


def test_a_property_of_the_model_that_the_device_does_not_list_can_be_desired(gateway: Gateway) -> None:
    assert desired(wish(gateway, "on", "power")) == {"speed": "5", "power": "on"}
    whole = gateway.ask(DEVICE)
    whole["spec"]["properties"][-1]["desired"]["value"] = "off"
    assert desired(gateway.ask(DEVICE, method="PUT", body=whole, rights=OPERATOR))["power"] == "off"


def test_every_kind_of_patch_says_the_same(gateway: Gateway) -> None:
    strategic = "application/strategic-merge-patch+json"
    assert desired(wish(gateway, "8", content_type=strategic)) == {"speed": "8"}
    steps = [
        {"op": "test", "path": "/spec/properties/0/desired/value", "value": "8"},
        {"op": "replace", "path": "/spec/properties/0/desired/value", "value": "9"},
    ]
    json_patch = "application/json-patch+json"
    how: dict[str, Any] = {"method": "PATCH", "rights": OPERATOR, "content_type": json_patch}
    assert desired(gateway.ask(DEVICE, body=steps, **how)) == {"speed": "9"}
    assert refused(gateway, DEVICE, body=steps, **how)[0] == 409
    assert refused(gateway, DEVICE, body=[{"op": "remove", "path": "/spec"}], **how)[0] == 422
    assert refused(gateway, DEVICE, body=[{"op": "replace", "path": "/x/9/y", "value": 1}], **how)[0] == 422


@pytest.mark.parametrize(
    ("body", "code", "why"),
    [
        ({"spec": {"properties": [{"name": "speed", "desired": {"value": "700"}}]}}, 422, "above the maximum 100"),
        ({"spec": {"properties": [{"name": "temperature", "desired": {"value": "1"}}]}}, 422, "ReadOnly"),
        ({"spec": {"properties": [{"name": "sped", "desired": {"value": "1"}}]}}, 422, "not declared"),
        ({"spec": {"properties": [{"name": "speed", "desired": {"value": 7}}]}}, 422, "no string"),
        ({"spec": {"properties": [{"name": "speed", "desired": None}]}}, 422, "cannot be withdrawn"),
        ({"spec": {"nodeName": "other"}}, 422, "spec.nodeName"),
        ({"metadata": {"labels": {"x": "y"}}}, 422, "metadata.labels"),
        ({"metadata": {"resourceVersion": "1"}}, 409, "has been modified"),
        ({"metadata": None}, 400, "no Device"),
        ({"spec": None}, 422, "spec"),
        ({"spec": {"properties": 3}}, 422, "properties"),
        ([], 400, "no JSON object"),
        (b"{", 400, "no JSON"),
        (b"[" * 100_000, 400, "no JSON"),
    ],
)
def test_whatever_else_is_refused_and_changes_nothing(gateway: Gateway, body: Any, code: int, why: str) -> None:
    before = gateway.ask(DEVICE)
    found = refused(gateway, DEVICE, method="PATCH", body=body, rights=OPERATOR)
    assert found[0] == code
    assert why in found[1]
    assert gateway.ask(DEVICE) == before


def test_several_wishes_are_taken_together_or_not_at_all(gateway: Gateway) -> None:
    both = [{"name": "power", "desired": {"value": "on"}}, {"name": "speed", "desired": {"value": "700"}}]
    refused(gateway, DEVICE, method="PATCH", body={"spec": {"properties": both}}, rights=OPERATOR)
    assert desired(gateway.ask(DEVICE)) == {"speed": "5"}


def test_a_viewer_sets_nothing(gateway: Gateway) -> None:
    body = {"spec": {"properties": [{"name": "speed", "desired": {"value": "7"}}]}}
    assert refused(gateway, DEVICE, method="PATCH", body=body)[0] == 403
    assert refused(gateway, "/api/v1/namespaces/default/pods/web", method="PATCH", body={}, rights=OPERATOR)[0] == 405
