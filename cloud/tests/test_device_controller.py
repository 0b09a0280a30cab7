"""Devices to nodes, reports back, and the condition that says how far a device has come."""

import logging

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.tests.desk import Desk, Edge, device, model
from cloud.writes import Answer
from edgewire import message as wire
from edgewire.message import Message

S1, M = "default/device/s1", "default/devicemodel/m"


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.put(model())
    desk.put(device("s1"))
    desk.settle()
    return desk


@pytest.fixture
def edge(desk: Desk) -> Edge:
    edge = desk.connect()
    edge.messages.clear()
    edge.delivered.clear()
    desk.requests.clear()
    return edge


# Down


def test_the_message_carries_the_whole_object_and_its_version(desk: Desk) -> None:
    edge = desk.connect()
    [message] = [m for m in edge.messages if m.resource == S1]
    assert (message.source, message.group, message.operation) == ("devicecontroller", "resource", "insert")
    content = msgspec.json.decode(message.content)
    assert content["metadata"]["resourceVersion"] == message.resource_version
    assert content["spec"]["deviceModelRef"] == {"name": "m"}


def test_a_change_of_the_spec_is_sent_and_one_of_the_status_is_not(desk: Desk, edge: Edge) -> None:
    edge.report("default/s1", temp="1")
    desk.settle()
    assert edge.told() == []
    desk.put(device("s1", desired="5"))
    desk.settle()
    assert edge.told() == [f"update {S1}"]


def test_a_device_that_moves_leaves_one_node_and_comes_to_the_other(desk: Desk, edge: Edge) -> None:
    other = desk.connect("edge2")
    desk.put(device("s1", node="edge2"))
    desk.settle()
    assert edge.told() == ["update membership", f"delete {S1}", f"delete {M}"]
    assert other.told() == [f"insert {M}", "update membership", f"insert {S1}"]
    assert edge.objects == {}


def test_a_device_that_moves_while_its_old_node_is_away_is_deleted_there_later(desk: Desk, edge: Edge) -> None:
    desk.disconnect(edge)
    desk.put(device("s1", node="edge2"))
    again = desk.connect("edge1", edge.versions)
    assert {"delete default/device/s1", "delete default/devicemodel/m"} <= set(again.told())


def test_a_model_goes_with_the_last_device_that_uses_it(desk: Desk, edge: Edge) -> None:
    desk.put(device("s2"))
    desk.settle()
    edge.told()
    desk.delete(device("s1"))
    desk.settle()
    assert edge.told() == ["update membership", f"delete {S1}"]
    desk.delete(device("s2"))
    desk.settle()
    assert edge.told() == ["update membership", "delete default/device/s2", f"delete {M}"]


def test_a_device_that_changes_its_model_gets_the_new_one_first_and_the_old_one_goes(desk: Desk, edge: Edge) -> None:
    desk.put(model("n"))
    desk.put(device("s1", model="n"))
    desk.settle()
    assert edge.told() == ["insert default/devicemodel/n", f"update {S1}", f"delete {M}"]


def test_a_model_that_changes_is_sent_to_the_nodes_that_use_it(desk: Desk, edge: Edge) -> None:
    other = desk.connect("edge2")
    desk.put(model("m", "temp", "hum"))
    desk.settle()
    assert edge.told() == [f"update {M}"]
    assert other.told() == []


def test_a_device_created_anew_under_its_name_starts_afresh(desk: Desk, edge: Edge) -> None:
    edge.report("default/s1", temp="1")
    desk.settle()
    desk.delete(device("s1"))
    desk.put(device("s1"))
    desk.settle()
    assert edge.objects[S1]["metadata"]["uid"] == desk.stored[f"{DEVICES}/s1"]["metadata"]["uid"]
    assert desk.reported("s1") is None
    edge.report("default/s1", temp="1")
    desk.settle()
    assert desk.reported("s1") == "1"


DEVICES = "/apis/devices.kubeedge.io/v1beta1/namespaces/default/devices"


def test_the_membership_message_is_kubeedges(desk: Desk, edge: Edge) -> None:
    desk.delete(device("s1"))
    desk.settle()
    [message] = [m for m in edge.messages if m.resource == "membership"]
    assert (message.group, message.operation, message.source) == ("twin", "update", "devicecontroller")
    content = msgspec.json.decode(message.content)
    assert content["added_devices"] is None
    assert content["removed_devices"] == [{"id": "default/s1", "name": "s1"}]


# The condition


def test_a_device_is_accepted_when_its_node_has_it(desk: Desk) -> None:
    assert desk.accepted("s1") == ("False", "WaitingForNode")
    desk.connect()
    assert desk.accepted("s1") == ("True", "Delivered")
    [condition] = desk.status("s1")["conditions"]
    assert condition["observedGeneration"] == 1


