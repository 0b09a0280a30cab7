"""What goes wrong between cloudcore and a real kube-apiserver: a site that is cut off, an API server that hangs, dies, has
forgotten, or is asked too much. Nothing is lost, and pods of a site that is away run on."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edgewire import board, topics
from hedgerow.stack import Ports
from hil_tests.bench.cable import Cable
from hil_tests.bench.cluster_site import ClusterSite, running
from hil_tests.bench.kubernetes_cluster import KubernetesCluster
from hil_tests.bench.mqtt_client import MqttClient
from hil_tests.conftest import counter, counter_model

pytestmark = [pytest.mark.real_cluster, pytest.mark.timeout(300)]

WAITS = "trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done"
COUNT = "jsonpath={.status.twins[?(@.propertyName=='count')].reported.value}"
OBSERVED = "jsonpath={.status.twins[?(@.propertyName=='count')].observedDesired.value}"
DELIVERED = "jsonpath={.items[*].status.conditions[?(@.reason=='Delivered')].reason}"
FLOWS = "/apis/flowcontrol.apiserver.k8s.io"


@pytest.fixture
def ports() -> Ports:
    return Ports.any()


@pytest.fixture
async def cable(ports: Ports) -> AsyncIterator[Cable]:
    """Between the gateway and the cloud."""
    cable = Cable("127.0.0.1", ports.cloud)
    await cable.start()
    yield cable
    await cable.cut()


@pytest.fixture
async def site(
    tmp_path: Path, real_cluster: KubernetesCluster, ports: Ports, cable: Cable
) -> AsyncIterator[ClusterSite]:
    async with running(ClusterSite(tmp_path, real_cluster, ports=ports, cloud_port=cable.port)) as site:
        yield site


async def with_counters(site: ClusterSite, *names: str) -> None:
    """Counters that the gateway has accepted."""
    made = [counter(name) for name in names]
    await site.apply(counter_model(), *({**one, "spec": {**one["spec"], "nodeName": site.node}} for one in made))
    await site.until_says(" ".join(["Delivered"] * len(names)), "get", "devices", "-o", DELIVERED)


async def report(site: ClusterSite, value: int, *names: str) -> None:
    """Report for each of the counters, as acknowledged."""

    def publish() -> None:
        with MqttClient(site.stack.ports.mqtt) as mqtt:
            for name in names:
                topic = topics.of_device(f"{site.namespace}/{name}", topics.UPDATE)
                assert mqtt.publish(topic, board.report({"count": (str(value), 0)}))

    await asyncio.to_thread(publish)


async def wish(site: ClusterSite, name: str, value: int) -> None:
    """Desire a value."""
    patch = f'[{{"op": "add", "path": "/spec/properties/0/desired", "value": {{"value": "{value}"}}}}]'
    await site.kubectl("patch", "device", name, "--type=json", "-p", patch)


def cloud_log(site: ClusterSite) -> str:
    return (site.stack.folder / "logs" / "cloudcore.log").read_text(errors="replace")


def other_node(name: str) -> dict[str, Any]:
    """A node that is well for as long as a Lease counts: were all nodes away, Kubernetes would evict nothing."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    times = {"lastHeartbeatTime": now, "lastTransitionTime": now}
    ready = {"type": "Ready", "status": "True", "reason": "Test", "message": "", **times}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {"conditions": [ready]}}


