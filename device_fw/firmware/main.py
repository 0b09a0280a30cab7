"""The firmware's entry: reads `config.json`, builds the parts, runs the station. On a board it lies in the root folder."""

import gc
import os
import random

from device_fw.firmware import parts
from device_fw.firmware.config import load
from device_fw.firmware.log import log

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any


def main() -> None:
    """Run until the power goes, or Ctrl-C on a console."""
    config = load("config.json")
    random.seed(int.from_bytes(os.urandom(4), "big"))  # boards switched on together must not retry together
    station = parts.station(config)
    log("started", device=config["name"], board=config["board"], **settle_heap())
    try:
        station.run()
    finally:
        station.close()  # without a farewell: the gateway announces the last will


def settle_heap() -> "dict[str, int]":
    """Collect now, and from now on early: the heap of a board that runs for years must not fall to pieces. In bytes."""
    heap: "Any" = gc  # CPython's has other names
    heap.collect()
    heap.threshold(8192)
    return {"heap_used": heap.mem_alloc(), "heap_free": heap.mem_free()}


if __name__ == "__main__":
    main()
