from typing import Any

import msgspec
import pytest

from cloud.tests.desk import FIRMWARES, Desk, Edge, device
from cloud.writes import Answer
from edgewire import message as wire
from edgewire import resource
from edgewire.message import Message
from edgewire.rollout import Failure, Plan, Report
from edgewire.tests.firmware_image import Firmware, firmware

GOOD = firmware()
PLAN = "default/devicefirmware/new"
PARTS = [f"default/firmwarepart/{name}" for name in GOOD.objects()]


def rollout(of: Firmware = GOOD, name: str = "new", **spec: Any) -> dict[str, Any]:
    content = {"image": msgspec.to_builtins(of.image), "devices": {"model": "m"}, **spec}
    return {"kind": "DeviceFirmware", "metadata": {"name": name, "namespace": "default"}, "spec": content}


def desk_with(*boards: dict[str, Any], of: Firmware = GOOD, **spec: Any) -> Desk:
    """Boards, a rollout for them, and its image."""
    desk = Desk()
    for board in boards or (device("a"), device("b")):
        desk.put(board)
    publish(desk, of)
    desk.put(rollout(of, **spec))
    desk.wait(1)
    return desk


def publish(desk: Desk, of: Firmware) -> None:
    for part in of.objects().values():
        desk.put(part)
    desk.settle()


def plan_of(edge: Edge, name: str = "new") -> Plan:
    return msgspec.convert(edge.objects[f"default/devicefirmware/{name}"], Plan)


def report(edge: Edge, *, done: int = 0, stopped: bool = False, failed: tuple[str, ...] = (), **counts: int) -> Message:
    """The gateway says where it stands with the plan that it has."""
    plan = plan_of(edge)
    failures = [Failure(name, "self-test") for name in failed]
    counts |= {"failed": len(failed)} if failed else {}
    said = Report(plan.work, plan.retry, plan.open, done, stopped, "", counts, failures)
    return edge.send(wire.UPDATE, PLAN, said, key=PLAN)


def status(desk: Desk, name: str = "new") -> dict[str, Any]:
    found: dict[str, Any] = desk.stored[f"{FIRMWARES}/{name}"].get("status", {})
    return found


def complete(desk: Desk, name: str = "new") -> tuple[str, str, str]:
    found = next(c for c in status(desk, name)["conditions"] if c["type"] == "Complete")
    return status(desk, name)["phase"], found["reason"], found["message"]


def firmware_told(edge: Edge) -> list[str]:
    return [line for line in edge.told() if "firmware" in line]


def test_a_node_gets_the_plan_and_the_parts_of_what_its_devices_shall_run() -> None:
    desk = desk_with(device("a"), device("b", node="edge2"))
    edge = desk.connect()
    assert firmware_told(edge) == [f"insert {PLAN}", *(f"insert {part}" for part in PARTS)]
    assert [(w.devices, w.elsewhere) for w in plan_of(edge).waves] == [(["a"], 1)]
    assert firmware_told(desk.connect("edge3")) == []


def test_one_part_is_on_its_way_at_a_time() -> None:
    desk = desk_with()
    edge = desk.connect()
    edge.answers = False
    edge.objects.clear()
    again = desk.connect("edge2")
    assert firmware_told(again) == []
    desk.put(device("a", node="edge2"))
    again.answers = False
    desk.wait(1)
    assert firmware_told(again) == [f"insert {PLAN}", f"insert {PARTS[0]}"]


def test_what_a_node_has_is_not_sent_again() -> None:
    desk = desk_with()
    edge = desk.connect()
    desk.disconnect(edge)
    edge.versions.pop(PARTS[1])
    again = desk.connect(inventory=edge.versions)
    assert firmware_told(again) == [f"insert {PARTS[1]}"]
    fresh = desk.restarted()
    assert firmware_told(fresh.connect(inventory=edge.versions | again.versions)) == []


