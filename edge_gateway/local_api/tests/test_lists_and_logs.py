"""The local API's core, as kubectl and other clients use it: pages, events, logs, discovery in one answer."""

from typing import Any

import msgspec
import pytest

from edge_gateway.local_api.refusals import Refusal
from edge_gateway.local_api.requests import Answer, Log, Request
from edge_gateway.local_api.tests.gateway import DEVICE, OPERATOR, TABLE, VIEWER, Gateway
from edge_gateway.local_api.versions import DELETIONS_LIMIT
from edge_gateway.pod_reports import EVENTS_LIMIT, Happened, Subject
from edgewire.resource import Resource

EVENTS = "/api/v1/namespaces/default/events"
DEVICES = DEVICE.rpartition("/")[0]
LOG = "/api/v1/namespaces/default/pods/web/log"
SUBJECT = Subject("default", "web", "p1")


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


def happens(gateway: Gateway, message: str, reason: str = "Started") -> None:
    told = gateway.core.pods.happened(SUBJECT, Happened("Normal", reason, message), "2026-01-01T00:00:00Z")
    gateway.api.marked(told)


def refused(gateway: Gateway, path: str, **query: str) -> tuple[int, str]:
    with pytest.raises(Refusal) as caught:
        gateway.api.handle(Request("GET", path, query, VIEWER), gateway.now)
    return caught.value.code, str(caught.value)


# Pages


def asked(gateway: Gateway, path: str, **query: str) -> dict[str, Any]:
    outcome = gateway.api.handle(Request("GET", path, query, VIEWER), gateway.now)
    assert isinstance(outcome, Answer)
    assert isinstance(outcome.body, dict)
    return outcome.body


def pages(gateway: Gateway, path: str, limit: int, **query: str) -> list[list[str]]:
    found, more = [], ""
    while True:
        listed = asked(gateway, path, limit=str(limit), **query, **{"continue": more})
        found.append([item["metadata"]["name"] for item in listed["items"]])
        more = listed["metadata"].get("continue", "")
        if not more:
            return found


def test_a_list_comes_in_pages(gateway: Gateway) -> None:
    assert pages(gateway, DEVICES, 1) == [["s1"], ["s2"]]
    assert pages(gateway, DEVICES, 2) == pages(gateway, DEVICES, 0) == [["s1", "s2"]]
    assert pages(gateway, DEVICES, 1, labelSelector="line=a") == [["s1"], ["s2"]]
    assert pages(gateway, DEVICES, 1, fieldSelector="metadata.name=s2") == [["s2"]]
    assert pages(gateway, "/api/v1/nodes", 1) == [["edge1"]]


def test_a_page_of_a_table_says_where_the_next_begins(gateway: Gateway) -> None:
    first = gateway.ask(DEVICES, TABLE, limit="1")
    assert [row["cells"][0] for row in first["rows"]] == ["s1"]
    second = gateway.ask(DEVICES, TABLE, limit="1", **{"continue": first["metadata"]["continue"]})
    assert [row["cells"][0] for row in second["rows"]] == ["s2"]


def test_a_watch_from_the_last_page_misses_nothing_of_the_time_between(gateway: Gateway) -> None:
    first = gateway.ask(DEVICES, limit="1")
    gateway.report(temperature="21")  # of s1, which is on the page before
    last = gateway.ask(DEVICES, limit="1", **{"continue": first["metadata"]["continue"]})
    watch = gateway.watch(DEVICES, resourceVersion=last["metadata"]["resourceVersion"])
    assert gateway.told(watch) == [("MODIFIED", "s1")]


def test_what_goes_and_comes_between_pages_shifts_none(gateway: Gateway) -> None:
    first = gateway.ask(DEVICES, limit="1")
    gateway.cloud("delete", "default/device/s1")
    assert [item["metadata"]["name"] for item in gateway.ask(DEVICES, **{"continue": first["metadata"]["continue"]})["items"]] == ["s2"]  # fmt: skip  # noqa: E501


