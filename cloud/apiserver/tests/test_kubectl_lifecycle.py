"""What kubectl does with owners, nodes and pods; on the embedded server or on any cluster.

The nodes are no machines: a pod there ends when it is told to end at once.
"""

import re
import secrets
import time
from typing import Any

import pytest
import yaml

from cloud.apiserver.tests.conftest import DEFINITIONS, define, eventually
from cloud.apiserver.tests.core import scalable
from cloud.apiserver.tests.http import Api
from cloud.apiserver.tests.kubectl import Kubectl, needs_kubectl

needs_kubectl()

OWNED = """
apiVersion: v1
kind: ConfigMap
metadata:
  name: {name}
  ownerReferences:
  - {{apiVersion: v1, kind: ConfigMap, name: {owner}, uid: {uid}, blockOwnerDeletion: true}}
"""


@pytest.fixture
def family(kubectl: Kubectl, maps: str) -> None:
    """A config map and one that it owns."""
    kubectl("create", "configmap", "parent")
    uid = kubectl("get", "configmap", "parent", "-o", "jsonpath={.metadata.uid}")
    kubectl("create", "-f", "-", stdin=OWNED.format(name="child", owner="parent", uid=uid))


def run(kubectl: Kubectl, name: str, node: str, *arguments: str) -> None:
    """`kubectl run` of a pod for one node, and wait until it is there."""
    chosen = f'{{"spec": {{"nodeSelector": {{"contract": "{node}"}}}}}}'
    kubectl("run", name, "--image=example.test/i:1", f"--overrides={chosen}", *arguments)
    kubectl("wait", "--for=condition=PodScheduled", f"pod/{name}", "--timeout=20s")


def exists(kubectl: Kubectl, what: str) -> bool:
    return kubectl("get", what, "--ignore-not-found", "-o", "name") != ""


def test_delete_in_the_background_takes_the_dependents_later(kubectl: Kubectl, family: None) -> None:
    assert 'configmap "parent" deleted' in kubectl("delete", "configmap", "parent")
    kubectl("wait", "--for=delete", "configmap/child", "--timeout=20s")
    assert not exists(kubectl, "configmap/child")


def test_delete_in_the_foreground_returns_when_the_dependents_are_gone(kubectl: Kubectl, family: None) -> None:
    kubectl("delete", "configmap", "parent", "--cascade=foreground", "--timeout=20s")
    assert not exists(kubectl, "configmap/child")


def test_delete_with_orphans_leaves_the_dependents(kubectl: Kubectl, family: None) -> None:
    kubectl("delete", "configmap", "parent", "--cascade=orphan", "--timeout=20s")
    assert not exists(kubectl, "configmap/parent")
    child = yaml.safe_load(kubectl("get", "configmap", "child", "-o", "yaml"))
    assert "ownerReferences" not in child["metadata"]


def test_delete_of_a_namespace_waits_for_its_content(kubectl: Kubectl, api: Api) -> None:
    name = f"contract-{secrets.token_hex(4)}"
    kubectl("create", "namespace", name)
    maps = f"/api/v1/namespaces/{name}/configmaps"
    api.post(maps, {"metadata": {"name": "held", "finalizers": ["test.example/hold"]}}).ok()
    try:
        kubectl("delete", "namespace", name, "--wait=false")
        assert kubectl("get", "namespace", name, "--no-headers").split()[1] == "Terminating"
        assert "timed out" in kubectl("wait", "--for=delete", f"namespace/{name}", "--timeout=1s", expect=1)

        def told() -> bool:
            return "Some resources are remaining: configmaps. has" in kubectl("describe", "namespace", name)

        eventually(told, "what the namespace waits for")
    finally:
        api.patch(f"{maps}/held", {"metadata": {"finalizers": None}})
    kubectl("wait", "--for=delete", f"namespace/{name}", "--timeout=20s")
    kubectl("create", "namespace", name)
    begun = time.monotonic()
    kubectl("delete", "namespace", name)
    assert time.monotonic() - begun < 20
    assert not exists(kubectl, f"namespace/{name}")


def test_run_makes_a_pod_that_finds_its_node(kubectl: Kubectl, pods: str, ready_node: str) -> None:
    run(kubectl, "web", ready_node, "--port=80", "--labels=app=web")
    header, line = kubectl("get", "pods", "web", "-o", "wide").splitlines()
    columns = dict(zip(re.split(r"\s{2,}", header), re.split(r"\s{2,}", line), strict=True))
    assert columns["NODE"] == ready_node
    assert (columns["READY"], columns["STATUS"], columns["RESTARTS"]) == ("0/1", "Pending", "0")
    assert (columns["IP"], columns["NOMINATED NODE"], columns["READINESS GATES"]) == ("<none>",) * 3
    assert "pod/web" in kubectl("get", "pods", f"--field-selector=spec.nodeName={ready_node}", "-o", "name")
    described = kubectl("describe", "pod", "web")
    assert re.search(rf"Node:\s+{ready_node}", described)
    assert re.search(r"QoS Class:\s+BestEffort", described)
    assert "Successfully assigned" in described
    assert "default-scheduler" in described


