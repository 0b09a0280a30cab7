"""Deployments, ReplicaSets and DaemonSets, on the embedded server or on any cluster; `test_contract` says how to run it on one.

Nobody runs the pods: the test says what a kubelet would.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from cloud.apiserver.tests.conftest import eventually
from cloud.apiserver.tests.http import Answer, Api
from cloud.apiserver.tests.kubectl import Kubectl

Object = dict[str, Any]
READY = [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]
KINDS = {"Deployment": "deployments", "ReplicaSet": "replicasets", "DaemonSet": "daemonsets"}


@pytest.fixture
def apps(api: Api, namespace: str, pods: str) -> Iterator[str]:
    """The path of the workloads of the namespace; all are removed afterwards, before their pods."""
    path = f"/apis/apps/v1/namespaces/{namespace}"
    yield path
    for plural in KINDS.values():
        api.delete(f"{path}/{plural}", {"propagationPolicy": "Background"})
    eventually(lambda: not any(api.get(f"{path}/{p}").ok()["items"] for p in KINDS.values()), "no workloads")


def workload(kind: str, node: str = "", image: str = "example.test/i:1", **spec: Any) -> Object:
    pod: Object = {"containers": [{"name": "c", "image": image}], "terminationGracePeriodSeconds": 1}
    if node:
        pod["nodeSelector"] = {"contract": node}
    pod |= spec.pop("pod", {})
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod}
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web"}, "spec": spec}


def create(api: Api, apps: str, obj: Object) -> Answer:
    return api.post(f"{apps}/{KINDS[obj['kind']]}", obj)


def owned(api: Api, pods: str) -> list[Object]:
    """The pods that are not being deleted."""
    found = api.get(pods, query={"labelSelector": "app=web"}).ok()["items"]
    return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]


def play_kubelet(api: Api, pods: str) -> None:
    """All pods on nodes are ready, and those that are being deleted are gone."""
    for pod in api.get(pods).ok()["items"]:
        path = f"{pods}/{pod['metadata']['name']}"
        if pod["metadata"].get("deletionTimestamp"):
            api.delete(path, {"gracePeriodSeconds": 0})
        elif pod["spec"].get("nodeName") and pod["status"].get("phase") != "Running":
            kept = [c for c in pod["status"].get("conditions") or () if c["type"] != "Ready"]
            api.patch(f"{path}/status", {"status": {"phase": "Running", "conditions": [*kept, *READY]}})


def until(api: Api, pods: str, path: str, **counts: int) -> Object:
    """The object at a path, once its status has these counts and speaks of the newest spec."""

    def holds() -> Object | None:
        play_kubelet(api, pods)
        obj: Object = api.get(path).ok()
        status = obj.get("status") or {}
        seen = status.get("observedGeneration", 0) >= obj["metadata"]["generation"]
        return obj if seen and all(status.get(name, 0) == value for name, value in counts.items()) else None

    found: Object = eventually(holds, f"{counts} of {path}")
    return found


def image(name: str) -> Object:
    return {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": name}]}}}}


def test_a_deployment_is_completed_by_defaults(api: Api, apps: str) -> None:
    made = create(api, apps, workload("Deployment", replicas=0)).ok()
    spec = made["spec"]
    assert made["metadata"]["generation"] == 1
    assert (spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (10, 600)
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}
    pod = spec["template"]["spec"]
    assert sorted(pod) == [
        *("containers", "dnsPolicy", "restartPolicy", "schedulerName", "securityContext"),
        "terminationGracePeriodSeconds",
    ]
    container = pod["containers"][0]
    assert sorted(container) == [
        *("image", "imagePullPolicy", "name", "resources", "terminationMessagePath", "terminationMessagePolicy"),
    ]


def test_a_daemon_set_is_completed_by_defaults(api: Api, apps: str) -> None:
    spec = create(api, apps, workload("DaemonSet", "nowhere")).ok()["spec"]
    rolling = spec["updateStrategy"].pop("rollingUpdate")
    assert spec["updateStrategy"] == {"type": "RollingUpdate"}
    assert (rolling["maxUnavailable"], rolling.get("maxSurge", 0)) == (1, 0)  # maxSurge is of 1.22
    assert spec["revisionHistoryLimit"] == 10


@pytest.mark.parametrize(
    ("kind", "spec", "field"),
    [
        ("Deployment", {"selector": {}}, "spec.selector"),
        ("Deployment", {"selector": {"matchLabels": {"app": "other"}}}, "spec.template.metadata.labels"),
        ("Deployment", {"replicas": -1}, "spec.replicas"),
        ("Deployment", {"pod": {"restartPolicy": "Never"}}, "spec.template.spec.restartPolicy"),
        ("Deployment", {"pod": {"containers": []}}, "spec.template.spec.containers"),
        ("Deployment", {"pod": {"activeDeadlineSeconds": 5}}, "spec.template.spec.activeDeadlineSeconds"),
        ("Deployment", {"strategy": {"type": "Sometimes"}}, "spec.strategy"),
        ("Deployment", {"strategy": {"rollingUpdate": {"maxSurge": "many"}}}, "spec.strategy.rollingUpdate.maxSurge"),
        ("Deployment", {"minReadySeconds": 9, "progressDeadlineSeconds": 5}, "spec.progressDeadlineSeconds"),
        ("ReplicaSet", {"selector": {"matchLabels": {"app": "other"}}}, "spec.template.metadata.labels"),
        ("DaemonSet", {"updateStrategy": {"type": "Sometimes"}}, "spec.updateStrategy"),
    ],
)
def test_mistakes_are_refused_with_their_field(api: Api, apps: str, kind: str, spec: Object, field: str) -> None:
    status = create(api, apps, workload(kind, **spec)).failed(422, "Invalid")
    assert field in [cause["field"] for cause in status["details"]["causes"]]


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet", "DaemonSet"])
def test_a_selector_stays_as_it_is(api: Api, apps: str, kind: str) -> None:
    some: Object = {} if kind == "DaemonSet" else {"replicas": 0}
    create(api, apps, workload(kind, "nowhere", **some)).ok()
    labels = {"app": "other"}
    change = {"spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}}
    status = api.patch(f"{apps}/{KINDS[kind]}/web", change).failed(422, "Invalid")
    assert "field is immutable" in status["message"]


def test_a_deployment_rolls_out_goes_back_and_takes_everything_with_it(
    api: Api, apps: str, pods: str, ready_node: str
) -> None:
    path = f"{apps}/deployments/web"
    create(api, apps, workload("Deployment", ready_node, replicas=2)).ok()
    done = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2, "unavailableReplicas": 0}
    obj = until(api, pods, path, **done)
    assert {c["type"]: (c["status"], c["reason"]) for c in obj["status"]["conditions"]} == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }
    assert obj["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    [first] = api.get(f"{apps}/replicasets").ok()["items"]
    hash = first["metadata"]["labels"]["pod-template-hash"]
    assert first["metadata"]["name"] == f"web-{hash}"
    assert first["spec"]["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": hash}
    api.patch(path, image("example.test/i:2")).ok()
    until(api, pods, path, **done)
    eventually(
        lambda: {p["spec"]["containers"][0]["image"] for p in owned(api, pods)} == {"example.test/i:2"}, "new pods"
    )
    api.patch(path, image("example.test/i:1")).ok()
    until(api, pods, path, **done)
    revisions = {
        s["metadata"]["annotations"]["deployment.kubernetes.io/revision"]: s["spec"]["replicas"]
        for s in api.get(f"{apps}/replicasets").ok()["items"]
    }
    assert revisions == {"2": 0, "3": 2}
    api.delete(path, {"propagationPolicy": "Background"}).ok()
    eventually(lambda: not api.get(f"{apps}/replicasets").ok()["items"], "no ReplicaSets")
    eventually(lambda: not owned(api, pods), "no pods")


def test_a_scale_changes_the_number_of_pods(api: Api, apps: str, pods: str, ready_node: str) -> None:
    path = f"{apps}/deployments/web"
    create(api, apps, workload("Deployment", ready_node, replicas=1)).ok()
    scale = api.get(f"{path}/scale").ok()
    assert (scale["spec"], scale["status"]["selector"]) == ({"replicas": 1}, "app=web")
    api.patch(f"{path}/scale", {"spec": {"replicas": 3}}).ok()
    until(api, pods, path, replicas=3, availableReplicas=3)
    api.patch(f"{path}/scale", {"spec": {"replicas": 0}}).ok()
    until(api, pods, path, replicas=0, availableReplicas=0)


def test_a_replica_set_replaces_what_is_deleted_and_tells_of_it(
    api: Api, apps: str, pods: str, namespace: str, ready_node: str
) -> None:
    made = create(api, apps, workload("ReplicaSet", ready_node, replicas=1)).ok()
    until(api, pods, f"{apps}/replicasets/web", replicas=1, readyReplicas=1, availableReplicas=1)
    [pod] = owned(api, pods)
    [owner] = pod["metadata"]["ownerReferences"]
    assert owner == {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": "web",
        "uid": made["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    query = {"fieldSelector": f"involvedObject.uid={made['metadata']['uid']},reason=SuccessfulCreate"}
    events = f"/api/v1/namespaces/{namespace}/events"
    (event,) = eventually(lambda: api.get(events, query=query).ok()["items"], "the event")
    assert event["message"] == f"Created pod: {pod['metadata']['name']}"
    api.delete(f"{pods}/{pod['metadata']['name']}", {"gracePeriodSeconds": 0}).ok()
    eventually(
        lambda: [p["metadata"]["uid"] for p in owned(api, pods)] not in ([], [pod["metadata"]["uid"]]), "another"
    )


def test_a_daemon_set_has_a_pod_on_each_node_that_fits(api: Api, apps: str, pods: str, ready_node: str) -> None:
    path = f"{apps}/daemonsets/web"
    create(api, apps, workload("DaemonSet", ready_node)).ok()
    counts = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "numberAvailable")
    until(api, pods, path, **dict.fromkeys((*counts, "updatedNumberScheduled"), 1))
    [pod] = owned(api, pods)
    assert pod["spec"]["nodeName"] == ready_node
    [term] = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert term == {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [ready_node]}]}
    borne = {(t["key"].partition("/")[2], t["effect"], t.get("tolerationSeconds")) for t in pod["spec"]["tolerations"]}
    assert borne == {
        ("not-ready", "NoExecute", None),
        ("unreachable", "NoExecute", None),
        ("disk-pressure", "NoSchedule", None),
        ("memory-pressure", "NoSchedule", None),
        ("pid-pressure", "NoSchedule", None),
        ("unschedulable", "NoSchedule", None),
    }
    assert {"controller-revision-hash", "pod-template-generation", "app"} == set(pod["metadata"]["labels"])
    api.patch(path, image("example.test/i:2")).ok()
    until(api, pods, path, updatedNumberScheduled=1, numberAvailable=1)
    [new] = owned(api, pods)
    assert new["spec"]["containers"][0]["image"] == "example.test/i:2"
    api.patch(f"/api/v1/nodes/{ready_node}", {"metadata": {"labels": {"contract": "none"}}}).ok()
    until(api, pods, path, desiredNumberScheduled=0, currentNumberScheduled=0)
    eventually(lambda: not owned(api, pods), "no pod where none is wanted")


def test_kubectl_lists_them_as_it_lists_any(api: Api, apps: str, pods: str, ready_node: str, kubectl: Kubectl) -> None:
    create(api, apps, workload("Deployment", ready_node, replicas=1)).ok()
    until(api, pods, f"{apps}/deployments/web", availableReplicas=1)
    header, row = kubectl("get", "deployments", "-o", "wide").splitlines()
    assert header.split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "CONTAINERS", "IMAGES", "SELECTOR"]
    words = row.split()
    assert (words[:4], words[5:]) == (["web", "1/1", "1", "1"], ["c", "example.test/i:1", "app=web"])
    header, _ = kubectl("get", "replicasets").splitlines()
    assert header.split() == ["NAME", "DESIRED", "CURRENT", "READY", "AGE"]
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web", "--timeout=20s")
