"""Builds what `config.json` describes. Only the start needs it, so it is forgotten, with all that only it needs."""

import os
import random

from device_fw.firmware.seldom import forget

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from device_fw.firmware.station import Station

_ONLY_HERE = (
    "device_fw.firmware.config",
    "device_fw.firmware.parts",
    "device_fw.firmware.update_parts",
    "device_fw.firmware.building",
)


def build() -> "tuple[Station, dict[str, str]]":
    """The station that `config.json` describes, and what to say of it."""
    random.seed(int.from_bytes(os.urandom(4), "big"))  # boards switched on together must not retry together
    from device_fw.firmware.config import load

    config = load("config.json")
    del load
    forget("device_fw.firmware.config")  # what comes next finds its place there
    from device_fw.firmware import parts

    return parts.station(config), {"device": config["name"], "board": config["board"]}


def end() -> None:
    """Let go of what only building needed: a tenth of the heap that a board works with."""
    forget(*_ONLY_HERE)
