"""A real board with MicroPython on a serial port: the console by pyserial, files by mpremote, power by a command or a USB hub.

Its port is open from the first use on, by a thread that writes what it says into the transcript; while files are pushed,
mpremote's transport has it.
"""

import contextlib
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hil_tests.bench.bench_file import MicropythonSerial, Power
from hil_tests.bench.boards import BoardError, Transcript

_COMMAND_S = 30.0
_APPEAR_S = 15.0
_READ_S = 0.05


def switch(power: Power, on: bool) -> None:
    """Switch a part's power. BoardError when the command fails."""
    if power.uhubctl is not None:
        hub = power.uhubctl
        command = ["uhubctl", "-l", hub.hub, "-p", str(hub.port), "-a", "on" if on else "off"]
    else:
        command = ["sh", "-c", power.on_command if on else power.off_command]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BoardError(f"power: {error}") from error
    if done.returncode:
        raise BoardError(f"power: `{' '.join(command)}` says {(done.stderr or done.stdout).strip()}")


class SerialBoard:
    """One board."""

    kind = "micropython-serial"
    faults: tuple[str, ...] = ("none",)

    def __init__(self, name: str, entry: MicropythonSerial, folder: Path) -> None:
        self.name = name
        self._entry = entry
        folder.mkdir(parents=True, exist_ok=True)
        self.transcript = Transcript(folder / "console.log")
        self._serial: Any = None
        self._reader: threading.Thread | None = None
        self._stop = threading.Event()

    @property
    def board_file(self) -> Path | None:
        """As the bench's file says."""
        return Path(self._entry.firmware) if self._entry.firmware else None

    @property
    def port(self) -> str:
        """Its serial port, let go by this object so that another program can open it; the next call here takes it again."""
        self._release()
        return self._entry.port

    def power_on(self) -> None:
        """Power on, where that can be switched, and listen to its console."""
        if self._entry.power is not None:
            switch(self._entry.power, True)
        self._open()

    def power_off(self) -> None:
        """Power off. BoardError where that cannot be switched."""
        if self._entry.power is None:
            raise BoardError(f"{self.name}: its power cannot be switched, see `power` in docs/hil.md")
        switch(self._entry.power, False)
        self._release()

    def cycle(self) -> None:
        """Power off and on."""
        self.power_off()
        self.power_on()

    def reset(self) -> None:
        """By the line RTS, or by `machine.reset()`."""
        if self._entry.reset == "rts":
            port = self._open()
            with _serial_errors(self.name):
                port.rts = True
                time.sleep(0.1)  # how long the line is low, as esptool does it
                port.rts = False
            return
        with self._transport() as transport:
            transport.exec_raw_no_follow("import machine; machine.reset()")
        self._open()

    def write(self, data: bytes) -> None:
        """Type on its console."""
        with _serial_errors(self.name):
            self._open().write(data)

    def expect(self, pattern: str, timeout_s: float = 10.0) -> re.Match[str]:
        """Wait for something on its console."""
        self._open()
        return self.transcript.expect(pattern, timeout_s)

    def push(self, files: Mapping[str, bytes]) -> None:
        """Write files by mpremote's transport, then reset."""
        with self._transport() as transport:
            made: set[str] = set()
            for path, data in files.items():
                folders = path.strip("/").split("/")[:-1]
                for depth in range(1, len(folders) + 1):
                    folder = "/".join(folders[:depth])
                    if folder not in made and not transport.fs_exists(folder):
                        transport.fs_mkdir(folder)
                    made.add(folder)
                transport.fs_writefile(path, data)
        self.reset()

    def flash(self, image: bytes) -> None:
        """Not from here: `hedgerow flash` knows how each board takes its runtime."""
        raise BoardError(f"{self.name}: use `hedgerow flash`")

    def fault(self, name: str, value: int = 1) -> None:
        """A real board has none to be told."""
        if name != "none":
            raise KeyError(name)

    def close(self) -> None:
        """Let go of its port; its power stays as it is."""
        self._release()

    def _open(self) -> Any:
        import serial

        if self._serial is not None:
            return self._serial
        deadline = time.monotonic() + _APPEAR_S
        while True:
            try:
                self._serial = serial.Serial(self._entry.port, self._entry.baud, timeout=_READ_S, exclusive=True)
                break
            except (OSError, serial.SerialException) as error:
                if time.monotonic() > deadline:  # a USB board takes its time to come back
                    raise BoardError(f"{self.name}: {error}") from error
                time.sleep(0.05)
        self._stop.clear()
        self._reader = threading.Thread(target=self._listen, args=(self._serial,), name=self.name, daemon=True)
        self._reader.start()
        return self._serial

    def _listen(self, port: Any) -> None:
        import serial

        while not self._stop.is_set():
            try:
                data = port.read(max(1, port.in_waiting))
            except (OSError, TypeError, serial.SerialException):  # unplugged, or closed meanwhile
                return
            if data:
                self.transcript.write(data)

    def _release(self) -> None:
        port, self._serial = self._serial, None
        if port is None:
            return
        self._stop.set()
        if self._reader is not None:
            self._reader.join(_COMMAND_S)
        with contextlib.suppress(OSError):
            port.close()

    @contextlib.contextmanager
    def _transport(self) -> Iterator[Any]:
        from mpremote.transport import TransportError
        from mpremote.transport_serial import SerialTransport

        self._release()
        try:
            with _serial_errors(self.name):
                transport = SerialTransport(self._entry.port, self._entry.baud, wait=int(_APPEAR_S), timeout=_COMMAND_S)
                try:
                    transport.enter_raw_repl(soft_reset=True)
                    yield transport
                finally:
                    transport.close()
        except TransportError as error:
            raise BoardError(f"{self.name}: {error}") from error


@contextlib.contextmanager
def _serial_errors(name: str) -> Iterator[None]:
    import serial

    try:
        yield
    except (OSError, serial.SerialException) as error:
        raise BoardError(f"{name}: {error}") from error
