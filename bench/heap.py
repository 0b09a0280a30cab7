"""What heap the firmware takes, with updates and without, on MicroPython's Unix port, whose objects have 64 bits: the demo's
board, and one in slots with boot code, updater and a simulated sensor. On the plain port, without emulated hardware.
"""

import asyncio

from bench.results import Figure, Figures
from hil_tests.bench import plain_flash

HEAP_KB = 96


async def measure() -> Figures:
    """Both figures; takes a second."""
    return await asyncio.to_thread(_measure)


def _measure() -> Figures:
    aim: dict[str, float | str] = {"aim, at most": 60}
    demo = plain_flash.heap_used(plain_flash.demo(), HEAP_KB)
    updates = plain_flash.heap_used(plain_flash.with_updates(), HEAP_KB)
    about = f"in use after the start, of {HEAP_KB}; 64-bit objects"
    return {
        "firmware_heap_kb": Figure(demo / 1000, "kB", aim, about),
        "firmware_heap_with_updates_kb": Figure(updates / 1000, "kB", aim, f"{about}; in slots, one sensor"),
    }
