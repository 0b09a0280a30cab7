"""DaemonSets in the core: one pod on each node that can have one."""

from typing import Any

import pytest

from cloud.apiserver.status import ApiError
from cloud.apiserver.tests.workload_desk import Cluster, Object, image, workload


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster()
    cluster.node("n1", zone="a")
    cluster.node("n2", zone="b")
    return cluster


def daemon(cluster: Cluster, **spec: Any) -> None:
    cluster.create("daemonsets", workload("DaemonSet", **spec))
    cluster.run()


def counts(cluster: Cluster, *names: str) -> tuple[int, ...]:
    status = cluster.get("daemonsets", "web")["status"]
    return tuple(status.get(name, 0) for name in names)


def test_each_node_has_one_and_a_new_node_gets_one(cluster: Cluster) -> None:
    daemon(cluster)
    assert cluster.on() == {"n1": "i:1", "n2": "i:1"}
    cluster.node("n3")
    cluster.run()
    assert set(cluster.on()) == {"n1", "n2", "n3"}
    names = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "numberAvailable",
        "updatedNumberScheduled",
    )
    assert counts(cluster, *names) == (3,) * 5
    assert counts(cluster, "numberMisscheduled", "numberUnavailable", "observedGeneration") == (0, 0, 1)


def test_a_pod_asks_for_its_node_by_name_and_bears_what_befalls_nodes(cluster: Cluster) -> None:
    daemon(cluster)
    pod = next(pod for pod in cluster.pods() if pod["spec"]["nodeName"] == "n1")
    [term] = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert term == {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}
    borne = {
        (t["key"].removeprefix("node.kubernetes.io/"), t["effect"], t.get("tolerationSeconds"))
        for t in pod["spec"]["tolerations"]
    }
    assert {
        ("unreachable", "NoExecute", None),
        ("not-ready", "NoExecute", None),
        ("unschedulable", "NoSchedule", None),
    } <= borne
    assert all(seconds is None for _, _, seconds in borne)


def test_only_the_nodes_that_its_pod_asks_for_have_one(cluster: Cluster) -> None:
    daemon(cluster, pod={"nodeSelector": {"zone": "a"}})
    assert set(cluster.on()) == {"n1"}
    cluster.patch("nodes", "n2", {"metadata": {"labels": {"zone": "a"}}})
    cluster.patch("nodes", "n1", {"metadata": {"labels": {"zone": "b"}}})
    cluster.run()
    assert set(cluster.on()) == {"n2"}


def test_taints_are_honoured_when_it_comes_and_when_they_come(cluster: Cluster) -> None:
    taint = {"key": "only", "value": "me", "effect": "NoSchedule"}
    cluster.patch("nodes", "n2", {"spec": {"taints": [taint]}})
    daemon(cluster)
    assert set(cluster.on()) == {"n1"}
    cluster.patch("nodes", "n1", {"spec": {"taints": [taint]}})
    cluster.run()
    assert set(cluster.on()) == {"n1"}, "who is there stays"
    assert counts(cluster, "desiredNumberScheduled", "numberMisscheduled") == (0, 1)
    cluster.patch("nodes", "n1", {"spec": {"taints": [{**taint, "effect": "NoExecute"}]}})
    cluster.run()
    assert cluster.on() == {}
    bears = [{"key": "only", "operator": "Exists"}]
    cluster.create("daemonsets", workload("DaemonSet", "other", pod={"tolerations": bears}))
    cluster.run()
    assert set(cluster.on()) == {"n1", "n2"}


def test_a_cordoned_node_and_one_that_is_away_keep_theirs(cluster: Cluster) -> None:
    daemon(cluster, pod={"tolerations": [{"operator": "Exists"}]})
    before = {pod["metadata"]["name"] for pod in cluster.pods()}
    cluster.patch("nodes", "n1", {"spec": {"unschedulable": True}})
    cluster.is_ready("n2", "Unknown")
    cluster.wait(400)
    assert {pod["metadata"]["name"] for pod in cluster.pods()} == before
    assert counts(cluster, "desiredNumberScheduled") == (2,)


