"""The taints of nodes, and what they do to the pods there."""

from typing import Any

import pytest

from cloud.apiserver.evictions import Evictor
from cloud.apiserver.node_lifecycle import NodeLifecycle
from cloud.apiserver.scheduler import Scheduler
from cloud.apiserver.tests.controlled import Controlled


@pytest.fixture
def core() -> Controlled:
    return Controlled(NodeLifecycle, Scheduler, Evictor)


def condition(type: str, status: str) -> dict[str, Any]:
    return {"status": {"conditions": [{"type": type, "status": status}]}}


def node(core: Controlled, ready: str = "True") -> None:
    core.create("nodes", {"metadata": {"name": "n"}, "status": {"allocatable": {"pods": "10"}}})
    core.patch("nodes", "n", condition("Ready", ready), "status")
    core.settle()


def pod(core: Controlled, name: str, **spec: Any) -> None:
    spec = {"nodeName": "n", "containers": [{"name": "c", "image": "i:1"}], **spec}
    core.create("pods", {"metadata": {"name": name}, "spec": spec})
    core.settle()


def taints(core: Controlled) -> list[str]:
    core.settle()
    found = core.get("nodes", "n").get("spec", {}).get("taints", [])
    return sorted(f"{taint['key']}:{taint['effect']}" for taint in found)


def going(core: Controlled) -> list[str]:
    """The pods that are gone or going."""
    core.settle()
    all_pods = [core.get("pods", name)["metadata"] for name in core.names("pods")]
    return [meta["name"] for meta in all_pods if "deletionTimestamp" in meta]


def taint_node(core: Controlled, *taints: dict[str, str]) -> None:
    core.patch("nodes", "n", {"spec": {"taints": list(taints)}})
    core.settle()


EVIL = {"key": "evil", "value": "x", "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("type", "status", "expected"),
    [
        ("Ready", "True", []),
        ("Ready", "False", ["node.kubernetes.io/not-ready:NoSchedule"]),
        ("Ready", "Unknown", ["node.kubernetes.io/unreachable:NoSchedule"]),
        (
            "DiskPressure",
            "True",
            ["node.kubernetes.io/disk-pressure:NoSchedule", "node.kubernetes.io/not-ready:NoSchedule"],
        ),
        ("MemoryPressure", "False", ["node.kubernetes.io/not-ready:NoSchedule"]),
    ],
)
def test_the_taints_follow_the_conditions(core: Controlled, type: str, status: str, expected: list[str]) -> None:
    node(core)
    core.patch("nodes", "n", condition(type, status), "status")
    assert taints(core) == expected


def test_a_node_that_said_nothing_yet_is_not_ready(core: Controlled) -> None:
    core.create("nodes", {"metadata": {"name": "n"}})
    assert taints(core) == ["node.kubernetes.io/not-ready:NoSchedule"]


def test_a_cordoned_node_is_tainted_and_other_taints_stay(core: Controlled) -> None:
    node(core)
    taint_node(core, {"key": "mine", "effect": "NoSchedule"}, EVIL)
    core.patch("nodes", "n", {"spec": {"unschedulable": True}})
    assert taints(core) == ["evil:NoExecute", "mine:NoSchedule", "node.kubernetes.io/unschedulable:NoSchedule"]
    core.patch("nodes", "n", {"spec": {"unschedulable": None}})
    assert taints(core) == ["evil:NoExecute", "mine:NoSchedule"]


def test_a_node_that_becomes_ready_gets_the_pods_that_wait(core: Controlled) -> None:
    node(core, "False")
    pod(core, "p", nodeName="")
    conditions = core.get("pods", "p")["status"]["conditions"]
    assert conditions[0]["message"] == (
        "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }."
    )
    core.patch("nodes", "n", condition("Ready", "True"), "status")
    core.settle()
    assert core.get("pods", "p")["spec"]["nodeName"] == "n"


def test_a_node_that_is_away_keeps_its_pods(core: Controlled) -> None:
    node(core)
    pod(core, "p")
    core.patch("nodes", "n", condition("Ready", "Unknown"), "status")
    core.wait(600)
    assert going(core) == []


def test_pods_leave_a_node_whose_taint_they_do_not_bear(core: Controlled) -> None:
    node(core)
    pod(core, "weak")
    pod(core, "strong", tolerations=[{"key": "evil", "operator": "Exists"}])
    pod(core, "elsewhere", nodeName="m")
    taint_node(core, EVIL)
    assert going(core) == ["weak"]
    (disrupted,) = [c for c in core.get("pods", "weak")["status"]["conditions"] if c["type"] == "DisruptionTarget"]
    assert disrupted["reason"] == "DeletionByTaintManager"
    (name,) = core.names("events")
    assert core.get("events", name)["message"] == "Marking for deletion Pod default/weak"


def test_patience_ends_a_pod_unless_the_taint_goes_before(core: Controlled) -> None:
    node(core)
    pod(
        core,
        "short",
        tolerations=[{"key": "evil", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 10}],
    )
    pod(
        core,
        "long",
        tolerations=[{"key": "evil", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}],
    )
    taint_node(core, EVIL)
    core.wait(9)
    assert going(core) == []
    core.wait(1)
    assert going(core) == ["short"]
    taint_node(core)
    core.wait(100)
    assert going(core) == ["short"]


def test_a_change_of_the_pod_does_not_prolong_its_patience(core: Controlled) -> None:
    node(core)
    pod(core, "p", tolerations=[{"key": "evil", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 10}])
    taint_node(core, EVIL)
    core.wait(5)
    core.patch("pods", "p", {"metadata": {"labels": {"a": "b"}}})
    core.wait(5)
    assert going(core) == ["p"]


def test_a_taint_of_the_same_key_that_executes_is_somebody_elses(core: Controlled) -> None:
    node(core)
    taint_node(core, {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"})
    assert taints(core) == ["node.kubernetes.io/unreachable:NoExecute"]


def test_a_pod_that_comes_to_a_tainted_node_leaves_again(core: Controlled) -> None:
    node(core)
    taint_node(core, EVIL)
    pod(core, "p")
    assert going(core) == ["p"]


def test_a_pod_that_ends_on_a_node_that_is_no_more_is_removed_after_its_grace(core: Controlled) -> None:
    node(core)
    pod(core, "before", terminationGracePeriodSeconds=5)
    pod(core, "after", terminationGracePeriodSeconds=5)
    core.delete("pods", "before")
    core.wait(10)
    assert core.names("pods") == ["after", "before"]
    core.delete("nodes", "n")
    core.settle()
    assert core.names("pods") == ["after"]
    core.delete("pods", "after")
    core.wait(4)
    assert core.names("pods") == ["after"]
    core.wait(1)
    assert core.names("pods") == []


def test_a_patience_beyond_all_dates_has_no_end(core: Controlled) -> None:
    node(core)
    bears = {"key": "evil", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 10**18}
    pod(core, "p", tolerations=[bears])
    pod(core, "q")
    taint_node(core, EVIL)
    core.restart()
    core.settle()
    assert "deletionTimestamp" not in core.get("pods", "p")["metadata"]
    assert "deletionTimestamp" in core.get("pods", "q")["metadata"]
