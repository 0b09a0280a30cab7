"""Fixtures: a server of the whole session (or any cluster, by `--kubeconfig`), a namespace of one's own, the project's CRDs."""

import functools
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloud.apiserver.tests import kubectl as kubectl_runs
from cloud.apiserver.tests.http import Api
from cloud.apiserver.tests.process import ServerProcess

MANIFESTS = Path(__file__).parents[2] / "manifests"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DEVICES = "/apis/devices.kubeedge.io/v1beta1"
WAIT_S = 20.0


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of a condition; fails the test when none comes in time."""
    until = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < until, f"never came: {what}"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="session")
def kubeconfig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cluster: the one named by `--kubeconfig`, or an embedded server."""
    named = request.config.getoption("--kubeconfig")
    if named is not None:
        yield Path(named)
        return
    server = ServerProcess(tmp_path_factory.mktemp("apiserver") / "data")
    server.start()
    try:
        yield server.kubeconfig
    finally:
        server.stop()


@pytest.fixture(scope="session")
def embedded(request: pytest.FixtureRequest) -> None:
    """Skip what only holds for the embedded server."""
    if request.config.getoption("--kubeconfig") is not None:
        pytest.skip("about the embedded server only")


@pytest.fixture(scope="session")
def session_api(kubeconfig: Path) -> Iterator[Api]:
    """The API, for fixtures of the session."""
    api = Api(kubeconfig)
    yield api
    api.close()


@pytest.fixture
def api(kubeconfig: Path) -> Iterator[Api]:
    """The API."""
    api = Api(kubeconfig)
    yield api
    api.close()


@pytest.fixture(scope="session")
def namespace(session_api: Api) -> Iterator[str]:
    """The name of a namespace that nobody else uses."""
    name = f"contract-{secrets.token_hex(4)}"
    session_api.post("/api/v1/namespaces", {"metadata": {"name": name}}).ok()
    yield name
    session_api.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture
def environment(kubeconfig: Path, tmp_path: Path) -> dict[str, str]:
    """An environment for programs of their own: no cache, no settings of whoever runs the tests."""
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": str(kubeconfig)}


@pytest.fixture
def kubectl(environment: dict[str, str], namespace: str) -> kubectl_runs.Kubectl:
    """Run kubectl in the namespace: its standard output; fails the test when it fails."""
    return kubectl_runs.runner(environment, namespace)


@pytest.fixture
def maps(api: Api, namespace: str) -> Iterator[str]:
    """The path of the config maps of the namespace; all are removed afterwards."""
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    yield path
    for item in api.get(path).ok()["items"]:
        if item["metadata"].get("finalizers"):
            api.patch(f"{path}/{item['metadata']['name']}", {"metadata": {"finalizers": None}})
    api.delete(path)


@pytest.fixture
def devices(api: Api, namespace: str, device_definitions: None) -> Iterator[str]:
    """The path of the devices of the namespace; all are removed afterwards."""
    path = f"{DEVICES}/namespaces/{namespace}/devices"
    yield path
    api.delete(path)


@pytest.fixture
def pods(api: Api, namespace: str) -> Iterator[str]:
    """The path of the pods of the namespace; all are removed afterwards."""
    account = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
    if "hedgerow" not in api.get("/version").ok()["gitVersion"]:
        eventually(lambda: api.get(account).code == 200, "the default service account")
    path = f"/api/v1/namespaces/{namespace}/pods"
    yield path
    for item in api.get(path).ok()["items"]:
        api.delete(f"{path}/{item['metadata']['name']}", {"gracePeriodSeconds": 0})


@pytest.fixture
def ready_node(api: Api) -> Iterator[str]:
    """The name of a ready node of its own, with room and a label `contract` of its name; it is no machine."""
    name = f"contract-{secrets.token_hex(4)}"
    api.post("/api/v1/nodes", {"metadata": {"name": name, "labels": {"contract": name}}}).ok()
    room = {"cpu": "2", "memory": "1Gi", "pods": "10"}
    ready = {"type": "Ready", "status": "True", "reason": "Test", "message": ""}
    status = {"capacity": room, "allocatable": room, "conditions": [ready]}
    api.patch(f"/api/v1/nodes/{name}/status", {"status": status}).ok()
    eventually(lambda: not api.get(f"/api/v1/nodes/{name}").ok()["spec"].get("taints"), "a node without taints")
    yield name
    api.delete(f"/api/v1/nodes/{name}")


@pytest.fixture(scope="session")
def device_definitions(session_api: Api) -> None:
    """The project's own CRDs, there and served."""
    for path in sorted(MANIFESTS.glob("devices.*.yaml")):
        define(session_api, yaml.safe_load(path.read_text()))


def define(api: Api, definition: dict[str, Any]) -> None:
    """Create a definition, unless it is there, and wait until its resources are served."""
    answer = api.post(DEFINITIONS, definition)
    assert answer.code in (201, 409), answer.body
    spec = definition["spec"]
    for version in spec["versions"]:
        path = f"/apis/{spec['group']}/{version['name']}/{spec['names']['plural']}"
        eventually(functools.partial(_served, api, path), path)


def _served(api: Api, path: str) -> bool:
    return api.get(path).code == 200
