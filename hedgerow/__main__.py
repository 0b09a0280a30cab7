"""The command `hedgerow`: thin, it calls the packages."""

import asyncio
import logging
import re
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hedgerow import bench, boards, flash, mapper, ota
from hedgerow.options import DATA, FAILED, USAGE, DataDir, Kubeconfig, check, complain, fail, kubeconfig_of, whole_lines
from hedgerow.signals import until_signalled

if TYPE_CHECKING:
    from rich.console import Console

    from hedgerow.up import Site

app = typer.Typer(
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    add_completion=False,
    help="Kubernetes for a gateway and its devices.",
)

app.add_typer(mapper.app, name="mapper")
app.add_typer(bench.app, name="bench")
app.add_typer(boards.app, name="boards")
app.add_typer(ota.app, name="ota")
app.command()(flash.flash)

_NAME = "[a-z0-9]([a-z0-9.-]*[a-z0-9])?"


@app.command()
def up(
    demo: Annotated[bool, typer.Option("--demo", help="With an emulated PLC and two emulated boards.")] = False,
    once: Annotated[bool, typer.Option("--once", help="With --demo: take the tour, then stop.")] = False,
    data: DataDir = DATA,
    node: Annotated[str, typer.Option(help="Name of this gateway in Kubernetes.")] = "edge-1",
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Use this cluster instead of the embedded Kubernetes API.")
    ] = None,
    deadline: Annotated[float, typer.Option(help="Seconds for each step of the tour.")] = 30.0,
) -> None:
    """Run the whole stack on this machine until Ctrl-C."""
    if once and not demo:
        fail("--once is the demo's tour: give --demo too", USAGE)
    if kubeconfig is not None and not kubeconfig.exists():
        fail(f"no kubeconfig at {kubeconfig}", USAGE)
    if kubeconfig is not None:
        check([kubeconfig])
    logging.basicConfig(level="WARNING", format="%(levelname)s %(message)s", stream=sys.stderr)
    status = asyncio.run(until_signalled(_up(demo, once, data.absolute(), node, kubeconfig, deadline)))
    # A signal is how one ends it; the tour, though, did not come to its end.
    sys.exit(0 if status > 128 and not once else status)


@app.command()
def get(
    device: Annotated[str, typer.Argument(help="[NAMESPACE/]NAME; all devices without it.")] = "",
    kubeconfig: Kubeconfig = None,
    data: DataDir = DATA,
) -> None:
    """Show devices: reported and desired values, age and state."""
    _run(_get(_device_id(device) if device else "", kubeconfig_of(kubeconfig, data)))


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
        fail(f"{target!r} is not [NAMESPACE/]DEVICE/PROPERTY", USAGE)
    _run(_set(_device_id(device), name, value, kubeconfig_of(kubeconfig, data), wait))


@app.command()
def password(
    mosquitto: Annotated[
        str, typer.Option(metavar="USER", help="Print the line of this user in a mosquitto password file instead.")
    ] = "",
) -> None:
    """Hash a password for the broker's users: asked twice on a terminal, else the first line of the input."""
    from edge_gateway.broker.passwords import hash_for_mosquitto, hash_password

    if any(character in mosquitto for character in ":\n\0"):
        fail(f"{mosquitto!r} cannot be a user in a password file", USAGE)
    if sys.stdin.isatty():
        given = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        given = sys.stdin.readline().rstrip("\r\n")
    if not given:
        fail("an empty password is none", USAGE)
    typer.echo(f"{mosquitto}:{hash_for_mosquitto(given)}" if mosquitto else hash_password(given))


@app.command()
def kubeconfig(
    name: Annotated[str, typer.Argument(help="The user; of a node, the node's name.")],
    role: Annotated[Literal["admin", "node", "viewer"], typer.Option(help="What the user may do.")] = "viewer",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; else standard output.")] = None,
    token: Annotated[bool, typer.Option("--token", help="With a token instead of a certificate.")] = False,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Days the certificate lasts.")] = 365,
    server: Annotated[str, typer.Option(help="URL of the API for this user, when it is not on this machine.")] = "",
    data: DataDir = DATA,
) -> None:
    """Make a kubeconfig for a further user of the embedded Kubernetes API."""
    from cloud.apiserver.identity import write_private
    from hedgerow import credentials

    try:
        made = credentials.make(data / "kubernetes", name, role, token=token, days=days, server=server)
        if output is not None:
            write_private(output, made)
        else:
            typer.echo(made.decode(), nl=False)
    except (credentials.CredentialError, OSError) as error:
        fail(str(error), FAILED)


@app.command()
def backup(file: Annotated[Path, typer.Argument(help="The file to write.")], data: DataDir = DATA) -> None:
    """Save the embedded Kubernetes API's data and all certificates, while the stack runs or not."""
    from hedgerow import backup as backups

    try:
        made = backups.make(data, file)
    except backups.BackupError as error:
        fail(str(error), FAILED)
    typer.echo(f"{file}: {made.objects} objects, resourceVersion {made.revision}")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `hedgerow backup` wrote.")],
    data: DataDir = DATA,
    force: Annotated[bool, typer.Option("--force", help="Replace the data that are there.")] = False,
) -> None:
    """Put a backup in place, while no stack runs in the folder."""
    from hedgerow import backup as backups
    from hedgerow.children import ChildError

    try:
        manifest, facts = backups.restore(data, file, force=force)
    except (backups.BackupError, ChildError) as error:
        fail(str(error), FAILED)
    typer.echo(f"{data}: {facts.objects} objects of {manifest.made}, now resourceVersion {facts.revision}")


async def _up(with_demo: bool, once: bool, data: Path, node: str, kubeconfig: Path | None, deadline_s: float) -> int:
    from rich.console import Console

    from hedgerow.children import ChildError
    from hedgerow.cluster import ClusterError
    from hedgerow.show import show
    from hedgerow.up import site

    console = Console()
    try:
        console.print(f"Starting in {data}", markup=False, highlight=False, soft_wrap=True)
        async with site(data, with_demo=with_demo, kubeconfig=kubeconfig, node=node) as running:
            if once:
                if running.without_boards:
                    console.print(f"No boards: {running.without_boards}", markup=False, soft_wrap=True)
                return await _tour(running, console, deadline_s)
            await show(running, console)
    except (ChildError, ClusterError) as error:
        return complain(str(error))
    return 0


async def _tour(running: "Site", console: "Console", deadline_s: float) -> int:
    from rich.text import Text

    from hedgerow import tour

    try:
        await tour.take(running, console, deadline_s)
    except tour.StepFailed as error:
        console.print("[red]failed[/]", Text(str(error)), soft_wrap=True)
        return FAILED
    return 0


async def _get(device: str, kubeconfig: Path) -> None:
    from hedgerow import table
    from hedgerow.cluster import Cluster

    async with Cluster(kubeconfig) as cluster:
        views = [await cluster.device(device)] if device else await cluster.list_devices()
        shown = table.devices(views, {model.id: model for model in await cluster.list_models()})
    whole_lines().print(shown)


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
        fail(" ".join(str(error).split()), FAILED)


def _device_id(device: str) -> str:
    if not re.fullmatch(f"({_NAME}/)?{_NAME}", device):
        fail(f"{device!r} is no device: [NAMESPACE/]NAME, in small letters, digits, - and .", USAGE)
    return device if "/" in device else f"default/{device}"


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