def test_a_part_that_was_cut_off_is_sent_on_the_next_connection() -> None:
    desk = desk_with()
    edge = desk.connect(inventory={})
    desk.disconnect(edge)
    edge = desk.connect(inventory={key: edge.versions[key] for key in (PLAN, PARTS[0])})
    assert sorted(firmware_told(edge)) == [f"insert {part}" for part in PARTS[1:]]


def test_a_node_that_refuses_a_part_gets_the_others() -> None:
    desk = desk_with()
    edge = Edge(desk, "edge1")
    edge.refuse = lambda message: "no" if message.resource == PARTS[0] else None
    desk.edges.append(edge)
    edge.tell_inventory()
    desk.settle()
    assert set(PARTS[1:]) <= edge.objects.keys()


def test_a_deleted_rollout_is_taken_from_its_nodes_with_the_image() -> None:
    desk = desk_with()
    edge = desk.connect()
    edge.told()
    desk.delete(desk.stored[f"{FIRMWARES}/new"])
    desk.settle()
    assert sorted(firmware_told(edge)) == sorted(f"delete {key}" for key in (PLAN, *PARTS))
    assert not any("firmware" in key for key in edge.objects)


def test_an_image_that_is_deleted_stays_where_it_is_in_use() -> None:
    desk = desk_with()
    edge = desk.connect()
    edge.told()
    for part in GOOD.objects().values():
        desk.delete(part)
    desk.wait(1)
    assert firmware_told(edge) == []


def test_a_rollout_waits_for_its_image() -> None:
    desk = Desk()
    desk.put(device("a"))
    desk.put(rollout())
    edge = desk.connect()
    assert complete(desk)[:2] == ("Pending", "ImageMissing")
    assert "0 of 3 parts" in complete(desk)[2]
    edge.told()
    publish(desk, GOOD)
    desk.wait(1)
    assert firmware_told(edge) == [f"insert {part}" for part in PARTS]
    assert complete(desk)[:2] == ("Running", "Updating")


def test_a_rollout_without_devices_says_so_and_takes_them_up_when_they_come() -> None:
    desk = desk_with(device("a", model="other"))
    edge = desk.connect()
    assert complete(desk)[:2] == ("Pending", "NoDevices")
    desk.put(device("b"))
    desk.wait(1)
    assert plan_of(edge).waves[0].devices == ["b"]


def test_a_label_alone_makes_a_device_part_of_a_rollout() -> None:
    desk = desk_with(device("a"), devices={"selector": {"matchLabels": {"site": "north"}}})
    edge = desk.connect()
    assert PLAN not in edge.objects
    labelled = device("a")
    desk.stored["/apis/devices.kubeedge.io/v1beta1/namespaces/default/devices/a"]["metadata"]["labels"] = {
        "site": "north"
    }
    desk.put(labelled)
    desk.wait(1)
    assert PLAN in edge.objects


def test_the_status_sums_what_the_gateways_report() -> None:
    desk = desk_with(device("a"), device("b"), device("c", node="edge2"), device("d", node=""))
    one, two = desk.connect(), desk.connect("edge2")
    report(one, downloading=1, offered=1)
    report(two, trial=1)
    desk.settle()
    found = status(desk)
    assert found["counts"] == {
        **dict.fromkeys(("pending", "updated", "failed"), 0),
        "total": 4,
        "offered": 1,
        "downloading": 1,
        "trial": 1,
        "skipped": 1,
    }
    assert (found["phase"], found["waveProgress"], found["progress"]) == ("Running", "1/1", "0/4")
    assert [g["node"] for g in found["gateways"]] == ["edge1", "edge2"]
    report(one, done=1, updated=2)
    report(two, done=1, updated=1)
    desk.settle()
    assert complete(desk) == ("Complete", "Complete", "3 of 4 devices updated")
    assert status(desk)["progress"] == "3/4"


