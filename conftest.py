"""Options of the whole suite."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from hil_tests.bench.podman_storage import PodmanFailed, PodmanStorage, lacking

pytest_plugins = ["pytester", "hil_tests.bench.plugin"]

# What an example may cost depends on what else the machine does, and is no property of the code.
settings.register_profile("hedgerow", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hedgerow")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the Kubernetes contract suite run against any cluster, and the Bluetooth tests on real adapters."""
    parser.addoption(
        "--kubeconfig",
        metavar="FILE",
        default=None,
        help="run the Kubernetes contract tests against this cluster instead of the embedded API",
    )
    parser.addoption("--ble-adapter", metavar="HCI", default=None, help="run the Bluetooth tests on this adapter: hci0")
    parser.addoption(
        "--ble-instrument",
        metavar="TRANSPORT",
        default="hci-socket:1",
        help="the adapter that plays the instruments then, as bumble names it",
    )


@pytest.fixture(scope="session")
def podman_storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodmanStorage]:
    """A Podman of its own with one image."""
    from hil_tests.bench.plugin import LACKS
    from hil_tests.conftest import missing

    if os.geteuid() != 0:
        pytest.skip(LACKS + "root, which a Podman of its own needs")  # no package gives that
    if why := lacking():
        missing(f"Podman: {why}")
    storage = PodmanStorage(tmp_path_factory.mktemp("podman"))
    try:
        storage.make()
    except PodmanFailed as error:
        if not any(word in str(error).lower() for word in ("not permitted", "permission denied")):
            raise
        pytest.skip(f"{LACKS}the rights to run containers: {error}")  # no package gives that either
    yield storage
    storage.remove()