@pytest.mark.parametrize("token", ["x", "e30=", "WzFd", "ä", "WyJhIiwiYiIsImMiXQ=="])
def test_a_continue_that_is_none_is_refused(gateway: Gateway, token: str) -> None:
    assert refused(gateway, DEVICES, **{"continue": token}) == (400, "continue key is not valid")


def test_a_continue_of_a_list_too_long_ago_is_gone(gateway: Gateway) -> None:
    token = gateway.ask(DEVICES, limit="1")["metadata"]["continue"]
    for number in range(DELETIONS_LIMIT + 2):
        name = Resource("default", "configmap", f"c{number}")
        gateway.api.versions.touch(name, True)
        gateway.api.versions.touch(name, False)
    assert refused(gateway, DEVICES, **{"continue": token})[0] == 410


@pytest.mark.parametrize("limit", ["x", "-1", "1.5", "²"])
def test_a_limit_that_is_none_is_refused(gateway: Gateway, limit: str) -> None:
    assert refused(gateway, DEVICES, limit=limit)[0] == 400


# Events


def test_events_are_watched_as_they_happen_and_happen_again(gateway: Gateway) -> None:
    watch = gateway.watch(EVENTS)
    assert gateway.told(watch) == []
    happens(gateway, "Started container main")
    [first] = watch.events(gateway.now)
    assert (first["type"], first["object"]["count"], first["object"]["kind"]) == ("ADDED", 1, "Event")
    happens(gateway, "Started container main")
    [second] = watch.events(gateway.now)
    assert (second["type"], second["object"]["count"]) == ("MODIFIED", 2)
    assert gateway.woken == 2


def test_events_of_one_pod_are_watched(gateway: Gateway) -> None:
    mine = gateway.watch(EVENTS, fieldSelector="involvedObject.name=web,involvedObject.kind=Pod")
    others = gateway.watch(EVENTS, fieldSelector="involvedObject.name=other")
    for watch in (mine, others):
        watch.events(gateway.now)
    happens(gateway, "Pulled")
    assert (len(mine.events(gateway.now)), len(others.events(gateway.now))) == (1, 0)


def test_events_that_are_forgotten_for_new_ones_are_deleted_and_bounded(gateway: Gateway) -> None:
    watch = gateway.watch(EVENTS)
    watch.events(gateway.now)
    happens(gateway, "the first")
    watch.events(gateway.now)
    for number in range(EVENTS_LIMIT):
        happens(gateway, f"number {number}")
    told = [event["type"] for event in watch.events(gateway.now)]
    assert told.count("DELETED") == 1
    assert len(gateway.api.versions.names("event")) == EVENTS_LIMIT


# Logs


def log(gateway: Gateway, **query: str) -> dict[str, Any]:
    outcome = gateway.api.handle(Request("GET", LOG, query, VIEWER), gateway.now)
    assert isinstance(outcome, Log)
    return {name: value for name, value in outcome.request.items() if value}


def test_the_log_of_the_only_container_is_meant(gateway: Gateway) -> None:
    assert log(gateway) == {"namespace": "default", "pod": "web", "container": "main"}


def test_a_log_as_it_is_asked_for(gateway: Gateway) -> None:
    asked = log(gateway, container="main", follow="true", tailLines="7", previous="false", timestamps="true")
    assert asked.items() >= {"follow": True, "tailLines": 7, "timestamps": True}.items()
    assert "previous" not in asked


@pytest.mark.parametrize("query", [{"tailLines": "x"}, {"sinceSeconds": "1.5"}])
def test_a_log_that_cannot_be_meant_is_refused(gateway: Gateway, query: dict[str, str]) -> None:
    assert refused(gateway, LOG, **query)[0] == 400


def test_of_several_containers_one_must_be_named(gateway: Gateway) -> None:
    two = {"containers": [{"name": "a"}, {"name": "b"}]}
    metadata = {"name": "web", "namespace": "default", "uid": "p1", "resourceVersion": "8"}
    gateway.cloud("update", "default/pod/web", {"metadata": metadata, "spec": two})
    assert refused(gateway, LOG) == (400, "a container name must be specified for pod web, choose one of: [a b]")
    assert log(gateway, container="b")["container"] == "b"


