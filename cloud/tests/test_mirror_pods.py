"""Static pods of a node are shown in Kubernetes as long as their node has them, and a node makes no other pods that way."""

from typing import Any

import pytest

from cloud.tests.desk import Desk, Edge, file, pod
from cloud.writes import Answer
from edgewire import message as wire

WEB = "/api/v1/namespaces/default/pods/web-edge1"
RUNNING = {"phase": "Running"}


def manifest(name: str = "web-edge1", node: str = "edge1", **spec: Any) -> dict[str, Any]:
    """A static pod as its node sends it."""
    metadata = {
        "name": name,
        "namespace": "default",
        "uid": "a1",
        "labels": {"app": "web"},
        "annotations": {"why": "x"},
    }
    container = {"name": "c", "image": "none", "command": ["true"]}
    return {"metadata": metadata, "spec": {"nodeName": node, "containers": [container], **spec}}


def report(desk: Desk, edge: Edge, uid: str = "a1", *, gone: bool = False, **more: Any) -> wire.Message:
    """The node tells of its static pod."""
    content = {"uid": uid, "status": RUNNING, "finished": gone, "manifest": manifest(), **more}
    message = edge.send(wire.UPDATE, "default/podstatus/web-edge1", content)
    desk.settle()
    return message


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_static_pod_is_shown_with_its_status_and_goes_with_its_node(desk: Desk) -> None:
    desk.put({"kind": "Node", "metadata": {"name": "edge1", "labels": {"node-role.kubernetes.io/edge": ""}}})
    edge = desk.connect()
    message = report(desk, edge)
    mirror = desk.stored[WEB]
    assert message.id in edge.delivered
    assert mirror["status"] == RUNNING
    assert mirror["metadata"]["labels"] == {"app": "web"}
    assert mirror["metadata"]["annotations"] == {
        "why": "x",
        "kubernetes.io/config.mirror": "a1",
        "kubernetes.io/config.hash": "a1",
        "kubernetes.io/config.source": "file",
    }
    [owner] = mirror["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("Node", "edge1")
    assert owner["controller"], "or a ReplicaSet whose selector fits would take it over"
    assert mirror["spec"]["tolerations"] == [{"operator": "Exists", "effect": "NoExecute"}]
    assert edge.objects["default/pod/web-edge1"]["metadata"]["uid"] == mirror["metadata"]["uid"]


def test_a_mirror_that_is_deleted_is_made_again_and_one_that_is_marked_goes_at_once(desk: Desk) -> None:
    edge = desk.connect()
    report(desk, edge)
    first = desk.stored[WEB]
    desk.delete(first)
    desk.settle()
    second = desk.stored[WEB]
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    marked = {**second["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
    desk.put({**second, "metadata": marked})
    desk.settle()
    assert "deletionTimestamp" not in desk.stored[WEB]["metadata"]
    assert desk.stored[WEB]["status"] == RUNNING


def test_a_file_that_changed_is_another_pod_and_one_that_is_gone_none(desk: Desk) -> None:
    edge = desk.connect()
    report(desk, edge)
    report(desk, edge, "b2")
    assert desk.stored[WEB]["metadata"]["annotations"]["kubernetes.io/config.mirror"] == "b2"
    message = report(desk, edge, "b2", gone=True)
    assert WEB not in desk.stored
    assert message.id in edge.delivered
    again = report(desk, edge, "b2", gone=True)
    assert again.id in edge.delivered


def test_a_mirror_whose_file_was_removed_while_nobody_looked_is_deleted(desk: Desk) -> None:
    edge = desk.connect()
    report(desk, edge)
    report(desk, edge, "a1", gone=True, status={}, manifest=None)
    assert WEB not in desk.stored


def test_while_the_node_is_away_a_deleted_mirror_stays_away_and_comes_with_the_node(desk: Desk) -> None:
    edge = desk.connect()
    report(desk, edge)
    desk.disconnect(edge)
    desk.delete(desk.stored[WEB])
    desk.settle()
    assert WEB not in desk.stored
    report(desk, desk.connect())
    assert WEB in desk.stored


def test_a_pod_of_that_name_is_left_alone(desk: Desk) -> None:
    edge = desk.connect()
    desk.put(pod("web-edge1"))
    desk.settle()
    message = report(desk, edge)
    assert edge.refused[message.id] == (
        403,
        "there is another Pod default/web-edge1, which is no mirror of this node's",
    )
    assert "ownerReferences" not in desk.stored[WEB]["metadata"]


def test_a_pod_that_takes_the_name_of_a_mirror_which_is_gone_is_left_alone(desk: Desk) -> None:
    edge = desk.connect()
    report(desk, edge)
    desk.delete(desk.stored[WEB])
    desk.put(pod("web-edge1"))
    desk.settle()
    assert desk.stored[WEB]["metadata"].get("annotations", {}) == {}
    assert not [request for request in desk.requests if request.method == "DELETE"]


def test_a_mirror_that_is_forbidden_is_tried_again_and_said_once(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    edge = desk.connect()
    desk.reject = lambda request: Answer(403, "no privileged pods here") if request.path.endswith("/pods") else None
    message = report(desk, edge)
    desk.wait(20)
    assert caplog.text.count("no privileged pods here") == 1
    desk.reject = lambda request: None
    desk.wait(10)
    assert WEB in desk.stored
    assert message.id in edge.delivered


def test_a_name_that_another_pod_has_is_given_up_in_the_end(desk: Desk) -> None:
    edge = desk.connect()
    desk.reject = lambda request: Answer(409, "exists") if request.method == "POST" else None
    message = report(desk, edge)
    desk.wait(10)
    assert edge.refused[message.id][0] == 409
    assert sum(request.method == "POST" and request.path.endswith("/pods") for request in desk.requests) == 25


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (manifest("web-edge2"), "another name"),
        (manifest(node="edge2"), "has this nodeName"),
        (manifest(volumes=[{"name": "v", "secret": {"secretName": "key"}}]), "names no ConfigMaps"),
        (manifest(serviceAccountName="admin"), "names no ConfigMaps"),
        ({"metadata": {}, "spec": None}, "`metadata` and `spec`"),
        ({**manifest(), "metadata": {**manifest()["metadata"], "annotations": "x"}}, "`object | null`, got `str`"),
        (manifest(tolerations=5), "`array | null`, got `int`"),
    ],
)
def test_a_node_gets_nothing_else_by_a_mirror(desk: Desk, given: dict[str, Any], why: str) -> None:
    edge = desk.connect()
    desk.put(file("Secret", "key", a="1"))
    message = report(desk, edge, manifest=given)
    code, reason = edge.refused[message.id]
    assert code == 403
    assert why in reason
    assert WEB not in desk.stored
    assert edge.objects == {}


def test_a_node_makes_no_pods_under_other_names(desk: Desk) -> None:
    edge = desk.connect()
    content = {"uid": "a1", "status": RUNNING, "manifest": manifest("database-0")}
    message = edge.send(wire.UPDATE, "default/podstatus/database-0", content)
    desk.settle()
    assert edge.refused[message.id][0] == 403
