"""The stack that `hedgerow up` runs and, with `--demo`, devices for it, from start to stop."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from device_fw.tools import firmware
from hedgerow.children import Child
from hedgerow.cluster import Cluster
from hedgerow.ownership import owned
from hedgerow.stack import Ports, Stack, free_port, until
from hil_tests.bench import demo, micropython_board
from hil_tests.bench.cable import Cable
from hil_tests.bench.micropython_board import MicroPythonBoard, Unavailable

PLC_PORT = 5502


@dataclass
class Site:
    """Everything that runs."""

    stack: Stack
    cluster: Cluster
    began_ms: int
    """When its start began, ms since 1970: what is older was reported by an earlier run."""
    cable: Cable | None = None
    """The uplink, where it can be cut: in the demo."""
    plc_port: int = 0
    """0 without the demo."""
    plc_state: Path = Path()
    boards: list[MicroPythonBoard] = field(default_factory=list)
    without_boards: str = ""
    """Why there are no boards."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever Kubernetes tells something new."""


@contextlib.asynccontextmanager
async def site(folder: Path, *, with_demo: bool, kubeconfig: Path | None, node: str) -> AsyncIterator[Site]:
    """Start the stack below an absolute folder, and with the demo its devices; stop all in the end.

    Raises ChildError for what does not start or when the folder is in use, ClusterError when Kubernetes does not take the
    demo's Devices.
    """
    began_ms = time.time_ns() // 1_000_000
    async with contextlib.AsyncExitStack() as cleanup:
        cleanup.enter_context(owned(folder))
        ports = Ports.free()
        cable = Cable("127.0.0.1", ports.cloud) if with_demo else None
        if cable is not None:
            await cable.start()
            cleanup.push_async_callback(cable.cut)
        cloud_port = cable.port if cable is not None else None
        stack = Stack(folder, node=node, ports=ports, kubeconfig=kubeconfig, cloud_port=cloud_port)
        cluster = await cleanup.enter_async_context(Cluster(stack.kubeconfig))
        running = Site(stack, cluster, began_ms, cable)
        if with_demo:
            await _start_plc(running, cleanup)
        cleanup.push_async_callback(stack.stop)
        if with_demo:
            running.without_boards = await asyncio.to_thread(_why_no_boards)
        await stack.start()
        # cloudcore has installed the definitions before it let edgecore in; a real cluster may have been given them otherwise.
        await until(cluster.serves_devices, lambda: f"no Devices in Kubernetes:\n{stack.cloudcore.last_words()}")
        if with_demo:
            await _install_demo(running)
            cleanup.push_async_callback(_stop_boards, running.boards)
            _start_boards(running)
        watches = [
            asyncio.create_task(watch(running.changed.set))
            for watch in (cluster.watch_devices, cluster.watch_models, cluster.watch_nodes)
        ]
        cleanup.push_async_callback(_cancel, watches)
        yield running


async def _install_demo(running: Site) -> None:
    node = running.stack.node
    manifests = demo.plc_manifests(node, running.plc_port)
    if not running.without_boards:
        manifests += demo.board_manifests(node)
    await running.cluster.apply(manifests)


async def _start_plc(running: Site, cleanup: contextlib.AsyncExitStack) -> None:
    folder = running.stack.folder
    running.plc_port, running.plc_state = free_port(PLC_PORT), folder / "plc.json"
    module = [sys.executable, "-m", "hil_tests.bench.plc"]
    command = [*module, "--port", str(running.plc_port), "--state-file", str(running.plc_state)]
    plc = Child("plc", command, folder / "logs" / "plc.log")
    cleanup.push_async_callback(plc.stop)
    await plc.start()


def _why_no_boards() -> str:
    """Empty when this machine can have boards; fetches what they need."""
    try:
        micropython_board.command()
        firmware.umqtt_simple()
    except (Unavailable, firmware.FirmwareError) as error:
        return str(error)
    return ""


def _start_boards(running: Site) -> None:
    if not running.without_boards:
        running.boards += demo.boards(running.stack.folder / "boards", running.stack.ports.mqtt)


async def _stop_boards(boards: list[MicroPythonBoard]) -> None:
    try:
        await asyncio.gather(*(asyncio.to_thread(board.stop) for board in boards))
    except asyncio.CancelledError:
        for pid in (board.pid for board in boards):
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
        raise


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
