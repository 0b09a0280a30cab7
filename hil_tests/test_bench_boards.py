"""Boards of the bench, whichever it is: the default one of emulated boards, or a desk of real ones (`--bench desk.yaml`)."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from adafruit_uf2 import uf2conv

from device_fw.tools.errors import FirmwareError
from hil_tests.bench import board_firmware, desk, esp_image
from hil_tests.bench.bench_file import MicropythonSerial, Power, load
from hil_tests.bench.boards import Board, BoardError
from hil_tests.bench.broker import BenchBroker
from hil_tests.bench.serial_board import SerialBoard
from hil_tests.bench.uf2_drive import FLASH_AT, RP2040
from hil_tests.bench.unix_board import Unavailable, UnixBoard
from hil_tests.conftest import missing
from hil_tests.test_linked_board import Ear
from hil_tests.test_serial_driver import until
from mappers.driver import Dated

HELLO = b"import machine\nprint('hello from', machine.unique_id().hex(), 'cause', machine.reset_cause())\n"
CLIENT = """
import socket
s = socket.socket()
s.connect(socket.getaddrinfo({host!r}, {port})[0][-1])
s.send(bytes([16, 14, 0, 4]) + b"MQTT" + bytes([4, 2, 0, 60, 0, 2]) + b"b1")
print("connack", s.recv(4))
s.send(bytes([48, 8, 0, 4]) + b"said" + b"hi")
while True:
    pass
"""


@pytest.fixture(params=["bench", "micropython-serial"])
def any_board(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Board]:
    """The bench's board; and the driver of real boards, on the port of an emulated one."""
    if request.param == "bench":
        yield request.getfixturevalue("board")
        return
    try:
        unix = UnixBoard(tmp_path / "unix")
    except Unavailable as error:
        missing(str(error))
        raise
    with unix:
        entry = MicropythonSerial(kind="micropython-serial", port=unix.port)
        real = SerialBoard("real", entry, tmp_path / "real")
        yield real
        real.close()


@pytest.mark.needs("board.push", "board.reset", "board.console")
def test_a_board_runs_what_was_pushed_and_runs_it_again_after_a_reset(any_board: Board) -> None:
    any_board.power_on()
    any_board.push({"main.py": HELLO, "lib/deep/er.py": b"x = 1\n"})
    first = any_board.expect(r"hello from (\w+) cause")[1]
    any_board.reset()
    assert any_board.expect(r"hello from (\w+) cause")[1] == first
    any_board.write(b"from deep import er; print('imported', er.x)\r")
    any_board.expect(r"imported 1\s")


@pytest.mark.needs("board.push", "board.power")
def test_a_board_that_loses_its_power_starts_from_its_flash(board: Board) -> None:
    board.push({"main.py": HELLO})
    board.power_on()
    board.expect("hello")
    board.cycle()
    board.expect("hello")


@pytest.mark.needs("board.push", "board.network")
def test_a_board_reaches_the_broker_of_the_bench(board: Board, bench_broker: BenchBroker) -> None:
    board.power_on()
    board.push({"main.py": CLIENT.format(host=bench_broker.host, port=bench_broker.port).encode()})
    board.expect(r"connack b' \\x02\\x00\\x00'")
    bench_broker.expect("said hi\n")


@pytest.mark.needs("board.push", "board.power", "board.fault.frozen")
def test_a_frozen_board_goes_on_where_it_was(board: Board) -> None:
    board.push({"main.py": b"import time\nn = 0\nwhile True:\n    n += 1\n    print('n', n)\n    time.sleep_ms(5)\n"})
    board.power_on()
    board.expect("n 3")
    board.fault("frozen")
    board.fault("none")
    board.expect("n 9")


@pytest.mark.needs("board.push", "board.power", "board.fault.full-flash")
def test_a_full_flash_has_room_for_nothing_more(board: Board) -> None:
    main = b"try:\n    open('x', 'w').write('y' * 9000)\n    print('room')\nexcept OSError as e:\n    print('no room', e.errno)\n"
    board.push({"main.py": main})
    board.fault("full-flash", 4)
    board.power_on()
    board.expect("no room 28")


def test_power_by_a_command_says_what_the_command_said(tmp_path: Path) -> None:
    log = tmp_path / "log"
    works = MicropythonSerial(
        kind="micropython-serial",
        port=str(tmp_path / "none"),
        power=Power(on_command=f"echo on >> {log}", off_command=f"echo off >> {log}"),
    )
    SerialBoard("one", works, tmp_path / "one").power_off()
    assert log.read_text() == "off\n"
    broken = MicropythonSerial(
        kind="micropython-serial", port="none", power=Power(on_command="true", off_command="echo no such hub; exit 3")
    )
    with pytest.raises(BoardError, match="no such hub"):
        SerialBoard("two", broken, tmp_path / "two").power_off()


