"""Pods that find a node by themselves, on the embedded server or on any cluster; see `test_contract` for how to run it on one.

The node is no machine: nobody runs the pods that it gets.
"""

from typing import Any

from cloud.apiserver.tests.conftest import eventually
from cloud.apiserver.tests.http import Api


def taints(api: Api, node: str) -> list[str]:
    found = api.get(f"/api/v1/nodes/{node}").ok().get("spec", {}).get("taints") or ()
    return [f"{taint['key']}:{taint['effect']}" for taint in found]


def pod(name: str, node: str, cpu: str = "100m", **spec: Any) -> dict[str, Any]:
    """A pod for that node only."""
    container = {"name": "c", "image": "example.test/i:1", "resources": {"requests": {"cpu": cpu}}}
    return {"metadata": {"name": name}, "spec": {"containers": [container], "nodeSelector": {"contract": node}, **spec}}


def placed(api: Api, path: str, node: str) -> None:
    eventually(lambda: api.get(path).ok()["spec"].get("nodeName") == node, f"the node of {path}")


def refused(api: Api, path: str, why: str) -> None:
    def told() -> bool:
        conditions = api.get(path).ok()["status"].get("conditions") or ()
        found: dict[str, Any] = next((c for c in conditions if c["type"] == "PodScheduled"), {})
        return found.get("reason") == "Unschedulable" and why in found["message"]

    eventually(told, f"{why} for {path}")


def test_a_pod_finds_the_node_that_it_asks_for(api: Api, pods: str, ready_node: str, namespace: str) -> None:
    made = api.post(pods, pod("p", ready_node)).ok()
    placed(api, f"{pods}/p", ready_node)
    query = {"fieldSelector": f"involvedObject.uid={made['metadata']['uid']},reason=Scheduled"}
    path = f"/api/v1/namespaces/{namespace}/events"
    (event,) = eventually(lambda: api.get(path, query=query).ok()["items"], "the event")
    assert event["message"] == f"Successfully assigned {namespace}/p to {ready_node}"


def test_a_pod_without_room_says_so_and_gets_what_another_leaves(api: Api, pods: str, ready_node: str) -> None:
    api.post(pods, pod("first", ready_node, cpu="1500m")).ok()
    placed(api, f"{pods}/first", ready_node)
    api.post(pods, pod("second", ready_node, cpu="1")).ok()
    refused(api, f"{pods}/second", "1 Insufficient cpu")
    api.delete(f"{pods}/first", {"gracePeriodSeconds": 0}).ok()
    placed(api, f"{pods}/second", ready_node)


def test_a_cordoned_node_takes_nothing(api: Api, pods: str, ready_node: str) -> None:
    api.patch(f"/api/v1/nodes/{ready_node}", {"spec": {"unschedulable": True}}).ok()
    eventually(lambda: taints(api, ready_node) == ["node.kubernetes.io/unschedulable:NoSchedule"], "the taint")
    api.post(pods, pod("p", ready_node)).ok()
    refused(api, f"{pods}/p", "1 node(s) were unschedulable")
    api.patch(f"/api/v1/nodes/{ready_node}", {"spec": {"unschedulable": None}}).ok()
    placed(api, f"{pods}/p", ready_node)


def test_a_taint_keeps_pods_away_that_do_not_bear_it(api: Api, pods: str, ready_node: str) -> None:
    taint = {"key": "contract", "value": "x", "effect": "NoSchedule"}
    api.patch(f"/api/v1/nodes/{ready_node}", {"spec": {"taints": [taint]}}).ok()
    api.post(pods, pod("weak", ready_node)).ok()
    api.post(pods, pod("strong", ready_node, tolerations=[{"key": "contract", "operator": "Exists"}])).ok()
    refused(api, f"{pods}/weak", "1 node(s) had untolerated taint")
    placed(api, f"{pods}/strong", ready_node)


def test_a_taint_drives_pods_out_that_do_not_bear_it(api: Api, pods: str, ready_node: str) -> None:
    api.post(pods, pod("weak", ready_node)).ok()
    api.post(pods, pod("strong", ready_node, tolerations=[{"key": "contract", "operator": "Exists"}])).ok()
    placed(api, f"{pods}/weak", ready_node)
    placed(api, f"{pods}/strong", ready_node)
    taint = {"key": "contract", "value": "x", "effect": "NoExecute"}
    api.patch(f"/api/v1/nodes/{ready_node}", {"spec": {"taints": [taint]}}).ok()
    eventually(lambda: "deletionTimestamp" in api.get(f"{pods}/weak").body["metadata"], "the end of the pod")
    assert "deletionTimestamp" not in api.get(f"{pods}/strong").ok()["metadata"]


def test_a_node_that_is_away_is_tainted_and_keeps_its_pods(
    api: Api, pods: str, ready_node: str, embedded: None
) -> None:
    api.post(pods, pod("p", ready_node)).ok()
    placed(api, f"{pods}/p", ready_node)
    away = {"type": "Ready", "status": "Unknown", "reason": "LinkLost", "message": ""}
    api.patch(f"/api/v1/nodes/{ready_node}/status", {"status": {"conditions": [away]}}).ok()
    eventually(lambda: taints(api, ready_node) == ["node.kubernetes.io/unreachable:NoSchedule"], "the taint")
    api.post(pods, pod("q", ready_node)).ok()
    refused(api, f"{pods}/q", "1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }")
    assert "deletionTimestamp" not in api.get(f"{pods}/p").ok()["metadata"]
