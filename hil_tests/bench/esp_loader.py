"""The serial boot loader in an ESP32's ROM, as a core: bytes of the UART in, bytes out. No port, no clock.

What esptool's `--no-stub` needs of it: SLIP frames; synchronisation, registers (chip, MAC address, the flash chip behind its
SPI controller), flash written plain and deflated, read, and summed by MD5. The flash keeps NOR's rules: writing takes bits from
1 to 0, only erasing brings them back. Everything that could go wrong on a desk can be asked for in `Faults`.

Commands, codes and structures are those of Espressif's serial protocol ("esptool documentation, Serial Protocol").
"""

import hashlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from operator import xor

SECTOR = 4096
FLASH_BYTES = 4 << 20
CHIP_MAGIC = 0x00F01D83
MAC = bytes.fromhex("24 6f 28 ab cd ef")

_FLASH_ID = 0x1640EF  # Winbond, 4 MiB
_MAGIC_REG, _CLKDIV_REG, _EFUSE, _SPI = 0x40001000, 0x3FF40014, 0x3FF5A000, 0x3FF42000
_SPI_USER = 1 << 18
_CHECKSUM_SEED = 0xEF

FLASH_BEGIN, FLASH_DATA, FLASH_END, SYNC, WRITE_REG, READ_REG = 0x02, 0x03, 0x04, 0x08, 0x09, 0x0A
SPI_SET_PARAMS, SPI_ATTACH, READ_FLASH, CHANGE_BAUD = 0x0B, 0x0D, 0x0E, 0x0F
DEFL_BEGIN, DEFL_DATA, DEFL_END, FLASH_MD5 = 0x10, 0x11, 0x12, 0x13
DATA = (FLASH_DATA, DEFL_DATA)

INVALID, FAILED, BAD_CHECKSUM, WRITE_ERROR, DEFLATE_ERROR = 0x05, 0x06, 0x07, 0x08, 0x0B
"""Reasons in an answer whose status is 1."""


class Refused(Exception):
    """A command that the loader does not carry out, and the reason it gives."""

    def __init__(self, reason: int) -> None:
        super().__init__(f"reason {reason:#04x}")
        self.reason = reason


@dataclass
class Faults:
    """What goes wrong: counted in commands since power-on (`..._at`), or in blocks of data (`..._block`); None: never."""

    checksum_block: int | None = None
    checksum_times: int = 1
    """That block is taken for damaged on the line, so many times."""
    dead_at: int | None = None
    """From that command on, nothing is answered and nothing done, until the power is cycled."""
    garbage_at: int | None = None
    """That command is answered by noise."""
    power_cut_at: int | None = None
    """The power goes in the midst of that command: of a block, half is written."""
    slow_s: float = 0.0
    """The shell waits so long before each answer."""


class NorFlash:
    """A flash chip."""

    def __init__(self, size: int = FLASH_BYTES) -> None:
        self.cells = bytearray(b"\xff" * size)

    def erase(self, at: int, size: int) -> None:
        """Set the sectors that hold these bytes to ones. Refused outside the chip."""
        begin, end = at // SECTOR * SECTOR, -(-(at + size) // SECTOR) * SECTOR
        if end > len(self.cells):
            raise Refused(FAILED)
        self.cells[begin:end] = b"\xff" * (end - begin)

    def program(self, at: int, data: bytes) -> None:
        """Take to 0 what is 0 in `data`; what was 0 stays so. Refused outside the chip."""
        end = at + len(data)
        if end > len(self.cells):
            raise Refused(WRITE_ERROR)
        both = int.from_bytes(self.cells[at:end], "big") & int.from_bytes(data, "big")
        self.cells[at:end] = both.to_bytes(len(data), "big")

    def read(self, at: int, size: int) -> bytes:
        """What is there; shorter at the chip's end."""
        return bytes(self.cells[at : at + size])


@dataclass
class _Writing:
    at: int
    block: int
    left: int
    inflate: "zlib._Decompress | None"
    sequence: int = 0


