"""A firmware of a few small files for tests of flashing: it says on its console that it runs, and that it is whole."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from device_fw.tools.flash_board import Facts
from device_fw.tools.flash_order import Layout

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

    def __init__(self, number: int = 1, size: int = 1500) -> None:
        self.number = number
        self.size = size

    @property
    def version(self) -> str:
        """`number`"""
        return str(self.number)

    @property
    def configuration(self) -> Mapping[str, Any]:
        """One device, whose gateway nobody asks."""
        return {"name": "default/small", "host": "127.0.0.1"}

    def files(self) -> dict[str, bytes]:
        """Five files, two of which every version has; `config.json` is the sixth."""
        padding = b"#" * self.size
        return {
            "config.py": b"NUMBER = %d\n" % self.number,
            "lib/__init__.py": b"",
            "lib/one.py": b"SIZE = 1\n" + padding,
            "lib/two.py": b"SIZE = %d\n" % (1 + self.number) + padding,
            "main.py": _MAIN,
        }

    def layout(self, facts: Facts, configuration: Mapping[str, Any], read: Callable[[str], bytes | None]) -> Layout:
        """All of it."""
        config = json.dumps(configuration, sort_keys=True).encode()
        return Layout({**self.files(), "config.json": config}, kept=("own",), gone=("old",))

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
