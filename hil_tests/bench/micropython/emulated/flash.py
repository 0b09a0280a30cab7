"""The board's flash: a block device over a file, with the erase and program steps of NOR flash.

What was programmed is in the file when the call returns, so it outlives SIGKILL. `cut_after` lets the power fail within a step:
that erase or program step, counted from the start, is half done, and the supervisor is told.
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
        self._file.seek(block * _BLOCK + offset)
        self._file.readinto(buffer)

    def writeblocks(self, block, buffer, offset=None):
        """Program; without an offset erase before."""
        if offset is None:
            self._erase(block)
            offset = 0
        self._file.seek(block * _BLOCK + offset)
        if self._is_cut():
            self._file.write(memoryview(buffer)[: len(buffer) // 2])
            wires.wait_for_the_end("cut")
        self._file.write(buffer)

    def ioctl(self, request, argument):
        """Tell the number of blocks (4) and their size (5), erase one (6); the rest needs nothing."""
        if request == 4:
            return self._blocks
        if request == 5:
            return _BLOCK
        if request == 6:
            self._erase(argument)
        return 0

    def _erase(self, block):
        self._file.seek(block * _BLOCK)
        pieces = _BLOCK // len(_ERASED)
        if self._is_cut():
            pieces //= 2
        for _ in range(pieces):
            self._file.write(_ERASED)
        if pieces * len(_ERASED) < _BLOCK:
            wires.wait_for_the_end("cut")

    def _is_cut(self):
        if not self._steps_left:
            return False
        self._steps_left -= 1
        return not self._steps_left
