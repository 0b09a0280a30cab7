"""Deployments in the core: from one version to the next and back, never with too few pods, never with too many."""

from typing import Any

import pytest

from cloud.apiserver.status import ApiError
from cloud.apiserver.tests.workload_desk import Cluster, Object, image, workload


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster()
    cluster.node("n1")
    return cluster


def deploy(cluster: Cluster, **spec: Any) -> None:
    cluster.create("deployments", workload("Deployment", **spec))
    cluster.run()


def sets(cluster: Cluster) -> dict[str, tuple[int, str]]:
    """Revision -> pods wanted and image of each ReplicaSet."""
    found: dict[str, tuple[int, str]] = {}
    for name in cluster.names("replicasets", "default"):
        obj = cluster.get("replicasets", name)
        spec = obj["spec"]
        revision = obj["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
        found[revision] = spec["replicas"], spec["template"]["spec"]["containers"][0]["image"]
    return found


def status(cluster: Cluster) -> Object:
    found: Object = cluster.get("deployments", "web")["status"]
    return found


def is_complete(cluster: Cluster) -> bool:
    """As `kubectl rollout status` sees it."""
    obj = cluster.get("deployments", "web")
    found, wanted = obj["status"], obj["spec"]["replicas"]
    counts = [found.get(n, 0) for n in ("updatedReplicas", "replicas", "availableReplicas")]
    return bool(found["observedGeneration"] >= obj["metadata"]["generation"] and counts == [wanted] * 3)


def test_it_makes_a_replica_set_and_that_makes_the_pods(cluster: Cluster) -> None:
    deploy(cluster, replicas=3)
    assert sets(cluster) == {"1": (3, "i:1")}
    assert cluster.images() == ["i:1"] * 3
    assert is_complete(cluster)
    assert cluster.conditions("deployments", "web") == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }
    [name] = cluster.names("replicasets", "default")
    hash = name.removeprefix("web-")
    assert cluster.pods()[0]["metadata"]["labels"] == {"app": "web", "pod-template-hash": hash}
    assert f"Scaled up replica set {name} from 0 to 3" in cluster.told()


def test_a_new_version_is_rolled_out_within_its_bounds(cluster: Cluster) -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}
    deploy(cluster, replicas=4, strategy=rolling)
    cluster.patch("deployments", "web", image("i:2"))
    for _ in range(30):
        cluster.kubelets()
        active = len(cluster.pods())
        ready = [
            p
            for p in cluster.pods()
            if any(c["status"] == "True" for c in p["status"].get("conditions", ()) if c["type"] == "Ready")
        ]
        assert active <= 5
        assert len(ready) >= 3
        if is_complete(cluster):
            break
    assert cluster.images() == ["i:2"] * 4
    assert sets(cluster) == {"1": (0, "i:1"), "2": (4, "i:2")}


def test_a_bad_version_stops_and_can_be_taken_back(cluster: Cluster) -> None:
    deploy(cluster, replicas=4, progressDeadlineSeconds=30)
    cluster.patch("deployments", "web", image("bad"))
    cluster.run(bad="bad")
    assert cluster.images().count("i:1") >= 3
    assert not is_complete(cluster)
    assert cluster.conditions("deployments", "web")["Available"] == ("True", "MinimumReplicasAvailable")
    cluster.wait(40)
    assert cluster.conditions("deployments", "web")["Progressing"] == ("False", "ProgressDeadlineExceeded")
    cluster.patch("deployments", "web", image("i:1"))
    cluster.run(bad="bad")
    assert cluster.images() == ["i:1"] * 4
    assert sets(cluster) == {"2": (0, "bad"), "3": (4, "i:1")}, "the old version is the newest revision"
    assert is_complete(cluster)
    assert cluster.conditions("deployments", "web")["Progressing"] == ("True", "NewReplicaSetAvailable")


def test_recreate_lets_nothing_of_the_old_beside_the_new(cluster: Cluster) -> None:
    deploy(cluster, replicas=2, strategy={"type": "Recreate"})
    cluster.patch("deployments", "web", image("i:2"))
    cluster.settle()
    assert cluster.images() == []
    there = [cluster.get("pods", name) for name in cluster.names("pods", "default")]
    assert len(there) == 2, "the old ones are still ending"
    cluster.run()
    assert cluster.images() == ["i:2"] * 2


def test_its_number_is_followed_also_by_way_of_its_scale(cluster: Cluster) -> None:
    deploy(cluster, replicas=1)
    cluster.patch("deployments", "web", {"spec": {"replicas": 3}}, "scale")
    cluster.run()
    assert len(cluster.pods()) == 3
    cluster.patch("deployments", "web", {"spec": {"replicas": 0}}, "scale")
    cluster.run()
    assert cluster.pods() == []
    assert is_complete(cluster)
    assert status(cluster).get("replicas") is None


