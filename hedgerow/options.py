"""What several commands take: where the data are, which Kubernetes API is meant; and how a command ends that cannot go on."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import Console

DATA = Path(".hedgerow")
FAILED, USAGE = 1, 2
"""Exit status: it did not work; it was not asked rightly."""

DataDir = Annotated[Path, typer.Option("--data", help="Folder of everything the stack keeps.")]
Kubeconfig = Annotated[
    Path | None, typer.Option(help="kubeconfig of the Kubernetes API; else $KUBECONFIG, else that of `hedgerow up`.")
]


def kubeconfig_of(given: Path | None, data: Path) -> Path:
    """The kubeconfig that is meant; the command ends when there is none."""
    found = given or Path(os.environ.get("KUBECONFIG", "") or data / "kubeconfig")
    files = [Path(one) for one in str(found).split(os.pathsep)]
    if not any(file.exists() for file in files):
        fail(f"no kubeconfig at {found}: is `hedgerow up` running? Else give --kubeconfig", USAGE)
    check(files)
    return found


def check(kubeconfig: Iterable[Path]) -> None:
    """The command ends when a file is no kubeconfig."""
    from hedgerow.cluster import ClusterError, check_kubeconfig

    try:
        check_kubeconfig(kubeconfig)
    except ClusterError as error:
        fail(" ".join(str(error).split()), FAILED)


def whole_lines() -> "Console":
    """A console for tables: as wide as the terminal, and whole lines for whoever reads a file or a pipe."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=1000)


def complain(why: str) -> int:
    """Say what went wrong, which may quote what a device said; the exit status."""
    from device_fw.tools import said

    shown = "\n".join(said.plain(line, 10_000) for line in why.split("\n"))
    typer.echo(f"hedgerow: {shown}", err=True)
    return FAILED


def fail(why: str, status: int) -> NoReturn:
    """Say what went wrong, and end the command."""
    complain(why)
    raise typer.Exit(status)
