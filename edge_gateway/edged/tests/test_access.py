"""What a pod that asks for the local API finds in its containers."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_gateway.edged.access import ANNOTATION, NoAccess
from edge_gateway.edged.orders import Orders
from edge_gateway.edged.pods import Pod, parse
from edge_gateway.edged.tests.bench import FACTS, a_container
from edge_gateway.edged.volumes import Volumes
from edge_gateway.local_api.renewal import Renewal

PLACE = "/var/run/secrets/kubernetes.io/serviceaccount"
CLUSTERS_OWN = {
    "name": "kube-api-access-x7",
    "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}, {"configMap": {"name": "kube-root-ca.crt"}}]},
}


class Told(NoAccess):
    """An API for every pod with the annotation."""

    def __init__(self, place: str = PLACE) -> None:
        self.place = place
        self.token = b"first"

    def asked(self, pod: Pod) -> bool:
        return ANNOTATION in pod.metadata.annotations

    def files(self, pod: Pod) -> Mapping[str, bytes]:
        return {"token": self.token}

    def environment(self, pod: Pod, address: str, folder: str) -> Mapping[str, str]:
        return {"KUBERNETES_SERVICE_HOST": address or "here", "FOLDER": folder}


class Desk:
    """Pods' volumes and orders."""

    def __init__(self, folder: Path, api: Told) -> None:
        self.volumes = Volumes(folder / "disk", folder / "memory", FACTS, lambda name: None, api)
        self.orders = Orders(FACTS, lambda name: None, self.volumes, folder / "logs")

    def mounted(self, pod: Pod) -> dict[str, Path]:
        self.volumes.prepare(pod)
        [container] = pod.spec.containers
        return {mount.path: mount.source for mount in self.volumes.mounts(pod, container, {})}

    def env(self, pod: Pod, address: str = "") -> Mapping[str, str]:
        return self.orders.order(pod, pod.spec.containers[0], 0, address).env


def content(asks: bool = True, *volumes: dict[str, Any], **container: Any) -> bytes:
    annotations = {ANNOTATION: "viewer"} if asks else {}
    metadata = {"name": "app", "uid": "u1", "namespace": "default", "annotations": annotations, "resourceVersion": "1"}
    spec = {"containers": [a_container(**container)], "volumes": volumes}
    return msgspec.json.encode({"metadata": metadata, "spec": spec})


def a_pod(asks: bool = True, *volumes: dict[str, Any], **container: Any) -> Pod:
    return parse(content(asks, *volumes, **container))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, Told())


def test_a_pod_that_asks_has_files_in_memory_and_variables(desk: Desk, tmp_path: Path) -> None:
    pod = a_pod()
    source = desk.mounted(pod)[PLACE]
    assert source.is_relative_to(tmp_path / "memory" / "u1")
    assert (source / "token").read_bytes() == b"first"
    assert desk.env(pod) == {"KUBERNETES_SERVICE_HOST": "here", "FOLDER": PLACE}
    assert desk.env(pod, "10.88.0.7")["KUBERNETES_SERVICE_HOST"] == "10.88.0.7"


def test_a_pod_that_does_not_ask_has_neither(desk: Desk) -> None:
    assert (desk.mounted(a_pod(False)), desk.env(a_pod(False))) == ({}, {})


def test_variables_of_the_pods_own_count_more(desk: Desk) -> None:
    pod = a_pod(env=[{"name": "KUBERNETES_SERVICE_HOST", "value": "elsewhere"}])
    assert desk.env(pod)["KUBERNETES_SERVICE_HOST"] == "elsewhere"


def test_the_volume_that_a_cluster_adds_gives_way(desk: Desk) -> None:
    mounts = [{"name": "kube-api-access-x7", "mountPath": PLACE}]
    assert desk.mounted(a_pod(True, CLUSTERS_OWN, volumeMounts=mounts))[PLACE].joinpath("token").exists()


def test_what_a_pod_itself_mounts_there_does_not(desk: Desk) -> None:
    mounts = [{"name": "own", "mountPath": PLACE}]
    found = desk.mounted(a_pod(True, {"name": "own", "emptyDir": {}}, volumeMounts=mounts))
    assert found[PLACE].name == "own"


def test_where_nothing_can_be_mounted_the_files_are_where_they_lie(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Told(place=""))
    [(path, source)] = desk.mounted(a_pod()).items()
    assert path == str(source)
    assert desk.env(a_pod())["FOLDER"] == path


def test_they_go_with_the_pod(desk: Desk) -> None:
    source = desk.mounted(a_pod())[PLACE]
    desk.volumes.remove("u1")
    assert not source.exists()
    desk.volumes.renew_access(a_pod())
    assert not source.exists(), "nothing is renewed of what is gone"


async def test_tokens_of_running_pods_are_kept_young(tmp_path: Path) -> None:
    api = Told()
    desk = Desk(tmp_path, api)
    pods = [a_pod(), a_pod(False)]
    source = desk.mounted(a_pod())[PLACE]
    api.token = b"second"
    running = asyncio.create_task(
        Renewal(lambda: pods, api, desk.volumes.renew_access, look_s=0.01).run(asyncio.Event())
    )
    try:
        async with asyncio.timeout(30):
            while (source / "token").read_bytes() != b"second":  # noqa: ASYNC110 (files tell nobody)
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
