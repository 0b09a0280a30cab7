"""The firmware's entry: imports one file after the other, the largest first, so that each is compiled while there is room.

Until it is told otherwise, this MicroPython takes a zero for Ctrl-C, and every frame begins with one. An interruption from before
comes at the first jump, so that must stand where it is caught.
"""

try:
    import micropython

    micropython.kbd_intr(-1)
    for _ in "ab":
        pass
except KeyboardInterrupt:
    pass
try:
    import micropython

    micropython.kbd_intr(-1)
    for _ in "ab":
        pass
except KeyboardInterrupt:
    pass

import gc

for name in ("app", "take", "tick", "outputs", "link", "frames", "config"):
    gc.collect()
    __import__(name)

import app, take, tick, outputs, link, frames, config

app.start(config, frames, outputs, link.Link(config.NAME), take.take, tick.tick)
