"""A gateway for the tests of its local API: as a core with a store in memory, and as the real process, with no cloud at all."""

import asyncio
import base64
import json
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import msgspec

from edge_gateway.broker.tests.brokers import BrokerProcess
from edge_gateway.edge_core import EdgeCore
from edge_gateway.effects import Effects
from edge_gateway.local_api.access import Rights
from edge_gateway.local_api.requests import Answer, Request, Write
from edge_gateway.local_api.resources import LocalApi
from edge_gateway.local_api.views import Watch
from edge_gateway.meta_manager import FOR_ALL
from edge_gateway.store.memory import MemoryStore
from edge_gateway.store.sqlite import SqliteStore
from edge_gateway.tests.site import NOW, a_device, a_model
from edgewire import message, topics
from edgewire.tests.golden import sample

MACHINE = json.loads(sample("nodestatus"))["content"]
VIEWER, OPERATOR = Rights("app", False, False), Rights("hmi", True, False)
DEVICE = "/apis/devices.kubeedge.io/v1beta1/namespaces/default/devices/s1"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def _labelled(content: dict[str, Any]) -> dict[str, Any]:
    content["metadata"] |= {
        "namespace": "default",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"line": "a"},
    }
    return content


def objects() -> dict[str, dict[str, Any]]:
    """What a cloud once sent: by the key under which the store has it."""
    pod_metadata = {"name": "web", "namespace": "default", "uid": "p1", "resourceVersion": "7"}
    pod_spec = {"nodeName": "edge1", "containers": [{"name": "main", "image": "none", "command": ["sleep", "600"]}]}
    found = {
        "default/configmap/settings": {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "settings", "namespace": "default", "uid": "c1", "resourceVersion": "5"},
            "data": {"a": "1", "b": "2"},
        },
        "default/device/s1": msgspec.to_builtins(a_device({"speed": "5"})),
        "default/device/s2": msgspec.to_builtins(a_device(name="s2", uid="u2")),
        "default/devicemodel/meter": msgspec.to_builtins(a_model()),
        "default/pod/web": {"apiVersion": "v1", "kind": "Pod", "metadata": pod_metadata, "spec": pod_spec},
    }
    return {key: _labelled(content) for key, content in found.items()}


class Gateway:
    """A local API whose gateway's effects are carried out."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.store.write([("object", key, msgspec.json.encode(content)) for key, content in objects().items()])
        self.now = NOW
        self.woken = 0
        self.start()

    def start(self) -> None:
        """Come back as the store says."""
        self.core = EdgeCore("edge1", wanted=lambda topic: True, machine=MACHINE, kept=FOR_ALL)
        self.store.write(self.core.restore(self.store, self.now).changes)
        self.api = LocalApi(self.core, self.now)
        self.api.watchers.add(self._wake)

    def _wake(self) -> None:
        self.woken += 1

    def perform(self, effects: Effects) -> Effects:
        self.store.write(effects.changes)
        self.api.changed(effects)
        return effects

    def ask(
        self, path: str, accept: str = "", method: str = "GET", body: Any = None, rights: Rights = VIEWER, **more: str
    ) -> Any:
        """The answer's body. `content_type` goes into the request, everything else into the query."""
        self.now += 1
        content_type = more.pop("content_type", "application/merge-patch+json")
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        outcome = self.api.handle(Request(method, path, more, rights, accept, content_type, raw), self.now)
        if isinstance(outcome, Write):
            self.perform(outcome.effects)
            outcome = self.api.written(outcome, self.now)
        assert isinstance(outcome, Answer)
        return outcome.body

    def watch(self, path: str, accept: str = "", **query: str) -> Watch:
        outcome = self.api.handle(Request("GET", path, {"watch": "true", **query}, VIEWER, accept), self.now)
        assert isinstance(outcome, Watch)
        return outcome

    def told(self, watch: Watch) -> list[tuple[str, str]]:
        """Type and name of what a watch says next."""
        return [(event["type"], event["object"]["metadata"].get("name", "")) for event in watch.events(self.now)]

    def report(self, **values: str) -> None:
        """The device reports."""
        self.now += 1
        twin = {
            name: {"actual": {"value": value, "metadata": {"timestamp": self.now}}} for name, value in values.items()
        }
        payload = json.dumps({"event_id": "e", "timestamp": self.now, "twin": twin}).encode()
        self.perform(
            self.core.from_broker(topics.of_device("default/s1", topics.UPDATE), payload, len(payload), self.now)
        )

    def cloud(self, operation: str, key: str, content: dict[str, Any] | None = None) -> Effects:
        """The cloud sends an object."""
        self.now += 1
        sent = message.build(operation, key, content, source="devicecontroller", resource_version="1")
        return self.perform(self.core.from_cloud(message.decode(message.encode(sent)), self.now))


class Edgecore(BrokerProcess):
    """The real process, with what a cloud once sent in its store, and no cloud."""

    name = "edgecore"

    def __init__(
        self,
        folder: Path,
        runtime: str = "process",
        stored: dict[str, dict[str, Any]] | None = None,
        broker: dict[str, Any] | None = None,
        edged: dict[str, Any] | None = None,
    ) -> None:
        """`stored` is what a cloud once sent; `broker` and `edged` are further keys of these."""
        super().__init__(folder, settings=broker)
        self.data = folder / "data"
        self.socket = self.data / "local-api" / "api.sock"
        self.kubeconfig = self.data / "local-api" / "kubeconfig"
        self.file = folder / "edgecore.yaml"
        self.file.write_text(
            json.dumps(
                {
                    "node": "edge1",
                    "data_dir": str(self.data),
                    "broker": {"port": self.port, **self.settings},
                    "edged": {"runtime": runtime, "leave_running": False, **(edged or {})},
                    "local_api": {"port": 0},
                }
            )
        )
        self.data.mkdir()
        asyncio.run(self._fill(stored or objects()))

    async def _fill(self, stored: dict[str, dict[str, Any]]) -> None:
        store = SqliteStore(self.data / "edge.db")
        store.write([("object", key, msgspec.json.encode(content)) for key, content in stored.items()])
        await store.close()

    def command(self) -> list[str]:
        return [sys.executable, "-m", "edge_gateway", str(self.file)]

    def _accepts(self) -> bool:
        if not super()._accepts():
            return False
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.socket)) == 0

    def tls(self) -> ssl.SSLContext:
        """How to speak to the port."""
        cluster = json.loads(self.kubeconfig.read_text())["clusters"][0]["cluster"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python has it since 3.13
        return context

    @property
    def api_port(self) -> int:
        """Where the local API listens."""
        server = json.loads(self.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        return int(server.rpartition(":")[2])
