"""The firmware's entry: has the parts built, then runs the station. On a board it lies in the root folder."""

import gc

from device_fw.firmware.log import log
from device_fw.firmware.seldom import forget

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

    from device_fw.firmware.station import Station

_WHOLE = 6144  # bytes of heap that building leaves in one piece, for messages


def main() -> None:
    """Run until the power goes, or Ctrl-C on a console."""
    station, about = _built()
    _overwrite_stack(40)
    forget()
    heap: "Any" = gc  # CPython's has other names
    heap.threshold(8192)  # collect early: the heap of a board that runs for years must not fall to pieces
    log("started", heap_used=heap.mem_alloc(), heap_free=heap.mem_free(), **about)
    del about
    try:
        station.run()
    finally:
        station.close()  # without a farewell: the gateway announces the last will


def _built() -> "tuple[Station, dict[str, str]]":
    """A function of its own: what was in its variables is not there any more when `main` goes on."""
    whole = bytearray(_WHOLE)
    from device_fw.firmware import building

    found = building.build()
    building.end()
    del whole
    return found


def _overwrite_stack(calls: int) -> None:
    """Let nothing be taken for used because it still stands on the stack, where building was."""
    if calls:
        _overwrite_stack(calls - 1)
