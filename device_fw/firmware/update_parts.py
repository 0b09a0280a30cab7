"""What an update seldom needs: how it is put together, its properties, downloads, the end of a trial. Imported for each, and
forgotten after it.
"""

import gc

from device_fw.firmware.log import log
from device_fw.firmware.properties import Property
from device_fw.firmware.update import Updater, reset

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

    from device_fw.contracts import Board
    from device_fw.firmware.download import Download

_AROUND = 256  # bytes of a packet beside a piece: topic, head
_LEAST_HEAP = 4096  # bytes that must be free in a trial
_SELF_TEST = "self-test"  # edgewire.ota_codes has it, too


def make(config: "dict[str, Any]", board: "Board") -> "Updater | None":
    """The updater of a board that the boot code started; None when it could not read its slots."""
    import hedgerow_boot

    slots = getattr(hedgerow_boot, "running", None)
    if slots is None:
        return None
    return Updater(slots, log, hedgerow_boot.feed, reset, board, config["max_packet"] - _AROUND)


def properties() -> "dict[str, Property]":
    """What a board reports of its updates."""
    text = Property()
    return {
        "firmware": text,
        "firmware-target": text,
        "firmware-state": text,
        "firmware-reason": text,
        "firmware-progress": Property("int"),
    }


def download(updater: Updater) -> "Download":
    """What takes an offer."""
    from device_fw.firmware.download import Download
    from device_fw.firmware.update_store import UpdateStore, chunk_bytes

    store, limit = UpdateStore(updater.slots, updater.feed), updater.limit
    return Download(updater, store, lambda: chunk_bytes(limit))


def confirmed(updater: Updater) -> bool:
    """Confirm the image on trial, if it finds itself well; whether it is. OSError when that cannot be written."""
    problem = self_test(updater.board)
    if problem:
        if updater.fault != _SELF_TEST:
            updater.log("self_test_failed", reason=problem)
        updater.fault = _SELF_TEST
        return False
    updater.slots.confirm()
    updater.log("update_confirmed", id=updater.target[:16], version=updater.slots.version)
    return True


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
