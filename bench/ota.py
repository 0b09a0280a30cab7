"""How long an update takes: 100 kB of signed firmware out of Kubernetes through one gateway to 50 emulated boards.

The boards run the real firmware. Everything counts: publishing, the way to the gateway, downloads, each board's check of
signature and files, the trial in a new start, the confirmation, and its way back into the rollout's status.
"""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import site
from bench.results import Figure, Figures
from device_fw.tools.image import Image
from edgewire import ota
from hedgerow.firmware import Firmware
from hil_tests.bench import played_board, rollouts, updates
from hil_tests.bench.unix_board import UnixBoard

BOARDS = 50
BYTES = 100_000
DEADLINE_S = 180.0
_AIM: dict[str, float | str] = {"aim": 60.0}


async def measure() -> Figures:
    """One rollout to all boards at once, and one with ten at a time. Takes about two minutes."""
    with tempfile.TemporaryDirectory() as folder:
        async with site.running(Path(folder, "site")) as running:
            names = [f"board-{number}" for number in range(BOARDS)]
            await running.cluster.apply(played_board.manifests(running.stack.node, *names))
            first, second, third = updates.build("1.0.0", 1), _filled("1.1.0", 2), _filled("1.2.0", 3)
            with _boards(Path(folder, "boards"), names, first, running.stack.ports.mqtt):
                await _until_all_run(running, names, "1.0.0")
                async with Firmware(running.stack.kubeconfig) as firmware:
                    before = running.edgecore().cpu_times()
                    together = await _roll_out(firmware, second, BOARDS)
                    after = running.edgecore().cpu_times()
                    by_tens = await _roll_out(firmware, third, 10)
    cpu = after.user + after.system - before.user - before.system
    note = f"{BOARDS} boards on this machine, {len(second.stream)} bytes, until all are confirmed in Kubernetes"
    return {
        "ota_all_at_once_s": Figure(together, "s", _AIM, note),
        "ota_ten_at_a_time_s": Figure(by_tens, "s", _AIM, "the same"),
        "ota_edgecore_cpu_s": Figure(cpu, "s", {}, "of edgecore, while it served all at once"),
    }


def _filled(version: str, counter: int) -> Image:
    """The firmware with a file that makes it as large as is measured."""
    bare = updates.build(version, counter)
    missing = max(0, BYTES - len(bare.stream))
    return updates.build(version, counter, {"ballast.bin": bytes(n * 7 % 251 for n in range(missing))})


@contextlib.contextmanager
def _boards(folder: Path, names: list[str], running: Image, mqtt: int) -> Iterator[None]:
    made: list[UnixBoard] = []
    try:
        for name in names:
            made.append(UnixBoard(folder / name, heap_kb=updates.HEAP_KB))
            made[-1].push(updates.flash(running, f"default/{name}", mqtt, watchdog_ms=60_000))
            made[-1].power_on()
        yield
    finally:
        for board in made:
            board.close()


async def _until_all_run(running: site.Site, names: list[str], version: str) -> None:
    def run(name: str) -> bool:
        device = running.cluster.devices.get(f"default/{name}")
        found = device.reported(ota.FIRMWARE) if device is not None else None
        return found is not None and found.value == version

    await running.until(lambda: all(run(name) for name in names))


async def _roll_out(firmware: Firmware, image: Image, at_once: int) -> float:
    begun = time.perf_counter()
    await rollouts.roll_out(
        firmware,
        image.manifest,
        image.signature,
        image.stream,
        devices={"model": "played-board"},
        concurrency=at_once,
        maxFailurePercent=0,
    )
    found = await rollouts.until_phase(firmware, "Complete", DEADLINE_S)
    took = time.perf_counter() - begun
    if found.status.progress != f"{BOARDS}/{BOARDS}":
        raise AssertionError(f"only {found.status.progress} boards were updated: {found.status.failures}")
    return took
