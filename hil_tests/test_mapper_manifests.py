"""The manifests of mappers: what Kubernetes says of their kinds, no more rights than they need, one mapper in each."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from kubernetes.aio import client

from cloud.apiserver.tests.core import Core
from edge_gateway.edged import pod_refusals, pods
from edge_gateway.edged.cgroups import Cgroups
from edge_gateway.edged.process import ProcessRuntime
from edgewire import __version__
from mappers import __main__ as mapper

FOLDER = Path(mapper.__file__).parent / "manifests"
PROTOCOLS = ("ble", "modbus", "serial")
every = pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.yaml")), ids=lambda path: str(path.relative_to(FOLDER)))


def manifest(path: Path) -> dict[str, Any]:
    (found,) = yaml.safe_load_all(path.read_text())
    return dict(found)


def spec_of(document: dict[str, Any]) -> dict[str, Any]:
    """The spec of the pod."""
    spec: dict[str, Any] = document["spec"]["template"]["spec"] if document["kind"] == "DaemonSet" else document["spec"]
    return spec


def as_pod(document: dict[str, Any]) -> dict[str, Any]:
    """The pod that a DaemonSet's controller makes, or the pod itself."""
    name = document["metadata"]["name"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec_of(document)}


def test_each_protocol_has_a_daemon_set_and_a_pod() -> None:
    for folder, kind in ((FOLDER, "DaemonSet"), (FOLDER / "pods", "Pod")):
        found = {path.stem: manifest(path)["kind"] for path in folder.glob("*.yaml")}
        assert found == dict.fromkeys(PROTOCOLS, kind)


@every
def test_every_manifest_is_what_kubernetes_says_of_its_kind(path: Path) -> None:
    document = manifest(path)
    getattr(client, f"V1{document['kind']}").model_validate(document)


@every
def test_the_embedded_api_takes_the_pod(path: Path) -> None:
    core = Core()
    core.create("pods", as_pod(manifest(path)), "default")
    assert core.get("pods", f"mapper-{path.stem}", "default")["spec"]["hostNetwork"] is True


@every
@pytest.mark.parametrize("root", [True, False])
def test_a_gateway_of_plain_processes_takes_it(path: Path, root: bool, tmp_path: Path) -> None:
    document = manifest(path)
    read = pods.parse(msgspec.json.encode(Core().create("pods", as_pod(document), "default")))
    runtime = ProcessRuntime(tmp_path, Cgroups("none", tmp_path / "none"), root=root)
    assert pod_refusals.refusals(read) == []
    if root or document["kind"] == "Pod":
        assert runtime.refusals(read) == []


@every
def test_it_runs_the_mapper_of_its_protocol_and_is_probed_where_that_answers(path: Path) -> None:
    spec = spec_of(manifest(path))
    (container,) = spec["containers"]
    program, _, protocol, _, port = container["command"]
    assert (program, protocol) == ("mapper", path.stem)
    assert protocol in mapper.DRIVERS
    (served,) = container["ports"]
    assert int(port) == served["containerPort"] == served["hostPort"]
    for probe in (container["startupProbe"], container["livenessProbe"]):
        assert probe["httpGet"] == {"path": "/metrics", "port": served["name"], "host": "127.0.0.1"}
    assert container["image"] == f"hedgerow/mappers:{__version__}"


def test_all_three_fit_on_one_gateway() -> None:
    ports = [spec_of(manifest(path))["containers"][0]["ports"][0]["hostPort"] for path in FOLDER.glob("*.yaml")]
    assert len(set(ports)) == len(ports) == 3


@every
def test_only_serial_lines_of_a_cluster_need_privileges(path: Path) -> None:
    document = manifest(path)
    security = spec_of(document)["containers"][0].get("securityContext", {})
    if document["kind"] == "Pod":
        assert security == {}, "an edgecore that is not root could not give them"
    elif path.stem == "serial":
        assert security == {"privileged": True}
    else:
        assert security == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@every
def test_no_password_stands_in_a_manifest(path: Path) -> None:
    env = {variable["name"]: variable for variable in spec_of(manifest(path))["containers"][0]["env"]}
    for key in ("user", "password"):
        of = env[f"HEDGEROW_BROKER_{key.upper()}"]
        assert of["valueFrom"]["secretKeyRef"] == {"name": "mapper-broker", "key": key, "optional": True}