def test_a_gateway_that_cannot_offer_the_image_says_why() -> None:
    desk = desk_with(device("a"), *(device(f"b{n}", node=f"other{n}") for n in range(7)))
    edge = desk.connect()
    plan = plan_of(edge)
    edge.send(
        wire.UPDATE, PLAN, Report(plan.work, 0, 1, 0, missing="its manifest is another one", counts={"pending": 1})
    )
    desk.settle()
    assert complete(desk)[2] == (
        "wave 1 at edge1 (its manifest is another one), other0, other1, other2, other3 and 3 more"
    )
    assert status(desk)["gateways"][0]["message"] == "its manifest is another one"


def test_the_next_wave_opens_when_every_gateway_is_done_and_the_pause_is_over() -> None:
    desk = desk_with(device("a"), device("b", node="edge2"), waves={"percent": [50], "pauseSeconds": 30})
    edges = {"edge1": desk.connect(), "edge2": desk.connect("edge2")}
    [first] = [edge for edge in edges.values() if plan_of(edge).waves[0].devices]
    [second] = [edge for edge in edges.values() if plan_of(edge).waves[1].devices]
    desk.wait(60)
    assert plan_of(second).open == 1
    report(first, done=1, updated=1)
    desk.settle()
    assert complete(desk)[:2] == ("Waiting", "Pause")
    desk.wait(29)
    assert plan_of(second).open == 1
    desk.wait(2)
    assert plan_of(second).open == 2
    assert status(desk)["waveProgress"] == "2/2"
    report(second, done=2, updated=1)
    desk.settle()
    assert complete(desk)[0] == "Complete"


def test_a_gateway_that_is_away_and_done_holds_nobody_up() -> None:
    desk = desk_with(device("a"), device("b", node="edge2"), waves={"percent": [50]})
    edges = {"edge1": desk.connect(), "edge2": desk.connect("edge2")}
    [first] = [edge for edge in edges.values() if plan_of(edge).waves[0].devices]
    [second] = [edge for edge in edges.values() if plan_of(edge).waves[1].devices]
    report(first, done=1, updated=1)
    desk.settle()
    desk.disconnect(first)
    desk.wait(2)
    report(second, done=2, updated=1)
    desk.settle()
    assert complete(desk)[0] == "Complete"


def test_a_wave_that_a_gateway_opened_by_itself_is_open() -> None:
    desk = desk_with(device("a"), device("b"), waves={"percent": [50]})
    edge = desk.connect()
    plan = plan_of(edge)
    edge.send(wire.UPDATE, PLAN, Report(plan.work, 0, 2, 2, counts={"updated": 2}))
    desk.settle()
    assert plan_of(edge).open == 2
    assert complete(desk)[0] == "Complete"


def test_a_person_opens_the_next_wave_where_that_is_asked_for() -> None:
    waves = {"percent": [50], "gate": "Manual"}
    desk = desk_with(device("a"), device("b", node="edge2"), waves=waves)
    edges = [desk.connect(), desk.connect("edge2")]
    for edge in edges:
        if plan_of(edge).waves[0].devices:
            report(edge, done=1, updated=1)
    desk.wait(60)
    assert complete(desk)[:2] == ("Waiting", "Gate")
    desk.put(rollout(waves={**waves, "approved": 1}))
    desk.wait(1)
    assert status(desk)["wave"] == 2


def test_a_paused_rollout_opens_no_wave_and_tells_its_gateways() -> None:
    desk = desk_with(device("a"), device("b", node="edge2"), waves={"percent": [50]}, paused=True)
    edges = [desk.connect(), desk.connect("edge2")]
    for edge in edges:
        assert plan_of(edge).paused
        if plan_of(edge).waves[0].devices:
            report(edge, done=1, updated=1)
    desk.wait(60)
    assert complete(desk)[:2] == ("Paused", "Paused")
    assert status(desk)["wave"] == 1


