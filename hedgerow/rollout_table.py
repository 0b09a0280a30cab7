"""Rollouts of firmware as tables for a terminal, and one device's part in them. No I/O."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from cloud.firmware_objects import DeviceFirmware, Seat
from cloud.firmware_planning import place
from device_fw.tools import said
from edgewire import ota, rollout
from edgewire.rollout import FAILED, PENDING, SKIPPED, UPDATED
from hedgerow.cluster import DeviceView
from hedgerow.table import LONGEST, cell

_PHASE_STYLES = {UPDATED: "green", FAILED: "red", SKIPPED: "dim", PENDING: "dim"}
_STATE_STYLES = {"Complete": "green", "Aborted": "red", "Running": "cyan", "Waiting": "yellow", "Paused": "yellow"}


class Row(NamedTuple):
    """A device of a rollout."""

    device: str
    node: str
    wave: int
    """From 1; 0 for a device that is in none."""
    phase: str
    progress: str
    version: str
    reason: str


def rows(firmware: DeviceFirmware, all: Iterable[DeviceFirmware], devices: Iterable[DeviceView]) -> list[Row]:
    """Every device of a rollout, in the order of their turns; `all` are the rollouts that may supersede it."""
    views = {view.id: view for view in devices}
    seats = {id: Seat(v.spec.node_name, v.spec.device_model_ref.name, v.metadata.labels) for id, v in views.items()}
    others = [other for other in all if other.id != firmware.id]
    placed = place([*others, firmware], seats)[firmware.id]
    failed = {failure.device: failure.reason for failure in firmware.status.failures}
    found = []
    for number, wave in enumerate(placed.waves, 1):
        for name in wave:
            view = views[f"{firmware.metadata.namespace}/{name}"]
            found.append(_row(firmware, name, view, number, failed.get(name)))
    found += [Row(name, "", 0, SKIPPED, "", "", why) for name, why in sorted(placed.skipped.items())]
    return found


def _row(firmware: DeviceFirmware, name: str, view: DeviceView, wave: int, failed: str | None) -> Row:
    said = {p: found.value for p in ota.PROPERTIES if (found := view.reported(p)) is not None}
    seen = rollout.phase_of(firmware.spec.image, said)
    phase, reason = seen if seen is not None else (PENDING, "")
    if failed is not None and phase != UPDATED:
        phase, reason = FAILED, failed
    progress = f"{said.get(ota.FIRMWARE_PROGRESS, '')} %" if phase == rollout.DOWNLOADING else ""
    return Row(name, view.spec.node_name, wave, phase, progress, said.get(ota.FIRMWARE, ""), reason)


def devices(found: Collection[Row]) -> RenderableType:
    """One row a device."""
    table = _table("DEVICE", "NODE", "WAVE", "PHASE", "PROGRESS", "VERSION", "REASON")
    for row in found:
        wave = str(row.wave) if row.wave else ""
        phase = Text(row.phase, _PHASE_STYLES.get(row.phase, "cyan"))
        table.add_row(row.device, row.node, wave, phase, *map(cell, (row.progress, row.version, row.reason)))
    return table


def rollouts(found: Collection[DeviceFirmware]) -> RenderableType:
    """One row a rollout."""
    if not found:
        return Text("No rollouts yet.")
    table = _table("NAME", "VERSION", "BOARD", "STATE", "WAVE", "UPDATED", "FAILED", "MESSAGE")
    for firmware in sorted(found, key=lambda f: f.order):
        status, image = firmware.status, firmware.spec.image
        state = Text(status.phase or "Pending", _STATE_STYLES.get(status.phase, "dim"))
        failed = str(status.counts.get(FAILED, 0))
        cells = (status.wave_progress, status.progress, failed, message(firmware))
        table.add_row(*map(cell, (firmware.metadata.name, image.version, image.board)), state, *map(cell, cells))
    return table


def message(firmware: DeviceFirmware) -> str:
    """What a rollout waits for, or how it ended."""
    condition = firmware.status.condition("Complete")
    return condition.message if condition is not None else "cloudcore has not looked at it yet"


def line(firmware: DeviceFirmware) -> str:
    """A rollout in one line, for files and pipes."""
    status = firmware.status
    counts = " ".join(f"{phase}={n}" for phase, n in status.counts.items() if n and phase != "total")
    found = f"{status.phase or 'Pending'} wave {status.wave_progress} updated {status.progress} {counts}: {message(firmware)}"
    return said.plain(found, LONGEST)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=column not in ("MESSAGE", "REASON"))
    return table
