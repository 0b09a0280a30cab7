"""`hedgerow flash`: a board from its box to a device of the gateway."""

import asyncio
import os
import socket
import ssl
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from device_fw.tools import OLDEST_RUNTIME
from hedgerow.options import DATA, FAILED, USAGE, DataDir, Kubeconfig, fail, kubeconfig_of

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from device_fw.tools.board_file import BoardFile
    from device_fw.tools.flash_contents import Contents
    from device_fw.tools.flash_order import Outcome, Report
    from device_fw.tools.flash_runtime import Runtime

INVENTORY = "boards.json"
WIFI_VARIABLE = "HEDGEROW_WIFI_PASSWORD"
CA_FILE = "ca.der"
"""The broker's authority, on the board."""

Wifi = Annotated[
    str, typer.Option(metavar="SSID", help=f"The network; its password is in ${WIFI_VARIABLE}, or asked for.")
]


def flash(
    board: Annotated[Path, typer.Argument(metavar="BOARD.yaml", help="The board file (docs/sensors.md).")],
    port: Annotated[str, typer.Option(help="Path or USB serial number, when several boards are there.")] = "",
    gateway: Annotated[str, typer.Option(metavar="HOST[:PORT]", help="The gateway's MQTT broker.")] = "",
    ca: Annotated[Path | None, typer.Option(help="Who signed the broker's certificate (PEM), for TLS.")] = None,
    wifi: Wifi = "",
    users: Annotated[Path | None, typer.Option(help="The broker's users file, where the device is entered.")] = None,
    key: Annotated[Path | None, typer.Option(help="Signs the firmware: the board takes updates over the air.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="What `hedgerow ota build` made; --key may be FILE.pub.")] = None,
    version: Annotated[str, typer.Option(help="That the board reports; else that of this package.")] = "",
    no_updates: Annotated[bool, typer.Option("--no-updates", help="The board loses its updates over the air.")] = False,
    runtime: Annotated[Path | None, typer.Option(help="MicroPython (.bin, .uf2), unless the board runs it.")] = None,
    drive: Annotated[Path | None, typer.Option(help="Folder of the boot loader's drive, if it is not found.")] = None,
    baud: Annotated[int, typer.Option(help="esptool's.")] = 460_800,
    stub: Annotated[bool, typer.Option("--stub/--no-stub", help="esptool's flasher, or the chip's ROM alone.")] = True,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the first report; 0: do not.")] = 60.0,
    apply: Annotated[bool, typer.Option("--apply", help="Create DeviceModel and Device, instead of printing.")] = False,
    node: Annotated[str, typer.Option(help="The gateway that the Device names.")] = "edge-1",
    kubeconfig: Kubeconfig = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show every step, write nothing.")] = False,
    data: DataDir = DATA,
) -> None:
    """Flash a board: MicroPython, firmware, configuration, credentials, until the gateway hears its first report.

    Interrupted at any point, the same command goes on where it stopped.
    """
    try:
        from device_fw.tools import board_file, manifests
        from device_fw.tools import flash as flashing
        from device_fw.tools.errors import FirmwareError
        from device_fw.tools.flash_order import Order
        from hedgerow.device_users import DeviceUsers, UsersFileError
    except ModuleNotFoundError as error:
        fail(f"{error.name} is not installed: pip install 'hedgerow[device]'", FAILED)

    try:
        described = board_file.load(board)
        at = port if port.startswith("/") else manifests.PORT
        wanted = manifests.of(described, node, updates=key is not None, port=at)
        order = Order(_contents(described, ca, key, bundle, version, drop_updates=no_updates))
        if ca is not None:
            order.settings["ca"] = CA_FILE
        order.settings |= _settings(gateway, wifi, described.transport)
        order.port, order.drive, order.baud, order.stub, order.dry_run = port, drive, baud, stub, dry_run
        order.runtime = _runtime(runtime)
        order.users = DeviceUsers(users) if users is not None else None
        order.listen = _listen(gateway, described.transport, wait, ca)
        cluster = kubeconfig_of(kubeconfig, data) if apply else None
        order.before_start = partial(_complete, data / INVENTORY, described, wanted, cluster)
        with _shown() as show:
            outcome = flashing.flash(order, show)
    except (FirmwareError, UsersFileError) as error:
        fail(str(error), FAILED)
    _tell(outcome, [] if apply else wanted, entered=users is not None or dry_run, dry_run=dry_run)


def _contents(
    described: "BoardFile", ca: Path | None, key: Path | None, bundle: Path | None, version: str, *, drop_updates: bool
) -> "Contents":
    """The firmware: with a key in slots, else as plain files."""
    from device_fw.tools import image, signing
    from device_fw.tools.flash_contents import Contents
    from device_fw.tools.flash_slots import Slots

    more = {CA_FILE: _der(ca)} if ca is not None else {}
    if key is None and bundle is None:
        return Contents(described, more=more, wanted_version=version, drop_updates=drop_updates)
    if key is None:
        fail("--bundle needs --key FILE.pub: the board must know whom to trust", USAGE)
    if bundle is not None:
        return Slots(described, more=more, public=_public(key), bundle=image.load(bundle))
    signs = signing.load(key)
    return Slots(described, more=more, wanted_version=version, key=signs, public=signs.public, runtime=OLDEST_RUNTIME)


def _public(key: Path) -> bytes:
    """Of a public key's file, or of a private one's."""
    from device_fw.tools import signing

    try:
        return signing.load_public(key)
    except signing.SigningError:
        return signing.load(key).public


def _der(certificate: Path) -> bytes:
    try:
        return ssl.PEM_cert_to_DER_cert(certificate.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        fail(f"cannot read the certificate {certificate}: {error}", USAGE)


def _settings(gateway: str, wifi: str, transport: str) -> dict[str, Any]:
    """Keys of `config.json`."""
    settings: dict[str, Any] = {}
    if gateway and transport == "mqtt":
        settings |= _address(gateway)
    if wifi:
        secret = os.environ.get(WIFI_VARIABLE)
        if secret is None:
            secret = typer.prompt(f"Password of {wifi}", hide_input=True, default="", show_default=False, err=True)
        settings |= {"wifi_ssid": wifi, "wifi_password": secret}
    return settings


def _address(gateway: str) -> dict[str, Any]:
    host, colon, port = gateway.rpartition(":")
    if not colon:
        return {"host": gateway}
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        fail(f"{gateway!r} is no HOST[:PORT]", USAGE)
    return {"host": host, "port": int(port)}


def _runtime(image: Path | None) -> "Runtime | None":
    from device_fw.tools import flash_esp, flash_runtime

    return None if image is None else flash_runtime.read(flash_esp.image_of(image), image.name)


def _listen(
    gateway: str, transport: str, wait_s: float, ca: Path | None
) -> "Callable[[Mapping[str, Any]], Report] | None":
    from device_fw.tools.flash_report import Listener

    if not wait_s or (transport != "mqtt" and not gateway):
        return None

    def listen(configuration: Mapping[str, Any]) -> "Report":
        if transport == "mqtt":
            return Listener(configuration, wait_s, ca)
        return Listener({"name": configuration["name"], **_address(gateway)}, wait_s, ca)

    return listen


def _complete(
    inventory: Path,
    described: "BoardFile",
    manifests: list[dict[str, Any]],
    kubeconfig: Path | None,
    outcome: "Outcome",
) -> None:
    """The board holds all: enter it in the inventory, and its device in Kubernetes, before it says its first word."""
    _record(inventory, described, outcome)
    if kubeconfig is not None:
        _apply(manifests, kubeconfig)


def _apply(manifests: Iterable[dict[str, Any]], kubeconfig: Path) -> None:
    from device_fw.tools.flash_errors import FlashError
    from hedgerow.cluster import Cluster, ClusterError

    async def apply() -> None:
        async with Cluster(kubeconfig) as cluster:
            await cluster.apply(manifests)

    try:
        asyncio.run(apply())
    except ClusterError as error:
        raise FlashError(f"the board is written, but not started yet: {error}") from error


def _record(path: Path, described: "BoardFile", outcome: "Outcome") -> None:
    from device_fw.tools.inventory import Entry, Inventory

    assert outcome.facts is not None
    Inventory(path).record(
        Entry(
            board=described.board,
            unique_id=outcome.facts.unique_id,
            port=outcome.port,
            device=outcome.device,
            firmware=outcome.version,
            image=outcome.image,
            runtime=outcome.facts.release,
            when=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            station=socket.gethostname(),
        )
    )


def _tell(outcome: "Outcome", manifests: list[dict[str, Any]], *, entered: bool, dry_run: bool) -> None:
    import yaml

    from edge_gateway.broker.passwords import hash_password
    from hedgerow.device_users import entry

    would = "would be " if dry_run else ""
    changed = f"{len(outcome.written)} files {would}written, {len(outcome.removed)} removed"
    typer.echo(f"{outcome.device}: {changed}{f'; {outcome.report}' if outcome.report else ''}", err=True)
    if outcome.password and not entered:
        hashed = hash_password(outcome.password)
        user = str(outcome.configuration["user"])
        typer.echo("The broker's users file needs this user, if it has one (--users FILE enters it):", err=True)
        typer.echo(entry(user, hashed, outcome.device), err=True)
    if manifests:
        typer.echo(yaml.safe_dump_all(manifests, sort_keys=False, allow_unicode=True), nl=False)


class _Terminal:
    """Steps as lines, and a bar below them while something is written."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._bar: TaskID | None = None

    def step(self, text: str) -> None:
        """Something begins; a text may hold names of files on the board."""
        from device_fw.tools import said

        if self._bar is not None:
            self._progress.remove_task(self._bar)
            self._bar = None
        self._progress.console.print(said.plain(text, 1000), markup=False, highlight=False, soft_wrap=True)

    def progress(self, part: float) -> None:
        """How much of it is done."""
        if self._bar is None:
            self._bar = self._progress.add_task("", total=1.0)
        self._progress.update(self._bar, completed=part)


@contextmanager
def _shown() -> Iterator[_Terminal]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    columns = BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield _Terminal(progress)
