"""Builds Edged from its configuration. Imported only where pods are run."""

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from edge_gateway.config import EdgeConfig
from edge_gateway.edge_core import EdgeCore
from edge_gateway.edged.access import Access
from edge_gateway.edged.cgroups import Cgroups
from edge_gateway.edged.environment import Facts
from edge_gateway.edged.orders import Orders
from edge_gateway.edged.pod_life import PodLife
from edge_gateway.edged.pod_status import rfc3339
from edge_gateway.edged.podman import PodmanRuntime
from edge_gateway.edged.podman_cli import Podman, version
from edge_gateway.edged.podman_garbage import PodmanGarbage
from edge_gateway.edged.podman_images import Images
from edge_gateway.edged.podman_store import ImageStore
from edge_gateway.edged.process import ProcessRuntime
from edge_gateway.edged.runtime import Runtime, RuntimeTrouble
from edge_gateway.edged.service import Edged
from edge_gateway.edged.static_pods import StaticPods
from edge_gateway.edged.volumes import Volumes
from edge_gateway.pod_reports import Happened
from edge_gateway.store import Store
from edgewire import __version__
from edgewire.config import ConfigError

log = logging.getLogger(__name__)

RUNTIME_LABEL = "hedgerow.dev/runtime"
"""What runs the node's pods; pods that need images can avoid nodes of plain processes by it."""


class Kind(NamedTuple):
    """What runs the pods of this machine."""

    name: Literal["podman", "process"]
    version: str


def choose(config: EdgeConfig) -> Kind:
    """What the configuration asks for; `auto` takes Podman where it can be used. Raises ConfigError."""
    asked = config.edged.runtime
    if asked == "process" or (asked == "auto" and shutil.which("podman") is None):
        return Kind("process", __version__)
    try:
        return Kind("podman", version())
    except RuntimeTrouble as error:
        if asked == "podman":
            raise ConfigError(f"`edged.runtime` is podman: {error}") from error
        log.warning("= pods run as plain processes reason=%s", error)
        return Kind("process", __version__)


def node_facts(config: EdgeConfig, kind: Kind, labels: Mapping[str, str]) -> dict[str, object]:
    """What the Node says of its runtime, beside `machine.describe`, whose labels are given."""
    runs = f"{kind.name}://{kind.version}"
    return {"pods": config.edged.max_pods, "runtime": runs, "labels": {**labels, RUNTIME_LABEL: kind.name}}


def build(
    config: EdgeConfig,
    kind: Kind,
    core: EdgeCore,
    store: Store,
    machine: Mapping[str, object],
    mark: Callable[[list[str]], None],
    disks: list[Path],
    local_api: Access | None = None,
) -> tuple[Edged, PodmanGarbage | None]:
    """The services; `machine` is `machine.describe`'s, `mark` is told what the cloud does not know; `disks` are folders on those
    whose shortage counts: that of the images is added; `local_api` is for the pods that ask."""
    folder = config.data_dir.absolute()
    addresses, cpus, memory = machine["addresses"], machine["cpus"], machine["memory_bytes"]
    assert isinstance(addresses, list)
    assert isinstance(cpus, int)
    assert isinstance(memory, int)
    facts = Facts(config.node, addresses[0] if addresses else "127.0.0.1", cpus, memory)
    own = f"{config.node}-{hashlib.sha256(bytes(folder)).hexdigest()[:8]}"
    in_memory = config.edged.memory_dir or _memory_dir(own)
    volumes = Volumes(folder / "pods", in_memory, facts, core.content_of, local_api)
    orders = Orders(facts, core.content_of, volumes, folder / config.edged.log_dir)
    of = config.edged
    static = StaticPods(folder / of.static_pods, config.node) if of.static_pods is not None else None

    def edged(runtime: Runtime) -> Edged:
        keeps = of.leave_running
        return Edged(
            core, store, runtime, volumes, orders, mark, leave_running=keeps, max_pods=of.max_pods, static=static
        )

    if kind.name == "process":
        return edged(ProcessRuntime(folder / "processes", Cgroups(own))), None
    podman = Podman(folder / "podman")
    images = ImageStore(podman)
    runtime = PodmanRuntime(own, podman, Images(podman, core.content_of, in_memory, images), folder / "seccomp")
    service = edged(runtime)

    def tell(happened: Happened) -> None:
        log.warning("= %s node=%s message=%s", happened.reason, config.node, happened.message)
        mark(core.pods.happened_to_node(config.node, happened, rfc3339(time.time())))

    def lives() -> list[PodLife] | None:
        return service.lives() if service.restored else None

    return service, PodmanGarbage(images, runtime, lives, tell, of.images, disks)


def _memory_dir(own: str) -> Path:
    """A folder in memory that no other gateway of this machine has."""
    if os.geteuid() == 0:
        return Path("/run/hedgerow") / own
    return Path("/dev/shm") / f"hedgerow-{os.geteuid()}-{own}"
