"""The firmware as it is flashed, run by MicroPython's Unix port as it comes: what heap it takes by itself, without the modules of
an emulated board.
"""

import re
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from hil_tests.bench import board_firmware, micropython_board, updates
from hil_tests.bench.transcript import BoardError

_STARTS = 5
_STARTS_S = 30.0


def demo() -> dict[str, bytes]:
    """The demo's board: without updates, as bytecode."""
    return board_firmware.files({"name": "default/b1", "host": "127.0.0.1", "port": 1})


def with_updates() -> dict[str, bytes]:
    """Boot code, slots, updater, one simulated sensor over MQTT."""
    return updates.flash(updates.build("1.0.0", 1), "default/b1", 1)


def heap_used(files: Mapping[str, bytes], heap_kb: int) -> int:
    """Bytes that are in use once it says that it has started: the fewest of some starts. BoardError when one fails.

    Some count what nobody uses: MicroPython keeps what any word on its stack happens to name.
    """
    with tempfile.TemporaryDirectory(
        prefix="b"
    ) as name:  # each module keeps its path in memory: a short one, as on a board
        for path, content in files.items():
            file = Path(name, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return min(_started(Path(name), heap_kb + more) for more in range(_STARTS))


def _started(folder: Path, heap_kb: int) -> int:
    with subprocess.Popen(
        micropython_board.command("main.py", heap=f"{heap_kb}k"),
        cwd=folder,
        env=micropython_board.environment(),
        stdin=subprocess.PIPE,  # it ends when this does
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
    ) as process:
        try:
            return int(_said(process, rb"event=started .*heap_used=(\d+)\s"))
        finally:
            process.kill()


def _said(process: subprocess.Popen[bytes], pattern: bytes) -> bytes:
    assert process.stdout is not None
    text = b""
    deadline = time.monotonic() + _STARTS_S
    while not (found := re.search(pattern, text)):
        left = deadline - time.monotonic()
        ready, _, _ = select.select([process.stdout], [], [], max(0, left))
        part = process.stdout.read(4096) if ready else b""
        if not part:
            raise BoardError(f"it did not start:\n{text[-2000:].decode(errors='replace')}")
        text += part
    return bytes(found[1])
