"""A micro:bit in QEMU, running genuine MicroPython, is a device like any other through the serial mapper."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from device_fw.tests.watcher import Watcher
from device_fw.tools import microbit
from device_fw.tools.errors import FirmwareError
from edgewire import topics
from edgewire.board_frames import decode, encode
from edgewire.cobs import crc16
from hil_tests.bench.qemu_microbit import QemuMicrobit, Unavailable
from hil_tests.conftest import missing
from hil_tests.test_linked_board import mapper
from hil_tests.test_modbus_mapper import Gateway, MapperProcess, gateway, until
from mappers.serial_board_line import BoardLine
from mappers.serial_line import SerialLines
from mappers.serial_visitors import Address

__all__ = ["gateway", "mapper"]  # fixtures

ID = "default/microbit"


def manifests(port: str, **desired: str) -> list[dict[str, Any]]:
    """Its model and its Device."""
    types = {"temperature": "INT", "led": "STRING", "interval": "INT", "button": "INT"}
    model = [{"name": name, "type": type, "accessMode": "ReadWrite"} for name, type in types.items()]
    properties = [
        {"name": name, **({"desired": {"value": desired[name]}} if name in desired else {})} for name in types
    ]
    metadata = {"namespace": "default"}
    return [
        {"kind": "DeviceModel", "metadata": {"name": "microbit-model", **metadata}, "spec": {"properties": model}},
        {
            "kind": "Device",
            "metadata": {"name": "microbit", **metadata},
            "spec": {
                "deviceModelRef": {"name": "microbit-model"},
                "nodeName": "edge-1",
                "protocol": {"protocolName": "serial", "configData": {"port": port, "framing": "board"}},
                "properties": properties,
            },
        },
    ]


@pytest.fixture
def microbit_board(tmp_path: Path) -> Iterator[QemuMicrobit]:
    try:
        made = QemuMicrobit("microbit", tmp_path / "microbit")
    except Unavailable as error:
        missing(str(error))
        return
    with made:
        yield made


class Heard:
    """What the gateway was told of the board."""

    def __init__(self, site: Watcher) -> None:
        self._site = site

    def values(self) -> dict[str, str]:
        """The newest of each property."""
        found: dict[str, str] = {}
        for report in self._site.on(topics.of_device(ID, topics.UPDATE)):
            found |= {name: entry["actual"]["value"] for name, entry in report["twin"].items()}
        return found

    def states(self) -> list[dict[str, Any]]:
        """All states, in order."""
        return self._site.on(topics.of_device(ID, topics.STATE))

    def state(self) -> str:
        """The last one."""
        states = self.states()
        return str(states[-1]["state"]) if states else ""


async def test_a_microbit_is_a_device_like_any_other(
    microbit_board: QemuMicrobit, gateway: Gateway, mapper: MapperProcess
) -> None:
    board = microbit_board
    board.expect("event=started device=default/microbit")
    async with Watcher(gateway.broker.port) as site:
        heard = Heard(site)
        gateway.apply(manifests(board.port, led="ON"))
        await until(lambda: heard.values().get("led") == "ON")
        await until(lambda: set(heard.values()) == {"temperature", "led", "interval", "button"})
        assert heard.state() == "online"

        gateway.apply(manifests(board.port, led="BLUE"))
        await until(lambda: heard.states()[-1].get("refused"))
        assert heard.states()[-1]["refused"] == {"led": "'BLUE': the board says 'none of OFF, ON'"}

        gateway.apply(manifests(board.port, led="OFF", interval="100"))
        await until(lambda: heard.values() | {"temperature": ""} == {
            "led": "OFF", "interval": "100", "button": "0", "temperature": "",
        })  # fmt: skip


async def test_a_microbit_that_is_reset_or_without_power_is_heard_again(
    microbit_board: QemuMicrobit, gateway: Gateway, mapper: MapperProcess
) -> None:
    board = microbit_board
    async with Watcher(gateway.broker.port) as site:
        heard = Heard(site)
        gateway.apply(manifests(board.port, interval="200"))
        await until(lambda: heard.values().get("interval") == "200")
        for number, again in enumerate((board.reset, board.cycle), 2):
            again()
            await until(lambda number=number: board.console.read_bytes().count(b"event=started") >= number)  # type: ignore[misc]
            gateway.apply(manifests(board.port, interval=str(number * 100 + 1)))
            await until(lambda number=number: heard.values().get("interval") == str(number * 100 + 1))  # type: ignore[misc]
        await until(lambda: heard.state() == "online")
        assert "offline" in [state["state"] for state in heard.states()]


async def test_a_gateway_that_asks_while_the_board_starts_does_not_end_its_program(
    microbit_board: QemuMicrobit, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    board = microbit_board
    board.power_on()
    address = Address(port=board.port, framing="board")
    driver: BoardLine = SerialLines().driver(address.line)
    await driver.open()
    try:
        await until(lambda: "board says hello" in caplog.text)
        board.reset()
        await until(lambda: caplog.text.count("board says hello") == 2)
    finally:
        await driver.close()


def test_the_small_firmware_s_frames_are_those_of_the_link() -> None:
    space: dict[str, Any] = {}
    exec(microbit.sources()["frames.py"], space)
    for content in (b"", b"\0\0", b"{}", bytes(range(200))):
        assert space["encode"](2, 0x1234, 5, content) == encode(2, 0x1234, 5, content)
        piece = encode(2, 0x1234, 5, content).strip(b"\0")
        assert space["decode"](piece) == decode(piece)
    assert space["crc16"](b"123456789") == crc16(b"123456789").to_bytes(2)
    assert space["decode"](b"\x05\x11") is None
    assert space["decode"](b"\x09\x02\x12\x34\x05{}\x4c\x08") is None


def test_a_name_that_is_none_is_refused_before_a_hex_file_is_made() -> None:
    for name in ("microbit", "default/", "a/b/c", "default/" + "x" * 70, "default/mü"):
        with pytest.raises(FirmwareError, match="is not <namespace>/<name>"):
            microbit.build(name)


def test_the_hex_file_holds_the_firmware_and_its_name() -> None:
    import micropython_microbit_fs

    files = {file.name: file.content for file in micropython_microbit_fs.get_files(microbit.build(ID))}
    assert files["config.py"] == b"NAME=b'default/microbit'\nSIMULATED=False\n"
    assert {"main.py", "app.py", "take.py", "config.py"} < set(files)
    assert json.dumps(files["app.py"].decode()).count('"""') == 0
