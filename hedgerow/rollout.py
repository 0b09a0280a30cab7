"""`hedgerow ota publish|rollout|status|pause|resume|abort|retry`: firmware for many devices, by way of Kubernetes."""

import asyncio
import re
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hedgerow.options import DATA, FAILED, USAGE, DataDir, Kubeconfig, complain, fail, kubeconfig_of, whole_lines

if TYPE_CHECKING:
    from cloud.firmware_objects import DeviceFirmware
    from hedgerow.firmware import Firmware

Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Namespace of rollout, image and devices.")]
Name = Annotated[str, typer.Argument(metavar="ROLLOUT")]

API = "devices.hedgerow.dev/v1alpha1"


def register(app: typer.Typer) -> None:
    """Add the commands to `hedgerow ota`."""
    for command in (publish, rollout, status, pause, resume, abort, retry):
        app.command()(command)


def publish(
    file: Annotated[Path, typer.Argument(help="A bundle of `hedgerow ota build`, .hfw.")],
    namespace: Namespace = "default",
    kubeconfig: Kubeconfig = None,
    data: DataDir = DATA,
) -> None:
    """Store a signed firmware in Kubernetes, for rollouts."""

    async def run(firmware: "Firmware") -> None:
        image, fresh = await _publish(firmware, file)
        typer.echo(
            f"{image.name}: {image.version} for {image.board}, {image.size} bytes" + ("" if fresh else ", as it was")
        )

    _run(run, kubeconfig, data, namespace)


def rollout(
    image: Annotated[str, typer.Argument(help="A bundle, or a published image: name, version, id or BOARD-VERSION.")],
    name: Annotated[str, typer.Option(help="Of the rollout. Default: BOARD-VERSION.")] = "",
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="YAML of a DeviceFirmware without image, or of its spec alone.")
    ] = None,
    device: Annotated[list[str] | None, typer.Option(help="Name of a device; may be repeated.")] = None,
    model: Annotated[str, typer.Option(help="Every device of this model.")] = "",
    selector: Annotated[str, typer.Option("--selector", "-l", help="Every device with these labels: KEY=VALUE,…")] = "",
    canary: Annotated[str, typer.Option(help="Devices that go first: a number, or NAME,NAME,…")] = "",
    percent: Annotated[str, typer.Option(help="Then so many percent of all, step by step: 10,50")] = "",
    pause_s: Annotated[int | None, typer.Option("--pause", help="Seconds between waves.")] = None,
    manual: Annotated[bool, typer.Option("--manual", help="Each wave after the first waits for `resume`.")] = False,
    max_failure_percent: Annotated[int | None, typer.Option(help="Abort when more of them fail.")] = None,
    timeout: Annotated[int | None, typer.Option(help="Seconds a device may take without any progress.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Devices at a time, per gateway.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until it is complete or aborted.")] = False,
    deadline: Annotated[float, typer.Option(help="Seconds to wait at most.")] = 3600.0,
    namespace: Namespace = "default",
    kubeconfig: Kubeconfig = None,
    data: DataDir = DATA,
) -> None:
    """Roll a firmware out, wave after wave. Status 1, with --wait, when any device failed."""
    spec = _of_file(file) if file is not None else {}
    metadata = spec.pop("metadata", {})
    devices = {"names": list(device or ()), "model": model, "selector": _labels(selector)}
    waves: dict[str, Any] = {"canary": _canary(canary), "percent": _percent(percent), "pauseSeconds": pause_s}
    waves["gate"] = "Manual" if manual else None
    numbers = {"maxFailurePercent": max_failure_percent, "timeoutSeconds": timeout, "concurrency": concurrency}
    _merge(spec, "devices", devices)
    _merge(spec, "waves", waves)
    spec |= {key: value for key, value in numbers.items() if value is not None}
    if not spec.get("devices"):
        fail("which devices? --device, --model or --selector", USAGE)

    async def run(firmware: "Firmware") -> None:
        import msgspec

        from hedgerow import rollout_selection

        found = (await _publish(firmware, Path(image)))[0] if image.endswith(".hfw") else await firmware.image(image)
        called = name or metadata.get("name") or _as_name(f"{found.board}-{found.version}")
        manifest = {
            "apiVersion": API,
            "kind": "DeviceFirmware",
            "metadata": {**metadata, "name": called, "namespace": namespace},
            "spec": {**spec, "image": msgspec.to_builtins(found)},
        }
        made = await firmware.apply(manifest)
        typer.echo(f"rollout {called} {'made' if made else 'changed'}: {found.version} for {found.board}")
        for problem in rollout_selection.problems(spec, await firmware.devices()):
            complain(problem)
        if wait:
            await _wait(firmware, called, deadline)

    _run(run, kubeconfig, data, namespace)


def status(
    name: Annotated[str, typer.Argument(metavar="[ROLLOUT]", help="Its devices; all rollouts without it.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Show how it goes on, until it is complete or aborted.")] = False,
    deadline: Annotated[float, typer.Option(help="Seconds to wait at most.")] = 3600.0,
    namespace: Namespace = "default",
    kubeconfig: Kubeconfig = None,
    data: DataDir = DATA,
) -> None:
    """Show rollouts, or what became of each device of one."""
    if wait and not name:
        fail("--wait needs a ROLLOUT", USAGE)

    async def run(firmware: "Firmware") -> None:
        from hedgerow import rollout_table

        if wait:
            await _wait(firmware, name, deadline)
            return
        everything = await firmware.rollouts()
        console = whole_lines()
        if not name:
            console.print(rollout_table.rollouts(everything))
            return
        found = await firmware.rollout(name)
        rows = rollout_table.rows(found, everything, await firmware.devices())
        console.print(rollout_table.devices(rows))
        console.print(rollout_table.line(found), markup=False, highlight=False, soft_wrap=True)

    _run(run, kubeconfig, data, namespace)


