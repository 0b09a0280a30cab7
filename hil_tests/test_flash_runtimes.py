"""Boards from their box: MicroPython by esptool or to an RP2's drive, then the firmware, on the port that the board has then."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from device_fw.tools import flash_runtime
from device_fw.tools.flash import flash
from device_fw.tools.flash_board import BoardConnection
from device_fw.tools.flash_errors import BoardLost, RuntimeFailed, WrongBoard
from device_fw.tools.flash_order import Order
from device_fw.tools.flash_ports import Port
from hil_tests.bench import esp_image
from hil_tests.bench.esp_rom import EspRom
from hil_tests.bench.small_firmware import Silent, SmallFirmware
from hil_tests.bench.uf2_drive import Uf2Drive
from hil_tests.bench.unix_board import Unavailable, UnixBoard
from hil_tests.conftest import missing


@pytest.fixture
def board(tmp_path: Path) -> Iterator[UnixBoard]:
    """A board with an empty flash, on."""
    try:
        made = UnixBoard(tmp_path / "board", flash_bytes=1 << 18)
    except Unavailable as error:
        missing(str(error))
    with made:
        yield made


@pytest.fixture
def banner(board: UnixBoard) -> str:
    """What an image says that makes such a board: `sys.version`'s end, and the machine."""
    with BoardConnection(board.port) as connection:
        facts = connection.facts()
    return f"{facts.banner}; {facts.machine}"


def test_a_cable_pulled_in_the_midst_is_named_and_a_second_run_completes(board: UnixBoard, tmp_path: Path) -> None:
    image = bytes(0x1000) + esp_image.made(90_000, "any")
    with EspRom(
        runs=lambda: os.path.realpath(board.port), link=tmp_path / "esp"
    ) as bridge:  # a cable that can be pulled
        bridge.flash.cells[: len(image)] = image
        bridge.reset()
        commands = 0

        def on_command() -> None:
            nonlocal commands
            commands += 1
            if commands == 12:
                bridge.unplug()

        with pytest.raises(BoardLost, match=r"does not come back: no board at .*/esp"):
            flash(Order(SmallFirmware(), port=bridge.port, on_command=on_command, patience_s=0.5), Silent())
        bridge.plug()
        outcome = flash(Order(SmallFirmware(), port=bridge.port), Silent())
        assert 0 < len(outcome.written) < 6  # the first ones are there
    board.expect(SmallFirmware().line())


def test_an_esp32_from_its_box_is_flashed_on_one_port_from_loader_to_firmware(board: UnixBoard, banner: str) -> None:
    runtime = flash_runtime.read(esp_image.made(90_000, banner), "x.bin")
    with EspRom(runs=lambda: os.path.realpath(board.port)) as chip:
        order = Order(SmallFirmware(), port=chip.port, runtime=runtime, stub=False)
        show = Silent()
        outcome = flash(order, show)
        board.expect(SmallFirmware().line())
        assert chip.starts == 1
        assert bytes(chip.flash.cells[0x1000 : 0x1000 + len(runtime.content)]) == runtime.content
        assert len(outcome.written) == 6
        again = flash(order, show)
        assert f"{runtime.banner} is there" in show.steps
        assert again.written == ()


def test_a_pico_from_its_box_is_flashed_from_drive_to_firmware(board: UnixBoard, banner: str, tmp_path: Path) -> None:
    runtime = uf2(banner)
    board.power_off()
    drive = Uf2Drive(tmp_path / "RPI-RP2", runs=board.power_on)
    port = board.port
    with drive:
        order = Order(SmallFirmware(), port=port, runtime=runtime, drive=drive.folder)
        outcome = flash(order, Silent(), [Port(port)])
        board.expect(SmallFirmware().line())
    assert drive.starts == 1
    assert len(outcome.written) == 6


def test_a_running_pico_is_sent_to_its_boot_loader_for_a_new_runtime(
    board: UnixBoard, banner: str, tmp_path: Path
) -> None:
    drive = Uf2Drive(tmp_path / "RPI-RP2", runs=board.reset)

    class Watching(Silent):
        def step(self, text: str) -> None:
            super().step(text)
            if text.startswith("Wait for the drive"):
                board.until(lambda b: b.off_because == "bootloader", "the boot loader")
                drive.boot()

    newer = replace(uf2(banner), banner="MicroPython 9 on 2030-01-01")  # which this board never becomes
    order = Order(SmallFirmware(), port=board.port, runtime=newer, drive=drive.folder)
    try:
        with pytest.raises(
            RuntimeFailed, match=r"runs MicroPython .*, not MicroPython 9 .* that was written to it: run"
        ):
            flash(order, Watching(), [Port(board.port)])
    finally:
        drive.unplug()
    assert drive.starts == 1


def test_a_dry_run_of_a_runtime_shows_it_and_writes_nothing(board: UnixBoard, banner: str, tmp_path: Path) -> None:
    with Uf2Drive(tmp_path / "RPI-RP2") as drive:
        show = Silent()
        order = Order(SmallFirmware(), runtime=uf2(banner), drive=drive.folder, dry_run=True)
        outcome = flash(order, show, [])
        assert drive.folder.exists()
        assert not drive.flash
    assert outcome.facts is None
    assert any(step.startswith("Would write MicroPython") for step in show.steps)


def test_a_pico_that_does_not_come_back_is_named(banner: str, tmp_path: Path) -> None:
    with (
        Uf2Drive(tmp_path / "RPI-RP2") as drive,
        pytest.raises(RuntimeFailed, match=r"does not come back.*without BOOTSEL"),
    ):
        flash(Order(SmallFirmware(), runtime=uf2(banner), drive=drive.folder, patience_s=0.2), Silent(), [])


def test_an_image_for_a_sister_of_the_board_is_refused(board: UnixBoard, banner: str) -> None:
    sister = replace(uf2(banner), machine="Raspberry Pi Pico W with RP2040")
    board_file = SmallFirmware()
    board_file.platform, board_file.board = "esp32", "esp32"
    with pytest.raises(WrongBoard, match="image of MicroPython is for rp2040, and the board file says esp32"):
        flash(Order(board_file, port=board.port, runtime=sister), Silent())


def uf2(banner: str) -> flash_runtime.Runtime:
    """An image of MicroPython for an RP2040 that calls itself so."""
    from adafruit_uf2 import uf2conv

    uf2conv.familyid, uf2conv.appstartaddr = flash_runtime.RP2040, 0x10000000
    try:
        return flash_runtime.read(bytes(uf2conv.convert_to_uf2(b"\0" + banner.encode() + bytes(5000))), "x.uf2")
    finally:
        uf2conv.familyid = 0
