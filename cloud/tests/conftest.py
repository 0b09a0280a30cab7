"""Fixtures: an embedded Kubernetes API of the whole session, certificates, and a cloudcore of the test's own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cloud import certificates
from cloud.apiserver.tests.process import ServerProcess
from cloud.tests.cluster import Cluster, cluster_of
from cloud.tests.network import free_port


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of certificates for the hub on loopback and nodes edge1 and edge2."""
    folder = tmp_path_factory.mktemp("pki")
    certificates.ensure_server(folder, ["localhost", "127.0.0.1"])
    certificates.ensure_node(folder, "edge1")
    certificates.ensure_node(folder, "edge2")
    return folder


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A Kubernetes API that stays up."""
    yield from _serving(tmp_path_factory.mktemp("kubernetes"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A Kubernetes API to stop, kill and start again; it keeps its port."""
    yield from _serving(tmp_path)


def _serving(folder: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(folder / "data", free_port())
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
async def cluster(shared_server: ServerProcess) -> AsyncIterator[Cluster]:
    """A namespace of the test's own in the API that stays up."""
    async with cluster_of(shared_server.kubeconfig) as cluster:
        yield cluster


@pytest.fixture
async def own_cluster(server: ServerProcess) -> AsyncIterator[Cluster]:
    """The same in the API that is the test's own."""
    async with cluster_of(server.kubeconfig) as cluster:
        yield cluster