def test_a_new_version_replaces_one_after_the_other(cluster: Cluster) -> None:
    cluster.node("n3")
    daemon(cluster)
    cluster.patch("daemonsets", "web", image("i:2"))
    for _ in range(30):
        cluster.kubelets()
        assert len(cluster.pods()) >= 2
    assert cluster.on() == {"n1": "i:2", "n2": "i:2", "n3": "i:2"}
    assert counts(cluster, "updatedNumberScheduled", "numberAvailable") == (3, 3)


def test_a_bad_version_stops_at_the_first_node(cluster: Cluster) -> None:
    cluster.node("n3")
    daemon(cluster)
    cluster.patch("daemonsets", "web", image("bad"))
    cluster.run(bad="bad")
    assert sorted(cluster.on().values()) == ["bad", "i:1", "i:1"]
    cluster.patch("daemonsets", "web", image("i:3"))
    cluster.run(bad="bad")
    assert set(cluster.on().values()) == {"i:3"}


def test_on_delete_replaces_what_somebody_deletes(cluster: Cluster) -> None:
    daemon(cluster, updateStrategy={"type": "OnDelete"})
    cluster.patch("daemonsets", "web", image("i:2"))
    cluster.run()
    assert set(cluster.on().values()) == {"i:1"}
    assert counts(cluster, "updatedNumberScheduled") == (0,)
    cluster.delete("pods", next(p["metadata"]["name"] for p in cluster.pods() if p["spec"]["nodeName"] == "n1"))
    cluster.run()
    assert cluster.on() == {"n1": "i:2", "n2": "i:1"}


def test_a_node_never_runs_two_of_them(cluster: Cluster) -> None:
    daemon(cluster)
    name = cluster.pods()[0]["metadata"]["name"]
    cluster.delete("pods", name)
    cluster.settle()
    assert len(cluster.pods()) == 1, "it waits until the old one has ended"
    cluster.run()
    assert set(cluster.on()) == {"n1", "n2"}


def test_one_that_failed_is_replaced_after_a_while(cluster: Cluster) -> None:
    daemon(cluster)
    failed = cluster.pods()[0]["metadata"]["name"]
    cluster.fails(failed)
    assert failed in cluster.names("pods", "default")
    cluster.wait(1)
    cluster.run()
    assert failed not in cluster.names("pods", "default")
    assert set(cluster.on()) == {"n1", "n2"}


def test_its_pods_go_with_it_and_with_their_node(cluster: Cluster) -> None:
    daemon(cluster)
    cluster.delete("nodes", "n2")
    cluster.wait(60)
    assert set(cluster.on()) == {"n1"}
    assert counts(cluster, "desiredNumberScheduled", "currentNumberScheduled") == (1, 1)
    cluster.delete("daemonsets", "web")
    cluster.run()
    assert cluster.names("pods", "default") == []


def test_a_restart_makes_nothing_twice(cluster: Cluster) -> None:
    daemon(cluster)
    before = {pod["metadata"]["name"] for pod in cluster.pods()}
    cluster.restart()
    cluster.run()
    assert {pod["metadata"]["name"] for pod in cluster.pods()} == before


@pytest.mark.parametrize(
    ("strategy", "field"),
    [
        ({"type": "Sometimes"}, "spec.updateStrategy"),
        ({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}, "spec.updateStrategy.rollingUpdate.maxSurge"),
        ({"rollingUpdate": {"maxUnavailable": 0}}, "spec.updateStrategy.rollingUpdate.maxUnavailable"),
    ],
)
def test_what_it_cannot_do_is_refused(cluster: Cluster, strategy: Object, field: str) -> None:
    with pytest.raises(ApiError) as raised:
        cluster.create("daemonsets", workload("DaemonSet", updateStrategy=strategy))
    assert raised.value.code == 422
    assert field in str(raised.value)
