"""The firmware on a serial line: real MicroPython, the mapper as a process, the gateway's broker and core."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from device_fw.tests.watcher import Watcher
from device_fw.tools import firmware
from edgewire import topics
from hil_tests.bench import board_firmware, demo
from hil_tests.bench.firmware_line import FirmwareLine
from hil_tests.bench.unix_board import Unavailable, UnixBoard
from hil_tests.conftest import missing
from hil_tests.test_linked_board import mapper
from hil_tests.test_modbus_mapper import Gateway, MapperProcess, gateway, until

__all__ = ["gateway", "mapper"]  # fixtures

ID = "default/pico"
ROOT = Path(__file__).resolve().parents[1]


def manifests(port: str, led: str = "") -> list[dict[str, Any]]:
    """The demo's board, on a serial line."""
    found: list[dict[str, Any]] = json.loads(json.dumps(demo.board_manifests("edge-1", ("pico",))))
    device = found[1]
    device["spec"]["protocol"] = {"protocolName": "serial", "configData": {"port": port, "framing": "board"}}
    if led:
        next(p for p in device["spec"]["properties"] if p["name"] == "led")["desired"] = {"value": led}
    return found


@pytest.fixture
async def board(tmp_path: Path) -> AsyncIterator[FirmwareLine]:
    try:
        umqtt = firmware.umqtt_simple(ROOT / firmware.CACHE)
        config = {"name": ID, "timeout_ms": 2000}
        made = FirmwareLine(tmp_path / "board", config, umqtt=umqtt, link=tmp_path / "pico")
    except (Unavailable, firmware.FirmwareError) as error:
        missing(str(error))
        return
    async with made:
        yield made


async def twin(site: Watcher) -> dict[str, str]:
    """What the gateway knows that the device reported."""
    answers = topics.of_device(ID, topics.GET_RESULT)
    heard = len(site.on(answers))
    site.say(topics.of_device(ID, topics.GET), {"event_id": "t"})
    await until(lambda: len(site.on(answers)) > heard)
    twins = site.on(answers)[-1].get("twin", {})
    return {name: entry["actual"]["value"] for name, entry in twins.items() if "actual" in entry}


def states(site: Watcher) -> list[str]:
    """The states that the mapper told of the board."""
    return [content["state"] for content in site.on(topics.of_device(ID, topics.STATE))]


def led(board: FirmwareLine) -> str:
    """What the board's output really is."""
    return str(json.loads(board.outputs() or "{}").get("led", ""))


async def test_a_board_on_a_serial_line_is_a_device_like_any_other(
    board: FirmwareLine, gateway: Gateway, mapper: MapperProcess
) -> None:
    async with Watcher(gateway.broker.port) as site:
        gateway.apply(manifests(board.port))
        await until(lambda: "online" in states(site))
        await until(lambda: _has(site, {"temperature", "led", "interval"}))

        gateway.apply(manifests(board.port, led="ON"))
        await until(lambda: led(board) == "ON")
        await until(lambda: _is(site, "led", "ON"))

        board.unplug()
        await until(lambda: states(site)[-1] == "offline")
        gateway.apply(manifests(board.port, led="OFF"))
        board.plug()
        await until(lambda: led(board) == "OFF")
        await until(lambda: states(site)[-1] == "online")
        await until(lambda: _is(site, "led", "OFF"))


async def test_a_board_that_loses_its_power_does_again_what_is_desired(
    board: FirmwareLine, gateway: Gateway, mapper: MapperProcess
) -> None:
    async with Watcher(gateway.broker.port) as site:
        gateway.apply(manifests(board.port, led="ON"))
        await until(lambda: led(board) == "ON")
        board.power_off()
        (board.folder / "outputs.json").unlink()
        board.power_on()
        await until(lambda: led(board) == "ON")
        await until(lambda: _is(site, "led", "ON"))


async def test_a_value_that_the_board_cannot_follow_is_refused_in_its_words(
    board: FirmwareLine, gateway: Gateway, mapper: MapperProcess
) -> None:
    async with Watcher(gateway.broker.port) as site:
        gateway.apply(manifests(board.port, led="BLUE"))
        state = topics.of_device(ID, topics.STATE)
        await until(lambda: any("led" in content.get("refused", {}) for content in site.on(state)))
        why = next(content["refused"]["led"] for content in site.on(state) if content.get("refused"))
        assert why == "'BLUE': the board says 'none of OFF, ON'"
        gateway.apply(manifests(board.port, led="ON"))
        await until(lambda: led(board) == "ON")
        await until(lambda: not site.on(state)[-1].get("refused"))


async def test_a_mapper_that_starts_anew_and_a_line_that_garbles_cost_nothing_but_time(
    board: FirmwareLine, gateway: Gateway, mapper: MapperProcess
) -> None:
    async with Watcher(gateway.broker.port) as site:
        gateway.apply(manifests(board.port, led="ON"))
        await until(lambda: led(board) == "ON")
        assert await mapper.stop() == 0
        board.faults.garbage = 20
        board.faults.pieces = True
        gateway.apply(manifests(board.port, led="OFF"))
        await mapper.start()
        await until(lambda: led(board) == "OFF")
        await until(lambda: _is(site, "led", "OFF"))


def test_mpremote_breaks_into_a_board_at_work(tmp_path: Path) -> None:
    try:
        files = board_firmware.files({"name": ID, "transport": "serial"})
        board = UnixBoard(tmp_path / "board")
    except (Unavailable, firmware.FirmwareError) as error:
        missing(str(error))
        return
    with board:
        board.push(files)
        board.power_on()
        board.expect("event=started")
        board.expect("default/pico")  # it says hello
        mpremote = [sys.executable, "-m", "mpremote", "connect", board.port, "exec", "print(6 * 7)"]
        done = subprocess.run(mpremote, capture_output=True, text=True, timeout=40, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.strip().endswith("42")


async def test_half_a_frame_and_a_frame_that_holds_ctrl_c_break_into_nothing(board: FirmwareLine) -> None:
    await until(lambda: b"event=started" in board.console)
    for data in (b"\x09\r\x03\r", b"\0\r\x03\x03\x05\x05\0", bytes(range(1, 60))):
        board.heard(data)
    before = len(board.console)
    await until(lambda: b"\0" in board.console[before:])  # it goes on saying hello
    assert b"KeyboardInterrupt" not in board.console


async def test_ctrl_c_alone_on_a_quiet_line_breaks_in(board: FirmwareLine) -> None:
    await until(lambda: b"default/pico" in board.console)
    board.heard(b"\r\x03")
    await until(lambda: b"KeyboardInterrupt" in board.console)


async def _has(site: Watcher, properties: set[str]) -> bool:
    return set(await twin(site)) >= properties


async def _is(site: Watcher, property: str, value: str) -> bool:
    return (await twin(site)).get(property) == value
