"""What a benchmark found: figures with their unit, what was aimed at, and references to read them against."""

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct, field
from rich.console import Console
from rich.table import Table


class Figure(Struct):
    """One measured value."""

    value: float
    unit: str
    reference: dict[str, float | str] = field(default_factory=dict)
    """What to read the value against: the aim, KubeEdge's own figure, and what else was measured in the same run."""
    note: str = ""
    parts: dict[str, float] = field(default_factory=dict)
    """What the value is the sum of."""


Figures = dict[str, Figure]


def machine() -> dict[str, str | int]:
    """The machine and the software a run was made on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return {
        "processor": names[-1] if names else platform.processor() or platform.machine(),
        "cpus": os.cpu_count() or 1,
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def show(found: Mapping[str, Figure], console: Console) -> None:
    """Print the machine and every figure."""
    console.print(", ".join(f"{name} {value}" for name, value in machine().items()))
    table = Table("figure", "value", "unit", "to read it against", box=None, header_style="bold")
    for name, figure in found.items():
        against = "; ".join(f"{what}: {_number(value)}" for what, value in figure.reference.items())
        table.add_row(name, _number(figure.value), figure.unit, "; ".join(filter(None, (against, figure.note))))
        for part, value in figure.parts.items():
            table.add_row(f"  {part}", _number(value), figure.unit, "")
    console.print(table)


def write(found: Mapping[str, Figure], file: Path) -> None:
    """Write machine and figures as JSON, taking the place of figures of the same names; others of this machine stay."""
    here = machine()
    kept: dict[str, object] = {}
    if file.exists() and (before := json.loads(file.read_text()))["machine"] == here:
        kept = before["figures"]
    figures = {name: _plain(msgspec.to_builtins(figure)) for name, figure in found.items()}
    file.write_text(json.dumps({"machine": here, "figures": kept | figures}, indent=2) + "\n")


def _plain(value: object) -> object:
    """As JSON has it, with no more digits than were measured."""
    if isinstance(value, dict):
        return {name: plain for name, part in value.items() if (plain := _plain(part)) not in ("", {})}
    return float(_number(value)) if isinstance(value, float) else value


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
