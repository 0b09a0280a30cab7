"""`hedgerow bench`: emulated instruments to play with, and their faults."""

import asyncio
import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from hedgerow.signals import until_signalled

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hedgerow.instruments import Instrument, Kind

app = typer.Typer(no_args_is_help=True, help="Emulated instruments to play with.")

FAILED, USAGE = 1, 2
DataDir = Annotated[Path, typer.Option("--data", help="Folder of the stack; the bench takes its folder bench/.")]


@app.command()
def up(
    names: Annotated[list[str] | None, typer.Argument(metavar="[INSTRUMENT]...", help="All without it.")] = None,
    data: DataDir = Path(".hedgerow"),
    node: Annotated[str, typer.Option(help="The gateway that the ready-made Devices name.")] = "edge-1",
) -> None:
    """Run emulated instruments until Ctrl-C, each with a Device ready for `mapper read` and kubectl."""
    from hedgerow.instruments import KINDS

    for name in names or ():
        _known(name, "instrument", KINDS)
        if why := KINDS[name].missing:
            _end(f"no {name}: {why}", FAILED)
    logging.basicConfig(level="WARNING", format="%(levelname)s %(message)s", stream=sys.stderr)
    chosen = [kind.name for kind in KINDS.values() if (kind.name in names if names else not kind.missing)]
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
    from hedgerow.instruments import KINDS, WELL, set_fault

    _known(instrument, "instrument", KINDS)
    _known(fault, f"fault of {instrument}", (*KINDS[instrument].faults, WELL))
    try:
        set_fault(data.absolute() / "bench", instrument, fault)
    except LookupError:
        _end(f"no {instrument} runs in {data}: is `hedgerow bench up` running? Else give --data", FAILED)
    except OSError as error:
        _end(str(error), FAILED)
    typer.echo(f"{instrument}: {'well' if fault == WELL else fault}")


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
    shown = instruments[0]
    radio = "".join(one.environment for one in instruments)
    return [
        *(f"No {kind.name}: {kind.missing}" for kind in left_out),
        f"Ports, Devices and logs {folder}",
        "In a second terminal:",
        f"  {shown.environment}hedgerow mapper read {shown.manifest}",
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
