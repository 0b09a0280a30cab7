"""Images of MicroPython: which are whole, and for whom. UF2 files are packed by adafruit-uf2, another's implementation."""

import struct
from collections.abc import Iterator

import pytest
from adafruit_uf2 import uf2conv

from device_fw.tools import flash_runtime
from device_fw.tools.flash_errors import RuntimeFailed
from hil_tests.bench import esp_image

PICO = b"\0\0MicroPython v1.28.0 on 2026-05-01; Raspberry Pi Pico W with RP2040\0" + bytes(2000)


@pytest.fixture
def pack() -> Iterator["Pack"]:
    """Packs UF2 files."""
    yield Pack()
    uf2conv.familyid = 0


class Pack:
    def __call__(self, content: bytes, family: int = flash_runtime.RP2040) -> bytes:
        uf2conv.familyid, uf2conv.appstartaddr = family, 0x10000000
        return bytes(uf2conv.convert_to_uf2(content))


def test_a_pico_image_says_what_it_is(pack: Pack) -> None:
    found = flash_runtime.read(pack(PICO), "pico.uf2")
    assert (found.kind, found.chip, found.port) == (flash_runtime.UF2, "rp2040", "rp2")
    assert found.banner == "MicroPython v1.28.0 on 2026-05-01"
    assert found.machine == "Raspberry Pi Pico W with RP2040"
    assert str(found) == f"{found.banner} for rp2040, {len(found.content)} bytes"


def test_an_rp2350_image_begins_with_a_block_for_another_family(pack: Pack) -> None:
    first = pack(b"\xef" * 256, 0xE48BFF57)
    found = flash_runtime.read(first + pack(PICO, flash_runtime.RP2350_ARM), "pico2.uf2")
    assert (found.chip, found.banner) == ("rp2350", "MicroPython v1.28.0 on 2026-05-01")


def test_an_esp32_image_says_what_it_is() -> None:
    content = esp_image.made(80_000, "MicroPython v1.28.0 on 2026-05-01; Generic ESP32 module with ESP32")
    found = flash_runtime.read(content, "esp32.bin")
    assert (found.kind, found.chip, found.port, found.offset) == (flash_runtime.ESP, "esp32", "esp32", 0x1000)
    assert found.machine == "Generic ESP32 module with ESP32"
    header = bytearray(content)
    struct.pack_into("<H", header, 12, 9)
    assert (flash_runtime.read(bytes(header), "s3").chip, flash_runtime.read(bytes(header), "s3").offset) == (
        "esp32s3",
        0,
    )


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda b: b[:-512], "is not whole: 8 of 9 blocks"),
        (lambda b: b[:-100], "is cut off"),
        (lambda b: b[:512] + b[:512] + b[1024:], "block 0 is there twice"),
        (lambda b: b[:1020] + b"\0\0\0\0" + b[1024:], "block 1 is no UF2 block"),
    ],
)
def test_a_damaged_uf2_file_is_refused(pack: Pack, damage: "Damage", reason: str) -> None:
    with pytest.raises(RuntimeFailed, match=f"pico.uf2 .*{reason}|pico.uf2 {reason}"):
        flash_runtime.read(damage(pack(PICO)), "pico.uf2")


class Damage:
    def __call__(self, content: bytes) -> bytes: ...  # type: ignore[empty-body]


def test_other_boards_are_called_by_name(pack: Pack) -> None:
    with pytest.raises(RuntimeFailed, match=r"x\.uf2 is for SAMD51; boards known here are rp2040"):
        flash_runtime.read(pack(PICO, 0x55114460), "x.uf2")
    with pytest.raises(RuntimeFailed, match="x is for UF2 family 0x00000077"):
        flash_runtime.read(pack(PICO, 0x77), "x")
    unknown = bytearray(b"\xe9" + bytes(100))
    struct.pack_into("<H", unknown, 12, 99)
    with pytest.raises(RuntimeFailed, match="chip of number 99"):
        flash_runtime.read(bytes(unknown), "x.bin")


@pytest.mark.parametrize("content", [b"", b"\xe9", b"PK\3\4", b"<!DOCTYPE html>"])
def test_what_is_no_image_is_refused_with_where_to_get_one(content: bytes) -> None:
    with pytest.raises(RuntimeFailed, match=r"no image of MicroPython.*micropython\.org/download"):
        flash_runtime.read(content, "x.bin")
