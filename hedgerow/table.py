"""Devices as tables for a terminal."""

import time
from collections.abc import Collection, Iterable, Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from device_fw.tools import said
from edgewire.device import DeviceModel
from hedgerow.cluster import DeviceView, NodeView

_STATE_STYLES = {"online": "green", "ok": "green", "offline": "red", "unhealthy": "yellow"}


LONGEST = 10_000
"""Characters of a cell."""


def cell(text: str, style: str = "") -> Text:
    """A text as it is: neither rich nor the terminal obeys what a device wrote into it."""
    return Text(said.plain(text, LONGEST), style)


def devices(views: Collection[DeviceView], models: Mapping[str, DeviceModel]) -> RenderableType:
    """One row a property: reported and desired, how long ago it was measured, the device's state."""
    if not views:
        return Text("No devices yet.")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("DEVICE", "PROPERTY"):
        table.add_column(column, no_wrap=True)
    for column, width in (
        ("REPORTED", 12),
        ("DESIRED", 7),
        ("AGE", 4),
    ):  # so that columns stand still while values change
        table.add_column(column, justify="right", no_wrap=True, min_width=width)
    table.add_column("STATE", no_wrap=True)
    for view in sorted(views, key=lambda view: view.id):
        for number, row in enumerate(_rows(view, models.get(view.model_id))):
            state = cell(view.status.state or _why_not(view), _STATE_STYLES.get(view.status.state, "dim"))
            table.add_row(view.id if not number else "", *map(cell, row), state if not number else "")
    return table


def screen(
    views: Collection[DeviceView],
    models: Mapping[str, DeviceModel],
    nodes: Mapping[str, NodeView],
    notes: Iterable[str],
    hints: Iterable[str],
) -> RenderableType:
    """The live view: which links are up, the devices, what was complained of lately, and some lines below."""
    links = Text("gateways  ", "bold")
    for name, node in sorted(nodes.items()):
        links.append(f"{name} ")
        links.append("linked  " if node.ready else "not linked  ", "green" if node.ready else "red")
    if not nodes:
        links.append("none yet", "dim")
    complaints = (Text(said.plain(line, LONGEST), "yellow", no_wrap=True, overflow="ellipsis") for line in notes)
    return Group(links, Text(), devices(views, models), Text(), *complaints, *(Text(line, "dim") for line in hints))


def _rows(view: DeviceView, model: DeviceModel | None) -> Iterable[tuple[str, str, str, str]]:
    declared = [p.name for p in model.spec.properties] if model is not None else []
    names = declared or [p.name for p in view.spec.properties]
    if not names:
        yield "", "", "", ""
    for name in names:
        reported = view.reported(name)
        of_model = model.property(name) if model is not None else None
        unit = f" {of_model.unit}" if of_model is not None and of_model.unit else ""
        value = f"{reported.value}{unit}" if reported is not None else "-"
        yield name, value, view.desired(name) or "", _age(reported.metadata.get("timestamp", "") if reported else "")


def _age(timestamp: str) -> str:
    if not timestamp.isdigit():
        return ""
    seconds = max(0.0, time.time() - int(timestamp) / 1000)
    if seconds < 120:
        return f"{seconds:.0f}s"
    return f"{seconds / 60:.0f}m" if seconds < 7200 else f"{seconds / 3600:.0f}h"


def _why_not(view: DeviceView) -> str:
    accepted = view.condition("Accepted")
    return accepted.reason if accepted is not None and accepted.status != "True" else "no report yet"