@dataclass
class RomLoader:
    """The loader, from power-on or reset until it starts the user's code (`started`) or dies (`dead`, `power_cut`)."""

    flash: NorFlash
    faults: Faults = field(default_factory=Faults)
    commands: int = 0
    """How many came, for faults that are placed by counting."""
    blocks: int = 0
    started: bool = False
    dead: bool = False
    power_cut: bool = False

    def __post_init__(self) -> None:
        self._rest = b""
        self._writing: _Writing | None = None
        self._registers = _registers()
        self._carry_out: dict[int, Callable[[bytes, int], tuple[int, bytes]]] = {
            SYNC: lambda data, check: (0x20120707, b""),
            READ_REG: self._read_register,
            WRITE_REG: self._write_register,
            SPI_SET_PARAMS: lambda data, check: (0, b""),
            SPI_ATTACH: lambda data, check: (0, b""),
            CHANGE_BAUD: lambda data, check: (0, b""),
            FLASH_BEGIN: lambda data, check: self._begin(data, deflated=False),
            DEFL_BEGIN: lambda data, check: self._begin(data, deflated=True),
            FLASH_DATA: self._block,
            DEFL_DATA: self._block,
            FLASH_END: self._end,
            DEFL_END: self._end,
            FLASH_MD5: self._md5,
            READ_FLASH: self._read_flash,
        }

    def receive(self, data: bytes) -> bytes:
        """What the loader answers to these bytes."""
        answers = b""
        for frame in self._frames(data):
            if not (self.dead or self.power_cut or self.started) and len(frame) >= 8:
                answers += self._answer(frame)
        return answers

    def _frames(self, data: bytes) -> list[bytes]:
        """The frames that these bytes end; what is between two frames is noise, and empty or a frame that nobody answers."""
        *ended, self._rest = (self._rest + data).split(b"\xc0")
        return [frame.replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb") for frame in ended]

    def _answer(self, frame: bytes) -> bytes:
        _, command, size, check = struct.unpack_from("<BBHI", frame)
        data = frame[8:]
        self.commands += 1
        if self.commands == self.faults.dead_at:
            self.dead = True
            return b""
        if self.commands == self.faults.power_cut_at:
            self._cut(command, data)
            return b""
        if self.commands == self.faults.garbage_at:
            return bytes(range(0x10, 0x50))
        value, found, reason = 0, b"", 0
        try:
            if size != len(data) or command not in self._carry_out:
                raise Refused(INVALID)
            value, found = self._carry_out[command](data, check)
        except Refused as refused:
            reason = refused.reason
        status = bytes((bool(reason), reason, 0, 0))
        answer = slip(struct.pack("<BBHI", 1, command, len(found) + 4, value) + found + status)
        return answer * 8 if command == SYNC else answer

    def _cut(self, command: int, data: bytes) -> None:
        """The power goes: half of what the command would have written is there."""
        self.power_cut = True
        if self._writing is not None and command in DATA and len(data) > 16:
            half = data[: 16 + (len(data) - 16) // 2]
            writing = self._writing
            plain = half[16:] if writing.inflate is None else writing.inflate.decompress(half[16:])
            self.flash.program(writing.at, plain)

    def _read_register(self, data: bytes, check: int) -> tuple[int, bytes]:
        (address,) = _unpack("<I", data)
        return self._registers.get(address, 0), b""

    def _write_register(self, data: bytes, check: int) -> tuple[int, bytes]:
        address, value, _, _ = _unpack("<IIII", data)
        self._registers[address] = value
        if address == _SPI and value & _SPI_USER:  # the one command esptool asks the flash chip: who are you
            self._registers[_SPI] = 0
            self._registers[_SPI + 0x80] = _FLASH_ID if self._registers.get(_SPI + 0x24, 0) & 0xFF == 0x9F else 0
        return 0, b""

    def _begin(self, data: bytes, *, deflated: bool) -> tuple[int, bytes]:
        erase, _, block, at = _unpack("<IIII", data)
        if erase:
            self.flash.erase(at, erase)
        self._writing = _Writing(at, block, erase, zlib.decompressobj() if deflated else None)
        return 0, b""

    def _block(self, data: bytes, check: int) -> tuple[int, bytes]:
        size, sequence, _, _ = _unpack("<IIII", data[:16])
        payload, writing = data[16:], self._writing
        if writing is None or size != len(payload) or sequence != writing.sequence:
            raise Refused(FAILED)
        if self.faults.checksum_block == self.blocks and self.faults.checksum_times:
            self.faults.checksum_times -= 1
            raise Refused(BAD_CHECKSUM)
        if checksum(payload) != check:
            raise Refused(BAD_CHECKSUM)
        self.blocks += 1
        writing.sequence += 1
        if writing.inflate is not None:
            try:
                payload = writing.inflate.decompress(payload)
            except zlib.error as error:
                raise Refused(DEFLATE_ERROR) from error
        self.flash.program(writing.at, payload)
        writing.at += len(payload)
        return 0, b""

    def _end(self, data: bytes, check: int) -> tuple[int, bytes]:
        self._writing = None
        self.started = True
        return 0, b""

    def _md5(self, data: bytes, check: int) -> tuple[int, bytes]:
        at, size, _, _ = _unpack("<IIII", data)
        return 0, hashlib.md5(self.flash.read(at, size)).hexdigest().encode()

    def _read_flash(self, data: bytes, check: int) -> tuple[int, bytes]:
        at, size = _unpack("<II", data)
        if size > 64:
            raise Refused(FAILED)
        return 0, self.flash.read(at, size).ljust(64, b"\0")


def slip(packet: bytes) -> bytes:
    """A packet as a frame."""
    return b"\xc0" + packet.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"


def checksum(data: bytes) -> int:
    """The loader's sum of a block."""
    return reduce(xor, data, _CHECKSUM_SEED)


def _registers() -> dict[int, int]:
    mac = int.from_bytes(MAC, "big")
    return {
        _MAGIC_REG: CHIP_MAGIC,
        _CLKDIV_REG: 40_000_000 // 115_200,
        _EFUSE + 4: mac & 0xFFFFFFFF,
        _EFUSE + 8: mac >> 32,
        _EFUSE + 12: 1 << 15,  # revision 1, two cores, Bluetooth
    }


def _unpack(format: str, data: bytes) -> tuple[int, ...]:
    if len(data) < struct.calcsize(format):
        raise Refused(INVALID)
    return struct.unpack_from(format, data)
