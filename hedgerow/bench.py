"""`hedgerow bench`: emulated instruments and boards to play with, their faults, and the tests on a bench of hardware."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from hedgerow.options import whole_lines
from hedgerow.signals import until_signalled

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hedgerow.instruments import Instrument, Kind

app = typer.Typer(no_args_is_help=True, help="Emulated instruments and boards; tests of hardware.")

FAILED, USAGE = 1, 2
NO_TESTS = 5
"""pytest's exit status for it."""
DataDir = Annotated[Path, typer.Option("--data", help="Folder of the stack; the bench takes its folder bench/.")]
BenchFile = Annotated[
    Path | None, typer.Option("--bench", help="A desk of real hardware, docs/hil.md; else all emulated.")
]


@app.command()
def up(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[INSTRUMENT|board]...", help="All instruments without it.")
    ] = None,
    data: DataDir = Path(".hedgerow"),
    node: Annotated[str, typer.Option(help="The gateway that the ready-made Devices name.")] = "edge-1",
) -> None:
    """Run emulated instruments until Ctrl-C, each with a Device ready for `mapper read` and kubectl; a board too, if named."""
    from hedgerow.instruments import EVERYTHING, KINDS

    for name in names or ():
        _known(name, "instrument", EVERYTHING)
        if why := EVERYTHING[name].missing:
            _end(f"no {name}: {why}", FAILED)
    logging.basicConfig(level="WARNING", format="%(levelname)s %(message)s", stream=sys.stderr)
    chosen = [
        kind.name
        for kind in EVERYTHING.values()
        if (kind.name in names if names else kind.name in KINDS and not kind.missing)
    ]
    left_out = [] if names else [kind for kind in KINDS.values() if kind.missing]
    status = asyncio.run(until_signalled(_up(data.absolute(), chosen, left_out, node)))
    sys.exit(0 if status > 128 else status)  # a signal is how one ends it


@app.command()
def fault(
    instrument: str,
    fault: Annotated[str, typer.Argument(help="silence, garbage, unplug, ...; none: well again.")],
    data: DataDir = Path(".hedgerow"),
) -> None:
    """Let an instrument of the running bench misbehave, or be well again."""
    from hedgerow.instruments import EVERYTHING, WELL, set_fault

    _known(instrument, "instrument", EVERYTHING)
    _known(fault, f"fault of {instrument}", (*EVERYTHING[instrument].faults, WELL))
    try:
        set_fault(data.absolute() / "bench", instrument, fault)
    except LookupError:
        _end(f"no {instrument} runs in {data}: is `hedgerow bench up` running? Else give --data", FAILED)
    except OSError as error:
        _end(str(error), FAILED)
    typer.echo(f"{instrument}: {'well' if fault == WELL else fault}")


@app.command("list")
def show_kinds(bench: BenchFile = None) -> None:
    """What kinds of boards and instruments a bench can have, what each can do, and what this machine lacks for it."""
    from rich.table import Table

    from hil_tests.bench import desk
    from hil_tests.bench.bench_file import BenchError, load
    from hil_tests.bench.kinds import KINDS

    console = whole_lines()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("KIND", "WHAT IT IS", "CAN", "HERE"):
        table.add_column(column, overflow="fold", no_wrap=column == "KIND")
    for kind in KINDS.values():
        here = f"needs {kind.missing}" if kind.missing else "yes" if kind.emulated else "yes, with the hardware"
        table.add_row(kind.name, kind.about, " ".join(kind.capabilities), here)
    console.print(table)
    try:
        described = load(bench or desk.DEFAULT)
    except BenchError as error:
        _end(str(error), USAGE)
    parts = Table(box=None, pad_edge=False, header_style="bold", title=f"\n{described.path}", title_justify="left")
    for column in ("PART", "KIND", "CAN"):
        parts.add_column(column, overflow="fold")
    can = desk.offered(described)
    for name, entry in {**described.boards, **described.instruments}.items():
        parts.add_row(
            name, entry.kind, " ".join(sorted(can[name])) if name in can else f"needs {KINDS[entry.kind].missing}"
        )
    console.print(parts)


