"""Sessions: a node gets the difference between what it has and what it should have, whenever that arises."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.sessions import WINDOW
from cloud.tests.desk import Desk, Edge, device, model
from edgewire import message as wire

S1, M = "default/device/s1", "default/devicemodel/m"


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.put(model())
    desk.put(device("s1"))
    desk.settle()
    return desk


def test_a_node_without_anything_gets_its_model_before_its_device(desk: Desk) -> None:
    edge = desk.connect()
    assert edge.told() == [f"insert {M}", "update membership", f"insert {S1}"]
    assert edge.objects[S1]["spec"]["nodeName"] == "edge1"


def test_the_inventory_is_acknowledged(desk: Desk) -> None:
    edge = desk.connect()
    assert len(edge.delivered) == 1


def test_a_node_that_has_everything_gets_nothing(desk: Desk) -> None:
    versions = desk.connect().versions
    again = desk.connect(inventory=versions)
    assert again.told() == []


def test_an_inventory_may_name_resource_versions_too(desk: Desk) -> None:
    edge = desk.connect()
    versions = {m.resource: m.resource_version for m in edge.messages if m.resource in edge.objects}
    edge.report("default/s1", temp="1")
    desk.settle()
    assert versions.keys() == edge.versions.keys()
    assert desk.connect(inventory=versions).told() == []
    desk.put(device("s1", desired="7"))
    assert desk.connect(inventory=versions).told() == [f"update {S1}"]


def test_a_new_cloudcore_does_not_send_again_what_a_node_has(desk: Desk) -> None:
    edge = desk.connect()
    edge.report("default/s1", temp="1")
    desk.settle()
    assert desk.restarted().connect(inventory=edge.versions).told() == []


def test_a_status_that_changed_meanwhile_is_no_reason_to_send_a_device_again(desk: Desk) -> None:
    edge = desk.connect()
    edge.report("default/s1", temp="1")
    desk.settle()
    assert desk.reported("s1") == "1"
    assert desk.connect(inventory=edge.versions).told() == []


def test_what_is_missing_or_of_another_version_or_too_much_is_sent_and_nothing_else(desk: Desk) -> None:
    desk.put(device("s2"))
    desk.put(device("s3"))
    edge = desk.connect()
    desk.disconnect(edge)
    desk.put(device("s2", desired="7"))
    desk.delete(device("s3"))
    desk.put(device("s4"))
    again = desk.connect(inventory=edge.versions)
    assert [t for t in again.told() if "membership" not in t] == [
        "update default/device/s2",
        "insert default/device/s4",
        "delete default/device/s3",
    ]


def test_what_no_controller_cares_for_is_left_on_the_node(desk: Desk) -> None:
    edge = desk.connect(inventory={"default/service/web": "3", "nonsense": "1", "/device/": "1", "a/device/": "2"})
    assert not [t for t in edge.told() if t.startswith("delete")]


def test_a_kubeedge_edge_is_told_everything_as_if_it_had_nothing(desk: Desk) -> None:
    edge = Edge(desk, "edge1")
    desk.edges.append(edge)
    edge.link.send(wire.build(wire.GET, "membership/detail", {"event_type": "x"}, source="twin"))
    desk.settle()
    assert f"insert {S1}" in edge.told()
    assert edge.delivered == []


def test_nothing_is_offered_before_everything_in_kubernetes_is_known() -> None:
    desk = Desk(synced=False)
    edge = desk.connect(inventory={S1: "5", "default/device/gone": "6"})
    desk.put(model())
    desk.put(device("s1"))
    desk.settle()
    assert edge.told() == []
    desk.sync()
    desk.settle()
    assert [t for t in edge.told() if "device/" in t] == [f"update {S1}", "delete default/device/gone"]


def test_a_delete_names_the_object_it_means(desk: Desk) -> None:
    edge = desk.connect(inventory={"default/device/gone": "6"})
    [message] = [m for m in edge.messages if m.operation == wire.DELETE]
    assert bytes(message.content) == b'{"metadata":{"namespace":"default","name":"gone"}}'


def test_changes_while_a_message_is_in_flight_arrive_as_one_with_the_newest(desk: Desk) -> None:
    edge = desk.connect()
    edge.told()
    edge.answers = False
    for value in "123":
        desk.put(device("s1", desired=value))
        desk.settle()
    assert edge.told() == [f"update {S1}"]
    edge.answers = True
    edge.link.acknowledge(wire.build(wire.UPDATE, S1, source="x"))  # an answer to nobody changes nothing
    desk.settle()
    assert edge.told() == []


def test_a_change_during_the_flight_follows_its_answer(desk: Desk) -> None:
    edge = desk.connect()
    edge.messages.clear()
    edge.answers = False
    desk.put(device("s1", desired="1"))
    desk.settle()
    desk.put(device("s1", desired="2"))
    desk.put(device("s1", desired="3"))
    [first] = edge.messages
    edge.answers = True
    edge.link.acknowledge(first)
    desk.settle()
    assert edge.objects[S1]["spec"]["properties"][0]["desired"] == {"value": "3"}
    assert len(edge.messages) == 2


def test_no_more_than_a_window_is_in_flight_to_a_node_that_does_not_answer(desk: Desk) -> None:
    for n in range(3 * WINDOW):
        desk.put(device(f"d{n}"))
    edge = Edge(desk, "edge1")
    edge.answers = False
    desk.edges.append(edge)
    edge.tell_inventory({})
    desk.settle()
    assert len([m for m in edge.messages if m.resource != "membership"]) == WINDOW


def test_a_second_connection_of_a_node_takes_over(desk: Desk) -> None:
    old = desk.connect()
    woken = old.wakes
    new = desk.connect(inventory=old.versions)
    assert not old.session.open
    assert old.wakes > woken
    desk.sessions.close(old.session)
    desk.put(device("s1", desired="9"))
    desk.settle()
    assert f"update {S1}" in new.told()


def test_what_a_taken_over_connection_still_says_counts_no_more(desk: Desk) -> None:
    old = desk.connect()
    desk.connect()
    old.report("default/s1", temp="66")
    desk.settle()
    assert desk.reported("s1") is None


def live(desk: Desk, edge: Edge, seconds: int) -> None:
    """Time passes, and the node shows that it is alive."""
    for _ in range(seconds):
        desk.now += 1.0
        edge.link.send(wire.build(wire.KEEPALIVE, "node", "ping", source="websocket"))
        desk.settle()
        assert desk.sessions.tick(edge.session, desk.now)
        desk.settle()


def test_an_object_that_was_never_answered_for_is_deleted_all_the_same(desk: Desk) -> None:
    edge = Edge(desk, "edge1")
    edge.answers = False
    desk.edges.append(edge)
    edge.tell_inventory({})
    live(desk, edge, 10)
    desk.delete(device("s1"))
    live(desk, edge, 40)
    assert f"delete {S1}" in edge.told()


def test_a_node_that_answers_late_gets_everything_all_the_same(desk: Desk) -> None:
    edge = Edge(desk, "edge1")
    edge.answers = False
    desk.edges.append(edge)
    edge.tell_inventory({})
    live(desk, edge, 45)
    edge.answers = True
    live(desk, edge, 10)
    assert {S1, M} <= edge.objects.keys()
    assert desk.accepted("s1") == ("True", "Delivered")


REPORTS = ("device/default/s1/twin/edge_updated", "device/default/s1/state/update", "null/nodestatus/edge1")
ABOUT = st.sampled_from(
    (*REPORTS, "inventory", "membership/detail", "device/a", "a/b/c", "", "node/x/default/device/s1", S1)
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["objects", "twin", "temp", "actual", "value", "device", "state", "cpus"]), inner
        )
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([wire.GET, wire.UPDATE, wire.DELETE, wire.RESPONSE, wire.ERROR, "?"]), ABOUT, JSON)
def test_whatever_a_node_sends_it_is_answered_and_harms_nobody_else(
    operation: str, about: str, content: object
) -> None:
    desk = Desk()
    desk.put(model())
    desk.put(device("s1"))
    edge, other = desk.connect(), desk.connect("edge2")
    message = edge.send(operation, about, content)
    desk.settle()
    assert (
        message.id in edge.delivered
        or message.id in edge.refused
        or operation in (wire.RESPONSE, wire.ERROR)
        or (about == "membership/detail")
    )
    answered = other.send(wire.GET, "inventory", {"objects": {}})
    desk.settle()
    assert answered.id in other.delivered


def test_a_silent_node_is_given_up(desk: Desk) -> None:
    edge = desk.connect()
    assert desk.sessions.tick(edge.session, desk.now + 29)
    assert not desk.sessions.tick(edge.session, desk.now + 31)


@pytest.mark.parametrize("frame", [b"no json\n", b"{}", b'{"header":{"msg_id":"7"}}', b"\xff\xfe", b"[" * 100_000])
def test_a_bad_frame_is_refused_to_its_sender_logged_once_and_forgotten(
    desk: Desk, frame: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    edge = desk.connect()
    desk.sessions.receive(edge.session, frame, desk.now)
    [refusal] = [wire.decode(f) for f in edge.session.link.frames(desk.now)]
    assert refusal.operation == wire.ERROR
    assert refusal.read(wire.Refusal).code == 400
    assert len([r for r in caplog.records if "bad frame" in r.message]) == 1
    edge.report("default/s1", temp="1")
    desk.settle()
    assert desk.reported("s1") == "1"


def test_a_malformed_inventory_is_refused(desk: Desk) -> None:
    edge = desk.connect()
    message = edge.send(wire.GET, "inventory", {"objects": [1]})
    desk.settle()
    assert edge.refused[message.id][0] == 400


def test_a_message_that_nobody_takes_is_refused(desk: Desk) -> None:
    edge = desk.connect()
    message = edge.send(wire.UPDATE, "default/teapot/t", {})
    desk.settle()
    assert edge.refused[message.id][0] == 404
