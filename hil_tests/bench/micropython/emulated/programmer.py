"""A programmer clipped to the flash: writes and reads its files from outside, while the board is off.

`programmer.py write FOLDER` copies FOLDER/0, FOLDER/1, … to the paths of the JSON list in FOLDER/paths; `programmer.py read
FOLDER` the other way, and prints the list; `programmer.py fill PATH BYTES` writes until no more than so many bytes are left.
"""

import json
import os
import sys

import vfs

from emulated.flash import Flash
from emulated.wires import told

_CHUNK = 4096


def _copy(source, target):
    with open(source, "rb") as origin, open(target, "wb") as copy:
        while True:
            data = origin.read(_CHUNK)
            if not data:
                return
            copy.write(data)


def _write(folder, paths):
    for number, path in enumerate(paths):
        parts = path.strip("/").split("/")
        for depth in range(1, len(parts)):
            try:
                os.mkdir("/flash/" + "/".join(parts[:depth]))
            except OSError as error:
                if error.errno != 17:  # it is there
                    raise
        _copy("%s/%d" % (folder, number), "/flash/" + "/".join(parts))


def _paths(folder=""):
    for name, kind, *_ in os.ilistdir("/flash" + folder):
        path = folder + "/" + name
        if kind == 0x4000:
            yield from _paths(path)
        else:
            yield path


def _fill(path, left):
    with open("/flash/" + path, "wb") as file:
        while os.statvfs("/flash")[3] * 4096 > left:
            try:
                file.write(bytes(1024))
                file.flush()
            except OSError:
                return


def main(action, folder, left=""):
    """Do what the arguments say."""
    flash = Flash(told("HEDGEROW_BOARD_FLASH"), int(told("HEDGEROW_BOARD_FLASH_BYTES")))
    try:
        vfs.mount(vfs.VfsLfs2(flash), "/flash")
    except OSError:
        if action == "read":
            raise
        vfs.VfsLfs2.mkfs(flash)
        vfs.mount(vfs.VfsLfs2(flash), "/flash")
    if action == "write":
        with open(folder + "/paths") as file:
            paths = json.load(file)
        _write(folder, paths)
    elif action == "fill":
        _fill(folder, int(left))
    else:
        found = list(_paths())
        for number, path in enumerate(found):
            _copy("/flash" + path, "%s/%d" % (folder, number))
        print(json.dumps([path[1:] for path in found]))
    vfs.umount("/flash")


main(*sys.argv[1:])