def test_a_device_of_no_node_waits_for_one(desk: Desk) -> None:
    desk.put(device("s2", node=""))
    desk.settle()
    assert desk.accepted("s2") == ("False", "WaitingForNode")


def test_a_device_without_its_model_waits_alone_and_goes_out_when_the_model_comes(desk: Desk, edge: Edge) -> None:
    desk.put(device("s2", model="missing"))
    desk.put(device("s3"))
    desk.settle()
    assert desk.accepted("s2") == ("False", "ModelNotFound")
    assert desk.accepted("s3") == ("True", "Delivered")
    assert "default/device/s2" not in edge.objects
    edge.told()
    desk.put(model("missing"))
    desk.settle()
    assert desk.accepted("s2") == ("True", "Delivered")
    assert edge.told() == ["insert default/devicemodel/missing", "update membership", "insert default/device/s2"]


def test_a_model_deleted_under_its_devices_stays_on_their_node(desk: Desk, edge: Edge) -> None:
    desk.delete(model())
    desk.settle()
    assert desk.accepted("s1") == ("False", "ModelNotFound")
    assert edge.told() == []
    assert desk.connect("edge1", edge.versions).told() == []
    desk.put(model())
    desk.settle()
    assert desk.accepted("s1") == ("True", "Delivered")


def test_a_device_that_does_not_fit_its_model_says_why_and_stays_as_it_was(desk: Desk, edge: Edge) -> None:
    desk.put(device("s1", desired="warm"))
    desk.settle()
    assert desk.accepted("s1") == ("False", "Invalid")
    assert "'warm' is not an integer" in desk.status("s1")["conditions"][0]["message"]
    assert edge.told() == []
    desk.put(device("s1", desired="20"))
    desk.settle()
    assert desk.accepted("s1") == ("True", "Delivered")
    assert edge.told() == [f"update {S1}"]


def test_a_device_that_cannot_be_read_says_why_and_stays_where_it_was(desk: Desk, edge: Edge) -> None:
    broken = device("s1")
    broken["spec"]["properties"] = "none"
    desk.put(broken)
    desk.settle()
    assert desk.accepted("s1") == ("False", "Invalid")
    assert edge.told() == []


def test_a_model_that_cannot_be_read_is_named_in_its_devices(desk: Desk, edge: Edge) -> None:
    broken = model()
    broken["spec"]["properties"] = "none"
    desk.put(broken)
    desk.settle()
    assert desk.accepted("s1") == ("False", "Invalid")
    assert "DeviceModel" in desk.status("s1")["conditions"][0]["message"]
    assert edge.told() == []


def test_what_the_node_refuses_stands_in_the_condition(desk: Desk, edge: Edge) -> None:
    edge.refuse = lambda message: "disk full" if message.resource == S1 else None
    desk.put(device("s1", desired="5"))
    desk.settle()
    assert desk.accepted("s1") == ("False", "Refused")
    assert "disk full" in desk.status("s1")["conditions"][0]["message"]


def test_a_condition_that_stays_is_not_written_again(desk: Desk, edge: Edge) -> None:
    since = desk.status("s1")["conditions"][0]["lastTransitionTime"]
    desk.wall += 100
    desk.put(device("s1", desired="5"))
    desk.settle()
    [condition] = desk.status("s1")["conditions"]
    assert condition["lastTransitionTime"] == since
    assert condition["observedGeneration"] == 2
    desk.patches()
    desk.disconnect(edge)
    desk.connect("edge1", edge.versions)
    assert desk.patches() == 0


def test_what_changed_while_the_node_is_away_waits_for_it(desk: Desk, edge: Edge) -> None:
    desk.disconnect(edge)
    assert desk.accepted("s1") == ("True", "Delivered")
    desk.put(device("s1", desired="5"))
    desk.settle()
    assert desk.accepted("s1") == ("False", "WaitingForNode")
    desk.connect("edge1", edge.versions)
    assert desk.accepted("s1") == ("True", "Delivered")


def test_what_is_in_flight_when_the_link_breaks_waits_for_the_node(desk: Desk, edge: Edge) -> None:
    edge.answers = False
    desk.put(device("s1", desired="5"))
    desk.settle()
    desk.disconnect(edge)
    assert desk.accepted("s1") == ("False", "WaitingForNode")


# Up


def test_a_report_is_in_kubernetes_before_it_is_acknowledged(desk: Desk, edge: Edge) -> None:
    desk.away = True
    message = edge.report("default/s1", at=5, temp="21")
    desk.settle()
    desk.wait(1)
    assert message.id not in edge.delivered
    desk.away = False
    desk.wait(10)
    assert message.id in edge.delivered
    assert desk.reported("s1") == "21"


