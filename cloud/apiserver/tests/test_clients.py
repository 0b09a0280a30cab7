"""Client libraries that know nothing of this server: `kubernetes`, sync and aio, and an operator of kopf.

All of it also runs on a cluster, by `--kubeconfig FILE`.
"""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import kubernetes.aio.client
import kubernetes.aio.config
import kubernetes.aio.dynamic
import kubernetes.aio.watch
import kubernetes.client
import kubernetes.config
import kubernetes.dynamic
import kubernetes.informer
import pytest

from cloud.apiserver.tests.conftest import DEFINITIONS, define, eventually
from cloud.apiserver.tests.core import device
from cloud.apiserver.tests.http import Api

OPERATOR = Path(__file__).with_name("widget_operator.py")
CANDIDATE = "cloud.apiserver.tests.lease_candidate"
WAIT_S = 20.0


@pytest.fixture
def client(kubeconfig: Path) -> Iterator[kubernetes.client.ApiClient]:
    """The sync client."""
    configuration = kubernetes.client.Configuration()
    kubernetes.config.load_kube_config(  # type: ignore[no-untyped-call]
        str(kubeconfig), client_configuration=configuration
    )
    with kubernetes.client.ApiClient(configuration) as client:
        yield client


@pytest.fixture
async def aio(kubeconfig: Path) -> AsyncIterator[kubernetes.aio.client.ApiClient]:
    """The aio client."""
    configuration = kubernetes.aio.client.Configuration()
    await kubernetes.aio.config.load_kube_config(  # type: ignore[no-untyped-call]
        str(kubeconfig), client_configuration=configuration
    )
    async with kubernetes.aio.client.ApiClient(configuration) as client:
        yield client


# --- kubernetes, sync


def test_the_dynamic_client_finds_and_changes_devices(
    client: kubernetes.client.ApiClient, namespace: str, device_definitions: None, tmp_path: Path
) -> None:
    dynamic: Any = kubernetes.dynamic.DynamicClient(client, str(tmp_path / "cache"))  # type: ignore[no-untyped-call]
    devices = dynamic.resources.get(api_version="devices.kubeedge.io/v1beta1", kind="Device")
    made = devices.create(device("dynamic"), namespace=namespace)
    assert made.spec.nodeName == "gw"
    patch = {"spec": {"nodeName": "gw2"}}
    merge = "application/merge-patch+json"
    assert devices.patch(patch, "dynamic", namespace, content_type=merge).metadata.generation == 2
    devices.status.patch({"status": {"state": "online"}}, "dynamic", namespace, content_type=merge)
    found = devices.get(namespace=namespace, field_selector="metadata.name=dynamic")
    assert [item.status.state for item in found.items] == ["online"]
    devices.delete("dynamic", namespace)
    with pytest.raises(kubernetes.dynamic.exceptions.NotFoundError):
        devices.get("dynamic", namespace)


def test_an_informer_keeps_up(client: kubernetes.client.ApiClient, namespace: str) -> None:
    core: Any = kubernetes.client.CoreV1Api(client)
    told: list[tuple[str, str]] = []
    informer: Any = kubernetes.informer.SharedInformer(  # type: ignore[no-untyped-call]
        core.list_namespaced_config_map, namespace=namespace, label_selector="of=informer"
    )
    for type in ("ADDED", "MODIFIED", "DELETED"):
        informer.add_event_handler(type, lambda obj, type=type: told.append((type, _name(obj))))
    meta: dict[str, Any] = {"labels": {"of": "informer"}}
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "before"} | meta})
    informer.start()
    try:
        eventually(lambda: ("ADDED", "before") in told, "what was there before")
        core.create_namespaced_config_map(namespace, {"metadata": {"name": "after"} | meta})
        core.patch_namespaced_config_map("before", namespace, {"data": {"a": "b"}})
        core.delete_namespaced_config_map("after", namespace)
        eventually(lambda: {("MODIFIED", "before"), ("ADDED", "after"), ("DELETED", "after")} <= set(told), str(told))
    finally:
        informer.stop()
        core.delete_namespaced_config_map("before", namespace)


def _name(obj: Any) -> str:
    return str(obj["metadata"]["name"] if isinstance(obj, dict) else obj.metadata.name)


def test_one_leads_and_another_follows_when_it_is_gone(kubeconfig: Path, api: Api, namespace: str) -> None:
    lease = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/election"
    with ExitStack() as cleanup:
        first = cleanup.enter_context(_candidate(kubeconfig, namespace, "first"))
        eventually(lambda: first.stdout and first.stdout.readline() == b"leading\n", "the first leads")
        renewed = api.get(lease).ok()["spec"]
        assert renewed["holderIdentity"] == "first"
        second = cleanup.enter_context(_candidate(kubeconfig, namespace, "second"))
        eventually(lambda: api.get(lease).ok()["spec"]["renewTime"] > renewed["renewTime"], "a renewal")
        first.kill()
        eventually(lambda: second.stdout and second.stdout.readline() == b"leading\n", "the second leads")
        held = api.get(lease).ok()["spec"]
        assert held["holderIdentity"] == "second"
        assert held["renewTime"] > renewed["renewTime"]
    api.delete(lease).ok()


