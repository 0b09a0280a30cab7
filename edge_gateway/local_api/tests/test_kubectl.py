"""kubectl, of whatever version is installed, on the gateway itself, with no cloud: logs, events, apply and edit."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_gateway.broker.tests.brokers import until
from edge_gateway.local_api.tests.gateway import Edgecore, objects
from edge_gateway.local_api.tests.test_server import kubectl, kubectl_command

pytestmark = pytest.mark.timeout(240)

SAYS = "echo one; echo two; echo three; while :; do sleep 0.1; [ -e %s ] && echo four && exec sleep 600; done"
DEVICE = {
    "apiVersion": "devices.kubeedge.io/v1beta1",
    "kind": "Device",
    "metadata": {"name": "s2", "namespace": "default"},
    "spec": {"properties": [{"name": "speed", "desired": {"value": "33"}}]},
}


@pytest.fixture(scope="module")
def edgecore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edgecore]:
    folder = tmp_path_factory.mktemp("gateway")
    stored = objects()
    [container] = stored["default/pod/web"]["spec"]["containers"]
    container["command"] = ["sh", "-c", SAYS % (folder / "go")]
    process = Edgecore(folder, stored=stored)
    try:
        process.start()
        until(lambda: "three" in kubectl(process, "logs", "web"), "its pod runs and speaks", 40.0)
        yield process
    finally:
        process.stop()


def speed(edgecore: Edgecore) -> str:
    device = json.loads(kubectl(edgecore, "get", "device", "s2", "-o", "json"))
    return str(next(p["desired"]["value"] for p in device["spec"]["properties"] if p["name"] == "speed"))


def running(edgecore: Edgecore, out: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    command, environment = kubectl_command(edgecore, *arguments)
    with out.open("wb") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=file)


def test_kubectl_shows_the_log_of_a_pod_and_follows_it(edgecore: Edgecore) -> None:
    assert kubectl(edgecore, "logs", "web", "--tail", "2").splitlines() == ["two", "three"]
    assert "container other is not valid" in kubectl(edgecore, "logs", "web", "-c", "other")
    out = edgecore.folder / "followed"
    following = running(edgecore, out, "logs", "-f", "web")
    try:
        until(lambda: "three" in out.read_text(), "kubectl shows what was said before", 40.0)
        (edgecore.folder / "go").touch()
        until(lambda: "four" in out.read_text(), "kubectl shows what is said now", 40.0)
    finally:
        following.kill()
        following.wait()


def test_kubectl_watches_events(edgecore: Edgecore) -> None:
    out = edgecore.folder / "events"
    watching = running(edgecore, out, "get", "events", "-w")
    try:
        until(lambda: "Started container main" in out.read_text(), "kubectl shows what happened", 40.0)
        assert watching.poll() is None, out.read_text()
    finally:
        watching.kill()
        watching.wait()


def test_kubectl_applies_desired_values_again_and_again(edgecore: Edgecore) -> None:
    file = edgecore.folder / "device.json"
    for value in ("33", "34", "34"):
        wish = {**DEVICE, "spec": {"properties": [{"name": "speed", "desired": {"value": value}}]}}
        file.write_text(json.dumps(wish))
        done = kubectl(edgecore, "apply", "--validate=false", "-f", str(file))
        assert "device.devices.kubeedge.io/s2" in done, done
        assert speed(edgecore) == value, done


def test_kubectl_edits_a_desired_value(edgecore: Edgecore, monkeypatch: pytest.MonkeyPatch) -> None:
    patch = '{"spec":{"properties":[{"name":"speed","desired":{"value":"61"}}]}}'
    kubectl(edgecore, "patch", "device", "s2", "--type=merge", "-p", patch)
    monkeypatch.setenv("EDITOR", 'sed -i "s/value: .61./value: \\"62\\"/"')
    done = kubectl(edgecore, "edit", "--validate=false", "device", "s2")
    assert "edited" in done, done
    assert speed(edgecore) == "62"


def test_kubectl_reads_lists_in_pages(edgecore: Edgecore) -> None:
    shown = kubectl(edgecore, "get", "devices", "--chunk-size=1")
    assert [line.split()[0] for line in shown.splitlines()] == ["NAME", "s1", "s2"]
