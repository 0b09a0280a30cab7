"""What can go wrong while a board is flashed. Every text says what happened and what to do about it.

FlashError
├── NoBoard           nothing is plugged in, or not at that port
├── SeveralBoards     more than one could be meant
├── PortBusy          another program has the port
├── PortForbidden     the user may not open it
├── NoAnswer          the board answers no raw REPL
├── BoardLost         it did, and then it did not: unplugged, reset, without power
│   └── NoMemory      it has not enough memory free for what it was asked
├── WrongBoard        the image or the firmware is for another one
├── RuntimeTooOld     its MicroPython is older than the firmware needs
├── RuntimeFailed     MicroPython itself could not be written
├── NoSpace           its file system is full
├── VerifyFailed      what is on the board is not what was written
└── NoReport          it was flashed, but the gateway hears nothing of it
"""

from device_fw.tools.errors import FirmwareError


class FlashError(FirmwareError):
    """A board was not flashed; calling again goes on where it stopped."""


class NoBoard(FlashError):
    """Nothing is plugged in, or not at that port."""


class SeveralBoards(FlashError):
    """More than one board could be meant."""


class PortBusy(FlashError):
    """Another program has the port."""


class PortForbidden(FlashError):
    """The user may not open the port."""


class NoAnswer(FlashError):
    """The board answers no raw REPL."""


class BoardLost(FlashError):
    """The board went away in the midst of it."""


class NoMemory(BoardLost):
    """The board has not enough memory free for what it was asked."""


class WrongBoard(FlashError):
    """The image or the firmware is for another board."""


class RuntimeTooOld(FlashError):
    """The board's MicroPython is older than the firmware needs."""


class RuntimeFailed(FlashError):
    """MicroPython itself could not be written."""


class NoSpace(FlashError):
    """The board's file system is full."""


class VerifyFailed(FlashError):
    """What is on the board is not what was written."""


class NoReport(FlashError):
    """The board was flashed, but the gateway hears nothing of it."""
