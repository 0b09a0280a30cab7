"""What is promised, on a real kube-apiserver with its controllers and scheduler: nodes, devices and pods, used by kubectl.

`make test-cluster` builds the programs; where they are missing, these tests are skipped.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from edgewire import board, topics
from edgewire.tests.firmware_image import firmware as built
from hedgerow.firmware import Firmware
from hedgerow.stack import Ports, listens
from hil_tests.bench.cluster_site import DEADLINE_S, READY, ClusterSite, running
from hil_tests.bench.kubernetes_cluster import KubernetesCluster
from hil_tests.bench.mqtt_client import MqttClient
from hil_tests.bench.played_board import PlayedBoard
from hil_tests.bench.played_board import manifests as boards
from hil_tests.conftest import counter, counter_model
from hil_tests.test_mapper_manifests import FOLDER, manifest

pytestmark = [pytest.mark.real_cluster, pytest.mark.timeout(300)]

WAITS = "trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done"
COUNT = "jsonpath={.status.twins[?(@.propertyName=='count')].reported.value}"
ACCEPTED = "jsonpath={.status.conditions[?(@.type=='Accepted')].reason}"


@pytest.fixture
async def site(tmp_path: Path, real_cluster: KubernetesCluster) -> AsyncIterator[ClusterSite]:
    async with running(ClusterSite(tmp_path, real_cluster)) as site:
        yield site


def device(site: ClusterSite, name: str) -> dict[str, Any]:
    """A counter on the site's gateway."""
    made = counter(name)
    return {**made, "spec": {**made["spec"], "nodeName": site.node}}


def deployment(site: ClusterSite, kind: str, script: str, **spec: Any) -> dict[str, Any]:
    """A Deployment or DaemonSet `web` of one script."""
    pod = site.pod("web", script, **spec)["spec"]
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": pod}
    replicas = {"replicas": 2} if kind == "Deployment" else {}
    whole = {"selector": {"matchLabels": labels}, "template": template, **replicas}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web"}, "spec": whole}


