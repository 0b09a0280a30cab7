"""How long flashing takes: 1.5 MB of MicroPython to the emulated ESP32 by the real esptool; the firmware to an emulated board."""

import tempfile
import time
from pathlib import Path

from bench.results import Figure, Figures
from device_fw.tools import board_file, flash_esp, flash_runtime
from device_fw.tools.flash import flash
from device_fw.tools.flash_contents import Contents
from device_fw.tools.flash_order import Order
from hil_tests.bench import esp_image
from hil_tests.bench.esp_rom import EspRom
from hil_tests.bench.small_firmware import Silent
from hil_tests.bench.unix_board import UnixBoard

RUNS = 3
_BOARD = (
    "board: unix\nname: bench\nproperties:\n  temperature: {driver: simulated}\n  pump: {driver: digital_out, pin: 3}\n"
)


async def measure() -> Figures:
    """The best of three runs each: a machine is never faster than it is. Takes about 10 s."""
    image = esp_image.real()
    runtime = flash_runtime.read(image.read_bytes(), image.name)
    size = f"{len(runtime.content)} bytes, best of {RUNS}"
    with tempfile.TemporaryDirectory() as folder:
        first, again, note = _firmware(Path(folder))
    return {
        "flash_esp32_image_s": Figure(
            min(_image(runtime) for _ in range(RUNS)), "s", {"aim": 3.0}, f"{size}; esptool's start included"
        ),
        "flash_firmware_s": Figure(first, "s", {}, note),
        "flash_firmware_again_s": Figure(again, "s", {}, "the same, when it is there"),
    }


def _image(runtime: flash_runtime.Runtime) -> float:
    with EspRom() as chip:
        begun = time.perf_counter()
        flash_esp.write(runtime, chip.port, stub=False)
        took = time.perf_counter() - begun
        if bytes(chip.flash.cells[runtime.offset :][: len(runtime.content)]) != runtime.content:
            raise AssertionError("the image is not in the flash")
    return took


def _firmware(folder: Path) -> tuple[float, float, str]:
    (folder / "board.yaml").write_text(_BOARD)
    contents = Contents(board_file.load(folder / "board.yaml"))
    times, note = [], ""
    with UnixBoard(folder / "board", heap_kb=256) as board:
        for _ in range(2):
            begun = time.perf_counter()
            outcome = flash(Order(contents, {"host": "127.0.0.1"}, port=board.port), Silent())
            times.append(time.perf_counter() - begun)
            note = (
                note
                or f"{len(outcome.written)} files: compiled, written, read back; the board is the Unix port on a pty"
            )
    return times[0], times[1], note
