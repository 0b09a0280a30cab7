"""The command `hedgerow`: thin, it calls the packages."""

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    add_completion=False,
    help="Kubernetes for a gateway and its devices.",
)

DATA = Path(".hedgerow")

DataDir = Annotated[Path, typer.Option("--data", help="Folder of everything the stack keeps.")]
Kubeconfig = Annotated[
    Path | None, typer.Option(help="kubeconfig of the Kubernetes API; else $KUBECONFIG, else that of `hedgerow up`.")
]


@app.command()
def up(
    demo: Annotated[bool, typer.Option("--demo", help="With an emulated PLC and two emulated boards.")] = False,
    once: Annotated[bool, typer.Option("--once", help="With --demo: take the tour, then stop.")] = False,
    data: DataDir = DATA,
    node: Annotated[str, typer.Option(help="Name of this gateway in Kubernetes.")] = "edge-1",
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Use this cluster instead of the embedded Kubernetes API.")
    ] = None,
) -> None:
    """Run the whole stack on this machine until Ctrl-C."""
    if once and not demo:
        raise typer.BadParameter("--once is the demo's tour: give --demo too")
    logging.basicConfig(level="WARNING", format="%(levelname)s %(message)s", stream=sys.stderr)
    sys.exit(asyncio.run(_up(demo, once, data.absolute(), node, kubeconfig)))


@app.command()
def get(
    device: Annotated[str, typer.Argument(help="[NAMESPACE/]NAME; all devices without it.")] = "",
    kubeconfig: Kubeconfig = None,
    data: DataDir = DATA,
) -> None:
    """Show devices: reported and desired values, age and state."""
    _run(_get(_device_id(device), _kubeconfig(kubeconfig, data)))


@app.command("set")
def set_(
    target: Annotated[str, typer.Argument(metavar="[NAMESPACE/]DEVICE/PROPERTY")],
    value: str,
    kubeconfig: Kubeconfig = None,
    data: DataDir = DATA,
    wait: Annotated[float, typer.Option(help="Seconds to wait until the device reports it; 0: do not wait.")] = 0.0,
) -> None:
    """Set the desired value of a property."""
    device, _, name = target.rpartition("/")
    if not device or not name:
        raise typer.BadParameter(f"{target!r} is not [NAMESPACE/]DEVICE/PROPERTY")
    _run(_set(_device_id(device), name, value, _kubeconfig(kubeconfig, data), wait))


async def _up(with_demo: bool, once: bool, data: Path, node: str, kubeconfig: Path | None) -> int:
    from rich.console import Console

    from hedgerow import tour
    from hedgerow.children import ChildError
    from hedgerow.cluster import ClusterError
    from hedgerow.up import install_demo, show, site

    console = Console()
    try:
        async with site(data, with_demo=with_demo, kubeconfig=kubeconfig, node=node) as running:
            if with_demo:
                await install_demo(running)
            if once:
                if running.without_boards:
                    console.print(f"No boards: {running.without_boards}")
                await tour.take(running, console)
            else:
                await show(running, console)
    except (ChildError, ClusterError, tour.StepFailed) as error:
        console.print(f"[red]failed[/] {error}")
        return 1
    return 0


async def _get(device: str, kubeconfig: Path) -> None:
    from rich.console import Console

    from hedgerow import table
    from hedgerow.cluster import Cluster

    async with Cluster(kubeconfig) as cluster:
        views = [await cluster.device(device)] if device else await cluster.list_devices()
        Console().print(table.devices(views, {model.id: model for model in await cluster.list_models()}))


async def _set(device: str, name: str, value: str, kubeconfig: Path, wait_s: float) -> None:
    from hedgerow.cluster import Cluster

    async with Cluster(kubeconfig) as cluster:
        await cluster.set_desired(device, name, value)
        if wait_s:
            await cluster.wait_reported(device, name, value, wait_s)
    typer.echo(f"{device}/{name} desired {value}" + (", reported" if wait_s else ""))


def _run(command: Coroutine[Any, Any, None]) -> None:
    from hedgerow.cluster import ClusterError

    try:
        asyncio.run(command)
    except ClusterError as error:
        typer.echo(f"hedgerow: {error}", err=True)
        raise typer.Exit(1) from error


def _device_id(device: str) -> str:
    return device if not device or "/" in device else f"default/{device}"


def _kubeconfig(given: Path | None, data: Path) -> Path:
    found = given or Path(os.environ.get("KUBECONFIG", "") or data / "kubeconfig")
    if not found.exists():
        raise typer.BadParameter(f"no kubeconfig at {found}: is `hedgerow up` running? Else give --kubeconfig")
    return found


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
