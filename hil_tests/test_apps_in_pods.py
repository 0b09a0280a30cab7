"""An application in a pod watches a device and sets a desired value by the local API, on both runtimes, with no cloud at all.

It is the example of docs/local-api.md, with the Kubernetes client and its in-cluster configuration.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_gateway.broker.packets import Publish
from edge_gateway.broker.tests.brokers import Raw
from edge_gateway.local_api.tests.gateway import Edgecore, objects
from edgewire import board, topics
from hil_tests.bench.podman_storage import IMAGE

EXAMPLE = Path(__file__).parents[1] / "examples" / "fan-control"
PYTHON = ("/usr", "/lib", "/lib64", sys.base_prefix, sys.prefix, str(EXAMPLE))
"""What of this machine makes an image with Python and the Kubernetes client of one that has neither."""
DEADLINE_S = 60.0


def the_pod(image: str) -> dict[str, Any]:
    """The example's pod, for a device of the test and with this machine's Python."""
    pod: dict[str, Any] = yaml.safe_load((EXAMPLE / "pod.yaml").read_text())
    pod["metadata"] |= {"uid": "fan", "namespace": "default", "resourceVersion": "3"}
    [container] = pod["spec"]["containers"]
    container |= {"image": image, "command": [sys.executable, "-W", "ignore", str(EXAMPLE / "app.py")]}
    container["env"] = [{"name": "DEVICE", "value": "s1"}, *container["env"][1:]]
    if image != "none":
        folders = {f"python{n}": path for n, path in enumerate(dict.fromkeys(PYTHON)) if Path(path).is_dir()}
        pod["spec"]["volumes"] = [{"name": name, "hostPath": {"path": path}} for name, path in folders.items()]
        container["volumeMounts"] = [
            {"name": name, "mountPath": path, "readOnly": True} for name, path in folders.items()
        ]
    return pod


@pytest.fixture(params=["process", "podman", "static"])
def edgecore(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Edgecore]:
    """A gateway with the example's pod in its store, or in a folder of its own."""
    storage, image = None, "none"
    if request.param == "podman":
        storage, image = request.getfixturevalue("podman_storage"), IMAGE
        for name, value in storage.env.items():
            monkeypatch.setenv(name, value)
    stored = {key: content for key, content in objects().items() if "/pod/" not in key}
    pod, more = the_pod(image), {}
    if request.param == "static":
        (tmp_path / "static").mkdir()
        pod["metadata"] = {name: pod["metadata"][name] for name in ("name", "annotations")}
        (tmp_path / "static" / "pod.yaml").write_text(yaml.safe_dump(pod))
        more = {"static_pods": str(tmp_path / "static")}
    else:
        stored["default/pod/fan-control"] = pod
    process = Edgecore(tmp_path, "podman" if storage is not None else "process", stored, edged=more)
    try:
        process.start()
        yield process
    finally:
        process.stop()
        if storage is not None:
            storage.clear()


@pytest.mark.timeout(240)
def test_an_application_in_a_pod_watches_a_device_and_sets_another_value(edgecore: Edgecore) -> None:
    delta = topics.of_device("default/s1", topics.DELTA)
    with Raw(edgecore).connect("board") as client:
        client.socket.settimeout(DEADLINE_S)
        client.subscribe(delta)
        for temperature, speed in (("41.5", "100"), ("12", "0")):
            report = board.report({"temperature": (temperature, 0)}).encode()
            client.publish(topics.of_device("default/s1", topics.UPDATE), report, qos=0)
            while json.loads(client.next(Publish).payload)["delta"] != {"speed": speed}:
                pass  # what was desired before
