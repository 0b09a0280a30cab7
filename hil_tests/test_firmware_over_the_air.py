"""From `kubectl` to the flash of real firmware on MicroPython: published, rolled out, tried, confirmed, or reverted."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from device_fw.tools.image import Image
from edgewire import ota
from hedgerow.firmware import Firmware
from hedgerow.stack import Ports
from hil_tests.bench import updates
from hil_tests.bench.cable import Cable
from hil_tests.bench.played_board import manifests
from hil_tests.bench.rollouts import roll_out, until, until_phase
from hil_tests.bench.unix_board import Unavailable, UnixBoard
from hil_tests.conftest import NODE, Site, missing, running_site

BOARDS = ("b1", "b2", "b3")
EVERY_BOARD = {"names": list(BOARDS)}
CONFIRMED = r"event=update_confirmed"


@functools.cache
def image(version: str, counter: int, main: bytes | None = None) -> Image:
    """The firmware as an image, with another `main.py` if one is given."""
    return updates.build(version, counter, {"main.py": main} if main is not None else None)


@contextlib.contextmanager
def boards(folder: Path, mqtt: int, *names: str) -> Iterator[dict[str, UnixBoard]]:
    """Boards with power that run version 1.0.0."""
    made: dict[str, UnixBoard] = {}
    try:
        for name in names:
            made[name] = UnixBoard(folder / name, heap_kb=updates.HEAP_KB)
            made[name].push(updates.flash(image("1.0.0", 1), f"default/{name}", mqtt, watchdog_ms=8000, trial_s=10))
            made[name].power_on()
        yield made
    except Unavailable as error:
        missing(str(error))
    finally:
        for name, board in made.items():
            print(name, board.printed()[-1500:])  # noqa: T201, for whoever reads of a failure
            board.close()


def reported(site: Site, name: str, property: str = ota.FIRMWARE) -> str:
    """What a board's property last said in Kubernetes."""
    found = site.cluster.devices[f"default/{name}"].reported(property)
    return found.value if found is not None else ""


async def run(firmware: Firmware, offered: Image, **spec: Any) -> None:
    """Roll an image out to every board."""
    await roll_out(firmware, offered.manifest, offered.signature, offered.stream, devices=EVERY_BOARD, **spec)


async def until_all_run(site: Site, version: str) -> None:
    await site.until(f"all run {version}", lambda: all(reported(site, name) == version for name in BOARDS), 60)


@contextlib.asynccontextmanager
async def ready(site: Site) -> AsyncIterator[Firmware]:
    await site.cluster.apply(manifests(NODE, *BOARDS))
    await site.until("the node has the boards", lambda: all(site.state_of(name) == "True" for name in BOARDS))
    async with Firmware(site.stack.kubeconfig) as firmware:
        yield firmware


@pytest.mark.timeout(180)
async def test_a_canary_that_breaks_is_reverted_and_protects_all_others_and_a_good_one_gets_everywhere(
    site: Site, tmp_path: Path
) -> None:
    async with ready(site) as firmware:
        with boards(tmp_path / "boards", site.stack.ports.mqtt, *BOARDS):
            await until_all_run(site, "1.0.0")
            waves = {"canary": {"names": ["b2"]}}
            await run(firmware, image("1.1.0", 2, updates.UNWELL), waves=waves)
            found = await until_phase(firmware, "Aborted")
            assert [(f.device, f.reason) for f in found.status.failures] == [("b2", ota.SELF_TEST)]
            assert found.status.counts["pending"] == 2
            assert [reported(site, name, ota.FIRMWARE_TARGET) for name in ("b1", "b3")] == [ota.NONE] * 2
            await run(firmware, image("1.2.0", 3), waves=waves)
            found = await until_phase(firmware, "Complete")
            assert found.status.progress == "3/3"
            await until_all_run(site, "1.2.0")


@pytest.mark.timeout(180)
async def test_downloads_go_on_after_gateway_and_boards_lost_their_power(site: Site, tmp_path: Path) -> None:
    async with ready(site) as firmware:
        with boards(tmp_path / "boards", site.stack.ports.mqtt, *BOARDS) as there:
            await until_all_run(site, "1.0.0")
            await run(firmware, image("1.2.0", 3))
            await until(firmware, "a download has begun", lambda found: bool(found.status.counts.get("downloading")))
            await site.stack.edgecore.kill()
            await asyncio.to_thread(there["b1"].cycle)
            await site.stack.edgecore.start()
            found = await until_phase(firmware, "Complete", 120)
            assert found.status.progress == "3/3"
            await until_all_run(site, "1.2.0")


@pytest.mark.timeout(180)
async def test_a_rollout_comes_to_its_end_while_the_cloud_is_away(tmp_path: Path) -> None:
    ports = Ports.any()
    cable = Cable("127.0.0.1", ports.cloud)
    await cable.start()
    try:
        async with running_site(tmp_path / "site", ports=ports, cloud_port=cable.port) as site, ready(site) as firmware:
            with boards(tmp_path / "boards", site.stack.ports.mqtt, *BOARDS) as there:
                await until_all_run(site, "1.0.0")
                await run(firmware, image("1.2.0", 3), waves={"canary": {"names": ["b2"]}, "percent": [60]})
                await until(firmware, "the canary is at it", lambda found: bool(found.status.counts.get("downloading")))
                await cable.cut()
                for board in there.values():
                    await asyncio.to_thread(board.expect, CONFIRMED, 60.0)
                assert (await firmware.rollout("new")).status.progress == "0/3"
                await cable.restore()
                await until_phase(firmware, "Complete")
    finally:
        await cable.cut()
