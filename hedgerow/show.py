"""What `hedgerow up` shows until it is told to stop: the live table in a terminal, a few lines elsewhere."""

import asyncio
import collections
import contextlib
import logging
import time
from collections.abc import Callable, Iterator

from rich.console import Console, RenderableType
from rich.live import Live

from hedgerow import table
from hedgerow.up import Site

REFRESH_PER_S = 4
_NOTES = 3
_NOTED_S = 30.0
"""How long a warning is shown."""


async def show(running: Site, console: Console) -> None:
    """Show what Kubernetes knows until cancelled, or until the terminal is gone."""
    await live(console, lambda: _hints(running), lambda notes: _screen(running, notes))


async def live(console: Console, lines: Callable[[], list[str]], screen: Callable[[list[str]], RenderableType]) -> None:
    """Show a screen, made of the newest warnings, until cancelled or the terminal is gone; without a terminal show lines."""
    if not console.is_terminal:
        for line in lines():
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        await asyncio.get_running_loop().create_future()
    with (
        contextlib.suppress(OSError),
        _notes() as notes,
        Live(console=console, auto_refresh=False, screen=True) as shown,
    ):
        while True:
            shown.update(screen(notes.newest()), refresh=True)
            await asyncio.sleep(1 / REFRESH_PER_S)


class _Notes(logging.Handler):
    """The newest warnings, which would otherwise be written across the table."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        self._records: collections.deque[logging.LogRecord] = collections.deque(maxlen=_NOTES)

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)

    def newest(self) -> list[str]:
        return [self.format(record) for record in self._records if time.time() - record.created < _NOTED_S]


@contextlib.contextmanager
def _notes() -> Iterator[_Notes]:
    notes = _Notes()
    root = logging.getLogger()
    before, root.handlers = root.handlers, [notes]
    try:
        yield notes
    finally:
        root.handlers = before


def _screen(running: Site, notes: list[str]) -> RenderableType:
    cluster = running.cluster
    return table.screen(cluster.devices.values(), cluster.models, cluster.nodes, notes, _hints(running))


def _hints(running: Site) -> list[str]:
    stack = running.stack
    lines = [
        f"MQTT 127.0.0.1:{stack.ports.mqtt}   logs {stack.folder / 'logs'}",
        "In a second terminal:",
        f"  export KUBECONFIG={stack.kubeconfig}",
        "  kubectl get nodes,devices        kubectl edit device boiler" if running.plc_port else "  kubectl get nodes",
        "Ctrl-C stops everything.",
    ]
    if running.without_boards:
        lines.insert(0, f"No boards: {running.without_boards}")
    return lines
