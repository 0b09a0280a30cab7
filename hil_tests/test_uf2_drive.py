"""Writing MicroPython to a drive that behaves as the boot loader's of an RP2 board, and what goes wrong with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from adafruit_uf2 import uf2conv

from device_fw.tools import flash_runtime, flash_uf2
from device_fw.tools.flash_errors import BoardLost, NoBoard, RuntimeFailed, SeveralBoards, WrongBoard
from device_fw.tools.flash_runtime import Runtime
from hil_tests.bench.uf2_drive import FLASH_AT, RP2040, Uf2Drive

CONTENT = b"MicroPython v1.28.0 on 2026-05-01; Raspberry Pi Pico with RP2040\0" + bytes(range(256)) * 300


def runtime(family: int = RP2040) -> Runtime:
    """An image of about 77 kB."""
    uf2conv.familyid, uf2conv.appstartaddr = family, FLASH_AT
    try:
        return flash_runtime.read(bytes(uf2conv.convert_to_uf2(CONTENT)), "x.uf2")
    finally:
        uf2conv.familyid = 0


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Uf2Drive]:
    """A board in its boot loader."""
    with Uf2Drive(tmp_path / "RPI-RP2") as found:
        yield found


def holds(drive: Uf2Drive) -> bool:
    """Whether the board's flash has the image, byte for byte."""
    return b"".join(drive.flash[at] for at in sorted(drive.flash)).startswith(CONTENT) and min(drive.flash) == FLASH_AT


def test_an_image_is_taken_and_the_board_starts(drive: Uf2Drive) -> None:
    parts: list[float] = []
    flash_uf2.write(runtime(), drive.folder, parts.append)
    assert not drive.folder.exists()
    assert holds(drive)
    assert parts == sorted(parts)
    assert parts[-1] == 1.0


def test_drives_are_found_by_their_info_file(drive: Uf2Drive, tmp_path: Path) -> None:
    (tmp_path / "stick").mkdir()
    found = flash_uf2.drives(tmp_path.iterdir())
    assert found == [drive.folder]
    assert flash_uf2.choose(None, found) == drive.folder
    with pytest.raises(NoBoard, match=r"there is no INFO_UF2\.TXT"):
        flash_uf2.choose(tmp_path / "stick", found)
    with pytest.raises(NoBoard, match="hold BOOTSEL, plug it in"):
        flash_uf2.choose(None, [])
    with pytest.raises(SeveralBoards, match="2 boards show their drives; say which by --drive"):
        flash_uf2.choose(None, [drive.folder, tmp_path / "other"])


def test_an_image_for_another_chip_is_not_copied(drive: Uf2Drive) -> None:
    with pytest.raises(WrongBoard, match=r"image is for rp2350, and the board at .* is an rp2040"):
        flash_uf2.write(runtime(flash_runtime.RP2350_ARM), drive.folder)
    assert drive.folder.exists()
    assert not drive.flash


def test_a_full_drive_is_named_and_a_second_run_completes(drive: Uf2Drive) -> None:
    drive.full = True
    drive.boot()
    with pytest.raises(RuntimeFailed, match="is full"):
        flash_uf2.write(runtime(), drive.folder)
    drive.full = False
    drive.boot()
    flash_uf2.write(runtime(), drive.folder)
    assert holds(drive)


@pytest.mark.parametrize("blocks", [1, 100])
def test_a_board_unplugged_while_copying_is_named_and_a_second_run_completes(drive: Uf2Drive, blocks: int) -> None:
    drive.unplug_after = blocks
    drive.boot()
    with pytest.raises(
        (BoardLost, RuntimeFailed), match=r"went away while the image was copied.*BOOTSEL held.*run this again"
    ):
        flash_uf2.write(runtime(), drive.folder)
    assert drive.starts == 0
    drive.boot()
    flash_uf2.write(runtime(), drive.folder)
    assert holds(drive)
    assert drive.starts == 1


def test_a_drive_that_does_not_take_the_image_is_named(drive: Uf2Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flash_uf2, "GONE_S", 0.2)
    other = Uf2Drive(drive.folder.with_name("RP2350"), family=flash_runtime.RP2350_ARM)
    with other, pytest.raises(RuntimeFailed, match=r"did not take the image within 0\.2 s"):
        flash_uf2.write(runtime(), other.folder)
