"""The project's firmware on the real MicroPython, on a serial line that can be cut and spoilt: `transport: serial`.

The board's process has a raw pseudo-terminal as standard input and output, its USB line; this process carries the bytes between
that and the port that a mapper opens, with the faults of any serial instrument. Its power is a thing of its own: the board may
run while it is unplugged, as one with a battery does.
"""

import asyncio
import contextlib
import os
import subprocess
import tty
from collections.abc import Mapping
from pathlib import Path

from device_fw.tools import firmware
from hil_tests.bench.micropython_board import command, environment
from hil_tests.bench.serial_instrument import SerialInstrument

_CHUNK = 4096
_STOP_S = 5.0


class FirmwareLine(SerialInstrument):
    """One board. Powered on when it is plugged in the first time; `power_off` is SIGKILL."""

    def __init__(
        self, folder: Path, config: Mapping[str, object], *, umqtt: Path, link: Path | None = None, heap: str = "96k"
    ) -> None:
        """`config` as in docs/firmware.md, without `transport`; `umqtt` is umqtt.simple's file. The firmware is bytecode."""
        super().__init__(link=link)
        self.folder = folder
        self._line = command("main.py", heap=heap)
        folder.mkdir(parents=True, exist_ok=True)
        firmware.assemble(folder, {**config, "transport": "serial"}, umqtt, as_bytecode=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._usb = -1
        self.console = b""
        """What the board sent, frames and all; the last 64 kB."""

    def power_on(self) -> None:
        """Start the board; nothing happens when it is on."""
        if self._process is not None:
            return
        self._usb, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(self._usb, False)
        try:
            self._process = subprocess.Popen(
                self._line,
                cwd=self.folder,
                env=environment(),
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
            )
        finally:
            os.close(slave)
        asyncio.get_running_loop().add_reader(self._usb, self._said)

    def power_off(self) -> None:
        """Cut the power; harmless when it is off."""
        process, self._process = self._process, None
        if process is not None:
            asyncio.get_running_loop().remove_reader(self._usb)
            process.kill()
            process.wait(_STOP_S)
            os.close(self._usb)

    def outputs(self) -> str:
        """The board's outputs as it wrote them down; empty before."""
        file = self.folder / "outputs.json"
        return file.read_text() if file.exists() else ""

    def plug(self) -> None:
        """Be plugged in, and on."""
        super().plug()
        self.power_on()

    def heard(self, data: bytes) -> None:
        """What the gateway sends goes to the board; what it does not take is lost."""
        if self._process is not None:
            with contextlib.suppress(OSError):
                os.write(self._usb, data)

    def _said(self) -> None:
        try:
            data = os.read(self._usb, _CHUNK)
        except BlockingIOError:
            return
        except OSError:  # the board ended
            asyncio.get_running_loop().remove_reader(self._usb)
            return
        self.console = (self.console + data)[-65536:]
        self.send(data)

    async def __aexit__(self, *_: object) -> None:
        self.unplug()
        self.power_off()
