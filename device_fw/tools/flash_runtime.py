"""MicroPython as a file to be written: which chip it is for, whether it is whole, what it calls itself. A core.

Two kinds: the ESP32 family's image (boot loader, partitions and application in one file, as micropython.org has them), and UF2
for boards that show themselves as a drive (https://github.com/microsoft/uf2).
"""

import re
import struct
from dataclasses import dataclass

from device_fw.tools.flash_errors import RuntimeFailed

ESP, UF2 = "esp", "uf2"
PLATFORMS = ("esp32", "rp2")
"""`sys.platform` of the boards whose images are known here."""

# Chip id in the image's header (esptool, "Firmware Image Format") -> esptool's name, where its boot loader begins.
_ESP_CHIPS = {
    0: ("esp32", 0x1000),
    2: ("esp32s2", 0x1000),
    5: ("esp32c3", 0),
    9: ("esp32s3", 0),
    12: ("esp32c2", 0),
    13: ("esp32c6", 0),
    16: ("esp32h2", 0),
    18: ("esp32p4", 0x2000),
    23: ("esp32c5", 0x2000),
}
# Family ids (uf2/utils/uf2families.json) of boards whose drive we know by name.
RP2040, RP2350_ARM, RP2350_RISCV = 0xE48BFF56, 0xE48BFF59, 0xE48BFF5A
_UF2_CHIPS = {RP2040: "rp2040", RP2350_ARM: "rp2350", RP2350_RISCV: "rp2350 (RISC-V)"}

_BLOCK = 512
_MAGIC = (0x0A324655, 0x9E5D5157)
_MAGIC_END = 0x0AB16F30
_NOT_MAIN_FLASH, _FAMILY_PRESENT = 0x00000001, 0x00002000
_LARGEST_PAYLOAD = 476
_BANNER = re.compile(rb"(MicroPython [^\0;]{1,60} on \d{4}-\d\d-\d\d); ([^\0\r\n]{1,80})")


@dataclass(frozen=True)
class Runtime:
    """An image of MicroPython."""

    kind: str
    """`ESP` or `UF2`."""
    chip: str
    content: bytes
    """The file as it is."""
    offset: int = 0
    """Where an ESP image goes in the flash."""
    banner: str = ""
    """`MicroPython v1.28.0 on 2026-01-01`: what `sys.version` ends with on a board that runs it; empty: not found."""
    machine: str = ""
    """`Raspberry Pi Pico W with RP2040`: `sys.implementation._machine` there."""

    @property
    def port(self) -> str:
        """`sys.platform` on such a board."""
        return "esp32" if self.kind == ESP else "rp2"

    def __str__(self) -> str:
        return f"{self.banner or 'MicroPython'} for {self.chip}, {len(self.content)} bytes"


def read(content: bytes, name: str) -> Runtime:
    """What an image is. RuntimeFailed, saying why, for what is none, is not whole, or is for no chip known here."""
    if content[:4] == struct.pack("<I", _MAGIC[0]):
        family, flash = _unpacked(content, name)
        if family not in _UF2_CHIPS:
            raise RuntimeFailed(
                f"{name} is for {_family_name(family)}; boards known here are {', '.join(_UF2_CHIPS.values())}"
            )
        return Runtime(UF2, _UF2_CHIPS[family], content, 0, *_called(flash))
    if content[:1] == b"\xe9" and len(content) > 24:
        (chip,) = struct.unpack_from("<H", content, 12)
        if chip not in _ESP_CHIPS:
            raise RuntimeFailed(f"{name} is for an Espressif chip of number {chip}, which is not known here")
        return Runtime(ESP, _ESP_CHIPS[chip][0], content, _ESP_CHIPS[chip][1], *_called(content))
    raise RuntimeFailed(
        f"{name} is no image of MicroPython: a .bin for the ESP32 family or a .uf2, from micropython.org/download"
    )


def _called(flash: bytes) -> tuple[str, str]:
    found = _BANNER.search(flash)
    return ("", "") if found is None else (found[1].decode("ascii", "replace"), found[2].decode("ascii", "replace"))


def _unpacked(content: bytes, name: str) -> tuple[int, bytes]:
    """Family and flash content of a UF2 file of one family, each of whose blocks is there once and whole."""
    if len(content) % _BLOCK:
        raise RuntimeFailed(f"{name} is cut off: {len(content)} bytes are no whole number of UF2 blocks")
    families: dict[int, dict[int, bytes]] = {}
    totals: dict[int, int] = {}
    for at in range(0, len(content), _BLOCK):
        magic0, magic1, flags, _, size, number, total, family = struct.unpack_from("<8I", content, at)
        (end,) = struct.unpack_from("<I", content, at + _BLOCK - 4)
        if (magic0, magic1) != _MAGIC or end != _MAGIC_END or size > _LARGEST_PAYLOAD:
            raise RuntimeFailed(f"{name} is damaged: block {at // _BLOCK} is no UF2 block")
        if flags & _NOT_MAIN_FLASH:
            continue
        blocks = families.setdefault(family if flags & _FAMILY_PRESENT else 0, {})
        if number in blocks:
            raise RuntimeFailed(f"{name} is damaged: block {number} is there twice")
        blocks[number] = content[at + 32 : at + 32 + size]
        totals[family] = total
    # RP2350 images begin with one block for another family: an erratum's cure, and no part of the program.
    family = max(families, key=lambda one: len(families[one]), default=0)
    blocks = families.get(family, {})
    if len(blocks) != totals.get(family, -1) or set(blocks) != set(range(len(blocks))):
        raise RuntimeFailed(f"{name} is not whole: {len(blocks)} of {totals.get(family, 0)} blocks")
    return family, b"".join(blocks[number] for number in sorted(blocks))


def _family_name(family: int) -> str:
    from adafruit_uf2 import load_families

    names: dict[str, int] = load_families()
    return next((name for name, number in names.items() if number == family), f"UF2 family {family:#010x}")
