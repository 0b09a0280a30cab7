"""The parts of an update, put together: what a download needs is imported when there is one, and forgotten after it."""

import gc
import sys

from device_fw.firmware.log import log
from device_fw.firmware.update import Updater

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from device_fw.contracts import Board
    from device_fw.firmware.download import Download

_AROUND = 256  # bytes of a packet beside a piece: topic, head
_LEAST_HEAP = 4096  # bytes that must be free in a trial
_SELDOM = (
    "device_fw.firmware.download", "device_fw.firmware.update_store", "edgewire.ota_codes", "edgewire.ota_fields",
    "edgewire.ota_manifest", "edgewire.ota_messages",
)  # fmt: skip


def make(config: "dict[str, Any]", board: "Board", reset: "Callable[[], None]") -> "Updater | None":
    """The updater of a board that the boot code started; None when it could not read its slots."""
    import hedgerow_boot

    slots = getattr(hedgerow_boot, "running", None)
    if slots is None:
        return None

    limit = config["max_packet"] - _AROUND

    def download(updater: Updater) -> "Download":
        from device_fw.firmware.download import Download
        from device_fw.firmware.update_store import UpdateStore, chunk_bytes

        store = UpdateStore(slots, hedgerow_boot.feed)
        return Download(updater, store, lambda: chunk_bytes(limit))

    return Updater(slots, log, hedgerow_boot.feed, reset, lambda: self_test(board), download, forget)


def forget() -> None:
    """Give back what a download took of the heap."""
    for name in _SELDOM:
        if name in sys.modules:
            del sys.modules[name]
            package, module = name.rsplit(".", 1)
            if hasattr(sys.modules.get(package), module):
                delattr(sys.modules[package], module)
    gc.collect()


def self_test(board: "Board") -> str:
    """What a firmware on trial finds not working, empty when it is well: configuration, heap, sensors that all fail."""
    from device_fw.firmware import config

    try:
        config.load("config.json")
    except (OSError, ValueError) as error:
        return "config.json: {}".format(error)
    heap: "Any" = gc
    heap.collect()
    if hasattr(heap, "mem_free") and heap.mem_free() < _LEAST_HEAP:
        return "{} bytes of heap are free".format(heap.mem_free())
    problem = ""
    for name in board.properties:
        try:
            board.read(name)
            return ""
        except (OSError, ValueError) as error:
            problem = "no property can be read: {}: {}".format(name, error)
    return problem