def test_the_port_of_a_real_board_is_let_go_for_other_programs(tmp_path: Path) -> None:
    try:
        unix = UnixBoard(tmp_path / "unix")
    except Unavailable as error:
        missing(str(error))
        raise
    with unix:
        unix.expect(">>> ")
        real = SerialBoard("real", MicropythonSerial(kind="micropython-serial", port=unix.port), tmp_path / "real")
        real.write(b"print(6 * 7)\r")
        real.expect("42")
        assert json.loads((tmp_path / "unix" / "usb.json").read_text())["device"] == real.port
        with open(real.port, "rb+", buffering=0) as other:
            other.write(b"print(7 * 8)\r")
            unix.expect("56")
        real.close()


@pytest.mark.needs("board.push", "board.power", "board.serial-link")
async def test_a_board_without_a_network_is_heard_on_its_port(board: Board) -> None:
    config = {"name": "default/b1", "transport": "serial"}
    try:
        described = board.board_file
        files = board_firmware.by_board_file(described, config) if described else board_firmware.files(config)
    except FirmwareError as error:
        missing(str(error))
        raise
    await asyncio.to_thread(board.push, files)
    await asyncio.to_thread(board.power_on)
    async with Ear(board.port) as ear:
        await until(lambda: heard(ear, "temperature") and heard(ear, "led") == "OFF")
        await ear.driver.write(ear.visitors["led"], "ON")
        await until(lambda: heard(ear, "led") == "ON")


def heard(ear: Ear, name: str) -> object:
    """The value that a board reported last, with or without its time."""
    last = ear.last(name)
    return last.value if isinstance(last, Dated) else last


@pytest.mark.needs("board.rom-loader", "board.power")
def test_an_esp32_in_its_boot_loader_takes_an_image_and_starts_it(board: Board) -> None:
    board.power_on()
    board.flash(esp_image.made(20_000, "MicroPython v1.28.0 on 2026-05-01; Generic ESP32 module with ESP32"))
    board.expect("Hash of data verified")


@pytest.mark.needs("board.rom-loader", "board.power", "board.fault.power-cut-in-write")
def test_an_esp32_that_dies_while_it_is_flashed_says_so(board: Board) -> None:
    image = esp_image.made(20_000, "MicroPython v1.28.0 on 2026-05-01; Generic ESP32 module with ESP32")
    board.fault("power-cut-in-write", 8)
    board.power_on()
    with pytest.raises(BoardError, match="esp32"):
        board.flash(image)
    board.fault("none")
    board.cycle()
    board.flash(image)


@pytest.mark.needs("board.uf2", "board.power")
def test_an_rp2_drive_takes_an_image_and_goes(board: Board) -> None:
    board.power_on()
    board.flash(uf2_image())
    deadline = time.monotonic() + 10
    while Path(board.port).exists():
        assert time.monotonic() < deadline, "the drive stayed"
        time.sleep(0.01)


def uf2_image() -> bytes:
    """A small .uf2 for an RP2040."""
    uf2conv.familyid, uf2conv.appstartaddr = RP2040, FLASH_AT
    try:
        return bytes(uf2conv.convert_to_uf2(b"MicroPython v1.28.0 on 2026-05-01; Raspberry Pi Pico with RP2040\0" * 20))
    finally:
        uf2conv.familyid = 0


def test_the_firmware_of_a_real_board_is_what_its_board_file_says(tmp_path: Path) -> None:
    """On the driver of real boards, at an emulated one's port."""
    (tmp_path / "board.yaml").write_text(
        "board: unix\nname: default/b7\nproperties:\n"
        "  temperature: {driver: simulated}\n  led: {driver: digital_out, pin: 15, values: ['OFF', 'ON']}\n"
    )
    (tmp_path / "desk.yaml").write_text(
        "boards:\n  pico: {kind: micropython-serial, port: none, firmware: board.yaml}\n"
    )
    described = load(tmp_path / "desk.yaml")
    assert desk.lacking(described, ["board.firmware", "board.push"]) == ""
    (entry,) = described.boards.values()
    assert isinstance(entry, MicropythonSerial)
    try:
        unix = UnixBoard(tmp_path / "unix", heap_kb=160)  # emulated pins take of it, a real board's do not
        files = board_firmware.by_board_file(Path(entry.firmware), {"host": "127.0.0.1", "port": 1})
    except (Unavailable, FirmwareError) as error:
        missing(str(error))
        raise
    with unix:
        entry.port = unix.port
        real = SerialBoard("pico", entry, tmp_path / "real")
        real.push(files)
        real.expect("event=started board=unix device=default/b7", 30)
        real.close()
