"""What the runtime of a board does after a reset: mount the flash, then run boot.py and main.py; the REPL comes after it.

`/` is the flash, made anew when it holds no file system. `/rom` holds the modules that a real port has built in.
"""

import gc
import os
import sys

import micropython
import vfs

_BUILT_IN = (  # all of it at every start: what it takes of the heap must not depend on the program
    "machine",
    "time",
    "onewire",
    "dht",
    "emulated.bme280",
    "emulated.sht3x",
)


def _mount(path, size, cut_after, rom, tell):
    from emulated.flash import Flash

    flash = Flash(path, size, cut_after)
    vfs.umount("/")
    try:
        vfs.mount(vfs.VfsLfs2(flash), "/")
    except OSError:
        vfs.VfsLfs2.mkfs(flash)
        vfs.mount(vfs.VfsLfs2(flash), "/")
        tell("formatted")
    vfs.mount(vfs.VfsPosix(rom), "/rom", readonly=True)
    sys.modules["emulated"].__path__ = "/rom/emulated"  # where it was found is out of reach now
    os.chdir("/")
    sys.path[:] = ["", ".frozen", "/lib", "/rom"]
    sys.argv[:] = []


def start(run):
    """Start the board; `run(path)` runs a file in the name space of the REPL. Returns when the REPL is to come."""
    micropython.kbd_intr(-1)
    from emulated.wires import tell, told, wait_for_the_end

    _mount(
        told("HEDGEROW_BOARD_FLASH"),
        int(told("HEDGEROW_BOARD_FLASH_BYTES")),
        int(told("HEDGEROW_BOARD_CUT_AFTER")),
        told("HEDGEROW_BOARD_ROM"),
        tell,
    )
    for name in _BUILT_IN:
        __import__(name)
    for name in ("emulated.power_on", "emulated.flash"):
        sys.modules.pop(name, None)
    gc.collect()
    micropython.kbd_intr(3)
    tell("run")
    for name in ("boot.py", "main.py") if told("HEDGEROW_BOARD_MAIN") else ("boot.py",):
        if name in os.listdir("/") and _exits(run, name):
            wait_for_the_end("soft")


def _exits(run, name):
    try:
        run(name)
    except SystemExit:
        return True
    except BaseException as error:  # whatever it is, the REPL comes next, as on a board
        sys.print_exception(error)
    return False
