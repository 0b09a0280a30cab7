"""Deployments and DaemonSets on the embedded API, with kubectl as their user and a gateway that runs their pods."""

import json
from typing import Any

import pytest
import yaml

from hil_tests.conftest import NODE
from hil_tests.test_mapper_manifests import FOLDER
from hil_tests.test_pods import DEADLINE_S, WAITS, Gateway, gateway

__all__ = ["gateway"]

pytestmark = pytest.mark.timeout(180)

LIMIT = f"--timeout={DEADLINE_S:.0f}s"
PODS = ("get", "pods", "-o", "json")


def workload(kind: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "none", "command": ["sh", "-c", WAITS]}
    pod = {"containers": [container], "terminationGracePeriodSeconds": 1}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod}
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web"}, "spec": spec}


async def levels(gateway: Gateway) -> list[str | None]:
    """What the variable LEVEL is in each pod that is to stay."""
    found = json.loads(await gateway.kubectl(*PODS))["items"]
    kept = [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]
    return [next((v["value"] for v in pod["spec"]["containers"][0].get("env", ())), None) for pod in kept]


async def test_a_deployment_is_rolled_out_scaled_taken_back_and_deleted(gateway: Gateway) -> None:
    await gateway.apply(workload("Deployment", replicas=2))
    rolled = await gateway.kubectl("rollout", "status", "deployment/web", LIMIT)
    assert 'deployment "web" successfully rolled out' in rolled
    assert gateway.containers() == 2
    await gateway.kubectl("set", "env", "deployment/web", "LEVEL=debug")
    await gateway.kubectl("rollout", "status", "deployment/web", LIMIT)
    assert await levels(gateway) == ["debug", "debug"]
    await gateway.kubectl("rollout", "undo", "deployment/web")
    await gateway.kubectl("rollout", "status", "deployment/web", LIMIT)
    assert await levels(gateway) == [None, None]
    assert [
        line.split()[0] for line in (await gateway.kubectl("rollout", "history", "deployment/web")).splitlines()[2:4]
    ] == ["2", "3"]
    await gateway.kubectl("scale", "deployment/web", "--replicas=1")
    await gateway.until(lambda: gateway.containers() == 1, "one is left")
    row = (await gateway.kubectl("get", "deployment", "web", "--no-headers")).split()
    assert row[:4] == ["web", "1/1", "1", "1"]
    assert "NewReplicaSetAvailable" in await gateway.kubectl("describe", "deployment", "web")
    await gateway.kubectl("delete", "deployment", "web", LIMIT)
    await gateway.until(lambda: gateway.containers() == 0, "its pods went with it")
    assert json.loads(await gateway.kubectl("get", "pods,replicasets", "-o", "json"))["items"] == []


async def test_kubectl_creates_a_deployment_whose_pods_a_gateway_of_processes_refuses_slowly(gateway: Gateway) -> None:
    await gateway.kubectl("create", "deployment", "web", "--image=nginx")

    async def refused() -> bool:
        found = json.loads(await gateway.kubectl(*PODS))["items"]
        return [pod["status"].get("reason") for pod in found] == ["UnsupportedPod"]

    await gateway.until(refused, "the gateway says why, and there is one pod at a time")


async def test_a_daemon_set_has_a_pod_on_the_gateway_and_renews_it(gateway: Gateway) -> None:
    await gateway.apply(workload("DaemonSet"))
    assert "successfully rolled out" in await gateway.kubectl("rollout", "status", "daemonset/web", LIMIT)
    assert gateway.containers() == 1
    await gateway.kubectl("set", "env", "daemonset/web", "LEVEL=debug")
    assert "successfully rolled out" in await gateway.kubectl("rollout", "status", "daemonset/web", LIMIT)
    assert await levels(gateway) == ["debug"]
    row = (await gateway.kubectl("get", "daemonset", "web", "--no-headers")).split()
    assert row[:6] == ["web", "1", "1", "1", "1", "1"]
    drained = await gateway.kubectl("drain", NODE, "--ignore-daemonsets", LIMIT)
    assert "ignoring DaemonSet-managed Pods" in drained
    assert gateway.containers() == 1
    await gateway.kubectl("delete", "daemonset", "web", LIMIT)
    await gateway.until(lambda: gateway.containers() == 0, "its pod went with it")


async def test_the_mappers_of_a_cluster_can_be_applied(gateway: Gateway) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "hedgerow"}}
    await gateway.apply(namespace, *(yaml.safe_load(file.read_text()) for file in sorted(FOLDER.glob("*.yaml"))))

    async def placed() -> bool:
        found = json.loads(await gateway.kubectl(*PODS, "-n", "hedgerow"))["items"]
        return sorted(
            pod["metadata"]["labels"]["app.kubernetes.io/name"] for pod in found if pod["spec"].get("nodeName") == NODE
        ) == ["mapper-ble", "mapper-modbus", "mapper-serial"]

    await gateway.until(placed, "each has a pod for the gateway")
    await gateway.kubectl("delete", "daemonset", "--all", "-n", "hedgerow", LIMIT)
    await gateway.until(lambda: gateway.containers() == 0, "nothing of them is left")
