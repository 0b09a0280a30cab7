"""`hedgerow boards`: the inventory of the boards that were flashed here."""

import importlib.util
import json
from dataclasses import asdict
from typing import Annotated

import typer

from hedgerow.flash import INVENTORY
from hedgerow.options import DATA, FAILED, DataDir, fail, whole_lines

app = typer.Typer(help="The boards that were flashed here.")


@app.callback(invoke_without_command=True)
def boards(
    context: typer.Context,
    where: Annotated[
        list[str] | None, typer.Option(help="key=value, or key~regular expression; all of several hold.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with every key.")] = False,
    data: DataDir = DATA,
) -> None:
    """List the boards that were flashed here: what each is, where it was plugged in, what runs on it."""
    _needs_tinydb()
    from device_fw.tools.inventory import Condition, Inventory, InventoryError

    if context.invoked_subcommand is not None:
        return
    try:
        found = Inventory(data / INVENTORY).find([Condition(text) for text in where or ()])
    except InventoryError as error:
        fail(str(error), FAILED)
    if as_json:
        typer.echo(json.dumps([asdict(entry) for entry in found], indent=1, ensure_ascii=False))
        return
    from rich.table import Table

    from hedgerow.table import cell

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("DEVICE", "BOARD", "FIRMWARE", "IMAGE", "RUNTIME", "UNIQUE ID", "PORT", "WHEN", "STATION"):
        table.add_column(column, overflow="fold")
    for one in found:
        facts = one.device, one.board, one.firmware, one.image[:8], one.runtime, one.unique_id, one.port
        table.add_row(*map(cell, (*facts, one.when, one.station)))
    whole_lines().print(table)


@app.command()
def forget(
    board: Annotated[str, typer.Argument(help="Its unique id, or its device's name.")],
    data: DataDir = DATA,
) -> None:
    """Take a board out of the inventory."""
    from device_fw.tools.inventory import Inventory, InventoryError

    try:
        for gone in Inventory(data / INVENTORY).forget(board):
            typer.echo(f"{gone.device} ({gone.unique_id}) forgotten")
    except InventoryError as error:
        fail(str(error), FAILED)


def _needs_tinydb() -> None:
    if importlib.util.find_spec("tinydb") is None:
        fail("tinydb is not installed: pip install 'hedgerow[device]'", FAILED)