def test_there_is_no_log_of_what_is_not_there(gateway: Gateway) -> None:
    assert refused(gateway, LOG.replace("web", "nobody"))[0] == 404
    with pytest.raises(Refusal) as caught:
        gateway.api.handle(Request("PATCH", LOG, {}, OPERATOR), gateway.now)
    assert caught.value.code == 405


# What kubectl asks first


@pytest.mark.parametrize("form", ["v2", "v2beta1"])
def test_discovery_is_one_answer_each_for_those_who_understand_it(gateway: Gateway, form: str) -> None:
    media_type = f"application/json;g=apidiscovery.k8s.io;v={form};as=APIGroupDiscoveryList"
    found: dict[str, list[str]] = {}
    for path in ("/api", "/apis"):
        answer = gateway.api.handle(Request("GET", path, {}, VIEWER, f"{media_type},application/json"), gateway.now)
        assert isinstance(answer, Answer)
        assert isinstance(answer.body, dict)
        assert answer.media_type == media_type
        for item in answer.body["items"]:
            for version in item["versions"]:
                found |= {each["resource"]: each["verbs"] for each in version["resources"]}
    plain = gateway.ask("/api/v1")["resources"] + gateway.ask("/apis/devices.kubeedge.io/v1beta1")["resources"]
    assert found == {each["name"]: each["verbs"] for each in plain if "/" not in each["name"]}


def test_every_kind_has_a_place_in_the_openapi_document(gateway: Gateway) -> None:
    kinds = set()
    for where in gateway.ask("/openapi/v3")["paths"].values():
        for path in gateway.ask(where["serverRelativeURL"])["paths"].values():
            kinds.add(path["patch"]["x-kubernetes-group-version-kind"]["kind"])
    assert kinds == {"ConfigMap", "Device", "DeviceModel", "Event", "Node", "Pod", "Secret"}
    assert refused(gateway, "/openapi/v3/apis/apps/v1")[0] == 404


# Static pods


def test_static_pods_are_there_with_their_status_before_anybody_mirrors_them(gateway: Gateway) -> None:
    name = Resource("default", "pod", "own-edge1")
    metadata = {"name": "own-edge1", "namespace": "default", "uid": "static"}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": "c"}]}}
    watch = gateway.watch("/api/v1/pods")
    watch.events(gateway.now)
    status = {"phase": "Running", "startTime": "2026-01-01T00:00:00Z"}
    gateway.core.static_pods[name] = msgspec.json.encode(manifest)
    gateway.api.marked(gateway.core.pods.status(name, "static", status, False, manifest))
    assert gateway.told(watch) == [("ADDED", "own-edge1")]
    pod = gateway.ask("/api/v1/namespaces/default/pods/own-edge1")
    assert (pod["status"]["phase"], pod["metadata"]["creationTimestamp"]) == ("Running", "2026-01-01T00:00:00Z")
    mirror = {**manifest, "metadata": {**metadata, "uid": "of the cloud", "resourceVersion": "9"}}
    gateway.cloud("update", "default/pod/own-edge1", mirror)
    assert gateway.told(watch) == [("MODIFIED", "own-edge1")]
    assert gateway.ask("/api/v1/namespaces/default/pods/own-edge1")["status"] == status
    assert [p["metadata"]["name"] for p in gateway.ask("/api/v1/pods")["items"]] == ["own-edge1", "web"]
    gateway.cloud("delete", "default/pod/own-edge1")
    del gateway.core.static_pods[name]
    gateway.api.marked(gateway.core.pods.status(name, "static", status, True, manifest))
    assert gateway.told(watch)[-1] == ("DELETED", "own-edge1")
    assert [p["metadata"]["name"] for p in gateway.ask("/api/v1/pods")["items"]] == ["web"]
