"""A user's hands in a Kubernetes cluster: makes, changes and reads Devices in a namespace of the test's own."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import yaml

from cloud.definitions import FOLDER
from cloud.kube import Kube
from cloud.objects import DEFINITIONS, DEVICE_MODELS, DEVICES, NAMESPACES, NODES, ResourceType
from cloud.tests import desk
from cloud.tests.network import until
from cloud.writes import JSON, MERGE_PATCH, Answer, Request


class Cluster:
    """One namespace."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.kubeconfig = kubeconfig
        self.namespace = namespace
        self.kube = Kube(kubeconfig)

    async def send(self, method: str, path: str, body: Any = None, content_type: str = JSON) -> Answer:
        content = b"" if body is None else msgspec.json.encode(body)
        return await self.kube.send(Request(method, path, content, content_type))

    async def create(self, type: ResourceType, object: dict[str, Any], namespace: str = "") -> dict[str, Any]:
        answer = await self.send("POST", type.path(namespace), object)
        assert answer.ok, answer
        return _object(answer)

    async def create_device(self, name: str, **more: Any) -> dict[str, Any]:
        return await self.create(DEVICES, self._mine(desk.device(name, **more)), self.namespace)

    async def create_model(self, name: str = "m", *properties: str) -> dict[str, Any]:
        return await self.create(DEVICE_MODELS, self._mine(desk.model(name, *properties)), self.namespace)

    def _mine(self, object: dict[str, Any]) -> dict[str, Any]:
        metadata = {**object["metadata"], "namespace": self.namespace}
        return {**object, "apiVersion": "devices.kubeedge.io/v1beta1", "metadata": metadata}

    async def set_desired(self, name: str, value: str) -> None:
        spec = {"properties": [{"name": "temp", "desired": {"value": value}}]}
        answer = await self.send("PATCH", DEVICES.path(self.namespace, name), {"spec": spec}, MERGE_PATCH)
        assert answer.ok, answer

    async def move(self, name: str, node: str) -> None:
        path = DEVICES.path(self.namespace, name)
        assert (await self.send("PATCH", path, {"spec": {"nodeName": node}}, MERGE_PATCH)).ok

    async def delete_device(self, name: str) -> None:
        assert (await self.send("DELETE", DEVICES.path(self.namespace, name))).ok

    async def device(self, name: str) -> dict[str, Any]:
        return _object(await self.kube.get(DEVICES.path(self.namespace, name)))

    async def reported(self, name: str, property: str = "temp") -> str | None:
        status = (await self.device(name)).get("status", {})
        values = {t["propertyName"]: t.get("reported", {}).get("value") for t in status.get("twins", [])}
        return values.get(property)

    async def until_reported(self, name: str, value: str, property: str = "temp") -> None:
        async def holds() -> bool:
            return await self.reported(name, property) == value

        await until(holds, f"{property}={value} of {name}")

    async def until_accepted(self, name: str, status: str, reason: str) -> None:
        async def holds() -> bool:
            conditions = (await self.device(name)).get("status", {}).get("conditions", [])
            return [(c["status"], c["reason"]) for c in conditions] == [(status, reason)]

        await until(holds, f"{name} is accepted={status} reason={reason}")

    async def until_node_is(self, node: str, status: str) -> dict[str, Any]:
        async def found() -> dict[str, Any] | None:
            answer = await self.kube.get(NODES.path(name=node))
            object = _object(answer) if answer.ok else {}
            ready = [c["status"] for c in object.get("status", {}).get("conditions", []) if c["type"] == "Ready"]
            return object if ready == [status] else None

        node_object: dict[str, Any] = await until(found, f"node {node} is {status}")
        return node_object


@asynccontextmanager
async def cluster_of(kubeconfig: Path) -> AsyncIterator[Cluster]:
    """A new namespace in a cluster, and the project's definitions there."""
    cluster = Cluster(kubeconfig, f"test-{secrets.token_hex(4)}")
    try:
        for path in FOLDER.glob("*devices.kubeedge.io*.yaml"):
            await cluster.send("POST", DEFINITIONS.path(), yaml.safe_load(path.read_text()))
        await cluster.create(NAMESPACES, {"metadata": {"name": cluster.namespace}})
        yield cluster
    finally:
        await cluster.kube.close()


def _object(answer: Answer) -> dict[str, Any]:
    object: dict[str, Any] = msgspec.json.decode(answer.body)
    return object
