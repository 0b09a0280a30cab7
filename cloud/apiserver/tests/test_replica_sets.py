"""ReplicaSets in the core: as many pods as are wanted, whatever happens to them."""

import pytest

from cloud.apiserver.status import ApiError
from cloud.apiserver.tests.workload_desk import Cluster, workload


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster()
    cluster.node("n1")
    return cluster


def counts(cluster: Cluster, name: str = "web") -> tuple[int, int, int]:
    status = cluster.get("replicasets", name)["status"]
    return status["replicas"], status.get("readyReplicas", 0), status.get("availableReplicas", 0)


def test_it_makes_its_pods_and_counts_them(cluster: Cluster) -> None:
    cluster.create("replicasets", workload("ReplicaSet", replicas=3))
    cluster.settle()
    assert counts(cluster) == (3, 0, 0)
    cluster.run()
    assert counts(cluster) == (3, 3, 3)
    [first, *_] = cluster.pods()
    assert first["metadata"]["name"].startswith("web-")
    assert first["metadata"]["labels"] == {"app": "web"}
    [owner] = first["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"], owner["blockOwnerDeletion"]) == (
        "ReplicaSet",
        "web",
        True,
        True,
    )
    assert sum("Created pod: web-" in message for message in cluster.told()) == 3


def test_what_is_deleted_is_made_again_and_what_is_too_much_goes(cluster: Cluster) -> None:
    cluster.create("replicasets", workload("ReplicaSet", replicas=2))
    cluster.run()
    cluster.delete("pods", cluster.pods()[0]["metadata"]["name"])
    cluster.settle()
    assert len(cluster.pods()) == 2
    cluster.patch("replicasets", "web", {"spec": {"replicas": 1}})
    cluster.run()
    [left] = cluster.pods()
    assert left["status"]["phase"] == "Running", "those that do not run go first"
    assert counts(cluster) == (1, 1, 1)


def test_a_pod_that_failed_is_replaced_ever_more_slowly(cluster: Cluster) -> None:
    cluster.create("replicasets", workload("ReplicaSet", replicas=1))
    cluster.run()
    for delay_s in (1, 2, 4):
        [pod] = cluster.pods()
        cluster.fails(pod["metadata"]["name"])
        if delay_s > 1:
            cluster.wait(delay_s - 1)
        assert [p["metadata"]["name"] for p in cluster.pods()] == [pod["metadata"]["name"]]
        cluster.wait(1)
        [new] = cluster.pods()
        assert new["metadata"]["name"] != pod["metadata"]["name"]
        cluster.run()


def test_pods_are_available_when_they_have_been_ready_for_long_enough(cluster: Cluster) -> None:
    cluster.create("replicasets", workload("ReplicaSet", replicas=1, minReadySeconds=5))
    cluster.run()
    assert counts(cluster) == (1, 1, 0)
    cluster.wait(6)
    assert counts(cluster) == (1, 1, 1)


def test_its_pods_go_with_it_and_may_be_left(cluster: Cluster) -> None:
    cluster.create("replicasets", workload("ReplicaSet", replicas=2))
    cluster.run()
    cluster.delete("replicasets", "web", propagation_policy="Orphan")
    cluster.run()
    assert [pod["metadata"].get("ownerReferences") for pod in cluster.pods()] == [None, None]
    cluster.create("replicasets", workload("ReplicaSet", "other", replicas=2))
    cluster.run()
    assert len(cluster.pods()) == 4, "pods without an owner are not taken over"
    cluster.delete("replicasets", "other")
    cluster.run()
    assert len(cluster.pods()) == 2


def test_a_restart_makes_nothing_twice(cluster: Cluster) -> None:
    cluster.create("replicasets", workload("ReplicaSet", replicas=3))
    cluster.run()
    cluster.restart()
    cluster.run()
    assert len(cluster.pods()) == 3


def test_pods_whose_node_is_no_more_are_replaced(cluster: Cluster) -> None:
    cluster.create("replicasets", workload("ReplicaSet", replicas=1))
    cluster.run()
    cluster.delete("nodes", "n1")
    cluster.node("n2")
    cluster.wait(60)
    cluster.run()
    assert cluster.on() == {"n2": "i:1"}


def test_mistakes_are_refused_with_the_field(cluster: Cluster) -> None:
    for change, field in (
        ({"selector": None}, "spec.selector"),
        ({"selector": {}}, "spec.selector"),
        ({"selector": {"matchLabels": {"app": "other"}}}, "spec.template.metadata.labels"),
        ({"replicas": -1}, "spec.replicas"),
        ({"replicas": 1_000_000}, "spec.replicas"),
        ({"pod": {"restartPolicy": "Never"}}, "spec.template.spec.restartPolicy"),
        ({"pod": {"containers": []}}, "spec.template.spec.containers"),
        ({"minReadySeconds": -1}, "spec.minReadySeconds"),
    ):
        with pytest.raises(ApiError) as raised:
            cluster.create("replicasets", workload("ReplicaSet", **change))
        assert raised.value.code == 422, change
        assert field in str(raised.value), (change, str(raised.value))
    cluster.create("replicasets", workload("ReplicaSet"))
    with pytest.raises(ApiError, match="field is immutable"):
        cluster.patch(
            "replicasets",
            "web",
            {"spec": {"selector": {"matchLabels": {"app": "x"}}, "template": {"metadata": {"labels": {"app": "x"}}}}},
        )
