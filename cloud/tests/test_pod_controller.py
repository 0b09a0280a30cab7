"""Pods go to their node with what they name, their status comes back, and the deleted ones go when they have stopped."""

from typing import Any

import msgspec
import pytest

from cloud.tests.desk import Desk, Edge, file, pod
from cloud.writes import Answer
from edgewire import message as wire

WEB = "/api/v1/namespaces/default/pods/web"
FROM_MAP = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "a"}}}]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def report(desk: Desk, edge: Edge, name: str = "web", uid: str | None = None, **more: Any) -> wire.Message:
    stored = desk.stored.get(f"/api/v1/namespaces/default/pods/{name}")
    uid = uid or (stored["metadata"]["uid"] if stored is not None else "gone")
    content = {"uid": uid, "status": {"phase": "Running"}, **more}
    message = edge.send(wire.UPDATE, f"default/podstatus/{name}", content)
    desk.settle()
    return message


def test_a_pod_reaches_its_node_and_no_other(desk: Desk) -> None:
    edge, other = desk.connect(), desk.connect("edge2")
    desk.put(pod("web"))
    desk.settle()
    assert edge.told() == ["insert default/pod/web"]
    assert other.told() == []


def test_what_a_pod_names_comes_before_it(desk: Desk) -> None:
    edge = desk.connect()
    desk.put(file("ConfigMap", "settings", a="1"))
    desk.put(file("ConfigMap", "unrelated", a="1"))
    desk.put(file("Secret", "key", a="1"))
    assert edge.told() == []
    volumes = [{"name": "v", "projected": {"sources": [{"secret": {"name": "key"}}]}}]
    desk.put(pod("web", env=FROM_MAP, volumes=volumes))
    desk.settle()
    assert edge.told() == ["insert default/configmap/settings", "insert default/secret/key", "insert default/pod/web"]


