"""Modules that a board needs now and then: imported when they are, and forgotten afterwards, for the heap is small."""

import gc
import sys

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any


def forget(*names: str) -> None:
    """Let go of modules, as far as they were imported; nobody may hold on to what is in them.

    MicroPython leaves the value of a deleted entry where it was until another one needs the place; so each is None before.
    """
    modules: "dict[str, Any]" = sys.modules
    for name in names:
        if name in modules:
            modules[name] = None
            del modules[name]
            package, _, last = name.rpartition(".")
            if hasattr(modules.get(package), last):
                setattr(modules[package], last, None)
                delattr(modules[package], last)
    gc.collect()
