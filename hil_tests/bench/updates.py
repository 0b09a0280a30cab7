"""Boards that can be updated, and images for them, good and bad: the real firmware, compiled once and signed at will."""

import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path

from device_fw.tools import board_file, firmware, image, signing
from device_fw.tools.board_file import BoardFile
from device_fw.tools.image import Image

ROOT = Path(__file__).resolve().parents[2]
KEY = signing.new_key()
BOARD = "unix"
HEAP_KB = 160
"""What the firmware with updates takes on a 64-bit port, where objects are twice as large as on a microcontroller."""

_BOARD_FILE = """
board: unix
name: default/b1
transport: {}
properties:
  temperature: {{driver: simulated, interval_ms: 1000}}
"""

RAISES = b"raise RuntimeError('broken')\n"
"""A `main.py` that ends at once."""
HANGS = b"while True:\n    pass\n"
"""A `main.py` that feeds no watchdog."""
HUNGRY = b"""import sys
sys.modules["kept"] = kept = []
while True:
    kept.append(bytearray(len(kept) * 8))
    kept.append(None)
"""
"""A `main.py` that takes all of the heap, and has taken it when it ends."""
MUTE = b"""from device_fw.firmware import config
load = config.load
def elsewhere(path):
    found = load(path)
    found["port"] = 1
    return found
config.load = elsewhere
from device_fw.firmware.main import main
main()
"""
"""A `main.py` whose firmware works, but for the gateway that it never finds."""


UNWELL = b"""from device_fw.boards.hardware import Board
def broken(self, name):
    raise OSError("broken")
Board.read = broken
from device_fw.firmware.main import main
main()
"""
"""A `main.py` whose firmware reaches its gateway, and finds itself not working."""


def build(version: str, counter: int, files: Mapping[str, bytes | None] | None = None, **changes: object) -> Image:
    """The firmware as an image; `files` replace its own (None takes one out), `changes` are arguments of `image.build`."""
    content = {**sources(), "version.txt": version.encode(), **(files or {})}
    return signed({p: c for p, c in content.items() if c is not None}, version, counter, **changes)


def signed(files: Mapping[str, bytes], version: str, counter: int, **changes: object) -> Image:
    """These files as an image."""
    wanted: dict[str, object] = {
        "version": version,
        "counter": counter,
        "board": BOARD,
        "runtime": "1.20.0",
        "mpy": "6.0",
        "arch": "",
        "key": KEY,
        **changes,
    }
    return image.build(files, **wanted)  # type: ignore[arg-type]


def flash(running: Image, device: str, port: int, *, watchdog_ms: int = 20_000, trial_s: int = 60) -> dict[str, bytes]:
    """All files of a fresh board that runs this image and finds its gateway's broker on a loopback port."""
    config = {**_described("mqtt").configuration(), "name": device, "host": "127.0.0.1", "port": port}
    return image.layout(running, boot(), recovery(), KEY.public, config, watchdog_ms=watchdog_ms, trial_s=trial_s)


def serial_flash(running: Image, device: str) -> dict[str, bytes]:
    """The same for a board without a network, whose image is made of `sources("serial")`."""
    config = {**_described("serial").configuration(), "name": device}
    return image.layout(running, boot(), recovery("serial"), KEY.public, config)


@functools.cache
def sources(transport: str = "mqtt", main: bytes = b"") -> dict[str, bytes]:
    """The firmware, compiled. Its names are such that the `main.py` above find them, and this one."""
    files = firmware.collect(_described(transport), _umqtt())
    entry = files["main.py"]
    made = firmware.compiled({**files, "main.py": b"\n".join((entry, MUTE, UNWELL, main))})
    return {**made, "main.py": entry}


@functools.cache
def boot() -> dict[str, bytes]:
    """The boot code, compiled."""
    return firmware.compiled(image.boot_files())


@functools.cache
def recovery(transport: str = "mqtt") -> dict[str, bytes]:
    """Recovery, compiled."""
    return firmware.compiled(image.recovery_files(transport, _umqtt() if transport == "mqtt" else None))


@functools.cache
def _described(transport: str) -> BoardFile:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "board.yaml")
        path.write_text(_BOARD_FILE.format(transport))
        return board_file.load(path)


def _umqtt() -> Path:
    return firmware.umqtt_simple(ROOT / firmware.CACHE)