async def test_a_gateway_is_a_node_with_a_lease_and_cloudcore_may_do_little_else(site: ClusterSite) -> None:
    node = await site.get("node", site.node)
    assert "node-role.kubernetes.io/edge" in node["metadata"]["labels"]
    assert node["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("process://")
    await site.until_says("", "get", "node", site.node, "-o", "jsonpath={.spec.taints}")
    lease = "jsonpath={.spec.holderIdentity}"
    await site.until_says(site.node, "get", "lease", site.node, "--namespace=kube-node-lease", "-o", lease)
    described = await site.kubectl("describe", "node", site.node)
    assert "LinkUp" in described
    assert "Non-terminated Pods:          (0 in total)" in described
    cloudcore = "--as=system:serviceaccount:hedgerow:cloudcore"
    for asked in (
        "delete nodes",
        "update secrets",
        "create pods --subresource=exec",
        "escalate clusterroles",
    ):
        assert "no" in (await site.kubectl("auth", "can-i", *asked.split(), cloudcore, ok=False)).split(), asked
    assert (await site.kubectl("auth", "can-i", "list", "secrets", cloudcore)).strip().endswith("yes")


async def test_reports_go_up_and_wishes_and_definitions_down(site: ClusterSite) -> None:
    await site.apply(device(site, "one"))
    await site.until_says("ModelNotFound", "get", "device", "one", "-o", ACCEPTED)
    await site.apply(counter_model())
    await site.until_says("Delivered", "get", "device", "one", "-o", ACCEPTED)
    topic = f"{site.namespace}/one"

    def play() -> None:
        with MqttClient(site.stack.ports.mqtt) as mqtt:
            mqtt.subscribe(topics.of_device(topic, topics.DELTA))
            assert mqtt.publish(topics.of_device(topic, topics.UPDATE), board.report({"count": ("7", 0)}))
            found = json.loads(mqtt.next(topics.of_device(topic, topics.DELTA), DEADLINE_S))["delta"]
            assert found == {"count": "9"}
            assert mqtt.publish(topics.of_device(topic, topics.UPDATE), board.report({"count": ("9", 0)}))

    playing = asyncio.create_task(asyncio.to_thread(play))
    await site.until_says("7", "get", "device", "one", "-o", COUNT)
    wish = '[{"op": "add", "path": "/spec/properties/0/desired", "value": {"value": "9"}}]'
    await site.kubectl("patch", "device", "one", "--type=json", "-p", wish)
    await playing
    await site.until_says("9", "get", "device", "one", "-o", COUNT)
    await site.kubectl("delete", "device", "one")

    def gone() -> bool:
        with MqttClient(site.stack.ports.mqtt) as mqtt:
            mqtt.subscribe(topics.membership_result(site.node))
            mqtt.publish(topics.membership_get(site.node), board.get())
            return not json.loads(mqtt.next(topics.membership_result(site.node)))["devices"]

    await site.until(lambda: asyncio.to_thread(gone), "the gateway has no devices")


async def test_firmware_is_rolled_out(site: ClusterSite) -> None:
    image = built("1.4.0", 7, size=50_000)
    await site.apply(*boards(site.node, "b1", "b2"))
    for name in ("b1", "b2"):
        await site.until_says("Delivered", "get", "device", name, "-o", ACCEPTED)
    manifest = image.stream[: image.image.manifest_size]
    async with Firmware(site.cluster.admin, site.namespace) as firmware:
        published, _ = await firmware.publish(manifest, bytes(64), image.stream)
    spec = {"image": msgspec.to_builtins(published), "devices": {"model": "played-board"}}
    head = {"apiVersion": "devices.hedgerow.dev/v1alpha1", "kind": "DeviceFirmware", "metadata": {"name": "new"}}
    with (
        PlayedBoard(site.stack.ports.mqtt, f"{site.namespace}/b1") as one,
        PlayedBoard(site.stack.ports.mqtt, f"{site.namespace}/b2") as other,
    ):
        await site.apply({**head, "spec": {**spec, "waves": {"canary": {"names": ["b2"]}}}})
        await site.until_says("Complete 2/2", "get", "dfw", "new", "-o", "jsonpath={.status.phase} {.status.progress}")
        assert one.received == other.received == image.stream


async def test_a_deployment_is_scheduled_scaled_and_fed(site: ClusterSite) -> None:
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"level": "info"}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"word": "hunter2"}}
    mounted = site.stack.folder / "settings"
    env = [
        {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "key", "key": "word"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ]
    container = {"env": env, "volumeMounts": [{"name": "v", "mountPath": str(mounted)}]}
    script = f"echo $WORD $NODE $(cat {mounted}/level); {WAITS}"
    volumes = [{"name": "v", "configMap": {"name": "settings"}}]
    made = deployment(site, "Deployment", script, container=container, volumes=volumes)
    await site.apply(settings, secret, made)
    await site.kubectl("rollout", "status", "deployment/web", f"--timeout={DEADLINE_S - 5:.0f}s")
    name = (await site.kubectl("get", "pods", "-o", "jsonpath={.items[0].metadata.name}")).strip()
    assert await site.kubectl("logs", name) == f"hunter2 {site.node} info\n"
    described = await site.kubectl("describe", "pod", name)
    assert "Started container c" in described
    await site.kubectl("patch", "configmap", "settings", "--type=merge", "-p", '{"data": {"level": "debug"}}')
    await site.until_says("debug", "exec", name, "--", "cat", f"{mounted}/level")
    await site.kubectl("scale", "deployment/web", "--replicas=1")
    await site.until_says("1", "get", "deployment", "web", "-o", "jsonpath={.status.replicas}")

    async def one_is_left() -> bool:
        return len((await site.kubectl("get", "pods", "-o", "name")).split()) == 1

    await site.until(one_is_left, "one pod is left")


async def test_kubectl_talks_with_pods_through_the_api_server(site: ClusterSite) -> None:
    flag = site.stack.folder / "flag"
    script = f"echo one; while [ ! -e {flag} ]; do sleep 0.05; done; echo two"
    await site.apply(site.pod("web", script, restartPolicy="Never"))
    await site.wait("pod/web", "condition=Ready")
    following = asyncio.create_task(site.kubectl("logs", "-f", "web"))
    attached = asyncio.create_task(site.kubectl("attach", "web"))
    assert await site.kubectl("exec", "web", "--", "sh", "-c", "echo $((6 * 7))") == "42\n"
    assert await site.kubectl("exec", "-i", "web", "--", "cat", give="through\n") == "through\n"
    assert "exit code 3" in await site.kubectl("exec", "web", "--", "sh", "-c", "exit 3", ok=False)
    assert await site.kubectl("logs", "web") == "one\n"
    await asyncio.to_thread(flag.touch)
    assert (await following).splitlines() == ["one", "two"]
    await attached
    await site.wait("pod/web", "jsonpath={.status.phase}=Succeeded")


async def test_a_port_of_a_pod_is_reached_through_the_api_server(site: ClusterSite) -> None:
    port = Ports.any().mqtt
    served = {"ports": [{"containerPort": port}]}
    await site.apply(site.pod("web", f"exec {sys.executable} -m http.server {port} --bind 127.0.0.1", container=served))
    await site.wait("pod/web", "condition=Ready")
    await site.until(lambda: listens(port), "the pod listens")
    command = ("kubectl", "--kubeconfig", str(site.cluster.admin), "--namespace", site.namespace, "port-forward")
    process = await asyncio.create_subprocess_exec(*command, "web", f":{port}", stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE_S):
            said = await process.stdout.readline()
            here = int(said.split()[2].rpartition(b":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", here)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.0 200")
            writer.close()
    finally:
        process.kill()
        await process.wait()


async def test_a_static_pod_is_mirrored(tmp_path: Path, real_cluster: KubernetesCluster) -> None:
    folder = tmp_path / "static"
    folder.mkdir()
    edged = {"runtime": "process", "leave_running": False, "static_pods": str(folder)}
    site = ClusterSite(tmp_path, real_cluster, edge={"edged": edged})
    made = site.pod("still", f"echo up; {WAITS}", nodeSelector={})
    made["metadata"]["namespace"] = site.namespace
    async with running(site):
        (folder / "still.yaml").write_text(yaml.safe_dump(made))
        name = f"still-{site.node}"
        await site.until_says("True", "get", "pod", name, "-o", READY)
        first = (await site.get("pod", name))["metadata"]["uid"]
        # It does not wait: the mirror is made again so soon that kubectl may see no gap, and then waits for ever.
        await site.kubectl("delete", "pod", name, "--wait=false")

        async def made_again() -> bool:
            found = await site.kubectl("get", "pod", name, "-o", "jsonpath={.metadata.uid}", ok=False)
            return found != first and "NotFound" not in found

        await site.until(made_again, "it is made again")
        await site.until_says("True", "get", "pod", name, "-o", READY)
        assert await site.kubectl("logs", name) == "up\n"


async def test_the_mapper_of_a_daemon_set_runs_on_every_gateway(site: ClusterSite) -> None:
    made = manifest(FOLDER / "modbus.yaml")
    spec = made["spec"]["template"]["spec"]
    spec["nodeSelector"]["site"] = made["metadata"]["namespace"] = site.namespace
    (container,) = spec["containers"]
    container["env"] = [v for v in container["env"] if v["name"] != "HEDGEROW_BROKER_PORT"]
    container["env"] += [
        {"name": "HEDGEROW_BROKER_PORT", "value": str(site.stack.ports.mqtt)},
        {"name": "PYTHONPATH", "value": str(Path(__file__).parents[1])},
    ]
    metrics = Ports.any().kubelet
    container["command"][-1] = str(metrics)
    container["ports"][0].update(containerPort=metrics, hostPort=metrics)
    await site.apply(made)
    name = made["metadata"]["name"]
    await site.until_says("1", "get", "daemonset", name, "-o", "jsonpath={.status.numberReady}")


async def test_a_drained_gateway_has_no_pods_and_takes_them_again(site: ClusterSite) -> None:
    await site.apply(deployment(site, "Deployment", WAITS))
    await site.kubectl("rollout", "status", "deployment/web", f"--timeout={DEADLINE_S - 5:.0f}s")
    await site.kubectl("drain", site.node, "--ignore-daemonsets", f"--timeout={DEADLINE_S - 5:.0f}s")
    await site.until_says("", "get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}")
    assert "SchedulingDisabled" in await site.kubectl("get", "node", site.node)
    await site.kubectl("uncordon", site.node)
    await site.kubectl("rollout", "status", "deployment/web", f"--timeout={DEADLINE_S - 5:.0f}s")
