"""The firmware of last resort: no sensors, no outputs, only the link and updates. On the board it is `recovery/main.py`.

It runs when no slot holds a whole image, or the active one failed too often, and does nothing but wait for an offer.
"""

import os
import random

from device_fw.firmware.log import log
from device_fw.firmware.seldom import forget

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

    from device_fw.firmware.properties import Property


class Bare:
    """A board with nothing on it."""

    properties: "dict[str, Property]" = {}

    def due(self, now_ms: int) -> "tuple[str, ...]":
        """Nothing, ever."""
        return ()

    def wait_ms(self, now_ms: int) -> int:
        """A turn."""
        return 1000

    def read(self, name: str) -> str:
        """There is nothing to read."""
        raise ValueError(name)

    def write(self, name: str, value: object) -> None:
        """There is nothing to set."""
        raise ValueError(name)

    def unix_ms(self) -> int:
        """The gateway knows."""
        return 0

    def set_unix_ms(self, unix_ms: int) -> None:
        """Nothing to set."""

    def alive(self) -> None:
        """Nothing to feed."""


def main() -> None:
    """Run until the power goes, or an update is there."""
    random.seed(int.from_bytes(os.urandom(4), "big"))  # boards switched on together must not retry together
    whole = bytearray(6144)  # of heap that building leaves in one piece, for messages
    config = _config()
    forget("device_fw.firmware.config")  # what comes next finds its place there
    from device_fw.firmware import parts

    station = parts.station(config, Bare())
    del whole, parts
    forget("device_fw.firmware.parts", "device_fw.firmware.update_parts")
    log("recovery", device=config["name"])
    try:
        station.run()
    finally:
        station.close()


def _config() -> "dict[str, Any]":
    """The board's configuration; where that cannot be read, what it was when the board was flashed."""
    from device_fw.firmware.config import load

    try:
        return load("config.json")
    except (OSError, ValueError) as error:
        log("config_unreadable", reason=error)
        return load("recovery/config.json")


if __name__ != "device_fw.boot.recovery":
    main()
