"""A firmware of a few small files for tests of flashing: it says on its console that it runs, and that it is whole."""

from collections.abc import Mapping
from typing import Any

from device_fw.tools.flash_board import Facts
from device_fw.tools.flash_plan import Present

_MAIN = b"""import time
import lib.one, lib.two
from config import NUMBER
print("small firmware", NUMBER, lib.one.SIZE + lib.two.SIZE)
while True:
 time.sleep_ms(20)
"""


class SmallFirmware:
    """`number` tells one version from the next."""

    board = "unix"
    platform = "linux"
    kept: tuple[str, ...] = ("own",)
    gone: tuple[str, ...] = ("old",)

    def __init__(self, number: int = 1, size: int = 1500) -> None:
        self.number = number
        self.size = size

    @property
    def configuration(self) -> Mapping[str, Any]:
        """One device, whose gateway nobody asks."""
        return {"name": "default/small", "host": "127.0.0.1"}

    def files(self, facts: Facts, config: bytes, present: Mapping[str, Present]) -> dict[str, bytes]:
        """Six files, two of which every version has."""
        padding = b"#" * self.size
        return {
            "config.json": config,
            "config.py": b"NUMBER = %d\n" % self.number,
            "lib/__init__.py": b"",
            "lib/one.py": b"SIZE = 1\n" + padding,
            "lib/two.py": b"SIZE = %d\n" % (1 + self.number) + padding,
            "main.py": _MAIN,
        }

    def line(self) -> str:
        """What its console says when all of it is this version's."""
        return f"small firmware {self.number} {2 + self.number}"


class Silent:
    """A show that nobody sees; it keeps the steps."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.parts: list[float] = []

    def step(self, text: str) -> None:
        """Something begins."""
        self.steps.append(text)

    def progress(self, part: float) -> None:
        """How much of it is done."""
        self.parts.append(part)
