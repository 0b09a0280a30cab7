"""The flash of an emulated board, as a programmer clipped to it sees it: files of LittleFS 2 in an image, while the board is off.

MicroPython itself writes and reads them (`micropython/emulated/programmer.py`).
"""

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hil_tests.bench import micropython_board
from hil_tests.bench.transcript import BoardError

_BLOCK = 4096
_PROGRAM_S = 60


class FlashChip:
    """One chip, with its content in a file; erased when it is new, or was of another size."""

    def __init__(self, image: Path, size: int, environment: Mapping[str, str], programmer: Path) -> None:
        """`size` in bytes, of which whole blocks count; `environment` leads to the board's modules."""
        self.image = image
        self._size = size // _BLOCK * _BLOCK
        self._programmer = str(programmer)
        self.environment = {
            **environment,
            "HEDGEROW_BOARD_FLASH": str(image),
            "HEDGEROW_BOARD_FLASH_BYTES": str(self._size),
        }
        if not image.exists() or image.stat().st_size != self._size:
            self.erase()

    def erase(self) -> None:
        """Make it empty."""
        self.image.write_bytes(b"\xff" * self._size)

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files, by path. BoardError for what does not fit."""
        with tempfile.TemporaryDirectory(prefix="hedgerow-") as name:
            for number, data in enumerate(files.values()):
                Path(name, str(number)).write_bytes(data)
            Path(name, "paths").write_text(json.dumps(list(files)))  # an argument of MicroPython's ends after 255 bytes
            self._run("write", name)

    def read(self) -> dict[str, bytes]:
        """Every file, by path. BoardError when there is no file system."""
        with tempfile.TemporaryDirectory(prefix="hedgerow-") as name:
            paths = json.loads(self._run("read", name))
            return {path: Path(name, str(number)).read_bytes() for number, path in enumerate(paths)}

    def fill(self, path: str, left: int) -> None:
        """Write a file until no more than so many bytes are left."""
        self._run("fill", path, str(left))

    def _run(self, *arguments: str) -> str:
        line = micropython_board.command(self._programmer, *arguments)
        done = subprocess.run(
            line, env=self.environment, capture_output=True, text=True, timeout=_PROGRAM_S, check=False
        )
        if done.returncode:
            raise BoardError(f"the flash {self.image}: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
        return done.stdout
