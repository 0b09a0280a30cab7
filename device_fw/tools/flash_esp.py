"""Writes MicroPython to the ESP32 family with esptool, a process of its own: its output becomes our progress and our errors.

An image that the flash holds already is not written again: esptool compares by MD5. One that was cut off is written anew.
"""

import contextlib
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from device_fw.tools.flash_errors import BoardLost, FlashError, PortBusy, RuntimeFailed, WrongBoard
from device_fw.tools.flash_ports import wait_until_free
from device_fw.tools.flash_runtime import Runtime

DEADLINE_S = 300.0
_PROGRESS = re.compile(r"([\d.]+)% ")


def write(
    runtime: Runtime,
    port: str,
    *,
    baud: int = 460_800,
    stub: bool = True,
    progress: Callable[[float], None] = lambda part: None,
) -> None:
    """Write an image, have the chip sum it up, and start it; `progress` is told the part that is done, 0 to 1.

    Without `stub` only the chip's ROM is spoken to, and nothing resets it by DTR and RTS: it must be in its boot loader. Raises
    RuntimeFailed, WrongBoard, PortBusy, BoardLost.
    """
    wait_until_free(port)
    options = ["--port", port, "--chip", runtime.chip]
    options += ["--baud", str(baud)] if stub else ["--no-stub", "--before", "no-reset", "--after", "soft-reset"]
    with tempfile.NamedTemporaryFile(suffix=".bin") as image:
        image.write(runtime.content)
        image.flush()
        command = [sys.executable, "-m", "esptool", *options, "write-flash", "--compress", "--skip-flashed"]
        status, said = _run([*command, hex(runtime.offset), image.name], progress)
    if status:
        raise _problem(said, port, runtime)


def _run(command: list[str], progress: Callable[[float], None]) -> tuple[int, list[str]]:
    """Its exit status, and what it said last."""
    said: list[str] = []
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = threading.Timer(DEADLINE_S, process.kill)
    deadline.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := _PROGRESS.search(line):
                progress(float(found[1]) / 100)
            elif line.strip():
                said = [*said[-20:], line.strip()]
        return process.wait(), said
    finally:
        deadline.cancel()
        if process.poll() is None:
            process.kill()
            process.wait()
        with contextlib.suppress(OSError):
            process.stdout.close() if process.stdout is not None else None


def _problem(said: list[str], port: str, runtime: Runtime) -> FlashError:
    text = " ".join(said)
    errors = [line.partition("occurred: ")[2] or line for line in said if line.startswith("ERROR: ")]
    why = (errors[-1] if errors else text[-200:]).removeprefix("ERROR: ")
    if "Wrong chip argument" in text or "chip ID" in why:
        return WrongBoard(f"this image is for {runtime.chip}, and the board at {port} is another: {why}")
    if re.search(r"exclusively lock|Resource temporarily unavailable", text):
        return PortBusy(f"{port} is busy: another program has it; close it and run this again")
    if re.search(r"No such file|serial exception|device disconnected|Lost connection", text):
        return BoardLost(f"the board at {port} went away ({why}): plug it in and run this again")
    if "Failed to connect" in text:
        return RuntimeFailed(
            f"the chip at {port} is not in its boot loader: hold its BOOT button, press and release RESET, let BOOT go, "
            f"and run this again ({why})"
        )
    return RuntimeFailed(
        f"MicroPython was not written: {why or 'esptool did not come to its end'}. Run this again; if it happens twice, "
        "with another cable, or slower: --baud 115200"
    )


def image_of(path: Path) -> bytes:
    """A file's content. RuntimeFailed when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise RuntimeFailed(f"cannot read the image {path}: {error.strerror}") from error