def test_while_it_is_paused_only_its_number_is_followed(cluster: Cluster) -> None:
    deploy(cluster, replicas=1)
    cluster.patch("deployments", "web", {"spec": {"paused": True}})
    cluster.patch("deployments", "web", image("i:2"))
    cluster.patch("deployments", "web", {"spec": {"replicas": 2}})
    cluster.run()
    assert cluster.images() == ["i:1"] * 2
    cluster.patch("deployments", "web", {"spec": {"paused": None}})
    cluster.run()
    assert cluster.images() == ["i:2"] * 2


def test_old_replica_sets_are_kept_as_far_as_asked(cluster: Cluster) -> None:
    deploy(cluster, replicas=1, revisionHistoryLimit=1)
    for version in range(2, 6):
        cluster.patch("deployments", "web", image(f"i:{version}"))
        cluster.run()
    assert sets(cluster) == {"4": (0, "i:4"), "5": (1, "i:5")}


def test_everything_goes_with_it(cluster: Cluster) -> None:
    deploy(cluster, replicas=2)
    cluster.delete("deployments", "web")
    cluster.run()
    assert cluster.names("replicasets", "default") == []
    assert cluster.names("pods", "default") == []


def test_in_the_foreground_it_goes_last(cluster: Cluster) -> None:
    deploy(cluster, replicas=1)
    cluster.delete("deployments", "web", propagation_policy="Foreground")
    cluster.settle()
    assert cluster.names("deployments", "default") == ["web"]
    cluster.run()
    assert cluster.names("deployments", "default") == []
    assert cluster.names("pods", "default") == []


def test_a_node_that_is_away_keeps_its_pods(cluster: Cluster) -> None:
    deploy(cluster, replicas=2)
    cluster.node("n2")
    before = {pod["metadata"]["name"] for pod in cluster.pods()}
    cluster.is_ready("n1", "Unknown")
    cluster.wait(900)
    assert {pod["metadata"]["name"] for pod in cluster.pods()} == before


def test_defaults_are_kubernetes_own(cluster: Cluster) -> None:
    made = cluster.create("deployments", workload("Deployment"))
    spec = made["spec"]
    assert (spec["replicas"], spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (1, 10, 600)
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}
    pod = spec["template"]["spec"]
    assert (pod["restartPolicy"], pod["schedulerName"]) == ("Always", "default-scheduler")
    assert "tolerations" not in pod
    assert "serviceAccountName" not in pod


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"strategy": {"type": "Sometimes"}}, "spec.strategy"),
        ({"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}}, "spec.strategy.rollingUpdate"),
        ({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}}, "maxUnavailable"),
        ({"strategy": {"rollingUpdate": {"maxSurge": "many"}}}, "spec.strategy.rollingUpdate.maxSurge"),
        ({"progressDeadlineSeconds": 5, "minReadySeconds": 9}, "spec.progressDeadlineSeconds"),
    ],
)
def test_mistakes_are_refused(cluster: Cluster, spec: Object, field: str) -> None:
    with pytest.raises(ApiError) as raised:
        cluster.create("deployments", workload("Deployment", **spec))
    assert raised.value.code == 422
    assert field in str(raised.value)


@pytest.mark.parametrize("revision", ["\N{SUPERSCRIPT TWO}", "9" * 5000, "-1", ""])
def test_a_revision_that_somebody_has_written_and_is_no_number_is_written_anew(cluster: Cluster, revision: str) -> None:
    deploy(cluster, replicas=1)
    [name] = cluster.names("replicasets", "default")
    cluster.patch("replicasets", name, {"metadata": {"annotations": {"deployment.kubernetes.io/revision": revision}}})
    cluster.run()
    assert sets(cluster) == {"1": (1, "i:1")}


def test_a_replica_set_that_somebody_has_changed_is_replaced_by_one_of_another_name(cluster: Cluster) -> None:
    deploy(cluster, replicas=2)
    [name] = cluster.names("replicasets", "default")
    cluster.patch("replicasets", name, image("i:9"))
    cluster.run()
    assert sets(cluster) == {"1": (0, "i:9"), "2": (2, "i:1")}
    assert cluster.images() == ["i:1", "i:1"]
    assert is_complete(cluster)


def test_times_that_no_calendar_has_do_no_harm(cluster: Cluster) -> None:
    deploy(cluster, replicas=1, minReadySeconds=1)
    [name] = cluster.names("pods", "default")
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "9999-12-31T23:59:59-12:00"}
    cluster.patch("pods", name, {"status": {"conditions": [ready]}}, "status")
    cluster.patch("deployments", "web", {"spec": {"progressDeadlineSeconds": 10**15}})
    cluster.patch("deployments", "web", image("i:2"))
    cluster.run()
    assert "availableReplicas" not in status(cluster)
    assert cluster.conditions("deployments", "web")["Progressing"][0] == "True"