@pytest.mark.parametrize(
    "spec",
    [
        {"volumes": [{"name": "v", "secret": {"secretName": "key"}}]},
        {"imagePullSecrets": [{"name": "key"}]},
        {"initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "key"}}]}]},
    ],
)
def test_secrets_are_found_wherever_a_pod_names_them(desk: Desk, spec: dict[str, Any]) -> None:
    edge = desk.connect()
    desk.put(file("Secret", "key", a="1"))
    desk.put(pod("web", **spec))
    desk.settle()
    assert edge.told() == ["insert default/secret/key", "insert default/pod/web"]


def test_a_config_map_that_comes_late_follows_its_pod_and_goes_with_it(desk: Desk) -> None:
    edge = desk.connect()
    desk.put(pod("web", env=FROM_MAP))
    desk.settle()
    assert edge.told() == ["insert default/pod/web"]
    desk.put(file("ConfigMap", "settings", a="1"))
    desk.settle()
    desk.put(file("ConfigMap", "settings", a="2"))
    desk.settle()
    assert edge.told() == ["insert default/configmap/settings", "update default/configmap/settings"]
    desk.delete(desk.stored[WEB])
    desk.settle()
    assert edge.told() == ["delete default/pod/web", "delete default/configmap/settings"]


def reads(desk: Desk) -> list[str]:
    """What was read so far."""
    return [request.path.rpartition("/")[2] for request in desk.requests if request.method == "GET"]


def test_nothing_is_read_but_what_pods_of_connected_nodes_name(desk: Desk) -> None:
    desk.put(file("ConfigMap", "settings", a="1"))
    desk.put(file("ConfigMap", "unrelated", a="1"))
    desk.put(pod("web", env=FROM_MAP))
    desk.put(pod("elsewhere", node="worker", volumes=[{"name": "v", "configMap": {"name": "unrelated"}}]))
    desk.settle()
    assert reads(desk) == []
    edge = desk.connect()
    assert reads(desk) == ["settings"]
    assert edge.told() == ["insert default/configmap/settings", "insert default/pod/web"]
    desk.put(file("ConfigMap", "unrelated", a="2"))
    desk.put(file("ConfigMap", "settings", a="2"))
    desk.settle()
    assert reads(desk) == ["settings", "settings"]
    assert edge.objects["default/configmap/settings"]["data"] == {"a": "2"}
    desk.delete(desk.stored[WEB])
    desk.settle()
    desk.put(file("ConfigMap", "settings", a="3"))
    desk.settle()
    assert reads(desk) == ["settings", "settings"]


def test_a_pod_waits_until_what_it_names_was_read(desk: Desk) -> None:
    edge = desk.connect()
    desk.put(file("ConfigMap", "settings", a="1"))
    desk.away = True
    desk.put(pod("web", env=FROM_MAP))
    desk.put(pod("other"))
    desk.wait(3)
    assert edge.told() == ["insert default/pod/other"]
    desk.away = False
    desk.wait(10)
    assert edge.told() == ["insert default/configmap/settings", "insert default/pod/web"]


def test_what_may_not_be_read_keeps_no_pod_from_its_node(desk: Desk) -> None:
    edge = desk.connect()
    desk.put(file("ConfigMap", "settings", a="1"))
    desk.reject = lambda request: Answer(403, "no") if request.method == "GET" else None
    desk.put(pod("web", env=FROM_MAP))
    desk.settle()
    assert edge.told() == ["insert default/pod/web"]
    desk.reject = lambda request: None
    desk.wait(10)
    assert edge.told() == ["insert default/configmap/settings"]


def test_a_config_map_that_is_deleted_and_made_again_follows(desk: Desk) -> None:
    edge = desk.connect()
    desk.put(file("ConfigMap", "settings", a="1"))
    desk.put(pod("web", env=FROM_MAP))
    desk.settle()
    edge.told()
    path = "/api/v1/namespaces/default/configmaps/settings"
    desk.delete(desk.stored[path])
    desk.settle()
    assert edge.told() == ["delete default/configmap/settings"]
    desk.put(file("ConfigMap", "settings", a="2"))
    desk.settle()
    assert edge.told() == ["insert default/configmap/settings"]


def test_what_two_pods_name_stays_until_both_are_gone(desk: Desk) -> None:
    edge = desk.connect()
    desk.put(file("ConfigMap", "settings", a="1"))
    desk.put(pod("web", env=FROM_MAP))
    desk.put(pod("other", env=FROM_MAP))
    desk.settle()
    assert reads(desk) == ["settings"]
    desk.delete(desk.stored[WEB])
    desk.settle()
    assert "default/configmap/settings" in edge.objects
    desk.delete(desk.stored[WEB.replace("web", "other")])
    desk.settle()
    assert "default/configmap/settings" not in edge.objects


def test_a_node_that_comes_back_to_a_new_cloudcore_gets_only_what_is_new(desk: Desk) -> None:
    edge = desk.connect()
    desk.put(file("ConfigMap", "settings", a="1"))
    desk.put(pod("web", env=FROM_MAP))
    desk.settle()
    fresh = desk.restarted()
    assert fresh.connect(inventory=edge.versions).told() == []
    fresh.put(file("ConfigMap", "settings", a="2"))
    fresh.settle()
    assert fresh.edges[-1].told() == ["update default/configmap/settings"]


def test_a_pods_own_status_does_not_come_back_to_its_node(desk: Desk) -> None:
    edge = desk.connect()
    desk.put(pod("web"))
    desk.settle()
    edge.told()
    message = report(desk, edge)
    assert message.id in edge.delivered
    assert desk.stored[WEB]["status"] == {"phase": "Running"}
    assert edge.told() == []
    assert "status" not in edge.objects["default/pod/web"]
    desk.disconnect(edge)
    again = desk.connect(inventory=edge.versions)
    assert again.told() == []


def test_a_label_that_changes_reaches_the_node_though_the_spec_is_the_same(desk: Desk) -> None:
    edge = desk.connect()
    desk.put(pod("web"))
    desk.settle()
    edge.told()
    web = desk.stored[WEB]
    desk.put({**web, "metadata": {**web["metadata"], "labels": {"a": "b"}}})
    desk.settle()
    assert edge.told() == ["update default/pod/web"]
    assert edge.objects["default/pod/web"]["metadata"]["labels"] == {"a": "b"}


def test_a_deletion_reaches_the_node_and_is_done_when_the_node_says_so(desk: Desk) -> None:
    edge = desk.connect()
    desk.put(pod("web"))
    desk.settle()
    web = desk.stored[WEB]
    desk.put({**web, "metadata": {**web["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}})
    desk.settle()
    assert edge.objects["default/pod/web"]["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:00Z"
    report(desk, edge, status={"phase": "Running"})
    assert WEB in desk.stored
    message = report(desk, edge, status={"phase": "Succeeded"}, finished=True)
    assert WEB not in desk.stored
    assert message.id in edge.delivered
    patch, deletion = desk.requests[-2:]
    assert b"Succeeded" in patch.body
    assert msgspec.json.decode(deletion.body) == {
        "gracePeriodSeconds": 0,
        "preconditions": {"uid": web["metadata"]["uid"]},
    }
    assert "default/pod/web" not in edge.objects


def test_a_status_waits_for_kubernetes_and_only_the_newest_is_written(desk: Desk) -> None:
    edge = desk.connect()
    desk.put(pod("web"))
    desk.settle()
    desk.away = True
    first = report(desk, edge, status={"phase": "Pending"})
    second = report(desk, edge, status={"phase": "Running"})
    assert edge.delivered[-2:] != [first.id, second.id]
    desk.away = False
    desk.requests.clear()
    desk.wait(10)
    assert {first.id, second.id} <= set(edge.delivered)
    assert desk.stored[WEB]["status"] == {"phase": "Running"}
    assert len([r for r in desk.requests if r.path.endswith("/web/status")]) <= 2


def test_a_status_that_kubernetes_has_is_not_written_again(desk: Desk) -> None:
    edge = desk.connect()
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    desk.put(pod("web"))
    desk.settle()
    report(desk, edge, status=status)
    conditions = [{"type": "PodScheduled", "status": "True"}, *status["conditions"]]
    desk.put({**desk.stored[WEB], "status": {**status, "conditions": conditions}})
    fresh = desk.restarted()
    edge = fresh.connect()
    message = report(fresh, edge, status=status)
    assert message.id in edge.delivered
    assert [r for r in fresh.requests if "/pods/" in r.path] == []


def test_the_addresses_of_a_pod_replace_those_that_are_there_and_only_those(desk: Desk) -> None:
    edge = desk.connect()
    desk.put(pod("web"))
    desk.settle()
    for address in ("10.88.0.2", "10.88.0.3"):
        report(desk, edge, status={"phase": "Running", "podIPs": [{"ip": address}]})
    written = [msgspec.json.decode(r.body)["status"]["podIPs"] for r in desk.requests if r.path.endswith("/web/status")]
    # An API server before 1.22 takes the directive for an address where there is no list yet.
    assert written == [[{"ip": "10.88.0.2"}], [{"ip": "10.88.0.3"}, {"$patch": "replace"}]]


def test_a_node_speaks_for_its_own_pods_only(desk: Desk) -> None:
    desk.connect()
    other = desk.connect("edge2")
    desk.put(pod("web"))
    desk.settle()
    assert other.refused[report(desk, other).id][0] == 403
    assert "status" not in desk.stored[WEB] or desk.stored[WEB]["status"] == {}


def test_the_status_of_a_pod_that_was_replaced_is_refused(desk: Desk) -> None:
    edge = desk.connect()
    desk.put(pod("web"))
    desk.settle()
    assert edge.refused[report(desk, edge, uid="another").id][0] == 404
    assert edge.refused[report(desk, edge, "absent").id][0] == 404


@pytest.mark.parametrize(
    "status",
    [
        "Running",
        {"conditions": 5},
        {"conditions": ["Ready"]},
        {"conditions": [{"type": []}]},
        {"podIPs": 5},
        {"hostIPs": None},
    ],
)
def test_a_status_that_is_none_is_refused_and_does_nobody_harm(desk: Desk, status: Any) -> None:
    edge = desk.connect()
    desk.put({**pod("web"), "status": {"podIPs": [{"ip": "10.88.0.2"}], "hostIPs": [{"ip": "10.88.0.1"}]}})
    desk.settle()
    assert edge.refused[report(desk, edge, status=status).id][0] == 400


def test_a_status_that_kubernetes_rejects_is_refused_to_the_node(desk: Desk) -> None:
    edge = desk.connect()
    desk.put(pod("web"))
    desk.settle()
    desk.reject = lambda request: Answer(422, "no such phase") if b"Runing" in request.body else None
    message = report(desk, edge, status={"phase": "Runing"})
    assert edge.refused[message.id] == (422, "no such phase")


def test_a_node_that_lost_its_store_learns_which_pods_have_ended(desk: Desk) -> None:
    edge = desk.connect()
    desk.put(pod("web"))
    desk.settle()
    report(desk, edge, status={"phase": "Succeeded"})
    desk.disconnect(edge)
    assert desk.connect().objects["default/pod/web"]["status"] == {"phase": "Succeeded"}


def test_pods_that_went_while_the_node_was_away_are_deleted_there(desk: Desk) -> None:
    edge = desk.connect()
    desk.put(pod("web"))
    desk.settle()
    desk.disconnect(edge)
    desk.delete(desk.stored[WEB])
    again = desk.connect(inventory=edge.versions)
    assert again.told() == ["delete default/pod/web"]


@pytest.mark.parametrize("name", ["a/b", "../key", "kube-system/secret/key"])
def test_a_name_that_no_secret_can_have_keeps_no_other_pod_from_its_node(desk: Desk, name: str) -> None:
    edge = desk.connect()
    desk.put(file("Secret", "key", a="1"))
    desk.put(pod("odd", volumes=[{"name": "v", "secret": {"secretName": name}}], imagePullSecrets=[{"name": name}]))
    desk.put(pod("web"))
    desk.settle()
    assert edge.told() == ["insert default/pod/odd", "insert default/pod/web"]