def test_a_replay_is_acknowledged_at_once_and_not_written(desk: Desk, edge: Edge) -> None:
    edge.report("default/s1", at=5, temp="21")
    desk.settle()
    desk.patches()
    desk.away = True
    message = edge.report("default/s1", at=5, temp="21")
    desk.settle()
    assert message.id in edge.delivered
    assert desk.patches() == 0


def test_a_replay_of_what_is_not_yet_written_waits_for_it(desk: Desk, edge: Edge) -> None:
    desk.away = True
    first = edge.report("default/s1", at=5, temp="21")
    second = edge.report("default/s1", at=5, temp="21")
    desk.settle()
    assert not {first.id, second.id} & set(edge.delivered)
    desk.away = False
    desk.wait(10)
    assert {first.id, second.id} <= set(edge.delivered)


def test_an_older_report_does_not_win(desk: Desk, edge: Edge) -> None:
    edge.report("default/s1", at=5, temp="new")
    message = edge.report("default/s1", at=4, temp="old")
    desk.settle()
    assert desk.reported("s1") == "new"
    assert message.id in edge.delivered


def test_reports_that_come_while_a_patch_is_away_share_the_next_one(desk: Desk, edge: Edge) -> None:
    desk.away = True
    first = edge.report("default/s1", at=1, temp="1")
    desk.settle()
    more = [edge.report("default/s1", at=n, temp=str(n)) for n in range(2, 9)]
    desk.settle()
    desk.away = False
    desk.requests.clear()
    desk.wait(10)
    assert desk.patches() == 1
    assert desk.reported("s1") == "8"
    assert {m.id for m in (first, *more)} <= set(edge.delivered)


def test_the_state_and_when_it_was_online_are_in_the_status(desk: Desk, edge: Edge) -> None:
    edge.report_state("default/s1", "online")
    desk.settle()
    assert (desk.status("s1")["state"], desk.status("s1")["lastOnlineTime"]) == ("online", "2026-01-01T00:00:00Z")


def test_a_new_cloudcore_starts_from_the_status_in_kubernetes(desk: Desk, edge: Edge) -> None:
    edge.report("default/s1", at=5, temp="21")
    desk.settle()
    fresh = desk.restarted()
    again = fresh.connect("edge1", edge.versions)
    fresh.patches()
    replay = again.report("default/s1", at=5, temp="21")
    older = again.report("default/s1", at=4, temp="20")
    fresh.settle()
    assert {replay.id, older.id} <= set(again.delivered)
    assert fresh.patches() == 0
    assert fresh.reported("s1") == "21"


def refusal(desk: Desk, edge: Edge, message: Message) -> tuple[int, str]:
    desk.settle()
    return edge.refused[message.id]


def test_a_node_may_report_its_own_devices_only(desk: Desk, edge: Edge) -> None:
    other = desk.connect("edge2")
    assert refusal(desk, other, other.report("default/s1", temp="1"))[0] == 403
    assert desk.reported("s1") is None


def test_a_report_of_an_unknown_device_is_refused(desk: Desk, edge: Edge) -> None:
    assert refusal(desk, edge, edge.report("default/nobody", temp="1")) == (404, "there is no Device default/nobody")


