"""`hedgerow mapper`: write a driver of one's own, and read a device at the cabinet."""

import asyncio
import re
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from hedgerow.options import whole_lines

if TYPE_CHECKING:
    from rich.table import Table

    from mappers.driver import Drivers
    from mappers.reading import Row

app = typer.Typer(no_args_is_help=True, help="Drivers of your own, and devices read without a cloud.")

FAILED, USAGE = 1, 2
_SKELETON = ("__init__.py", "driver.py", "test_driver.py", "device.yaml")


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the protocol and of the package: small letters, digits and _.")],
    folder: Annotated[Path, typer.Option("--in", help="Where the package is written.")] = Path(),
) -> None:
    """Write a driver to begin with, with a test that passes."""
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        _end(f"{name!r} is no name for a package: small letters, digits and _", USAGE)
    package = folder / name
    try:
        package.mkdir(parents=True)
    except OSError as error:
        _end(f"cannot write {package}: {error.strerror}", FAILED)
    for file in _SKELETON:
        text = files("mappers.skeleton").joinpath(file).read_text("utf-8")
        (package / file).write_text(_renamed(text, name), encoding="utf-8")
        typer.echo(package / file)
    typer.echo(f"Test it: python -m pytest {package}")


@app.command()
def read(
    file: Annotated[Path, typer.Argument(help="Devices and their DeviceModels, as for kubectl.")],
    count: Annotated[int, typer.Option(min=1, help="How often to read.")] = 1,
    interval: Annotated[float, typer.Option(min=0.0, help="Seconds between two reads.")] = 1.0,
    driver: Annotated[str, typer.Option(help="A driver of your own: package.module:Class.")] = "",
    wait: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for devices that speak unasked.")] = 10.0,
) -> None:
    """Read devices once from their YAML and print what they hold; no cloud, no broker. Status 1 if anything failed."""
    from mappers.driver import DefinitionError
    from mappers.reading import Reader, readable

    try:
        devices = readable(_manifests(file), lambda protocol: _drivers(protocol, driver))
    except DefinitionError as error:
        _end(str(error), FAILED)
    status = asyncio.run(_read(Reader(devices, wait), count, interval))
    raise typer.Exit(status)


async def _read(reader: Any, count: int, interval_s: float) -> int:
    console = whole_lines()
    failed = False
    try:
        for number in range(count):
            if number:
                await asyncio.sleep(interval_s)
            rows = await reader.read()
            failed = failed or any(row.error for row in rows)
            console.print(_table(rows))
    finally:
        await reader.close()
    return FAILED if failed else 0


def _table(rows: "list[Row]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("DEVICE", "PROPERTY"):
        table.add_column(column, no_wrap=True)
    for column in ("RAW", "VALUE"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("UNIT", no_wrap=True)
    table.add_column("ERROR", overflow="fold")
    before = ""
    for row in rows:
        raw = "" if row.raw is None else row.raw.hex() if isinstance(row.raw, bytes) else str(row.raw)
        device, before = row.device if row.device != before else "", row.device
        cells = (device, row.property, raw, row.value, row.unit)
        table.add_row(*(Text(_printable(cell)) for cell in cells), Text(_printable(row.error), "red"))
    return table


def _printable(text: str) -> str:
    """What a device sent is not to move the cursor."""
    return "".join(c if c.isprintable() else "�" for c in text)


def _manifests(file: Path) -> list[Any]:
    import yaml

    from mappers.driver import DefinitionError

    try:
        return [m for m in yaml.safe_load_all(file.read_text("utf-8")) if m is not None]
    except OSError as error:
        raise DefinitionError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DefinitionError(f"{file} is not UTF-8 text") from error
    except yaml.YAMLError as error:
        raise DefinitionError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from error


def _drivers(protocol: str, own: str) -> "Drivers":
    from edgewire.config import nearest
    from mappers.__main__ import DRIVERS, make_drivers
    from mappers.driver import DefinitionError

    if own:
        if ":" not in own:
            raise DefinitionError(f"--driver {own!r} is not package.module:Class")
        sys.path.insert(0, "")  # the console script does not look where one stands
    elif protocol not in DRIVERS:
        near = nearest(protocol, list(DRIVERS))
        hint = (
            f"did you mean {near!r}?" if near else f"known are {', '.join(DRIVERS)}; for one of your own give --driver"
        )
        raise DefinitionError(f"Device spec.protocol.protocolName {protocol!r} has no driver: {hint}")
    try:
        return make_drivers(own or protocol)
    except ImportError as error:
        raise DefinitionError(f"the driver of {protocol!r} cannot be imported: {error}") from error


def _renamed(text: str, name: str) -> str:
    class_name = "".join(part.capitalize() for part in name.split("_"))
    in_kubernetes = name.replace("_", "-").strip("-")
    text = text.replace("mappers.skeleton", name).replace("skeleton-", f"{in_kubernetes}-")
    return text.replace("Skeleton", class_name).replace("skeleton", name)


def _end(why: str, status: int) -> NoReturn:
    typer.echo(f"hedgerow: {why}", err=True)
    raise typer.Exit(status)
