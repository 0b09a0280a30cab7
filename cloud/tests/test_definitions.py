"""Definitions: applied where they are missing or different, and otherwise left alone."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from cloud.definitions import FOLDER, DefinitionError, Definitions
from cloud.objects import DEFINITIONS, ResourceType
from cloud.tests.cluster import Cluster


@pytest.fixture
def manifest() -> dict[str, Any]:
    """A definition that the cluster has never seen."""
    plural = f"teapots{secrets.token_hex(4)}"
    names = {"plural": plural, "singular": plural[:-1], "kind": plural.capitalize()}
    schema = {"openAPIV3Schema": {"type": "object"}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    spec = {"group": "test.hedgerow.dev", "scope": "Namespaced", "names": names, "versions": [version]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.test.hedgerow.dev"},
        "spec": spec,
    }


@asynccontextmanager
async def applied(cluster: Cluster, folder: Path, manifest: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """The definition in the cluster, once the service says that it is ready."""
    (folder / "test-devices.kubeedge.io.yaml").write_text(yaml.safe_dump(manifest))
    ready = asyncio.Event()
    running = asyncio.create_task(Definitions(cluster.kube, folder).run(ready))
    waiting = asyncio.create_task(ready.wait())
    try:
        await asyncio.wait((running, waiting), timeout=10, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        assert ready.is_set()
        answer = await cluster.kube.get(DEFINITIONS.path(name=manifest["metadata"]["name"]))
        yield msgspec.json.decode(answer.body)
    finally:
        running.cancel()
        waiting.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)


async def test_what_is_missing_is_applied_and_served_when_it_is_ready(
    cluster: Cluster, tmp_path: Path, manifest: dict[str, Any]
) -> None:
    async with applied(cluster, tmp_path, manifest):
        type = ResourceType("/apis/test.hedgerow.dev/v1", manifest["spec"]["names"]["plural"])
        assert (await cluster.kube.get(type.path())).ok


async def test_what_is_there_is_left_alone(cluster: Cluster, tmp_path: Path, manifest: dict[str, Any]) -> None:
    async with applied(cluster, tmp_path, manifest) as first:
        pass
    async with applied(cluster, tmp_path, manifest) as second:
        assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_what_is_different_is_replaced(cluster: Cluster, tmp_path: Path, manifest: dict[str, Any]) -> None:
    async with applied(cluster, tmp_path, manifest):
        pass
    [version] = manifest["spec"]["versions"]
    version["subresources"] = {"status": {}}
    async with applied(cluster, tmp_path, manifest) as found:
        assert found["spec"]["versions"][0]["subresources"] == {"status": {}}


async def test_what_the_api_does_not_take_is_named(cluster: Cluster, tmp_path: Path, manifest: dict[str, Any]) -> None:
    manifest["spec"]["scope"] = "Everywhere"
    with pytest.raises(DefinitionError, match=manifest["metadata"]["name"]):
        async with applied(cluster, tmp_path, manifest):
            pass


def test_the_projects_own_definitions_are_found() -> None:
    assert len(list(FOLDER.glob("*devices.kubeedge.io*.yaml"))) == 2