def test_too_many_failures_at_all_gateways_together_abort_the_rollout_everywhere() -> None:
    desk = desk_with(*(device(n, node=f"edge{i}") for i, n in enumerate("abcd")), maxFailurePercent=25)
    edges = [desk.connect(f"edge{i}") for i in range(4)]
    report(edges[0], done=1, failed=("a",))
    desk.settle()
    assert not plan_of(edges[3]).aborted
    report(edges[1], done=1, failed=("b",))
    desk.settle()
    assert all(plan_of(edge).aborted for edge in edges)
    assert complete(desk)[:2] == ("Aborted", "TooManyFailures")
    assert status(desk)["failures"] == [
        {"device": "a", "node": "edge0", "reason": "self-test"},
        {"device": "b", "node": "edge1", "reason": "self-test"},
    ]


def test_a_gateway_that_stopped_by_itself_stops_all_others() -> None:
    desk = desk_with(device("a"), device("b", node="edge2"))
    one, two = desk.connect(), desk.connect("edge2")
    report(one, stopped=True)
    desk.settle()
    assert plan_of(two).aborted


def test_another_attempt_goes_on_after_an_abort_and_older_reports_do_not_count() -> None:
    desk = desk_with(maxFailurePercent=0)
    edge = desk.connect()
    old = report(edge, done=1, failed=("a",), updated=1)
    desk.settle()
    assert status(desk)["stoppedAttempt"] == 0
    desk.put(rollout(maxFailurePercent=0, retry=1))
    desk.settle()
    assert not plan_of(edge).aborted
    edge.send(wire.UPDATE, PLAN, old.read(Report))
    desk.settle()
    assert complete(desk)[0] == "Running"
    report(edge, done=1, updated=2)
    desk.settle()
    assert complete(desk)[0] == "Complete"


def test_another_image_begins_anew() -> None:
    desk = desk_with(maxFailurePercent=0)
    edge = desk.connect()
    report(edge, done=1, failed=("a", "b"))
    desk.settle()
    newer = firmware("1.5.0", 8)
    publish(desk, newer)
    edge.told()
    desk.put(rollout(newer, maxFailurePercent=0))
    desk.wait(1)
    assert status(desk)["phase"] == "Running"
    assert status(desk)["failures"] == []
    assert status(desk)["counts"]["pending"] == 2
    assert not plan_of(edge).aborted
    assert {line.split()[0] for line in firmware_told(edge)} == {"update", "insert", "delete"}


def test_a_rollout_goes_on_after_cloudcore_was_restarted() -> None:
    desk = desk_with(device("a"), device("b", node="edge2"), waves={"percent": [50]})
    edges = {"edge1": desk.connect(), "edge2": desk.connect("edge2")}
    [first] = [edge for edge in edges.values() if plan_of(edge).waves[0].devices]
    [second] = [edge for edge in edges.values() if plan_of(edge).waves[1].devices]
    report(first, done=1, updated=1)
    desk.wait(2)
    fresh = desk.restarted()
    fresh.settle()
    assert (status(fresh)["wave"], status(fresh)["progress"]) == (2, "1/2")
    again = fresh.connect(second.session.node, inventory=second.versions)
    again.objects = second.objects
    assert firmware_told(again) == []
    report(again, done=2, updated=1)
    fresh.settle()
    assert complete(fresh)[0] == "Complete"


def test_an_aborted_rollout_stays_so_after_cloudcore_was_restarted() -> None:
    desk = desk_with(maxFailurePercent=0)
    edge = desk.connect()
    report(edge, failed=("a",))
    desk.settle()
    fresh = desk.restarted()
    assert plan_of(fresh.connect()).aborted
    assert complete(fresh)[0] == "Aborted"