@app.command("test")
def run_tests(
    bench: BenchFile = None,
    expression: Annotated[str, typer.Option("-k", metavar="EXPRESSION", help="Only tests whose names match.")] = "",
    report: Annotated[Path | None, typer.Option(help="Folder of the report.")] = None,
    data: DataDir = Path(".hedgerow"),
) -> None:
    """Run the tests of hardware on a bench, all emulated without --bench, and keep what every part said."""
    import hil_tests

    if find_spec("pytest") is None or find_spec("pytest_asyncio") is None:
        _end("pytest is not installed: pip install hedgerow[hil]", FAILED)
    folder = (report or data / "bench-report").absolute()
    # A checkout has these settings in pyproject.toml, an installed package has not.
    settings = ["-p", "hil_tests.bench.plugin", "--import-mode=importlib", "-o", "asyncio_mode=auto", "-ra"]
    chosen = ["-m", "needs", *(["-k", expression] if expression else []), *(["--bench", str(bench)] if bench else [])]
    folder_of_tests = Path(next(iter(hil_tests.__path__)))
    tests = [str(file) for file in sorted(folder_of_tests.glob("test_*.py")) if "mark.needs" in file.read_text()]
    command = [sys.executable, "-m", "pytest", *settings, *chosen, "--bench-report", str(folder), *tests]
    status = subprocess.run(command, check=False).returncode
    if status == NO_TESTS:
        _end("no test was chosen", FAILED)
    typer.echo(f"report: {folder / 'index.html'}")
    raise typer.Exit(status)


async def _up(data: Path, names: list[str], left_out: list["Kind"], node: str) -> int:
    from rich.console import Console

    from hedgerow.children import ChildError
    from hedgerow.instruments import bench
    from hedgerow.show import live

    console = Console()
    folder = data / "bench"
    try:
        async with bench(folder, names, node) as instruments:
            hints = _hints(folder, instruments, left_out)
            lines = hints if console.is_terminal else [*_lines(instruments), *hints]
            await live(console, lambda: lines, lambda notes: _screen(instruments, notes, lines))
    except ChildError as error:
        typer.echo(f"hedgerow: {error}", err=True)
        return FAILED
    return 0


def _screen(instruments: Iterable["Instrument"], notes: Iterable[str], hints: Iterable[str]) -> "RenderableType":
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from hedgerow.instruments import WELL

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("INSTRUMENT", "STATE", "FAULT"):
        table.add_column(column, no_wrap=True)
    table.add_column("FAULTS IT CAN HAVE", overflow="fold")
    for one in instruments:
        state = Text("running", "green") if one.running else Text("down", "red")
        if one.restarts:
            state.append(f", restarted {one.restarts}x", "yellow")
        has = one.fault
        table.add_row(one.kind.name, state, Text(has, "dim" if has == WELL else "yellow"), " ".join(one.kind.faults))
    complaints = (Text(line, "yellow", no_wrap=True, overflow="ellipsis") for line in notes)
    return Group(table, Text(), *complaints, *(Text(line, "dim") for line in hints))


def _lines(instruments: Iterable["Instrument"]) -> list[str]:
    return [f"{one.kind.name:10} {one.kind.about}, {one.address}" for one in instruments]


def _hints(folder: Path, instruments: list["Instrument"], left_out: Iterable["Kind"]) -> list[str]:
    from hedgerow.instruments import BOARDS

    shown = instruments[0]
    plays = (
        f"mpremote connect {shown.address}" if shown.kind.name in BOARDS else f"hedgerow mapper read {shown.manifest}"
    )
    radio = "".join(one.environment for one in instruments)
    return [
        *(f"No {kind.name}: {kind.missing}" for kind in left_out),
        f"Ports, Devices and logs {folder}",
        "In a second terminal:",
        f"  {shown.environment}{plays}",
        f"  hedgerow bench fault {shown.kind.name} {next(iter(shown.kind.faults))}        and none",
        f"  kubectl apply -f {folder}        with `hedgerow up` running",
        *([f"For Bluetooth begin the command, hedgerow up too, with {radio.strip()}"] if radio else ()),
        "Ctrl-C stops everything.",
    ]


def _known(name: str, what: str, names: Iterable[str]) -> None:
    from edgewire.config import nearest

    if name not in names:
        near = nearest(name, list(names))
        hint = f"did you mean {near!r}?" if near else f"there are {', '.join(names)}"
        _end(f"no {what} {name!r}: {hint}", USAGE)


def _end(why: str, status: int) -> NoReturn:
    typer.echo(f"hedgerow: {why}", err=True)
    raise typer.Exit(status)