def test_describe_says_why_a_pod_waits(kubectl: Kubectl, pods: str, ready_node: str) -> None:
    kubectl("cordon", ready_node)
    chosen = f'{{"spec": {{"nodeSelector": {{"contract": "{ready_node}"}}}}}}'
    kubectl("run", "waits", "--image=example.test/i:1", f"--overrides={chosen}")

    def told() -> bool:
        described = kubectl("describe", "pod", "waits")
        return "FailedScheduling" in described and "1 node(s) were unschedulable" in described

    eventually(told, "the event")
    kubectl("uncordon", ready_node)
    kubectl("wait", "--for=condition=PodScheduled", "pod/waits", "--timeout=20s")


def test_drain_empties_a_node_and_cordons_it(kubectl: Kubectl, pods: str, ready_node: str) -> None:
    run(kubectl, "one", ready_node)
    run(kubectl, "two", ready_node)
    assert "cannot delete Pods that declare no controller" in kubectl("drain", ready_node, expect=1)
    assert exists(kubectl, "pod/one")
    drained = kubectl("drain", ready_node, "--force", "--ignore-daemonsets", "--grace-period=0", "--timeout=20s")
    assert "evicting pod" in drained or f"node/{ready_node} drained" in drained
    assert not exists(kubectl, "pod/one")
    assert not exists(kubectl, "pod/two")
    assert "SchedulingDisabled" in kubectl("get", "node", ready_node)
    kubectl("uncordon", ready_node)
    run(kubectl, "three", ready_node)


def test_drain_can_be_tried_dry_and_delete_instead_of_evict(kubectl: Kubectl, pods: str, ready_node: str) -> None:
    run(kubectl, "one", ready_node)
    kubectl("drain", ready_node, "--force", "--dry-run=server")
    assert exists(kubectl, "pod/one")
    assert "SchedulingDisabled" not in kubectl("get", "node", ready_node)
    kubectl("drain", ready_node, "--force", "--disable-eviction", "--grace-period=0", "--timeout=20s")
    assert not exists(kubectl, "pod/one")


def test_drain_leaves_a_node_to_the_pods_that_end_there(kubectl: Kubectl, api: Api, pods: str, ready_node: str) -> None:
    run(kubectl, "slow", ready_node)
    failed = kubectl("drain", ready_node, "--force", "--timeout=1s", expect=1)
    assert re.search("deadline exceeded|timeout", failed)
    assert kubectl("get", "pod", "slow", "--no-headers").split()[2] == "Terminating"
    api.delete(f"{pods}/slow", {"gracePeriodSeconds": 0}).ok()
    kubectl("drain", ready_node, "--force", "--timeout=20s")


def test_a_pod_is_deleted_at_once_when_it_is_forced(kubectl: Kubectl, pods: str, ready_node: str) -> None:
    run(kubectl, "now", ready_node)
    kubectl("delete", "pod", "now", "--grace-period=0", "--force")
    assert not exists(kubectl, "pod/now")


def test_a_taint_that_executes_drives_pods_out(kubectl: Kubectl, pods: str, ready_node: str) -> None:
    run(kubectl, "weak", ready_node)
    kubectl("taint", "node", ready_node, "evil=x:NoExecute")
    eventually(lambda: "Terminating" in kubectl("get", "pod", "weak", "--no-headers"), "the end of the pod")
    kubectl("taint", "node", ready_node, "evil-")


def test_what_needs_a_kubelet_is_refused(kubectl: Kubectl, pods: str, ready_node: str) -> None:
    run(kubectl, "mute", ready_node)
    assert "Error from server" in kubectl("logs", "mute", expect=1)
    assert "rror" in kubectl("exec", "mute", "--", "ls", expect=1)


def test_scale_changes_the_replicas_of_a_custom_resource(kubectl: Kubectl, api: Api, namespace: str) -> None:
    group = f"scale-{secrets.token_hex(4)}.example"
    define(api, scalable(group))
    path = f"/apis/{group}/v1/namespaces/{namespace}/fleets"
    body: dict[str, Any] = {"apiVersion": f"{group}/v1", "kind": "Fleet", "metadata": {"name": "f"}}
    api.post(path, body | {"spec": {"replicas": 1}}).ok()
    try:
        assert "scaled" in kubectl("scale", f"fleets.{group}/f", "--replicas=3")
        assert api.get(f"{path}/f").ok()["spec"]["replicas"] == 3
        refused = kubectl("scale", f"fleets.{group}/f", "--current-replicas=1", "--replicas=5", expect=1)
        assert "Expected replicas to be 1, was 3" in refused
        shown = kubectl("get", f"fleets.{group}/f", "--subresource=scale", "-o", "jsonpath={.kind} {.spec.replicas}")
        assert shown == "Scale 3"
    finally:
        api.delete(f"{DEFINITIONS}/fleets.{group}")
