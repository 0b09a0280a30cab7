"""A BBC micro:bit V1 in QEMU: genuine MicroPython for its Cortex-M0, with the small firmware (`device_fw/small/microbit`).

`folder` is the board: `port` (QEMU's pseudo-terminal, its UART and USB line), `firmware.hex` (its flash), `console.log` (what it
sent, frames and all). QEMU has its UART, timers, random numbers and buttons that nobody presses; no thermometer and no radio, and
its clock is the host's. It takes up to a second until QEMU notices that someone opened the port. What it does not prove stands
in docs/hil.md.

    python -m hil_tests.bench.qemu_microbit FOLDER     until Ctrl-C
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from device_fw.tools import microbit
from device_fw.tools.errors import FirmwareError
from hil_tests.bench.transcript import BoardError, Transcript

__all__ = ["QemuMicrobit", "Unavailable"]

QEMU = "qemu-system-arm"
_START_S = 10.0
_STOP_S = 5.0
_PTY = re.compile(rb"char device redirected to (/dev/\S+)")


class Unavailable(Exception):
    """This machine cannot have such a board; the text says why."""


class QemuMicrobit:
    """One board. Off when made; `close` ends it. QEMU outlives a process that is killed."""

    kind = "qemu-microbit"

    def __init__(self, name: str, folder: Path, *, device: str = "default/microbit") -> None:
        """`device` is what the firmware calls itself. Raises Unavailable without QEMU or micropython-microbit-fs."""
        if shutil.which(QEMU) is None:
            raise Unavailable(f"{QEMU} is missing: apt install {QEMU}")
        self.name, self.folder = name, folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.transcript = Transcript(self.console)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.flash(microbit.build(device, simulated=True).encode())
        except FirmwareError as error:
            raise Unavailable(str(error)) from error

    @property
    def port(self) -> str:
        """The path of its serial port; it stays when the board is switched off and on."""
        return str(self.folder / "port")

    @property
    def console(self) -> Path:
        """All that it sent, since it was made."""
        return self.folder / "console.log"

    @property
    def running(self) -> bool:
        """Whether it has power."""
        return self._process is not None and self._process.poll() is None

    @property
    def faults(self) -> tuple[str, ...]:
        """Names for `fault`."""
        return ("none", "frozen")

    def power_on(self) -> None:
        """Power on; nothing happens when it is. BoardError when QEMU does not start."""
        if self.running:
            return
        line = ("-chardev", f"pty,id=uart,logfile={self.console},logappend=on", "-serial", "chardev:uart")
        machine = ("-M", "microbit", "-device", f"loader,file={self.folder / 'firmware.hex'}")
        self._process = subprocess.Popen(
            [QEMU, *machine, "-nodefaults", "-display", "none", *line, "-monitor", "stdio"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        link = self.folder / "port.new"
        link.unlink(missing_ok=True)
        link.symlink_to(self._pty(self._process))
        link.replace(self.port)

    def power_off(self) -> None:
        """SIGKILL; its port is gone."""
        process, self._process = self._process, None
        if process is not None:
            Path(self.port).unlink(missing_ok=True)
            process.kill()
            process.wait(_STOP_S)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def cycle(self) -> None:
        """Power off and on."""
        self.power_off()
        self.power_on()

    def reset(self) -> None:
        """Press its reset button."""
        if self._process is None or self._process.stdin is None:
            raise BoardError(f"{self.name} is off")
        self._process.stdin.write(b"system_reset\n")
        self._process.stdin.flush()

    def expect(self, pattern: str, timeout_s: float = 10.0) -> re.Match[str]:
        """Wait for something that it sends. BoardError when it does not come."""
        return self.transcript.expect(pattern, timeout_s)

    def write(self, data: bytes) -> None:
        """Type on its console."""
        descriptor = os.open(self.port, os.O_WRONLY | os.O_NOCTTY)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def push(self, files: Mapping[str, bytes]) -> None:
        """Its files are part of its flash: BoardError."""
        raise BoardError("a micro:bit's files are written with its hex file")

    def flash(self, image: bytes) -> None:
        """Write a hex file; if it is on, it starts anew with it."""
        was_on = self.running
        self.power_off()
        (self.folder / "firmware.hex").write_bytes(image)
        if was_on:
            self.power_on()

    def fault(self, name: str, value: int = 1) -> None:
        """`frozen`: it stops in the middle of what it does; `none`: it goes on. KeyError for others."""
        if name not in self.faults:
            raise KeyError(name)
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGSTOP if name == "frozen" else signal.SIGCONT)

    def close(self) -> None:
        """Switch it off for good."""
        self.power_off()

    def __enter__(self) -> Self:
        self.power_on()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _pty(self, process: subprocess.Popen[bytes]) -> str:
        """Where QEMU says that the line is."""
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        said, deadline = b"", time.monotonic() + _START_S
        while time.monotonic() < deadline and (process.poll() is None or said):
            said += process.stdout.read() or b""
            if found := _PTY.search(said):
                return found[1].decode()
            time.sleep(0.005)
        self.power_off()
        raise BoardError(f"QEMU does not start: {said.decode(errors='replace')[-500:]}")


def main() -> None:
    """Run one until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m hil_tests.bench.qemu_microbit", description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="default/microbit")
    options = parser.parse_args()
    with QemuMicrobit("microbit", options.folder, device=options.device):
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
