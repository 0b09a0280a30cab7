"""Pods that want to be with others, or away from them, or spread: where the scheduler puts them."""

from typing import Any

import pytest

from cloud.apiserver.scheduler import Scheduler
from cloud.apiserver.tests.controlled import Controlled
from cloud.apiserver.tests.test_scheduler import node, placed, told

HOST, ZONE = "kubernetes.io/hostname", "zone"


@pytest.fixture
def core() -> Controlled:
    core = Controlled(Scheduler)
    for name, zone in (("n1", "a"), ("n2", "a"), ("n3", "b")):
        node(core, name, labels={HOST: name, ZONE: zone})
    return core


def pod(core: Controlled, name: str, app: str, namespace: str = "default", **spec: Any) -> None:
    metadata = {"name": name, "labels": {"app": app}, "namespace": namespace}
    core.create(
        "pods", {"metadata": metadata, "spec": {"containers": [{"name": "c", "image": "i:1"}], **spec}}, namespace
    )
    core.settle()


def term(app: str, key: str = HOST, **more: Any) -> dict[str, Any]:
    return {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key, **more}


def beside(*terms: dict[str, Any]) -> dict[str, Any]:
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}


def apart(*terms: dict[str, Any]) -> dict[str, Any]:
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}


def spread(app: str, key: str = ZONE, **more: Any) -> dict[str, Any]:
    selector = {"matchLabels": {"app": app}}
    constraint = {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector}
    return {"topologySpreadConstraints": [{**constraint, **more}]}


def test_replicas_that_keep_apart_are_on_a_node_each_and_the_fourth_waits(core: Controlled) -> None:
    for number in range(4):
        pod(core, f"web-{number}", "web", affinity=apart(term("web")))
    assert sorted(placed(core, f"web-{n}") for n in range(3)) == ["n1", "n2", "n3"]
    assert told(core, "web-3") == "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules."
    core.delete("pods", "web-1", grace_period_seconds=0)
    assert placed(core, "web-3") != ""


def test_who_wants_to_be_alone_keeps_others_off(core: Controlled) -> None:
    pod(core, "loner", "loner", affinity=apart(term("web", ZONE)), nodeSelector={ZONE: "a"})
    pod(core, "web", "web", nodeSelector={ZONE: "a"})
    assert "node(s) didn't satisfy existing pods anti-affinity rules" in told(core, "web")
    pod(core, "other", "web")
    assert placed(core, "other") == "n3"


def test_a_pod_waits_for_the_one_it_wants_to_be_with(core: Controlled) -> None:
    pod(core, "mapper", "mapper", affinity=beside(term("broker")))
    assert "3 node(s) didn't match pod affinity rules" in told(core, "mapper")
    pod(core, "broker", "broker", nodeName="n3")
    assert placed(core, "mapper") == "n3"


def test_the_first_of_those_that_want_to_be_together_goes_anywhere(core: Controlled) -> None:
    for number in range(3):
        pod(core, f"web-{number}", "web", affinity=beside(term("web", ZONE)))
    zones = {"n1": "a", "n2": "a", "n3": "b"}
    assert len({zones[placed(core, f"web-{n}")] for n in range(3)}) == 1


def test_only_pods_of_the_namespaces_that_are_meant_count(core: Controlled) -> None:
    core.create("namespaces", {"metadata": {"name": "other"}})
    pod(core, "broker", "broker", "other", nodeName="n2")
    pod(core, "mine", "x", affinity=beside(term("broker")))
    assert placed(core, "mine") == ""
    pod(core, "theirs", "x", affinity=beside(term("broker", namespaces=["other"])))
    pod(core, "all", "x", affinity=beside(term("broker", namespaceSelector={})))
    assert placed(core, "theirs") == placed(core, "all") == "n2"


def test_pods_are_spread_over_zones(core: Controlled) -> None:
    for number in range(4):
        pod(core, f"web-{number}", "web", **spread("web"))
    zones = {"n1": "a", "n2": "a", "n3": "b"}
    found = [zones[placed(core, f"web-{n}")] for n in range(4)]
    assert (found.count("a"), found.count("b")) == (2, 2)


def test_what_cannot_be_spread_waits_unless_it_would_rather_be_anywhere(core: Controlled) -> None:
    core.patch("nodes", "n3", {"spec": {"unschedulable": True}})
    pod(core, "first", "web", **spread("web"))
    pod(core, "second", "web", **spread("web"))
    assert "node(s) didn't match pod topology spread constraints" in told(core, "second")
    pod(core, "third", "web", **spread("web", whenUnsatisfiable="ScheduleAnyway"))
    assert placed(core, "third") in ("n1", "n2")