def test_the_status_is_written_when_it_changes_and_one_patch_at_a_time() -> None:
    desk = desk_with()
    edge = desk.connect()
    desk.wait(2)
    desk.requests.clear()
    report(edge, offered=2)
    desk.wait(5)
    assert len([r for r in desk.requests if "devicefirmwares" in r.path]) == 1
    report(edge, offered=2)
    desk.wait(5)
    assert len([r for r in desk.requests if "devicefirmwares" in r.path]) == 1


def test_a_status_that_could_not_be_written_is_written_later() -> None:
    desk = desk_with()
    edge = desk.connect()
    desk.away = True
    report(edge, done=1, updated=2)
    desk.wait(5)
    desk.away = False
    desk.wait(10)
    assert complete(desk)[0] == "Complete"


def test_a_status_that_is_rejected_is_not_repeated_for_ever() -> None:
    desk = desk_with()
    edge = desk.connect()
    desk.reject = lambda request: Answer(422, "no") if "devicefirmwares" in request.path else None
    report(edge, done=1, updated=2)
    desk.wait(2)
    desk.requests.clear()
    desk.wait(20)
    assert not any("devicefirmwares" in request.path for request in desk.requests)


def test_a_newer_rollout_takes_devices_over() -> None:
    desk = desk_with()
    edge = desk.connect()
    newer = firmware("1.5.0", 8)
    publish(desk, newer)
    desk.put(rollout(newer, "newer", devices={"names": ["a"]}))
    desk.wait(1)
    assert [w.devices for w in plan_of(edge).waves] == [["b"]]
    assert [w.devices for w in plan_of(edge, "newer").waves] == [["a"]]
    assert status(desk)["counts"]["skipped"] == 1


@pytest.mark.parametrize(
    ("about", "content"), [(PLAN, {"done": "x"}), (PLAN, []), ("default/devicefirmware/gone", {"work": "x"})]
)
def test_a_report_that_is_none_harms_nobody(about: str, content: Any) -> None:
    desk = desk_with()
    edge = desk.connect()
    before = status(desk)
    sent = edge.send(wire.UPDATE, about, content)
    desk.settle()
    assert sent.id in edge.refused or sent.id in edge.delivered
    assert status(desk) == before


def test_a_node_speaks_for_its_own_devices_only() -> None:
    desk = desk_with(device("a"), device("b", node="edge2"))
    one, two = desk.connect(), desk.connect("edge2")
    said = Report(plan_of(two).work, 0, 1, 1, True, "", {"failed": 1}, [Failure("b", "x")])
    one.send(wire.UPDATE, PLAN, said)
    desk.settle()
    assert complete(desk)[0] == "Running"
    assert not status(desk).get("failures")


def test_a_part_without_bytes_is_passed_over() -> None:
    desk = Desk()
    part = next(iter(GOOD.objects().values()))
    desk.put({**part, "binaryData": []})
    desk.put(device("a"))
    desk.put(rollout())
    desk.wait(1)
    assert resource.FIRMWARE_PART not in "".join(firmware_told(desk.connect()))


def test_a_gateway_speaks_for_its_own_devices_only() -> None:
    desk = desk_with(
        device("a"), device("b", node="edge2"), waves={"canary": {"names": ["a"]}, "percent": []}, maxFailurePercent=0
    )
    one, two = desk.connect(), desk.connect("edge2")
    plan = plan_of(two)
    absurd = {"updated": 1 << 40, "failed": -5, "nonsense": 7}
    failures = [Failure("a", "x" * 5000), Failure("b" * 5000, "y")]
    two.send(wire.UPDATE, PLAN, Report(plan.work, 0, 2, 1 << 40, False, "", absurd, failures), key=PLAN)
    desk.wait(1)
    found = status(desk)
    assert (found["wave"], found["progress"], found.get("failures", [])) == (1, "1/2", [])
    assert plan_of(one).open == 1
    assert found["counts"]["failed"] == 0
    report(one, failed=("a",))
    desk.wait(1)
    assert status(desk)["phase"] == "Aborted"
