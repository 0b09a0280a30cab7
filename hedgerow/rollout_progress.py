"""How a rollout goes on, shown until it comes to its end: a bar in a terminal, a line for each change elsewhere."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from cloud.firmware_objects import ABORTED, COMPLETE, DeviceFirmware
from edgewire.rollout import FINISHED
from hedgerow import rollout_table


async def show(changes: AsyncGenerator[DeviceFirmware], console: Console | None = None) -> DeviceFirmware:
    """Show a rollout after each of its changes; the rollout at its end."""
    console = console or Console()
    said = ""
    async with aclosing(changes):
        with Live(console=console, auto_refresh=False, transient=False) as live:
            async for firmware in changes:
                line = rollout_table.line(firmware)
                if console.is_terminal:
                    live.update(_screen(firmware, line), refresh=True)
                elif line != said:
                    console.print(line, markup=False, highlight=False, soft_wrap=True)
                said = line
                if ended(firmware):
                    return firmware
    raise AssertionError("a watch ends only by an error")


def ended(firmware: DeviceFirmware) -> bool:
    """Whether nothing more happens to a rollout, as it stands."""
    current = firmware.status.observed_generation == firmware.metadata.generation
    return current and firmware.status.phase in (COMPLETE, ABORTED)


def _screen(firmware: DeviceFirmware, line: str) -> Group:
    counts = firmware.status.counts
    done = sum(counts.get(phase, 0) for phase in FINISHED)
    bar = ProgressBar(total=max(1, counts.get("total", 1)), completed=done, width=40)
    return Group(Text(f"{firmware.metadata.name} {firmware.spec.image.version}", "bold"), bar, Text(line))
