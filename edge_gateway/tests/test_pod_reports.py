"""What the cloud is told of pods: the newest status, and events with a count."""

from typing import Any

from edge_gateway.pod_reports import EVENTS_LIMIT, Happened, PodReports, Subject, is_key
from edgewire import resource
from edgewire.resource import Resource

WEB = Resource("default", resource.POD, "web")
SUBJECT = Subject("default", "web", "u1")
STARTED = Happened("Normal", "Started", "Started container c", "c")


def content(reports: PodReports, key: str) -> dict[str, Any]:
    message = reports.message_for(key)
    assert message is not None
    assert message.resource == key
    return message.read(dict[str, Any])


def test_a_status_is_told_when_it_changed_and_anew_on_each_connection() -> None:
    reports = PodReports()
    assert reports.status(WEB, "u1", {"phase": "Pending"}, False) == ["default/podstatus/web"]
    assert reports.status(WEB, "u1", {"phase": "Pending"}, False) == []
    assert reports.status(WEB, "u1", {"phase": "Running"}, False) == ["default/podstatus/web"]
    assert content(reports, "default/podstatus/web") == {
        "uid": "u1",
        "status": {"phase": "Running"},
        "finished": False,
    }
    reports.delivered("default/podstatus/web")
    assert reports.dirty_keys() == ["default/podstatus/web"]
    reports.gone(WEB)
    assert reports.dirty_keys() == []
    assert reports.message_for("default/podstatus/web") is None


def test_the_same_again_is_counted() -> None:
    reports = PodReports()
    [key] = reports.happened(SUBJECT, STARTED, "2026-01-01T00:00:00Z")
    assert reports.happened(SUBJECT, STARTED, "2026-01-01T00:00:09Z") == [key]
    told = content(reports, key)
    assert (told["count"], told["firstTimestamp"], told["lastTimestamp"]) == (
        2,
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:09Z",
    )
    assert told["involvedObject"]["fieldPath"] == "spec.containers{c}"
    reports.delivered(key)
    assert reports.dirty_keys() == []
    assert reports.happened(SUBJECT, STARTED, "2026-01-01T00:00:10Z") == [key]
    assert content(reports, key)["count"] == 3


def test_what_happened_again_while_it_was_on_its_way_is_told_again() -> None:
    reports = PodReports()
    [key] = reports.happened(SUBJECT, STARTED, "t")
    content(reports, key)
    reports.happened(SUBJECT, STARTED, "t")
    reports.delivered(key)
    assert reports.dirty_keys() == [key]


def test_a_long_time_offline_keeps_a_bounded_number_of_events() -> None:
    reports = PodReports()
    for number in range(EVENTS_LIMIT * 3):
        reports.happened(SUBJECT, Happened("Warning", "Failed", f"try {number}"), "t")
    keys = list(reports.dirty_keys())
    assert len(keys) == EVENTS_LIMIT
    assert content(reports, keys[-1])["message"] == f"try {EVENTS_LIMIT * 3 - 1}"
    for key in keys:
        content(reports, key)
        reports.delivered(key)
    for number in range(EVENTS_LIMIT * 2):
        [key] = reports.happened(SUBJECT, Happened("Warning", "Failed", f"next {number}"), "t")
        content(reports, key)
        reports.delivered(key)
    assert len(reports._events) <= EVENTS_LIMIT + 1


def test_keys_of_devices_are_not_ours() -> None:
    assert is_key("default/podstatus/web")
    assert not is_key("default/device/web")
    assert not is_key(resource.INVENTORY)


def test_what_happens_to_the_node_is_an_event_of_its_own() -> None:
    reports = PodReports()
    [key] = reports.happened_to_node("edge1", Happened("Warning", "ImageGCFailed", "no room"), "2026-01-01T00:00:00Z")
    assert key.startswith("default/event/edge1.")
    about = {"kind": "Node", "name": "edge1", "uid": "edge1", "fieldPath": ""}
    assert content(reports, key)["involvedObject"] == about
