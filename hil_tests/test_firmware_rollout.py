"""Firmware for many boards: published in Kubernetes, rolled out in waves by the gateway, stopped when it does harm.

Real stack, and boards that play their part over MQTT; `test_firmware_over_the_air.py` has real firmware on MicroPython.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud.firmware_objects import DeviceFirmware
from edgewire import ota, topics
from edgewire.tests.firmware_image import Firmware as Built
from edgewire.tests.firmware_image import firmware as built
from hedgerow.firmware import Firmware
from hedgerow.stack import Ports
from hil_tests.bench.cable import Cable
from hil_tests.bench.mqtt_client import MqttClient
from hil_tests.bench.played_board import PlayedBoard, manifests
from hil_tests.bench.rollouts import roll_out, until, until_phase
from hil_tests.conftest import NODE, Site, running_site

BOARDS = ("b1", "b2", "b3", "b4")
DELTA = topics.of_device("default/one", topics.DELTA)
GOOD = built("1.4.0", 7, size=200_000)
SIGNATURE = bytes(64)
"""The boards that play do not look at it."""
SLOW_S = 40.0
pytestmark = pytest.mark.timeout(180)


@contextlib.contextmanager
def boards(site: Site, *names: str, **behaviour: Any) -> Iterator[dict[str, PlayedBoard]]:
    """Boards that are online."""
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(PlayedBoard(site.stack.ports.mqtt, f"default/{name}", **behaviour))
            for name in names
        }


async def started(site: Site) -> None:
    await site.cluster.apply(manifests(NODE, *BOARDS))
    await site.until("the node has the boards", lambda: all(site.state_of(name) == "True" for name in BOARDS))


async def rolled_out(firmware: Firmware, image: Built = GOOD, **spec: Any) -> None:
    manifest = image.stream[: image.image.manifest_size]
    await roll_out(firmware, manifest, SIGNATURE, image.stream, devices={"model": "played-board"}, **spec)


@pytest.fixture
async def firmware(site: Site) -> AsyncIterator[Firmware]:
    await started(site)
    async with Firmware(site.stack.kubeconfig) as found:
        yield found


async def test_every_board_gets_the_firmware_wave_after_wave(site: Site, firmware: Firmware) -> None:
    with boards(site, *BOARDS) as there:
        await rolled_out(firmware, waves={"canary": {"names": ["b2"]}, "percent": [50]}, concurrency=2)
        found = await until_phase(firmware, "Complete")
        assert (found.status.progress, found.status.wave_progress) == ("4/4", "3/3")
        assert all(board.received == GOOD.stream for board in there.values())
        assert [board.offers for board in there.values()] == [["1.4.0"]] * 4
        await site.until("the twins say so", lambda: _state(site, "b4") == ota.CONFIRMED)


async def test_a_canary_that_fails_protects_all_others(site: Site, firmware: Firmware) -> None:
    with (
        boards(site, "b1", "b3", "b4") as well,
        boards(site, "b2", outcome=ota.REVERTED, reason=ota.SELF_TEST) as canary,
    ):
        await rolled_out(firmware, waves={"canary": {"names": ["b2"]}}, maxFailurePercent=20)
        found = await until_phase(firmware, "Aborted")
        assert [(f.device, f.reason) for f in found.status.failures] == [("b2", "self-test")]
        assert found.status.counts["pending"] == 3
        canary["b2"].outcome, canary["b2"].reason = ota.CONFIRMED, ota.NONE
        better = built("1.4.1", 8, size=20_000)
        await rolled_out(firmware, better, waves={"canary": {"names": ["b2"]}}, maxFailurePercent=20)
        await until_phase(firmware, "Complete")
        assert [board.offers for board in well.values()] == [["1.4.1"]] * 3


async def test_a_board_that_was_away_gets_the_firmware_when_it_is_back(site: Site, firmware: Firmware) -> None:
    with boards(site, "b1", "b2", "b3"):
        await rolled_out(firmware, timeoutSeconds=5)
        found = await until_phase(firmware, "Complete")
        assert (found.status.progress, found.status.counts["skipped"]) == ("3/4", 1)
        with boards(site, "b4"):
            await until(firmware, "the last has come", lambda found: found.status.progress == "4/4")


async def test_a_download_goes_on_after_the_gateway_was_killed(site: Site, firmware: Firmware) -> None:
    with boards(site, *BOARDS) as there:
        there["b1"].hold_at = 50_000
        await rolled_out(firmware)
        assert await asyncio.to_thread(there["b1"].held.wait, SLOW_S)
        await site.stack.edgecore.kill()
        there["b1"].go_on()
        await site.stack.edgecore.start()
        found = await until_phase(firmware, "Complete")
        assert found.status.progress == "4/4"
        assert there["b1"].received == GOOD.stream
        assert there["b1"].offers == ["1.4.0"]


async def test_a_rollout_goes_on_after_cloudcore_was_killed(site: Site, firmware: Firmware) -> None:
    with boards(site, *BOARDS) as there:
        there["b1"].hold_at = 50_000
        await rolled_out(firmware, waves={"canary": {"names": ["b1"]}})
        assert await asyncio.to_thread(there["b1"].held.wait, SLOW_S)
        await site.stack.cloudcore.kill()
        there["b1"].go_on()
        await site.stack.cloudcore.start()
        found = await until_phase(firmware, "Complete")
        assert found.status.progress == "4/4"
        assert all(board.offers == ["1.4.0"] for board in there.values())


async def test_a_rollout_goes_on_while_the_cloud_is_away(tmp_path: Path) -> None:
    ports = Ports.any()
    cable = Cable("127.0.0.1", ports.cloud)
    await cable.start()
    try:
        async with running_site(tmp_path, ports=ports, cloud_port=cable.port) as site:
            await started(site)
            async with Firmware(site.stack.kubeconfig) as firmware:
                with boards(site, *BOARDS) as there:
                    there["b2"].hold_at = 50_000
                    await rolled_out(firmware, waves={"canary": {"names": ["b2"]}, "percent": [50]})
                    assert await asyncio.to_thread(there["b2"].held.wait, SLOW_S)
                    await cable.cut()
                    there["b2"].go_on()
                    for board in there.values():
                        assert await asyncio.to_thread(board.finished.wait, SLOW_S)
                        assert board.received == GOOD.stream
                    assert (await firmware.rollout("new")).status.progress == "0/4"
                    await cable.restore()
                    await until_phase(firmware, "Complete")
    finally:
        await cable.cut()


async def test_a_desired_value_overtakes_an_image_on_a_slow_uplink(tmp_path: Path) -> None:
    ports = Ports.any()
    cable = Cable("127.0.0.1", ports.cloud, bytes_per_s=400_000)
    await cable.start()
    try:
        async with running_site(tmp_path, ports=ports, cloud_port=cable.port) as site:
            await started(site)
            async with Firmware(site.stack.kubeconfig) as firmware:
                with boards(site, "b1") as there, MqttClient(ports.mqtt) as application:
                    application.subscribe(DELTA)
                    await rolled_out(firmware, built("1.4.0", 7, size=2_000_000))
                    await until(firmware, "the first parts are there", lambda found: "parts" in _waits_for(found))
                    await site.cluster.set_desired("default/one", "count", "5")
                    await asyncio.to_thread(application.next, DELTA, SLOW_S)
                    assert there["b1"].offers == []  # for the image is still on its way
    finally:
        await cable.cut()


def _waits_for(found: DeviceFirmware) -> str:
    return found.status.gateways[0].message if found.status.gateways else ""


def _state(site: Site, name: str) -> str:
    found = site.cluster.devices[f"default/{name}"].reported(ota.FIRMWARE_STATE)
    return found.value if found is not None else ""
