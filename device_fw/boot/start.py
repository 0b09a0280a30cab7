"""Runs what was chosen, a slot's `main` or recovery's, and sees to it that whatever ends is started again.

The firmware finds in `hedgerow_boot` the slots, as `running`, and `feed`, which feeds the watchdog. It may ask of this boot code
what it asks of any: what the first one knew, which `tests/test_boot_contract.py` lists.
"""

import gc
import os
import sys
import time

import hedgerow_boot
import machine
from hedgerow_boot import slots

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

_PAUSE_MS = 1000  # before what failed is started again
_before = dict(sys.modules)  # with `hedgerow_boot`: whoever flashes the board feeds the watchdog by it


def run() -> None:
    """Choose and run. Returns only by KeyboardInterrupt and SystemExit, which lead to the REPL."""
    root = os.getcwd()
    root = "" if root == "/" else root
    sys.path.insert(0, root + "/hedgerow_boot")  # its own `edgewire`, which no slot can change
    try:
        sys.path[0] = root + "/" + _chosen(root)
        _leave_the_heap()
        __import__("main")
    except Exception as error:  # the supervisor of all else: a board that does not start helps nobody
        _tell(error)
    except BaseException:
        _let_go()  # whoever comes to the REPL needs the heap
        raise
    _let_go()
    try:
        _write_down()
    except (OSError, MemoryError) as error:
        _tell(error)
    _start_anew()


def _chosen(root: str) -> str:
    hedgerow_boot.feed = _nothing
    try:
        from hedgerow_boot import choice

        chosen: str = choice.begin(root, hedgerow_boot, machine, _log)
        return chosen
    except Exception as error:  # likewise
        _tell(error)
    return "recovery"


def _leave_the_heap() -> None:
    """Forget what only the choice needed, and the boot code's `edgewire`: the slot has its own."""
    names = ["hedgerow_boot.choice", "hedgerow_boot.changes"]
    names.extend([name for name in sys.modules if name.startswith("edgewire")])
    for name in names:
        slots.forget(name)
    gc.collect()


def _let_go() -> None:
    """Forget all that ran: it may have left no heap. Nothing here asks for more of it."""
    sys.path.pop(0)
    sys.modules.clear()
    gc.collect()
    sys.modules.update(_before)


def _write_down() -> None:
    """What ran has ended, which it should not."""
    running: "Any" = getattr(hedgerow_boot, "running", None)
    if running is not None and running.on_trial:
        running.fail("exception")
    elif running is not None and running.slot:
        running.crashed()
    _log("ended", slot=getattr(running, "slot", "") or "recovery")


def _start_anew() -> None:
    """Reset, whatever the heap is like."""
    time.sleep_ms(_PAUSE_MS)  # type: ignore[attr-defined]
    if hasattr(machine, "reset"):
        machine.reset()
    raise SystemExit


def _tell(error: Exception) -> None:
    """Print what went wrong, as far as the heap allows."""
    try:
        sys.print_exception(error)  # type: ignore[attr-defined]
    except MemoryError:
        pass


def _nothing() -> None:
    pass


def _log(event: str, **fields: object) -> None:
    print("event=" + event + "".join([" {}={!r}".format(name, str(fields[name])) for name in sorted(fields)]))