def pause(name: Name, namespace: Namespace = "default", kubeconfig: Kubeconfig = None, data: DataDir = DATA) -> None:
    """Offer the firmware to no further device; downloads that have begun end."""
    _change(name, lambda found: {"paused": True}, "paused", kubeconfig, data, namespace)


def resume(name: Name, namespace: Namespace = "default", kubeconfig: Kubeconfig = None, data: DataDir = DATA) -> None:
    """Go on after `pause`; of a rollout that waits for it, let the next wave begin."""

    def spec(found: "DeviceFirmware") -> dict[str, Any]:
        waves = {"waves": {"approved": found.status.wave}} if found.status.phase == "Waiting" else {}
        return {"paused": False, **waves}

    _change(name, spec, "resumed", kubeconfig, data, namespace)


def abort(name: Name, namespace: Namespace = "default", kubeconfig: Kubeconfig = None, data: DataDir = DATA) -> None:
    """Take back what is offered, and stop."""
    _change(name, lambda found: {"aborted": True}, "aborted", kubeconfig, data, namespace)


def retry(name: Name, namespace: Namespace = "default", kubeconfig: Kubeconfig = None, data: DataDir = DATA) -> None:
    """Try the devices that failed once more, and go on after an abort."""

    def spec(found: "DeviceFirmware") -> dict[str, Any]:
        return {"retry": found.spec.retry + 1, "aborted": False, "paused": False}

    _change(name, spec, "tried again", kubeconfig, data, namespace)


async def _publish(firmware: "Firmware", file: Path) -> tuple[Any, bool]:
    from device_fw.tools import image
    from device_fw.tools.errors import FirmwareError
    from hedgerow.cluster import ClusterError

    try:
        bundle = image.load(file)
    except FirmwareError as error:
        raise ClusterError(str(error)) from error
    return await firmware.publish(bundle.manifest, bundle.signature, bundle.stream)


async def _wait(firmware: "Firmware", name: str, deadline_s: float) -> None:
    """Show how a rollout goes on; the command ends with status 1 unless all its devices are updated or skipped."""
    from hedgerow import rollout_progress
    from hedgerow.cluster import ClusterError

    try:
        async with asyncio.timeout(deadline_s):
            ended = await rollout_progress.show(firmware.follow(name))
    except TimeoutError as error:
        raise ClusterError(f"rollout {name} has not come to an end within {deadline_s:g} s") from error
    if ended.status.phase != "Complete" or ended.status.counts.get("failed"):
        raise typer.Exit(FAILED)


def _change(name: str, spec: Any, said: str, kubeconfig: Path | None, data: Path, namespace: str) -> None:
    async def run(firmware: "Firmware") -> None:
        await firmware.change(name, spec(await firmware.rollout(name)))
        typer.echo(f"rollout {name} {said}")

    _run(run, kubeconfig, data, namespace)


def _run(command: Any, kubeconfig: Path | None, data: Path, namespace: str) -> None:
    from hedgerow.cluster import ClusterError
    from hedgerow.firmware import Firmware

    found = kubeconfig_of(kubeconfig, data)

    async def run() -> None:
        async with Firmware(found, namespace) as firmware:
            work: Coroutine[Any, Any, None] = command(firmware)
            await work

    try:
        asyncio.run(run())
    except ClusterError as error:
        fail(" ".join(str(error).split()), FAILED)


def _of_file(file: Path) -> dict[str, Any]:
    """The spec in a YAML file, with `metadata` where the file is a whole DeviceFirmware."""
    import yaml

    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        fail(f"cannot read {file}: {' '.join(str(error).split())}", USAGE)
    if not isinstance(found, dict):
        fail(f"{file} is no DeviceFirmware", USAGE)
    if "spec" in found:
        metadata = found.get("metadata") or {}
        kept = {key: metadata[key] for key in ("name", "labels", "annotations") if key in metadata}
        return {**(found["spec"] or {}), "metadata": kept}
    return found


def _merge(spec: dict[str, Any], key: str, given: dict[str, Any]) -> None:
    """Options go before what a file says."""
    said = {name: value for name, value in given.items() if value or value == 0}
    if said:
        spec[key] = {**(spec.get(key) or {}), **said}


def _labels(selector: str) -> dict[str, Any]:
    if not selector:
        return {}
    pairs = [one.partition("=") for one in selector.split(",")]
    if any(not key or not equals for key, equals, _ in pairs):
        fail(f"{selector!r} is not KEY=VALUE,…", USAGE)
    return {"matchLabels": {key: value for key, _, value in pairs}}


def _canary(text: str) -> dict[str, Any]:
    if not text:
        return {}
    return {"count": int(text)} if text.isdigit() else {"names": text.split(",")}


def _percent(text: str) -> list[int]:
    try:
        return [int(one.removesuffix("%")) for one in text.split(",")] if text else []
    except ValueError:
        fail(f"{text!r} is not percents: 10,50", USAGE)


def _as_name(text: str) -> str:
    """A text as Kubernetes takes it for a name."""
    return re.sub(r"[^a-z0-9.-]+", "-", text.lower()).strip("-.")
