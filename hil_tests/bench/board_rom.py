"""What a board of the bench has in its ROM: the modules that a real port has built in, compiled, and the heap that they take.

A real port has them in C, in its flash. Here they are bytecode on the heap, so each board gets so much more of it; compiled, for
compiling them on the board would take more than they do.
"""

import functools
from pathlib import Path

from device_fw.tools import bytecode
from device_fw.tools.errors import FirmwareError
from hil_tests.bench.micropython_board import Unavailable

SOURCES = Path(__file__).with_name("micropython")
"""`machine`, and what lies below it."""
HEAP_KB = 36
"""What they take, on every board alike: all are loaded before its program is. A chip on a bus takes a little more."""


def written(folder: Path) -> Path:
    """The folder with the modules, written into a board's folder. Unavailable where there is no mpy-cross."""
    for path, content in _modules().items():
        file = folder / path
        if not file.exists() or file.read_bytes() != content:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    return folder


@functools.cache
def _modules() -> dict[str, bytes]:
    try:
        return {
            str(path.with_suffix(".mpy")): bytecode.compiled((SOURCES / path).read_bytes(), str(path), "", optimise=3)
            for path in sorted(file.relative_to(SOURCES) for file in SOURCES.rglob("*.py"))
        }
    except FirmwareError as error:
        raise Unavailable(str(error)) from error
