"""The scheduler in the core: where pods go, and what they are told when there is nowhere."""

from typing import Any

import pytest

from cloud.apiserver.scheduler import Scheduler
from cloud.apiserver.tests.controlled import Controlled

READY = {"type": "Ready", "status": "True"}


@pytest.fixture
def core() -> Controlled:
    return Controlled(Scheduler)


def node(core: Controlled, name: str = "n1", spec: Any = None, labels: Any = None, **allocatable: str) -> None:
    room = {"cpu": "4", "memory": "4Gi", "pods": "10"} | {key.replace("_", "-"): v for key, v in allocatable.items()}
    obj = {
        "metadata": {"name": name, "labels": labels or {}},
        "status": {"conditions": [READY], "allocatable": room},
    }
    core.create("nodes", obj)
    core.patch("nodes", name, {"spec": {"taints": None, **(spec or {})}})


def pod(core: Controlled, name: str = "p", requests: Any = None, **spec: Any) -> None:
    container: dict[str, Any] = {"name": "c", "image": "i:1"}
    if requests:
        container["resources"] = {"requests": requests}
    core.create("pods", {"metadata": {"name": name}, "spec": {"containers": [container], **spec}})


def placed(core: Controlled, name: str = "p") -> str:
    core.settle()
    return str(core.get("pods", name)["spec"].get("nodeName", ""))


def told(core: Controlled, name: str = "p") -> str:
    """The message of a pod that could not be placed."""
    assert placed(core, name) == ""
    conditions = {c["type"]: c for c in core.get("pods", name)["status"]["conditions"]}
    assert conditions["PodScheduled"]["status"] == "False"
    assert conditions["PodScheduled"]["reason"] == "Unschedulable"
    return str(conditions["PodScheduled"]["message"])


def taint(key: str, effect: str = "NoSchedule", value: str = "") -> dict[str, Any]:
    return {"taints": [{"key": key, "value": value, "effect": effect}]}


