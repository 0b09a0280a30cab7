"""The built-in kinds that cloudcore lives on; on the embedded server, or `--kubeconfig FILE`."""

import secrets

from cloud.apiserver.tests import http
from cloud.apiserver.tests.conftest import eventually
from cloud.apiserver.tests.http import Api, names


def test_a_node_reports_its_status_and_renews_its_lease(api: Api) -> None:
    name = f"node-{secrets.token_hex(4)}"
    path, lease = f"/api/v1/nodes/{name}", f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}"
    api.post("/api/v1/nodes", {"metadata": {"name": name, "labels": {"node-role.kubernetes.io/edge": ""}}}).ok()
    try:
        condition = {"type": "Ready", "status": "True", "reason": "EdgeReady", "message": "",
                     "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip
        api.patch(f"{path}/status", {"status": {"conditions": [condition]}}, http.STRATEGIC).ok()
        other = {"type": "EdgePressure", "status": "False"}
        patched = api.patch(f"{path}/status", {"status": {"conditions": [other]}}, http.STRATEGIC).ok()
        assert {c["type"]: c["status"] for c in patched["status"]["conditions"]} == {
            "Ready": "True",
            "EdgePressure": "False",
        }
        table = api.get(path, accept=http.TABLE).ok()
        # A cluster's own controller may taint a node nobody runs; its status column is the condition's all the same.
        assert table["rows"][0]["cells"][:3] == [name, "Ready", "edge"]
        spec = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": "2026-01-01T00:00:00.000000Z"}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": spec}
        assert api.put(lease, body | {"metadata": {"name": name, "namespace": "kube-node-lease"}}).code in (200, 201)
        renewed = api.patch(lease, {"spec": {"renewTime": "2026-01-01T00:00:10.000000Z"}}).ok()
        assert renewed["spec"]["renewTime"] == "2026-01-01T00:00:10.000000Z"
    finally:
        api.delete(lease)
        api.delete(path)


def test_events_are_found_by_what_they_are_about(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/events"
    about = {"kind": "Device", "name": "s1", "namespace": namespace, "apiVersion": "devices.kubeedge.io/v1beta1"}
    event = {
        "metadata": {"name": "s1.1"},
        "involvedObject": about,
        "reason": "Rejected",
        "message": "m",
        "type": "Warning",
    }
    api.post(path, event).ok()
    found = api.get(path, query={"fieldSelector": "involvedObject.name=s1,involvedObject.kind=Device"}).ok()
    assert names(found) == ["s1.1"]
    assert names(api.get(path, query={"fieldSelector": "reason=Other"}).ok()) == []
    newer = api.get(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events/s1.1").ok()
    assert (newer["note"], newer["regarding"]["name"]) == ("m", "s1")


def test_a_pod_is_found_by_its_node(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    node = f"nowhere-{secrets.token_hex(4)}"
    spec = {"nodeName": node, "containers": [{"name": "c", "image": "i"}], "automountServiceAccountToken": False}
    created = eventually(
        lambda: api.post(path, {"metadata": {"name": "p"}, "spec": spec}).code in (201, 409), "a pod in a new namespace"
    )
    assert created
    found = api.get("/api/v1/pods", query={"fieldSelector": f"spec.nodeName={node},status.phase!=Failed"}).ok()
    assert names(found) == ["p"]
    running = {"status": {"phase": "Running", "podIP": "10.0.0.1"}}
    assert api.patch(f"{path}/p/status", running).ok()["status"]["phase"] == "Running"
    held = api.delete(f"{path}/p").ok()
    assert held["metadata"]["deletionTimestamp"]
    api.delete(f"{path}/p", {"gracePeriodSeconds": 0}).ok()
    api.get(f"{path}/p").failed(404, "NotFound")
