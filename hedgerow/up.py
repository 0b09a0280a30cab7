"""`hedgerow up`: the stack and, with `--demo`, devices for it, from start to stop, with a live table or a tour."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, RenderableType
from rich.live import Live

from hedgerow import table
from hedgerow.children import Child
from hedgerow.cluster import Cluster
from hedgerow.stack import Ports, Stack, free_port, until
from hil_tests.bench import demo
from hil_tests.bench.cable import Cable
from hil_tests.bench.micropython_board import MicroPythonBoard, Unavailable

PLC_PORT = 5502
REFRESH_PER_S = 4


@dataclass
class Site:
    """Everything that runs."""

    stack: Stack
    cluster: Cluster
    cable: Cable | None = None
    """The uplink, where it can be cut: in the demo."""
    plc_port: int = 0
    plc_state: Path = Path()
    boards: list[MicroPythonBoard] = field(default_factory=list)
    without_boards: str = ""
    """Why there are no boards."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever Kubernetes tells something new."""


@contextlib.asynccontextmanager
async def site(folder: Path, *, with_demo: bool, kubeconfig: Path | None, node: str) -> AsyncIterator[Site]:
    """Start the stack below an absolute folder, and with the demo its devices; stop all in the end. Raises ChildError."""
    ports = Ports.free()
    cable = Cable("127.0.0.1", ports.cloud) if with_demo else None
    if cable is not None:
        await cable.start()
    stack = Stack(
        folder, node=node, ports=ports, kubeconfig=kubeconfig, cloud_port=cable.port if cable is not None else None
    )
    async with contextlib.AsyncExitStack() as cleanup:
        if cable is not None:
            cleanup.push_async_callback(cable.cut)
        cleanup.push_async_callback(stack.stop)
        plc_port, plc_state = free_port(PLC_PORT), folder / "plc.json"
        if with_demo:
            plc = _plc(folder, plc_port, plc_state)
            cleanup.push_async_callback(plc.stop)
            await plc.start()
        await stack.start()
        cluster = await cleanup.enter_async_context(Cluster(stack.kubeconfig))
        running = Site(stack, cluster, cable, plc_port, plc_state)
        if with_demo:
            _start_boards(running, folder, ports.mqtt)
            cleanup.callback(_stop_boards, running.boards)
        watches = [
            asyncio.create_task(watch(running.changed.set))
            for watch in (cluster.watch_devices, cluster.watch_models, cluster.watch_nodes)
        ]
        cleanup.push_async_callback(_cancel, watches)
        yield running


async def show(running: Site, console: Console) -> None:
    """Show what Kubernetes knows until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while not stop.is_set():
            live.update(_screen(running), refresh=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1 / REFRESH_PER_S):
                    await stop.wait()
    console.print("Stopping.")


async def install_demo(running: Site) -> None:
    """Give Kubernetes the demo's Devices; cloudcore installs their definitions first. Raises ClusterError, ChildError."""
    node = running.stack.node
    manifests = demo.plc_manifests(node, running.plc_port)
    if running.boards:
        manifests += demo.board_manifests(node)
    await until(
        running.cluster.serves_devices, lambda: f"no Devices in Kubernetes:\n{running.stack.cloudcore.last_words()}"
    )
    await running.cluster.apply(manifests)


def _screen(running: Site) -> RenderableType:
    stack = running.stack
    lines = [
        f"MQTT   127.0.0.1:{stack.ports.mqtt}      logs   {stack.folder / 'logs'}",
        "In a second terminal:",
        f"  export KUBECONFIG={stack.kubeconfig}",
        "  kubectl get devices    kubectl get nodes    kubectl edit device boiler",
        "Ctrl-C stops everything.",
    ]
    if running.without_boards:
        lines.insert(0, f"No boards: {running.without_boards}")
    return table.screen(running.cluster.devices.values(), running.cluster.models, running.cluster.nodes, lines)


def _plc(folder: Path, port: int, state: Path) -> Child:
    command = [sys.executable, "-m", "hil_tests.bench.plc", "--port", str(port), "--state-file", str(state)]
    return Child("plc", command, folder / "logs" / "plc.log")


def _start_boards(running: Site, folder: Path, mqtt_port: int) -> None:
    try:
        running.boards += demo.boards(folder / "boards", mqtt_port)
    except Unavailable as error:
        running.without_boards = str(error)


def _stop_boards(boards: list[MicroPythonBoard]) -> None:
    for board in boards:
        board.stop()


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
