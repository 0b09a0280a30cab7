"""The file that describes a bench: which boards and instruments there are, and how to reach them.

    host: 192.168.1.5                 # this machine, as the boards see it
    boards:
      pico: {kind: micropython-serial, port: /dev/serial/by-id/usb-MicroPython_Board_..., power: {uhubctl: {hub: 1-1, port: 2}}}
    instruments:
      plc: {kind: modbus-tcp, address: "192.168.1.20:502"}

`docs/hil.md` describes every kind. A mistake is an error that names the line and the key.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

from edgewire.config import ConfigError, nearest, parse
from hil_tests.bench.boards import CAPABILITIES


class BenchError(Exception):
    """A bench that cannot be used; the text names file, line and key."""


class UsbHubPort(Struct, forbid_unknown_fields=True):
    """A port of a hub that switches its power, by the program uhubctl."""

    hub: str
    port: int


class Power(Struct, forbid_unknown_fields=True):
    """How a part's power is switched: by two commands, or a hub."""

    on_command: str = ""
    """For the shell."""
    off_command: str = ""
    uhubctl: UsbHubPort | None = None

    def __post_init__(self) -> None:
        if (self.uhubctl is None) == (not (self.on_command and self.off_command)):
            raise ValueError("it is `on_command` and `off_command`, or `uhubctl`")


class Entry(Struct, kw_only=True):
    """What every part may say of itself."""

    kind: str
    lacks: list[str] = []
    """Capabilities of its kind that this one does not have."""
    has: list[str] = []
    """Capabilities that it has besides those of its kind."""

    def __post_init__(self) -> None:
        for name in (*self.lacks, *self.has):
            if name not in CAPABILITIES:
                near = nearest(name, list(CAPABILITIES))
                raise ValueError(f"no capability {name!r}" + (f": did you mean {near!r}?" if near else ""))


class MicropythonUnix(Entry, kw_only=True):
    """MicroPython's Unix port as a board."""

    heap_kb: int = 96
    flash_kb: int = 1024


class MicropythonSerial(Entry, kw_only=True):
    """A real board with MicroPython on a serial port."""

    port: str
    baud: int = 115200
    reset: str = "repl"
    """repl: `machine.reset()`; rts: the line RTS, as on an ESP32's USB bridge."""
    power: Power | None = None
    firmware: str = ""
    """Its board file (docs/sensors.md), relative to the bench's file; with it tests of the firmware run on the board."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reset not in ("repl", "rts"):
            raise ValueError(f"`reset` is repl or rts, not {self.reset!r}")


class Emulated(Entry, kw_only=True):
    """A part that is emulated and has no settings."""


class Addressed(Entry, kw_only=True):
    """An instrument that is emulated unless it has an address."""

    address: str = ""
    """Of a real one: `host:port`, or a device file."""
    power: Power | None = None


class SerialInstrument(Addressed, kw_only=True):
    """A text instrument."""

    emulates: str = "scale"
    """Which one, without an address: scale or receiver."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.emulates not in ("scale", "receiver"):
            raise ValueError(f"`emulates` is scale or receiver, not {self.emulates!r}")


class BleAdapter(Entry, kw_only=True):
    """A real Bluetooth adapter, with real instruments in reach."""

    adapter: str


BOARD_KINDS: dict[str, type[Entry]] = {
    "micropython-unix": MicropythonUnix,
    "micropython-serial": MicropythonSerial,
    "esp-rom": Emulated,
    "uf2-drive": Emulated,
    "qemu-microbit": Emulated,
}
INSTRUMENT_KINDS: dict[str, type[Entry]] = {
    "modbus-tcp": Addressed,
    "modbus-rtu": Addressed,
    "serial": SerialInstrument,
    "ble-virtual": Emulated,
    "ble-adapter": BleAdapter,
}
_SECTIONS: dict[str, dict[str, type[Entry]]] = {"boards": BOARD_KINDS, "instruments": INSTRUMENT_KINDS}
_KEYS = ("host", *_SECTIONS)


class BenchFile(Struct):
    """What a bench's file says."""

    path: Path
    host: str
    """This machine, as boards with a network see it."""
    boards: dict[str, Entry]
    instruments: dict[str, Entry]


def load(path: Path) -> BenchFile:
    """Read a bench's file. BenchError for one that cannot be read, or says what cannot be."""
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text)
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{path}: {error}") from error
    except yaml.YAMLError as error:
        raise BenchError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    lines = _Lines(path, root)
    if not isinstance(content, dict):
        raise lines.error("", "expected boards and instruments")
    for key in content:
        if key not in _KEYS:
            raise lines.error(str(key), f"unknown key{_meant(str(key), _KEYS)}")
    host = content.get("host", "127.0.0.1")
    if not isinstance(host, str):
        raise lines.error("host", "expected a name or an address")
    found = {section: _section(section, content.get(section), lines) for section in _SECTIONS}
    return BenchFile(path, host, found["boards"], found["instruments"])


def _section(section: str, content: Any, lines: "_Lines") -> dict[str, Entry]:
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise lines.error(section, "expected a name and a kind for each")
    return {str(name): _entry(f"{section}.{name}", entry, _SECTIONS[section], lines) for name, entry in content.items()}


def _entry(key: str, content: Any, kinds: Mapping[str, type[Entry]], lines: "_Lines") -> Entry:
    if not isinstance(content, dict) or "kind" not in content:
        raise lines.error(key, f"needs a kind: {', '.join(kinds)}")
    kind = content["kind"]
    if kind not in kinds:
        raise lines.error(f"{key}.kind", f"no kind {kind!r}{_meant(str(kind), kinds)}")
    try:
        entry = parse(content, kinds[kind], lines.path.name)
    except ConfigError as error:
        text = str(error)
        inner = re.search(r"`([^`]+)`", text)
        place = f"{key}.{inner[1]}" if inner else key
        raise lines.error(place if place in lines else key, text) from error
    if isinstance(entry, MicropythonSerial) and entry.firmware:
        entry.firmware = str(lines.path.parent / entry.firmware)
        if not Path(entry.firmware).is_file():
            raise lines.error(f"{key}.firmware", f"there is no {entry.firmware}")
    return entry


def _meant(name: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    near = nearest(name, list(known))
    return f": did you mean {near!r}?" if near else f": there are {', '.join(known)}"


class _Lines:
    """Where each key of a YAML document stands."""

    def __init__(self, path: Path, root: yaml.Node | None) -> None:
        self.path = path
        self._at: dict[str, int] = {"": 1}
        if root is not None:
            self._walk(root, "")

    def __contains__(self, key: str) -> bool:
        return key in self._at

    def error(self, key: str, why: str) -> BenchError:
        """An error at a key."""
        return BenchError(f"{self.path}:{self._at.get(key, 1)}: {key}: {why}" if key else f"{self.path}:1: {why}")

    def _walk(self, node: yaml.Node, at: str) -> None:
        if not isinstance(node, yaml.MappingNode):
            return
        for key, value in node.value:
            name = f"{at}.{key.value}" if at else str(key.value)
            twice = name in self._at
            self._at[name] = key.start_mark.line + 1
            if twice:
                raise self.error(name, "stands there twice")
            self._walk(value, name)
