"""Runs what was chosen, a slot's `main` or recovery's, and sees to it that whatever ends is started again.

The firmware finds in `hedgerow_boot` the slots, as `running`, and `feed`, which feeds the watchdog. It may expect of them what
`Slots` says under "What the firmware asks", of this boot code as of any later one.
"""

import gc
import os
import sys

import hedgerow_boot

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

_PAUSE_MS = 1000  # before what failed is started again


def run() -> None:
    """Choose and run. Returns only by KeyboardInterrupt and SystemExit, which lead to the REPL."""
    import machine

    root = os.getcwd()
    root = "" if root == "/" else root
    chosen = "recovery"
    sys.path.insert(0, root + "/hedgerow_boot")  # its own `edgewire`, which no slot can change
    try:
        chosen = _choose(root, machine)
    except Exception as error:  # the supervisor of all else: a board that does not start helps nobody
        sys.print_exception(error)  # type: ignore[attr-defined]
    sys.path[0] = root + "/" + chosen
    _leave_the_heap()
    try:
        __import__("main")
    except Exception as error:  # likewise
        sys.print_exception(error)  # type: ignore[attr-defined]
    _ended(chosen, machine)


def _choose(root: str, machine: "Any") -> str:
    from hedgerow_boot import choice

    hedgerow_boot.feed = _nothing
    hedgerow_boot.running = slots = choice.load(root, _log)
    bitten = hasattr(machine, "WDT_RESET") and machine.reset_cause() == machine.WDT_RESET
    chosen: str = choice.choose(slots, bitten, _log)
    if slots.on_trial:
        hedgerow_boot.feed = choice.watchdog(slots, machine)
    _log("boot", slot=chosen, version=slots.version, trial=slots.on_trial, reason=slots.reason)
    return chosen


def _leave_the_heap() -> None:
    """Forget what only the choice needed, and the boot code's `edgewire`: the slot has its own."""
    for name in list(sys.modules):
        if name.startswith("edgewire") or name == "hedgerow_boot.choice":
            del sys.modules[name]
    if hasattr(hedgerow_boot, "choice"):
        del hedgerow_boot.choice
    gc.collect()


def _ended(chosen: str, machine: "Any") -> None:
    """What ran has ended, which it should not. Write it down and start anew."""
    slots: "Any" = getattr(hedgerow_boot, "running", None)
    try:
        if slots is not None and slots.on_trial:
            slots.fail("exception")
        elif slots is not None and chosen == slots.slot:
            slots.crashed()
    except OSError as error:
        _log("record_not_written", reason=error)
    _log("ended", slot=chosen)
    import time

    time.sleep_ms(_PAUSE_MS)  # type: ignore[attr-defined]
    if hasattr(machine, "reset"):
        machine.reset()
    raise SystemExit


def _nothing() -> None:
    pass


def _log(event: str, **fields: object) -> None:
    print("event=" + event + "".join([" {}={!r}".format(name, str(fields[name])) for name in sorted(fields)]))