async def test_pods_of_a_site_that_is_cut_off_run_on_and_only_those_that_may_are_evicted(
    site: ClusterSite, cable: Cable
) -> None:
    keys = ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")
    of_the_edge = [{"key": key, "operator": "Exists", "effect": "NoExecute"} for key in keys]
    briefly = [{**toleration, "tolerationSeconds": 1} for toleration in of_the_edge]
    script = f"echo up; {WAITS}"
    await site.apply(
        site.pod("stays", script, tolerations=of_the_edge),
        site.pod("goes", script, tolerations=briefly),
        site.pod("deleted", script, tolerations=of_the_edge),
    )
    for name in ("stays", "goes", "deleted"):
        await site.wait(f"pod/{name}", "condition=Ready")
    other = f"other-{site.node}"
    status, made = site.cluster.call("POST", "/api/v1/nodes", other_node(other))
    assert status == 201, made
    try:
        await cable.cut()
        await site.until_ready("Unknown")
        await site.kubectl("delete", "pod", "deleted", "--wait=false")
        taints = "jsonpath={.spec.taints[*].effect}"
        await site.until_says("NoSchedule NoExecute", "get", "node", site.node, "-o", taints)

        async def evicted() -> bool:
            return "deletionTimestamp" in (await site.get("pod", "goes"))["metadata"]

        await site.until(evicted, "the one that may is evicted")
        assert [site.says(name) for name in ("stays", "goes", "deleted")] == [["up"]] * 3
        await cable.restore()
        await site.until_ready()
        for name in ("goes", "deleted"):
            await site.wait(f"pod/{name}", "delete")
        await site.until_says("", "get", "node", site.node, "-o", taints)
        await site.wait("pod/stays", "condition=Ready")
        assert site.says("stays") == ["up"]
    finally:
        await site.kubectl("delete", "node", other)


async def test_what_was_reported_while_the_api_server_hung_or_was_dead_is_in_kubernetes_after(
    site: ClusterSite,
) -> None:
    cluster = site.cluster
    await with_counters(site, "one")
    cluster.signal("kube-apiserver", signal.SIGSTOP)
    try:
        await report(site, 5, "one")
    finally:
        cluster.signal("kube-apiserver", signal.SIGCONT)
    await site.until_says("5", "get", "device", "one", "-o", COUNT)
    cluster.end("kube-apiserver")
    try:
        await report(site, 6, "one")
    finally:
        cluster.run("kube-apiserver")
        await asyncio.to_thread(cluster.until_ready)
    await site.until_says("6", "get", "device", "one", "-o", COUNT)
    await wish(site, "one", 9)
    await site.until_says("9", "get", "device", "one", "-o", OBSERVED)


async def test_changes_that_the_api_server_has_forgotten_are_found_by_listing_anew(site: ClusterSite) -> None:
    cluster = site.cluster
    await with_counters(site, "one", "two")
    pid = site.stack.cloudcore.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        await wish(site, "one", 7)
        await site.kubectl("delete", "device", "two")
        cluster.end("kube-apiserver")
        cluster.run("kube-apiserver")
        await asyncio.to_thread(cluster.until_ready)
    finally:
        os.kill(pid, signal.SIGCONT)
    await site.until_says("7", "get", "device", "one", "-o", OBSERVED)
    assert "too old resource version" in cloud_log(site)
    await report(site, 8, "one")
    await site.until_says("8", "get", "device", "one", "-o", COUNT)


async def test_an_api_server_that_turns_requests_away_gets_them_all_in_the_end(site: ClusterSite) -> None:
    names = [f"d{number}" for number in range(40)]
    await with_counters(site, *names)
    version = site.cluster.call("GET", FLOWS)[1]["preferredVersion"]["groupVersion"]
    shares = "assuredConcurrencyShares" if version.endswith(("beta1", "beta2")) else "nominalConcurrencyShares"
    level = {"type": "Limited", "limited": {shares: 1, "limitResponse": {"type": "Reject"}}}
    who = {"kind": "ServiceAccount", "serviceAccount": {"name": "cloudcore", "namespace": "hedgerow"}}
    asked = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
    flow = {
        "priorityLevelConfiguration": {"name": "few"},
        "matchingPrecedence": 100,
        "rules": [{"subjects": [who], "resourceRules": [asked]}],
    }
    head = {"apiVersion": version, "metadata": {"name": "few"}}
    try:
        await site.apply(
            {**head, "kind": "PriorityLevelConfiguration", "spec": level}, {**head, "kind": "FlowSchema", "spec": flow}
        )

        async def turned_away() -> bool:
            await report(site, 1, *names)
            return "status=429" in cloud_log(site)

        await site.until(turned_away, "requests are turned away")
        await report(site, 2, *names)
        counts = COUNT.replace("{.status", "{.items[*].status")
        await site.until_says(" ".join(["2"] * len(names)), "get", "devices", "-o", counts)
    finally:
        await site.kubectl("delete", "flowschema,prioritylevelconfiguration", "few", ok=False)
