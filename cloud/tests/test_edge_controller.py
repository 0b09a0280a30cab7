"""Nodes: created, Ready while linked, Unknown the moment they are not, and left alone when they are somebody else's."""

from typing import Any

import msgspec
import pytest

from cloud import node_status
from cloud.tests.desk import Desk, Edge
from cloud.writes import Answer
from edgewire import message as wire
from edgewire.node import Address, NodeReport

NODE = "/api/v1/nodes/edge1"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/edge1"
FULL = {
    "hostname": "pi",
    "arch": "aarch64",
    "os": "Linux",
    "kernel": "6.12",
    "os_image": "Debian 13",
    "edgecore_version": "0.1.0",
    "cpus": 4,
    "memory_bytes": 4 << 30,
    "addresses": ["10.0.0.7"],
}
WELL = {"type": "DiskPressure", "status": "False", "reason": "HasNoDiskPressure", "message": "enough"}
SHORT = {"type": "DiskPressure", "status": "True", "reason": "HasDiskPressure", "message": "short"}


@pytest.fixture
def desk() -> Desk:
    return Desk()


def ready(desk: Desk) -> dict[str, Any]:
    conditions: list[dict[str, Any]] = desk.stored[NODE]["status"]["conditions"]
    [condition] = [c for c in conditions if c["type"] == "Ready"]
    return condition


def tell(desk: Desk, edge: Edge, content: object, name: str = "edge1", namespace: str = "null") -> wire.Message:
    message = edge.send(wire.UPDATE, f"{namespace}/nodestatus/{name}", content)
    desk.settle()
    return message


def test_a_node_that_connects_gets_a_node_object_that_is_ready(desk: Desk) -> None:
    desk.connect()
    labels = desk.stored[NODE]["metadata"]["labels"]
    assert labels == {"node-role.kubernetes.io/edge": "", "kubernetes.io/hostname": "edge1"}
    assert (ready(desk)["status"], ready(desk)["reason"]) == ("True", "LinkUp")


def test_its_lease_is_created_with_its_namespace_and_renewed_every_ten_seconds(desk: Desk) -> None:
    desk.connect()
    spec = desk.stored[LEASE]["spec"]
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"]) == ("edge1", 40)
    assert spec["renewTime"] == "2023-11-14T22:13:20.000000Z"
    [owner] = desk.stored[LEASE]["metadata"]["ownerReferences"]
    assert owner["uid"] == desk.stored[NODE]["metadata"]["uid"]
    desk.requests.clear()
    desk.wait(60)
    assert 5 <= len([r for r in desk.requests if r.path == LEASE]) <= 7
    assert desk.stored[LEASE]["spec"]["renewTime"] > "2023-11-14T22:14:05"


def test_ready_is_unknown_the_moment_the_link_is_lost_and_the_lease_rests(desk: Desk) -> None:
    edge = desk.connect()
    desk.disconnect(edge)
    assert (ready(desk)["status"], ready(desk)["reason"]) == ("Unknown", "LinkLost")
    desk.requests.clear()
    desk.wait(30)
    assert desk.requests == []
    desk.connect()
    assert ready(desk)["status"] == "True"


def test_a_takeover_does_not_disturb_the_node(desk: Desk) -> None:
    old = desk.connect()
    desk.connect()
    desk.requests.clear()
    desk.disconnect(old)
    assert ready(desk)["status"] == "True"


def test_nodes_that_do_not_come_back_to_a_new_cloudcore_are_given_up_after_40_seconds(desk: Desk) -> None:
    desk.connect()
    fresh = desk.restarted()
    fresh.wait(35)
    assert ready(fresh)["status"] == "True"
    fresh.wait(10)
    assert (ready(fresh)["status"], ready(fresh)["reason"]) == ("Unknown", "LinkLost")


def test_nodes_that_come_back_to_a_new_cloudcore_stay_ready(desk: Desk) -> None:
    desk.connect()
    fresh = desk.restarted()
    fresh.connect()
    fresh.wait(60)
    assert ready(fresh)["status"] == "True"


def test_a_node_of_somebody_else_is_not_touched(desk: Desk) -> None:
    node = {"kind": "Node", "metadata": {"name": "edge1", "labels": {}}, "status": {}}
    desk.put(node)
    before = str(desk.stored[NODE])
    edge = desk.connect()
    message = tell(desk, edge, FULL)
    desk.disconnect(edge)
    desk.wait(60)
    assert str(desk.stored[NODE]) == before
    assert edge.refused[message.id][0] == 403
    assert LEASE not in desk.stored


def test_a_ready_node_of_somebody_else_stays_ready_without_a_link(desk: Desk) -> None:
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    desk.put({"kind": "Node", "metadata": {"name": "edge1", "labels": {"a": "b"}}, "status": status})
    desk.wait(60)
    assert ready(desk) == {"type": "Ready", "status": "True"}


