"""What the firmware's tests stand on: the real MicroPython binary, umqtt.simple, and brokers to talk to.

Nothing is skipped where the platform has it: without MicroPython or mosquitto the tests skip loudly, and fail when `CI` is set.
`HEDGEROW_UMQTT=path/to/simple.py` runs them all on another umqtt.simple, as boards get it by `mip`.
"""

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from device_fw.tests.faulty_broker import FaultyBroker
from device_fw.tools import firmware
from hil_tests.bench import micropython_board
from hil_tests.bench import mosquitto as bench_mosquitto

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / firmware.CACHE
PINS = ROOT / "hil_tests/bench/micropython"
sys.path.append(str(PINS))  # for drivers on emulated pins; behind everything of the same name
RUN_S = 30.0

RunOnMicroPython = Callable[..., Awaitable[list[str]]]


def missing(what: str) -> None:
    """Skip for want of something; on CI, where everything must be there, fail."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def micropython() -> None:
    """The binary is there."""
    try:
        micropython_board.command()
    except micropython_board.Unavailable as error:
        missing(str(error))


@pytest.fixture(scope="session")
def umqtt(micropython: None) -> Path:
    """umqtt.simple's file."""
    other = os.environ.get("HEDGEROW_UMQTT")
    if other:
        return Path(other)
    try:
        return firmware.umqtt_simple(CACHE)
    except firmware.FirmwareError as error:
        missing(str(error))
        raise


@pytest.fixture(scope="session")
def flash(umqtt: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that a board has, and `mqtt_client.py`, to import from."""
    folder = tmp_path_factory.mktemp("flash")
    firmware.assemble(folder, {"name": "default/b1", "host": "127.0.0.1"}, umqtt)
    shutil.copy(ROOT / "device_fw/firmware/mqtt_client.py", folder / "device_fw/firmware")
    return folder


_PRELUDE = """
import json
from device_fw.firmware.mqtt_client import MqttClient
from device_fw.firmware.mqtt_packets import Refused
from device_fw.firmware.tcp import LinkError
from device_fw.firmware.ticks import Clock
clock = Clock()
link = MqttClient("default/b1", "127.0.0.1", {port}, **{options!r})
got = []
link.set_callback(lambda topic, payload: got.append((topic, payload)))
def fails(call, *arguments):
    begin = clock.now()
    try:
        call(*arguments)
    except OSError as error:
        assert clock.now() - begin < link.timeout_ms + 5000, "deadline missed"
        assert not link.connected and link.sock is None
        return "{{}}: {{}}".format(type(error).__name__, error)
    raise AssertionError("no error")
def session():
    link.connect()
    link.subscribe("d")
    while True:
        link.poll(100)
"""


@pytest.fixture
def on_micropython(flash: Path, tmp_path: Path) -> RunOnMicroPython:
    """Runs code on MicroPython beside a ready-made `link` to the port; returns the lines it printed."""

    async def run(code: str, *, port: int, **options: object) -> list[str]:
        script = tmp_path / "script.py"
        options = {"timeout_ms": 300, **options}
        script.write_text(_PRELUDE.format(port=port, options=options) + code)
        process = await asyncio.create_subprocess_exec(
            *micropython_board.command(str(script)),
            env=micropython_board.environment([flash]),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(RUN_S):
                out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, out.decode()
        return out.decode().splitlines()

    return run


@pytest.fixture
async def faulty() -> AsyncIterator[FaultyBroker]:
    """A broker that fails on demand."""
    async with FaultyBroker() as broker:
        yield broker


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[int]:
    """A real mosquitto on loopback; its port."""
    with contextlib.ExitStack() as stack:
        try:
            port = stack.enter_context(bench_mosquitto.mosquitto(tmp_path))
        except bench_mosquitto.MosquittoMissing as error:
            missing(str(error))
            return
        yield port
