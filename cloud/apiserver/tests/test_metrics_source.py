"""What nodes tell of their pods, as whoever asks for metrics gets it."""

import json
from pathlib import Path

import pytest
from aiohttp.test_utils import make_mocked_request

from cloud.apiserver import metrics_source
from cloud.apiserver.kubelets import Kubelets
from cloud.apiserver.listing import Lister
from cloud.apiserver.metrics_source import MetricsSource
from cloud.apiserver.requests import Target
from cloud.apiserver.resources import METRICS_GROUP
from cloud.apiserver.tests.core import Core
from cloud.apiserver.tests.test_metrics import stats


class Boasters(Kubelets):
    """Each node tells of the same pod, as if that were its own; of the node `idle` it uses nothing."""

    def __init__(self) -> None:
        super().__init__(Path("unused"))
        self._second = 100.0

    async def fetch(self, address: str, port: int, path: str) -> bytes:
        self._second += 10.0
        cpu_s = 0.0 if "/idle/" in path else self._second
        pod = {"podRef": {"name": "web", "namespace": "default"}, "containers": [stats(self._second, cpu_s, name="c")]}
        return json.dumps({"node": stats(self._second, cpu_s), "pods": [pod]}).encode()


async def test_a_node_speaks_for_its_own_pods_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_source, "WINDOW_S", 0.0)
    core = Core()
    endpoints = {"kubeletEndpoint": {"Port": 10250}}
    for node in ("idle", "boaster"):
        status = {"addresses": [{"type": "InternalDNS", "address": "cloudcore"}], "daemonEndpoints": endpoints}
        core.create("nodes", {"metadata": {"name": node}, "status": status})
        name = "web" if node == "idle" else "zeta"
        spec = {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}
        core.create("pods", {"metadata": {"name": name}, "spec": spec})
    source = MetricsSource(core.objects, Lister(core.objects.state, core.objects.now), Boasters())
    found = await source.answer(make_mocked_request("GET", "/"), Target(METRICS_GROUP, "v1beta1", "pods"))
    used = {item["metadata"]["name"]: item["containers"][0]["usage"]["cpu"] for item in found["items"]}
    assert used == {"web": "0n"}
