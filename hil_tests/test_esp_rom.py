"""The emulated ESP32 against the real esptool, and flashing it while things go wrong."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_fw.tools import flash_esp, flash_ports, flash_runtime
from device_fw.tools.flash_errors import BoardLost, RuntimeFailed, WrongBoard
from device_fw.tools.flash_runtime import Runtime
from hil_tests.bench import esp_image
from hil_tests.bench.esp_loader import MAC, SECTOR, Faults, NorFlash, RomLoader
from hil_tests.bench.esp_rom import EspRom
from hil_tests.conftest import missing

ROOT = Path(__file__).resolve().parents[1]
BANNER = "MicroPython v1.28.0 on 2026-05-01; Generic ESP32 module with ESP32"
SMALL = 90_000
RUN_S = 60


@pytest.fixture
def chip(tmp_path: Path) -> Iterator[EspRom]:
    """An empty chip on a pty."""
    with EspRom(link=tmp_path / "esp") as found:
        yield found


@pytest.fixture(scope="session")
def small() -> Runtime:
    """An image that is written in a moment."""
    return flash_runtime.read(esp_image.made(SMALL, BANNER), "small.bin")


def esptool(chip: EspRom, *arguments: str) -> str:
    """What esptool says; it must succeed."""
    command = [sys.executable, "-m", "esptool", "--port", chip.port, "--no-stub", "--before", "no-reset"]
    done = subprocess.run(
        [*command, "--after", "no-reset", *arguments], capture_output=True, text=True, timeout=RUN_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def holds(chip: EspRom, runtime: Runtime) -> bool:
    """Whether the flash holds the image, byte for byte, and nothing behind it."""
    end = runtime.offset + len(runtime.content)
    rest = -(-end // SECTOR) * SECTOR
    cells = bytes(chip.flash.cells)
    return cells[runtime.offset : end] == runtime.content and not cells[rest:].strip(b"\xff")


def write(chip: EspRom, runtime: Runtime) -> None:
    flash_esp.write(runtime, chip.port, stub=False)


def test_esptool_finds_chip_address_and_flash(chip: EspRom) -> None:
    said = esptool(chip, "flash-id")
    assert "ESP32" in said
    assert MAC.hex(":") in said.lower()
    assert "4MB" in said


def test_real_image_is_written_byte_for_byte_verified_and_read_back(chip: EspRom, tmp_path: Path) -> None:
    try:
        path = esp_image.real(ROOT / ".hedgerow/cache")
    except esp_image.ImageMissing as error:
        missing(str(error))
    runtime = flash_runtime.read(path.read_bytes(), path.name)
    assert f"{runtime.banner}; {runtime.machine}" == esp_image.REAL_BANNER
    parts: list[float] = []
    flash_esp.write(runtime, chip.port, stub=False, progress=parts.append)
    assert holds(chip, runtime)
    assert chip.starts == 1
    assert parts == sorted(parts)
    assert parts[-1] == 1.0
    chip.boot_button = True
    chip.reset()
    assert "Verification successful" in esptool(chip, "verify-flash", "0x1000", str(path))
    esptool(chip, "read-flash", "0x8000", "0x800", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == runtime.content[0x7000:0x7800]


def test_an_image_that_is_there_is_not_written_again(chip: EspRom, small: Runtime) -> None:
    write(chip, small)
    chip.boot_button = True
    chip.reset()
    before = bytes(chip.flash.cells)
    write(chip, small)
    assert chip.blocks == 0
    assert bytes(chip.flash.cells) == before


def test_a_block_that_was_damaged_on_the_line_is_sent_again(chip: EspRom, small: Runtime) -> None:
    chip.faults.checksum_block = 5
    write(chip, small)
    assert chip.faults.checksum_times == 0
    assert holds(chip, small)


def test_a_line_that_damages_everything_is_named_and_a_second_run_completes(chip: EspRom, small: Runtime) -> None:
    chip.faults.checksum_block, chip.faults.checksum_times = 5, 1000
    with pytest.raises(RuntimeFailed, match=r"Run this again.*--baud 115200"):
        write(chip, small)
    chip.faults.checksum_times = 0
    chip.reset()
    write(chip, small)
    assert holds(chip, small)


@pytest.mark.parametrize("what", ["dead_at", "garbage_at"])
def test_a_loader_that_fails_in_the_midst_is_named_and_a_second_run_completes(
    chip: EspRom, small: Runtime, what: str
) -> None:
    setattr(chip.faults, what, 60)
    with pytest.raises(RuntimeFailed, match=r"was not written.*Run this again"):
        write(chip, small)
    assert chip.starts == 0
    setattr(chip.faults, what, None)
    chip.reset()
    write(chip, small)
    assert holds(chip, small)
    assert chip.starts == 1


def test_a_slow_chip_is_waited_for(chip: EspRom, small: Runtime) -> None:
    chip.faults.slow_s = 0.005
    write(chip, small)
    assert holds(chip, small)


def test_a_board_unplugged_in_the_midst_is_named_and_a_second_run_completes(chip: EspRom, small: Runtime) -> None:
    def unplug(part: float) -> None:
        if part > 0.3 and chip.port:
            chip.unplug()

    with pytest.raises(BoardLost, match=r"went away.*plug it in and run this again"):
        flash_esp.write(small, chip.port, stub=False, progress=unplug)
    assert not holds(chip, small)
    chip.plug()
    write(chip, small)
    assert holds(chip, small)


def test_the_tool_killed_in_the_midst_takes_esptool_with_it_and_a_second_run_completes(
    chip: EspRom, small: Runtime, tmp_path: Path
) -> None:
    chip.faults.slow_s = 0.02
    (tmp_path / "x.bin").write_bytes(small.content)
    code = f"""