def test_what_a_node_says_of_itself_is_in_its_node_before_it_is_acknowledged(desk: Desk) -> None:
    edge = desk.connect()
    desk.away = True
    message = tell(desk, edge, FULL)
    assert message.id not in edge.delivered
    desk.away = False
    desk.wait(10)
    assert message.id in edge.delivered
    node = desk.stored[NODE]
    assert node["metadata"]["labels"]["kubernetes.io/arch"] == "arm64"
    assert node["metadata"]["labels"]["kubernetes.io/os"] == "linux"
    assert node["metadata"]["labels"]["kubernetes.io/hostname"] == "edge1"
    assert node["status"]["nodeInfo"]["kubeletVersion"] == "0.1.0"
    assert node["status"]["nodeInfo"]["architecture"] == "arm64"
    assert node["status"]["capacity"] == {"cpu": "4", "memory": "4194304Ki", "pods": "0"}
    assert node["status"]["allocatable"] == node["status"]["capacity"]
    assert node["status"]["addresses"] == [
        {"type": "InternalIP", "address": "10.0.0.7"},
        {"type": "Hostname", "address": "pi"},
    ]
    assert ready(desk)["status"] == "True"


def test_the_same_again_is_acknowledged_and_not_written(desk: Desk) -> None:
    edge = desk.connect()
    tell(desk, edge, FULL)
    desk.requests.clear()
    message = tell(desk, edge, FULL)
    assert message.id in edge.delivered
    assert desk.requests == []


def test_quantities_that_the_api_rewrites_are_not_written_for_ever(desk: Desk) -> None:
    edge = desk.connect()
    tell(desk, edge, FULL)
    rewritten = desk.stored[NODE]
    rewritten["status"]["capacity"]["memory"] = "4Gi"
    desk.requests.clear()
    desk.put({"kind": "Node", **rewritten})
    desk.wait(5)
    assert [r for r in desk.requests if "/nodes/" in r.path] == []


def test_a_node_may_say_nothing_at_all(desk: Desk) -> None:
    edge = desk.connect()
    message = tell(desk, edge, {})
    assert message.id in edge.delivered


def test_kubeedges_node_status_does_no_harm(desk: Desk) -> None:
    edge = desk.connect()
    message = tell(desk, edge, {"UID": "x", "Status": {"phase": "Running"}}, namespace="default")
    assert message.id in edge.delivered


def test_a_node_does_not_speak_for_another(desk: Desk) -> None:
    edge = desk.connect()
    message = tell(desk, edge, FULL, name="edge2")
    assert edge.refused[message.id][0] == 403


def test_a_malformed_node_status_is_refused(desk: Desk) -> None:
    edge = desk.connect()
    message = tell(desk, edge, {"cpus": "many"})
    assert edge.refused[message.id][0] == 400
    assert "cpus" in edge.refused[message.id][1]


def test_what_kubernetes_rejects_is_refused_to_the_node(desk: Desk) -> None:
    edge = desk.connect()
    desk.reject = lambda request: Answer(422, "no such kernel") if b"6.12" in request.body else None
    message = tell(desk, edge, FULL)
    assert edge.refused[message.id] == (422, "no such kernel")
    assert ready(desk)["status"] == "True"


def test_other_conditions_stay(desk: Desk) -> None:
    edge = desk.connect()
    node = desk.stored[NODE]
    node["status"]["conditions"].append({"type": "MemoryPressure", "status": "False"})
    desk.put(node)
    desk.disconnect(edge)
    assert {c["type"] for c in desk.stored[NODE]["status"]["conditions"]} == {"Ready", "MemoryPressure"}


def test_what_somebody_else_makes_of_ready_comes_back(desk: Desk) -> None:
    desk.connect()
    node = desk.stored[NODE]
    node["status"]["conditions"] = [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]
    desk.put(node)
    desk.settle()
    assert ready(desk)["status"] == "True"


def test_a_node_object_deleted_under_a_link_is_made_again(desk: Desk) -> None:
    edge = desk.connect()
    tell(desk, edge, FULL)
    desk.delete(desk.stored[NODE])
    desk.settle()
    assert ready(desk)["status"] == "True"
    assert desk.stored[NODE]["status"]["nodeInfo"]["kernelVersion"] == "6.12"


def test_a_lease_deleted_under_a_link_is_made_again(desk: Desk) -> None:
    desk.connect()
    del desk.stored[LEASE]
    desk.wait(12)
    assert LEASE in desk.stored


def test_a_node_object_made_by_somebody_at_the_same_moment_is_taken(desk: Desk) -> None:
    answers = [Answer(409, "exists")]
    desk.reject = lambda request: answers.pop() if answers and request.method == "POST" else None
    desk.connect()
    desk.wait(1)
    assert ready(desk)["status"] == "True"