def affinity(*terms: dict[str, Any], preferred: Any = None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if terms:
        found["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": list(terms)}
    if preferred:
        found["preferredDuringSchedulingIgnoredDuringExecution"] = preferred
    return {"nodeAffinity": found}


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


def events(core: Controlled) -> list[tuple[str, str, str]]:
    found = [core.get("events", name) for name in core.names("events")]
    found.sort(key=lambda event: int(event["metadata"]["resourceVersion"]))
    return [(event["type"], event["reason"], event["message"]) for event in found]


def test_a_pod_goes_to_the_node_there_is(core: Controlled) -> None:
    node(core)
    pod(core)
    assert placed(core) == "n1"
    (condition,) = core.get("pods", "p")["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("PodScheduled", "True")
    assert events(core) == [("Normal", "Scheduled", "Successfully assigned default/p to n1")]
    (name,) = core.names("events")
    event = core.get("events", name)
    assert event["involvedObject"]["uid"] == core.get("pods", "p")["metadata"]["uid"]
    assert event["reportingComponent"] == "default-scheduler"


def test_a_pod_waits_for_a_node_and_is_told_so_once(core: Controlled) -> None:
    pod(core)
    assert told(core) == "no nodes available to schedule pods"
    core.patch("pods", "p", {"metadata": {"labels": {"a": "b"}}})
    assert told(core) == "no nodes available to schedule pods"
    node(core)
    assert placed(core) == "n1"
    assert [reason for _, reason, _ in events(core)] == ["FailedScheduling", "Scheduled"]


@pytest.mark.parametrize(
    "spec",
    [
        {"schedulerName": "another"},
        {"nodeName": "elsewhere"},
        {"schedulingGates": [{"name": "test.example/wait"}]},
    ],
)
def test_other_pods_are_left_alone(core: Controlled, spec: dict[str, Any]) -> None:
    node(core)
    pod(core, **spec)
    before = core.get("pods", "p")
    core.settle()
    assert core.get("pods", "p") == before
    assert core.controllers[0].due() is None


def test_the_reasons_of_all_nodes_are_counted(core: Controlled) -> None:
    node(core, "a", {"unschedulable": True})
    node(core, "b", taint("edge", value="x"))
    node(core, "c", taint("edge", value="x"))
    node(core, "d", cpu="1", memory="1Mi")
    node(core, "e", pods="0")
    pod(core, requests={"cpu": "2", "memory": "2Mi"})
    assert told(core) == (
        "0/5 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 1 Too many pods, "
        "1 node(s) were unschedulable, 2 node(s) had untolerated taint {edge: x}."
    )


@pytest.mark.parametrize(
    ("toleration", "bears"),
    [
        ({"key": "edge", "operator": "Exists"}, True),
        ({"key": "edge", "operator": "Exists", "effect": "NoSchedule"}, True),
        ({"key": "edge", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "edge", "value": "x"}, True),
        ({"key": "edge", "operator": "Equal", "value": "x"}, True),
        ({"key": "edge", "operator": "Equal", "value": "y"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"operator": "Exists"}, True),
    ],
)
def test_a_taint_is_borne_by_a_toleration_that_fits(core: Controlled, toleration: Any, bears: bool) -> None:
    node(core, spec=taint("edge", value="x"))
    pod(core, tolerations=[toleration])
    assert placed(core) == ("n1" if bears else "")


def test_a_cordoned_node_takes_those_that_bear_it(core: Controlled) -> None:
    node(core, spec={"unschedulable": True})
    pod(core)
    assert told(core) == "0/1 nodes are available: 1 node(s) were unschedulable."
    pod(core, "daemon", tolerations=[{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}])
    assert placed(core, "daemon") == "n1"
    core.patch("nodes", "n1", {"spec": {"unschedulable": None}})
    assert placed(core) == "n1"


def test_a_node_that_would_rather_not_comes_last(core: Controlled) -> None:
    node(core, "a", taint("slow", "PreferNoSchedule"))
    node(core, "b", cpu="1")
    pod(core, requests={"cpu": "500m"})
    assert placed(core) == "b"
    pod(core, "q", requests={"cpu": "1"})
    assert placed(core, "q") == "a"


def test_a_selector_chooses_by_labels(core: Controlled) -> None:
    node(core, "a", labels={"disk": "hdd"})
    pod(core, nodeSelector={"disk": "ssd"})
    assert told(core) == "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
    core.patch("nodes", "a", {"metadata": {"labels": {"disk": "ssd"}}})
    assert placed(core) == "a"


@pytest.mark.parametrize(
    ("term", "fits"),
    [
        (expression("disk", "In", "hdd", "ssd"), True),
        (expression("disk", "In", "hdd"), False),
        (expression("disk", "NotIn", "hdd"), True),
        (expression("nothing", "NotIn", "x"), True),
        (expression("disk", "NotIn", "ssd"), False),
        (expression("disk", "Exists"), True),
        (expression("nothing", "Exists"), False),
        (expression("nothing", "DoesNotExist"), True),
        (expression("disk", "DoesNotExist"), False),
        (expression("cores", "Gt", "3"), True),
        (expression("cores", "Gt", "4"), False),
        (expression("cores", "Lt", "5"), True),
        (expression("cores", "Lt", "4"), False),
        (expression("disk", "Gt", "4"), False),
        ({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}, True),
        ({"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["n1"]}]}, False),
        ({}, False),
    ],
)
def test_a_term_of_the_required_affinity_holds_or_not(core: Controlled, term: Any, fits: bool) -> None:
    node(core, labels={"disk": "ssd", "cores": "4"})
    pod(core, affinity=affinity(term))
    assert placed(core) == ("n1" if fits else "")


def test_one_term_is_enough_and_all_its_parts_are_needed(core: Controlled) -> None:
    node(core, labels={"disk": "ssd"})
    both = expression("disk", "Exists") | {
        "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["another"]}]
    }
    pod(core, affinity=affinity(both))
    assert placed(core) == ""
    pod(core, "q", affinity=affinity(both, expression("disk", "In", "ssd")))
    assert placed(core, "q") == "n1"


def test_preferred_affinity_outweighs_room(core: Controlled) -> None:
    node(core, "big", cpu="64")
    node(core, "near", labels={"site": "north"})
    wish = [{"weight": 5, "preference": expression("site", "In", "north")}]
    pod(core, affinity=affinity(preferred=wish), requests={"cpu": "1"})
    assert placed(core) == "near"


def test_the_emptier_node_is_taken(core: Controlled) -> None:
    node(core, "a", cpu="2")
    node(core, "b", cpu="4")
    for name, where in (("p1", "b"), ("p2", "a"), ("p3", "b")):
        pod(core, name, requests={"cpu": "1"})
        assert placed(core, name) == where


def test_room_is_what_the_pods_on_a_node_leave(core: Controlled) -> None:
    node(core, cpu="1", ephemeral_storage="1Gi")
    pod(core, "first", requests={"cpu": "600m"})
    assert placed(core, "first") == "n1"
    pod(core, requests={"cpu": "500m"})
    assert told(core) == "0/1 nodes are available: 1 Insufficient cpu."
    core.patch("pods", "first", {"status": {"phase": "Succeeded"}}, "status")
    assert placed(core) == "n1"
    pod(core, "third", requests={"cpu": "500m"})
    assert placed(core, "third") == "n1"
    pod(core, "fourth", requests={"cpu": "1m"})
    assert "Insufficient cpu" in told(core, "fourth")
    core.delete("pods", "p", grace_period_seconds=0)
    assert placed(core, "fourth") == "n1"
    pod(core, "stores", requests={"ephemeral-storage": "2Gi"})
    assert told(core, "stores") == "0/1 nodes are available: 1 Insufficient ephemeral-storage."


def test_special_resources_are_counted_too(core: Controlled) -> None:
    node(core)
    core.patch("nodes", "n1", {"status": {"allocatable": {"example.com/radio": "1"}}}, "status")
    pod(core, requests={"example.com/radio": "1"})
    assert placed(core) == "n1"
    pod(core, "q", requests={"example.com/radio": "1"})
    assert told(core, "q") == "0/1 nodes are available: 1 Insufficient example.com/radio."


def test_init_containers_count_by_their_largest_and_those_that_stay_by_their_sum(core: Controlled) -> None:
    def init(name: str, cpu: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "image": "i:1", "resources": {"requests": {"cpu": cpu}}, **more}

    node(core, cpu="3")
    pod(core, "a", requests={"cpu": "1"}, initContainers=[init("i", "4")])
    assert "Insufficient cpu" in told(core, "a")
    pod(core, "b", requests={"cpu": "1"}, initContainers=[init("s", "1", restartPolicy="Always"), init("i", "2500m")])
    assert "Insufficient cpu" in told(core, "b")
    pod(core, "c", requests={"cpu": "1"}, initContainers=[init("i", "2"), init("s", "1", restartPolicy="Always")])
    assert placed(core, "c") == "n1"
    pod(core, "d", requests={"cpu": "1001m"})
    assert "Insufficient cpu" in told(core, "d")
    pod(core, "e", requests={"cpu": "1"})
    assert placed(core, "e") == "n1"


def test_a_port_of_the_node_is_given_once(core: Controlled) -> None:
    def served(name: str, **port: Any) -> None:
        ports = [{"containerPort": 80, **port}]
        pod(core, name, containers=[{"name": "c", "image": "i:1", "ports": ports}])

    node(core)
    served("a", hostPort=8080, hostIP="10.0.0.1")
    served("other-address", hostPort=8080, hostIP="10.0.0.2")
    served("other-protocol", hostPort=8080, protocol="UDP")
    served("no-port")
    for name in ("a", "other-address", "other-protocol", "no-port"):
        assert placed(core, name) == "n1"
    served("any", hostPort=8080)
    assert told(core, "any") == (
        "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
    )
    for name in ("a", "other-address"):
        core.delete("pods", name, grace_period_seconds=0)
    assert placed(core, "any") == "n1"


def test_pods_that_come_together_do_not_share_the_same_room(core: Controlled) -> None:
    node(core, cpu="2")
    for number in range(5):
        pod(core, f"p{number}", requests={"cpu": "1"})
    core.settle()
    assert [placed(core, f"p{number}") for number in range(5)] == ["n1", "n1", "", "", ""]


def test_what_the_store_lost_is_placed_again(core: Controlled) -> None:
    node(core, cpu="1")
    pod(core, requests={"cpu": "1"})
    lost = core.controllers[0].work()
    assert lost is not None
    core.objects.rollback()
    core.controllers[0].failed(lost)
    assert placed(core) == "n1"


def test_a_restart_knows_what_is_taken_and_who_waits(core: Controlled) -> None:
    node(core, cpu="1")
    pod(core, "first", requests={"cpu": "1"})
    assert placed(core, "first") == "n1"
    pod(core, requests={"cpu": "1"})
    assert "Insufficient cpu" in told(core)
    core.restart()
    core.settle()
    core.delete("pods", "first", grace_period_seconds=0)
    assert placed(core) == "n1"


def test_a_gate_that_is_taken_off_lets_a_pod_go(core: Controlled) -> None:
    node(core)
    pod(core, schedulingGates=[{"name": "test.example/wait"}])
    assert placed(core) == ""
    core.patch("pods", "p", {"spec": {"schedulingGates": None}})
    assert placed(core) == "n1"


def test_a_heartbeat_of_a_node_tries_nobody_again(core: Controlled) -> None:
    node(core)
    pod(core, nodeSelector={"a": "b"})
    told(core)
    heartbeat = {"status": {"conditions": [READY | {"lastHeartbeatTime": "2026-01-01T00:00:10Z"}]}}
    core.patch("nodes", "n1", heartbeat, "status")
    assert core.controllers[0].due() is None


def test_a_node_that_is_gone_gets_nothing(core: Controlled) -> None:
    node(core)
    core.delete("nodes", "n1")
    pod(core)
    assert told(core) == "no nodes available to schedule pods"
