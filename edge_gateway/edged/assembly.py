"""Builds Edged from its configuration. Imported only where pods are run."""

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from edge_gateway.config import EdgeConfig
from edge_gateway.edge_core import EdgeCore
from edge_gateway.edged.cgroups import Cgroups
from edge_gateway.edged.environment import Facts
from edge_gateway.edged.orders import Orders
from edge_gateway.edged.process import ProcessRuntime
from edge_gateway.edged.service import Edged
from edge_gateway.edged.volumes import Volumes
from edge_gateway.store import Store
from edgewire import __version__

RUNTIME_LABEL = "hedgerow.dev/runtime"
"""What runs the node's pods; pods that need images can avoid nodes of plain processes by it."""


def node_facts(config: EdgeConfig) -> dict[str, object]:
    """What the Node says of its runtime, beside `machine.describe`."""
    kind = config.edged.runtime
    return {"pods": config.edged.max_pods, "runtime": f"{kind}://{__version__}"}


def build(
    config: EdgeConfig,
    core: EdgeCore,
    store: Store,
    machine: Mapping[str, object],
    mark: Callable[[list[str]], None],
) -> Edged:
    """The service; `machine` is `machine.describe`'s, `mark` is told what the cloud does not know."""
    folder = config.data_dir.absolute()
    addresses, cpus, memory = machine["addresses"], machine["cpus"], machine["memory_bytes"]
    assert isinstance(addresses, list)
    assert isinstance(cpus, int)
    assert isinstance(memory, int)
    facts = Facts(config.node, addresses[0] if addresses else "127.0.0.1", cpus, memory)
    own = f"{config.node}-{hashlib.sha256(bytes(folder)).hexdigest()[:8]}"
    in_memory = config.edged.memory_dir or _memory_dir(own)
    volumes = Volumes(folder / "pods", in_memory, facts, core.content_of)
    runtime = ProcessRuntime(folder / "processes", Cgroups(own))
    logs = folder / config.edged.log_dir
    orders = Orders(facts, core.content_of, volumes, logs)
    return Edged(core, store, runtime, volumes, orders, mark, leave_running=config.edged.leave_running)


def _memory_dir(own: str) -> Path:
    """A folder in memory that no other gateway of this machine has."""
    if os.geteuid() == 0:
        return Path("/run/hedgerow") / own
    return Path("/dev/shm") / f"hedgerow-{os.geteuid()}-{own}"