from pathlib import Path
from device_fw.tools import flash_esp, flash_runtime
image = Path({str(tmp_path / "x.bin")!r})
runtime = flash_runtime.read(image.read_bytes(), image.name)
flash_esp.write(runtime, {chip.port!r}, stub=False, progress=lambda part: print(part, flush=True))
"""
    tool = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    with tool:
        assert tool.stdout is not None
        while float(tool.stdout.readline()) < 0.3:
            pass
        tool.kill()
    assert not holds(chip, small)
    flash_ports.wait_until_free(chip.port, 10)  # esptool finds nobody to tell, and ends
    chip.faults.slow_s = 0.0
    chip.reset()
    write(chip, small)
    assert holds(chip, small)


def test_a_power_cut_at_any_command_is_completed_by_a_second_run(small: Runtime) -> None:
    """In this process, with what the real esptool sends: running it at each of the commands would take minutes."""
    sent, commands = recorded(small)
    for at in range(1, commands + 1):
        flash = NorFlash(1 << 18)
        first = RomLoader(flash, Faults(power_cut_at=at))
        first.receive(sent)
        assert first.power_cut
        assert not first.started
        second = RomLoader(flash)
        second.receive(sent)
        assert second.started
        assert flash.read(small.offset, len(small.content)) == small.content


def recorded(runtime: Runtime) -> tuple[bytes, int]:
    """What esptool sends to write an image to an empty chip, and how many commands it is."""
    with EspRom() as chip:
        chip.recording = bytearray()
        write(chip, runtime)
        sent = bytes(chip.recording)
    loader = RomLoader(NorFlash())
    loader.receive(sent)
    return sent, loader.commands


def test_a_chip_in_no_boot_loader_is_told_from_a_lost_one(chip: EspRom, small: Runtime) -> None:
    chip.faults.dead_at = 1
    with pytest.raises(RuntimeFailed, match="hold its BOOT button"):
        write(chip, small)


def test_an_image_for_another_chip_is_refused_by_name(chip: EspRom, small: Runtime) -> None:
    content = bytearray(small.content)
    content[12] = 9  # in the image's header: ESP32-S3
    with pytest.raises(WrongBoard, match=r"esp32s3.*ESP32"):
        write(chip, flash_runtime.read(bytes(content), "s3.bin"))
    assert not bytes(chip.flash.cells).strip(b"\xff")


def test_the_flash_takes_bits_to_zero_only() -> None:
    flash = NorFlash(2 * SECTOR)
    flash.program(10, b"\xf0")
    flash.program(10, b"\x3c")
    assert flash.read(10, 1) == b"\x30"
    flash.erase(10, 1)
    assert flash.read(10, 1) == b"\xff"


def test_a_damaged_image_does_not_start(small: Runtime) -> None:
    flash = bytearray(b"\xff" * 0x1000 + small.content)
    assert esp_image.boots(bytes(flash))
    flash[0x10400] ^= 1
    assert not esp_image.boots(bytes(flash))
