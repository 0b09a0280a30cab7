"""The board's flash: a block device over a file, with the erase and program steps of NOR flash.

What was programmed is in the file when the call returns, so it outlives SIGKILL. `cut_after` lets the power fail within a step:
that erase or program step, counted from the start, is half done, and the supervisor is told.

Ctrl-C does not interrupt a step, as on a board, where no Python runs below the file system: it comes once more after it.
"""

from emulated import wires

_BLOCK = 4096
_ERASED = b"\xff" * 512


class Flash:
    """MicroPython's extended block protocol (vfs, "Block devices")."""

    def __init__(self, path, size, cut_after=0):
        """`size` in bytes, whole blocks of 4096; `cut_after` counts steps, 0: never."""
        self._file = open(path, "r+b")
        self._blocks = size // _BLOCK
        self._steps_left = cut_after

    def readblocks(self, block, buffer, offset=0):
        """Fill the buffer."""
        try:
            self._file.seek(block * _BLOCK + offset)
            self._file.readinto(buffer)
        except KeyboardInterrupt:
            self.readblocks(block, buffer, offset)
            wires.tell("interrupt")

    def writeblocks(self, block, buffer, offset=None):
        """Program; without an offset erase before."""
        try:
            self._program(block, buffer, offset)
        except KeyboardInterrupt:
            self.writeblocks(block, buffer, offset)
            wires.tell("interrupt")

    def ioctl(self, request, argument):
        """Tell the number of blocks (4) and their size (5), erase one (6); the rest needs nothing."""
        try:
            if request == 4:
                return self._blocks
            if request == 5:
                return _BLOCK
            if request == 6:
                self._erase(argument)
            return 0
        except KeyboardInterrupt:
            result = self.ioctl(request, argument)
            wires.tell("interrupt")
            return result

    def _program(self, block, buffer, offset):
        if offset is None:
            self._erase(block)
            offset = 0
        self._file.seek(block * _BLOCK + offset)
        if self._steps_left == 1:
            self._file.write(memoryview(buffer)[: len(buffer) // 2])
            wires.wait_for_the_end("cut")
        self._file.write(buffer)
        self._steps_left -= 1

    def _erase(self, block):
        self._file.seek(block * _BLOCK)
        pieces = _BLOCK // len(_ERASED)
        if self._steps_left == 1:
            pieces //= 2
        for _ in range(pieces):
            self._file.write(_ERASED)
        if pieces * len(_ERASED) < _BLOCK:
            wires.wait_for_the_end("cut")
        self._steps_left -= 1