def test_what_pods_may_ask_for_is_less_than_what_there_is(desk: Desk) -> None:
    edge = desk.connect()
    room = {"reserved_memory_bytes": 1 << 30, "storage_bytes": 10 << 20, "pods": 110, "runtime": "process://1"}
    tell(desk, edge, {**FULL, **room})
    status = desk.stored[NODE]["status"]
    assert status["capacity"] == {"cpu": "4", "memory": "4194304Ki", "pods": "110", "ephemeral-storage": "10240Ki"}
    assert status["allocatable"] == {"cpu": "4", "memory": "3145728Ki", "pods": "110", "ephemeral-storage": "9216Ki"}
    assert status["nodeInfo"]["containerRuntimeVersion"] == "process://1"


def test_the_images_that_a_machine_has_are_in_its_node(desk: Desk) -> None:
    edge = desk.connect()
    images = [{"names": ["localhost/a@sha256:1", "localhost/a:1"], "size_bytes": 5}, {"names": [], "size_bytes": 1}]
    tell(desk, edge, {**FULL, "images": images})
    wanted = [{"names": ["localhost/a@sha256:1", "localhost/a:1"], "sizeBytes": 5}]
    assert desk.stored[NODE]["status"]["images"] == wanted
    many = [{"names": [f"localhost/{n}:{tag}" for tag in range(9)] + ["x" * 600], "size_bytes": n} for n in range(80)]
    tell(desk, edge, {**FULL, "images": many})
    found = desk.stored[NODE]["status"]["images"]
    assert (len(found), {len(image["names"]) for image in found}) == (50, {5})
    tell(desk, edge, FULL)
    assert desk.stored[NODE]["status"]["images"] == []


def test_an_edge_sets_labels_of_its_own_domain_only(desk: Desk) -> None:
    edge = desk.connect()
    labels = {"hedgerow.dev/board": "raspberry-pi-4", "node-role.kubernetes.io/control-plane": "x", "zone": "a"}
    tell(desk, edge, {**FULL, "labels": labels})
    found = desk.stored[NODE]["metadata"]["labels"]
    assert found["hedgerow.dev/board"] == "raspberry-pi-4"
    assert found.keys().isdisjoint({"node-role.kubernetes.io/control-plane", "zone"})


def condition_of(desk: Desk, type: str) -> dict[str, Any]:
    [found] = [c for c in desk.stored[NODE]["status"]["conditions"] if c["type"] == type]
    return dict(found)


def test_conditions_are_those_of_the_machine_each_with_the_time_it_changed(desk: Desk) -> None:
    edge = desk.connect()
    tell(desk, edge, {**FULL, "conditions": [WELL]})
    since = condition_of(desk, "DiskPressure")["lastTransitionTime"]
    assert condition_of(desk, "DiskPressure") | {"lastHeartbeatTime": since} == {
        **WELL,
        "lastHeartbeatTime": since,
        "lastTransitionTime": since,
    }
    desk.wait(5)
    tell(desk, edge, {**FULL, "conditions": [SHORT]})
    assert condition_of(desk, "DiskPressure")["status"] == "True"
    assert condition_of(desk, "DiskPressure")["lastTransitionTime"] > since
    assert ready(desk)["status"] == "True"


def test_conditions_that_a_cluster_made_unknown_meanwhile_come_back_with_the_node(desk: Desk) -> None:
    edge = desk.connect()
    tell(desk, edge, {**FULL, "conditions": [WELL]})
    desk.disconnect(edge)
    node = desk.stored[NODE]
    node["status"]["conditions"] = [
        {"type": "Ready", "status": "Unknown"},
        {"type": "DiskPressure", "status": "Unknown", "reason": "NodeStatusUnknown"},
    ]
    desk.put(node)
    desk.wait(5)
    assert condition_of(desk, "DiskPressure")["status"] == "Unknown"
    edge = desk.connect()
    tell(desk, edge, {**FULL, "conditions": [WELL]})
    assert condition_of(desk, "DiskPressure")["status"] == "False"


def test_a_machine_does_not_say_whether_its_node_is_ready(desk: Desk) -> None:
    edge = desk.connect()
    tell(desk, edge, {**FULL, "conditions": [{"type": "Ready", "status": "False", "reason": "x", "message": ""}]})
    assert ready(desk)["status"] == "True"


def test_the_api_server_finds_cloudcore_where_it_would_look_for_a_kubelet() -> None:
    elsewhere = Address("elsewhere.example", "InternalDNS")
    report = NodeReport(hostname="pi", addresses=[elsewhere, "10.0.0.7"])
    node = node_status.parse(b'{"metadata":{"name":"edge1"}}')
    assert node is not None
    patch = node_status.status_patch(
        node, None, report, (), "t", node_status.KubeletEndpoint("cloudcore.example", 10250)
    )
    assert patch is not None
    status = msgspec.json.decode(patch)["status"]
    assert status["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 10250}}
    assert status["addresses"] == [
        {"type": "InternalIP", "address": "10.0.0.7"},
        {"type": "Hostname", "address": "pi"},
        {"type": "InternalDNS", "address": "cloudcore.example"},
    ]