@pytest.mark.parametrize(
    "content",
    [b"7", b'{"twin":{"temp":{"actual":{"value":7}}}}', b'{"twin":[]}', b'"no json"', b'{"twin":{"a b":null}}'],
)
def test_malformed_twins_are_refused_with_the_reason_and_one_log_line(
    desk: Desk, edge: Edge, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    message = edge.send(wire.UPDATE, "device/default/s1/twin/edge_updated", msgspec.Raw(content))
    code, reason = refusal(desk, edge, message)
    assert code == 400
    assert reason
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1
    edge.report("default/s1", temp="1")
    desk.settle()
    assert desk.reported("s1") == "1"


def test_a_value_that_is_too_long_is_refused(desk: Desk, edge: Edge) -> None:
    assert refusal(desk, edge, edge.report("default/s1", temp="ä" * 2049))[0] == 413


def test_a_state_nobody_knows_is_refused(desk: Desk, edge: Edge) -> None:
    code, reason = refusal(desk, edge, edge.report_state("default/s1", "bored"))
    assert (code, "bored" in reason) == (400, True)


def test_none_deletes_a_reported_value(desk: Desk, edge: Edge) -> None:
    edge.report("default/s1", at=5, temp="1")
    desk.settle()
    edge.report_twins("default/s1", {"temp": None})
    desk.settle()
    assert desk.status("s1")["twins"] == []


def test_reports_of_a_device_deleted_meanwhile_are_refused(desk: Desk, edge: Edge) -> None:
    desk.away = True
    message = edge.report("default/s1", temp="1")
    desk.settle()
    desk.delete(device("s1"))
    assert refusal(desk, edge, message)[0] == 404


def test_reports_of_a_device_that_is_gone_but_not_yet_told_of_are_refused(desk: Desk, edge: Edge) -> None:
    del desk.stored[f"{DEVICES}/s1"]
    assert refusal(desk, edge, edge.report("default/s1", temp="1"))[0] == 404


def test_what_kubernetes_rejects_is_refused_to_its_sender_alone(desk: Desk, edge: Edge) -> None:
    desk.away = True
    edge.report("default/s1", at=1, temp="1")
    desk.settle()
    good = edge.report("default/s1", at=2, temp="2")
    bad = edge.report("default/s1", at=3, temp="poison")
    last = edge.report("default/s1", at=4, hum="4")
    desk.settle()
    desk.away = False
    desk.reject = lambda request: Answer(422, "no poison") if b"poison" in request.body else None
    desk.wait(10)
    assert edge.refused == {bad.id: (422, "no poison")}
    assert {good.id, last.id} <= set(edge.delivered)
    assert (desk.reported("s1"), desk.reported("s1", "hum")) == ("2", "4")


def test_a_conflict_is_tried_again(desk: Desk, edge: Edge) -> None:
    answers = [Answer(409, "conflict")]
    desk.reject = lambda request: answers.pop() if answers and "/devices/" in request.path else None
    message = edge.report("default/s1", temp="1")
    desk.wait(1)
    assert message.id in edge.delivered


def test_a_condition_that_kubernetes_rejects_is_not_tried_for_ever(desk: Desk, edge: Edge) -> None:
    desk.reject = lambda request: Answer(422, "no") if b"conditions" in request.body else None
    desk.put(device("s1", desired="5"))
    desk.wait(5)
    assert desk.patches() <= 2


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("report"), st.sampled_from(["temp", "hum"]), st.integers(1, 30)),
            st.sampled_from(["away", "back", "reconnect", "wait", "flood"]),
        ),
        max_size=30,
    )
)
def test_whatever_happens_in_between_the_newest_of_what_was_acknowledged_is_in_kubernetes(
    events: list[str | tuple[str, str, int]],
) -> None:
    desk = Desk(qps=20, burst=5)
    desk.put(model("m", "temp", "hum"))
    desk.put(device("s1"))
    edge = desk.connect()
    sent: dict[str, tuple[str, int]] = {}
    acknowledged: set[str] = set()
    for event in events:
        match event:
            case ("report", name, at):
                sent[edge.report("default/s1", at=at, **{name: str(at)}).id] = (name, at)
            case "flood":
                for at in range(40):
                    sent[edge.report("default/s1", at=at + 100, temp=str(at + 100)).id] = ("temp", at + 100)
            case "away" | "back":
                desk.away = event == "away"
            case "reconnect":
                acknowledged |= set(edge.delivered)
                desk.disconnect(edge)
                edge = desk.connect("edge1", edge.versions)
            case _:
                desk.wait(0.5)
        desk.settle()
    desk.away = False
    desk.wait(15)
    acknowledged |= set(edge.delivered)
    for name in ("temp", "hum"):
        newest = max((at for id, (n, at) in sent.items() if n == name and id in acknowledged), default=0)
        assert int(desk.reported("s1", name) or 0) >= newest


def test_what_waits_for_kubernetes_is_bounded_by_the_devices(desk: Desk, edge: Edge) -> None:
    desk.away = True
    for at in range(1, 1001):
        message = wire.build(wire.UPDATE, "device/default/s1/twin/edge_updated", b"", source="e")
        content = msgspec.json.encode(
            {"twin": {f"p{at % 3}": {"actual": {"value": str(at), "metadata": {"timestamp": at}}}}}
        )
        edge.link.send(msgspec.structs.replace(message, content=msgspec.Raw(content)))
        desk.settle()
    entry = desk.devices._catalogue.devices["default/s1"]
    assert len(entry.reports._waiting) <= 32
    desk.away = False
    desk.wait(10)
    assert [desk.reported("s1", p) for p in ("p0", "p1", "p2")] == ["999", "1000", "998"]


def test_a_report_may_be_a_json_text_inside_a_string(desk: Desk, edge: Edge) -> None:
    text = '{"twin":{"temp":{"actual":{"value":"3"}}}}'
    edge.send(wire.UPDATE, "device/default/s1/twin/edge_updated", text)
    desk.settle()
    assert desk.reported("s1") == "3"
