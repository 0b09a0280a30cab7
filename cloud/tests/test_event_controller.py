"""Events that a node tells are written for it: created once, then counted."""

from typing import Any

import pytest

from cloud.tests.desk import Desk, Edge, pod
from cloud.writes import Answer, Request
from edgewire import message as wire

EVENT = "/api/v1/namespaces/default/events/web.17"


@pytest.fixture
def desk() -> Desk:
    return Desk()


def tell(desk: Desk, edge: Edge, count: int = 1, **more: Any) -> wire.Message:
    about = {"kind": "Pod", "namespace": "default", "name": "web", "uid": "u", "fieldPath": "spec.containers{c}"}
    content = {
        "involvedObject": about,
        "type": "Warning",
        "reason": "BackOff",
        "message": "restarts",
        "count": count,
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": f"2026-01-01T00:00:0{count}Z",
        **more,
    }
    message = edge.send(wire.UPDATE, "default/event/web.17", content)
    desk.settle()
    return message


def test_an_event_is_created_once_and_then_counted(desk: Desk) -> None:
    edge = desk.connect()
    assert tell(desk, edge).id in edge.delivered
    event = desk.stored[EVENT]
    assert event["source"] == {"component": "edged", "host": "edge1"}
    assert event["involvedObject"]["fieldPath"] == "spec.containers{c}"
    assert tell(desk, edge, 3).id in edge.delivered
    assert (desk.stored[EVENT]["count"], desk.stored[EVENT]["lastTimestamp"]) == (3, "2026-01-01T00:00:03Z")
    assert desk.stored[EVENT]["firstTimestamp"] == "2026-01-01T00:00:00Z"


def test_an_event_that_expired_meanwhile_is_created_again(desk: Desk) -> None:
    edge = desk.connect()
    tell(desk, edge)
    del desk.stored[EVENT]
    tell(desk, edge, 2)
    assert desk.stored[EVENT]["count"] == 2


def test_an_event_waits_for_kubernetes(desk: Desk) -> None:
    edge = desk.connect()
    desk.away = True
    message = tell(desk, edge)
    assert message.id not in edge.delivered
    desk.away = False
    desk.wait(10)
    assert message.id in edge.delivered


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({"involvedObject": {"kind": "Node", "name": "edge2", "uid": "u"}}, 403),
        ({"involvedObject": {"kind": "Pod", "namespace": "kube-system", "name": "web", "uid": "u"}}, 400),
        ({"involvedObject": {"kind": "Secret", "name": "web", "uid": "u"}}, 400),
        ({"type": "Alarm"}, 400),
    ],
)
def test_events_that_are_not_the_nodes_to_tell_are_refused(desk: Desk, content: dict[str, Any], code: int) -> None:
    edge = desk.connect()
    assert edge.refused[tell(desk, edge, **content).id][0] == code
    assert EVENT not in desk.stored


def test_an_event_that_kubernetes_rejects_is_refused(desk: Desk) -> None:
    edge = desk.connect()

    def no_namespace(request: Request) -> Answer | None:
        return Answer(422, "terminating") if request.method == "POST" and "/events" in request.path else None

    desk.reject = no_namespace
    assert edge.refused[tell(desk, edge).id] == (422, "terminating")


def test_a_node_tells_of_no_pod_of_another_node_and_touches_no_event_of_others(desk: Desk) -> None:
    edge, other = desk.connect(), desk.connect("edge2")
    desk.put(pod("web"))
    desk.settle()
    assert other.refused[tell(desk, other).id][0] == 403
    assert EVENT not in desk.stored
    assert tell(desk, edge).id in edge.delivered
    about = {"kind": "Pod", "namespace": "default", "name": "mine", "uid": "u"}
    assert other.refused[tell(desk, other, 9, involvedObject=about).id][0] == 400
    assert desk.stored[EVENT]["count"] == 1
