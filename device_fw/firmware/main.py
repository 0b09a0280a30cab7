"""The firmware's entry: reads `config.json`, builds the parts, runs the station. On a board it lies in the root folder."""

import gc
import os
import random
import sys

from device_fw.firmware.log import log

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

    from device_fw.firmware.station import Station

_WHOLE = 6144  # bytes of heap that building leaves in one piece, for messages
_FOR_BUILDING = (
    "device_fw.firmware.config",
    "device_fw.firmware.parts",
    "device_fw.boards.own",
    "device_fw.boards",
    "device_fw.drivers",
)


def main() -> None:
    """Run until the power goes, or Ctrl-C on a console."""
    random.seed(int.from_bytes(os.urandom(4), "big"))  # boards switched on together must not retry together
    whole = bytearray(_WHOLE)
    station, about = build()
    del whole
    forget()
    log("started", **about, **settle_heap())
    try:
        station.run()
    finally:
        station.close()  # without a farewell: the gateway announces the last will


def build() -> "tuple[Station, dict[str, str]]":
    """The station that `config.json` describes, and what to say of it."""
    from device_fw.firmware.config import load

    config = load("config.json")
    del load
    forget()  # what comes next finds its place there
    from device_fw.firmware import parts

    return parts.station(config), {"device": config["name"], "board": config["board"]}


def forget() -> None:
    """Let go of what only building needed: a tenth of the heap that a board works with."""
    for name in _FOR_BUILDING:
        package, _, last = name.rpartition(".")
        if sys.modules.pop(name, None) is not None:
            delattr(sys.modules[package], last)
    gc.collect()


def settle_heap() -> "dict[str, int]":
    """Collect now, and from now on early: the heap of a board that runs for years must not fall to pieces. In bytes."""
    heap: "Any" = gc  # CPython's has other names
    heap.collect()
    heap.threshold(8192)
    return {"heap_used": heap.mem_alloc(), "heap_free": heap.mem_free()}