@contextmanager
def _candidate(kubeconfig: Path, namespace: str, identity: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", CANDIDATE, namespace, "election", identity]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"KUBECONFIG": str(kubeconfig)}) as process:
        try:
            yield process
        finally:
            process.kill()


# --- kubernetes.aio


async def test_the_aio_client_watches_what_it_does(
    aio: kubernetes.aio.client.ApiClient, namespace: str, device_definitions: None
) -> None:
    custom: Any = kubernetes.aio.client.CustomObjectsApi(aio)
    place = ("devices.kubeedge.io", "v1beta1", namespace, "devices")
    before = (await custom.list_namespaced_custom_object(*place))["metadata"]["resourceVersion"]
    await custom.create_namespaced_custom_object(*place, device("aio"))
    await custom.patch_namespaced_custom_object_status(
        *place, "aio", {"status": {"state": "online"}}, _content_type="application/merge-patch+json"
    )
    await custom.delete_namespaced_custom_object(*place, "aio")
    async with kubernetes.aio.watch.Watch() as watch:  # type: ignore[no-untyped-call]
        listing: Any = custom.list_namespaced_custom_object
        events = watch.stream(listing, *place, resource_version=before, timeout_seconds=2)
        told = [event["type"] async for event in events]
    assert told == ["ADDED", "MODIFIED", "DELETED"]


async def test_the_aio_dynamic_client_finds_what_is_served(
    aio: kubernetes.aio.client.ApiClient, namespace: str, device_definitions: None, tmp_path: Path
) -> None:
    dynamic: Any = await kubernetes.aio.dynamic.DynamicClient(aio, str(tmp_path / "cache"))  # type: ignore[no-untyped-call]
    devices = await dynamic.resources.get(api_version="devices.kubeedge.io/v1beta1", kind="Device")
    await devices.create(body=device("aio-dynamic"), namespace=namespace)
    found = await devices.get(name="aio-dynamic", namespace=namespace)
    assert found.spec.deviceModelRef.name == "m"
    await devices.delete(name="aio-dynamic", namespace=namespace)


# --- kopf


@pytest.fixture
def widgets(api: Api, namespace: str) -> Iterator[str]:
    """The path of Widgets that kopf can keep its notes in; they and their definition go in the end."""
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "kopfwidgets.test.example"},
        "spec": {
            "group": "test.example",
            "scope": "Namespaced",
            "names": {"plural": "kopfwidgets", "singular": "kopfwidget", "kind": "KopfWidget"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {
                                "spec": {"type": "object", "properties": {"size": {"type": "integer"}}},
                                "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                            },
                        }
                    },
                }
            ],
        },
    }
    define(api, definition)
    yield f"/apis/test.example/v1/namespaces/{namespace}/kopfwidgets"
    api.delete(f"{DEFINITIONS}/kopfwidgets.test.example")


@pytest.fixture
def operator(kubeconfig: Path, namespace: str, widgets: str, tmp_path: Path) -> Iterator[Path]:
    """`kopf run` as a process of its own, ready; its log."""
    log = tmp_path / "kopf.log"
    command = [sys.executable, "-m", "kopf", "run", str(OPERATOR), "--namespace", namespace, "--standalone"]
    environment = os.environ | {"KUBECONFIG": str(kubeconfig), "HOME": str(tmp_path)}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        eventually(lambda: b"Initial authentication has finished" in log.read_bytes() or process.poll(), "kopf runs")
        assert process.poll() is None, log.read_text()
        yield log
        process.terminate()
        process.wait(WAIT_S)
    finally:
        process.kill()
        process.wait()


def test_an_operator_creates_follows_and_cleans_up(api: Api, namespace: str, widgets: str, operator: Path) -> None:
    config_map = f"/api/v1/namespaces/{namespace}/configmaps/w"
    api.post(widgets, {"metadata": {"name": "w"}, "spec": {"size": 3}}).ok()

    def status() -> Any:
        return api.get(f"{widgets}/w").body.get("status") or {}

    eventually(lambda: status().get("phase") == "Made", f"the status of a new one: {operator.read_text()}")
    assert status()["created"] == {"configMap": "w"}
    made = api.get(config_map).ok()
    widget = api.get(f"{widgets}/w").ok()
    assert made["data"] == {"size": "3"}
    assert made["metadata"]["ownerReferences"][0]["uid"] == widget["metadata"]["uid"]
    assert widget["metadata"]["finalizers"] == ["kopf.zalando.org/KopfFinalizerMarker"]

    api.patch(f"{widgets}/w", {"spec": {"size": 4}}).ok()
    eventually(lambda: status().get("phase") == "Resized from 3", "the status of a changed one")
    assert api.get(config_map).ok()["data"] == {"size": "4"}
    beats = status().get("beats", 0)
    eventually(lambda: status().get("beats", 0) > beats + 2, "the timer's beats")

    events = f"/api/v1/namespaces/{namespace}/events"
    posted = eventually(
        lambda: api.get(events, query={"fieldSelector": "involvedObject.name=w,reason=Made"}).ok()["items"], "an event"
    )
    assert posted[0]["message"] == "of size 3"

    api.delete(f"{widgets}/w").ok()
    eventually(lambda: api.get(f"{widgets}/w").code == 404, "the widget goes once its finalizer is taken off")
    assert api.get(config_map).code == 404
    assert "Traceback" not in operator.read_text()
