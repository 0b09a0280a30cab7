"""An emulated MicroPython board to play with, for `hedgerow bench up board`: its port is a link that mpremote opens.

    python -m hil_tests.bench.board_station --link /tmp/board
    mpremote connect /tmp/board exec "print('hello')"

Its flash, console and pins are in the folder `<link>.d`, and stay.
"""

import argparse
import asyncio
import logging
from pathlib import Path

from msgspec import Struct

from edgewire.service import serve_until_signalled
from hil_tests.bench.emulated import EmulatedUnixBoard
from hil_tests.bench.faults_file import followed

_HEAP_KB = 160  # for updates, too: objects of 64 bits are up to twice as large as a microcontroller's

log = logging.getLogger(__name__)


class FaultsNow(Struct, forbid_unknown_fields=True):
    """What a faults file says."""

    frozen: bool = False
    """It stops in the middle of what it does, and goes on later."""
    off: bool = False
    """It has no power."""


class _Service:
    name = "board"

    def __init__(self, link: Path, faults_file: Path | None) -> None:
        self._link = link
        self._faults_file = faults_file
        self._now = FaultsNow()

    async def run(self, ready: asyncio.Event) -> None:
        board = EmulatedUnixBoard("board", self._link.with_name(self._link.name + ".d"), heap_kb=_HEAP_KB)
        try:
            board.power_on()
            self._link.unlink(missing_ok=True)
            self._link.symlink_to(board.port)
            log.info("= board on port=%s console=%s", self._link, board.console)
            ready.set()
            if self._faults_file is not None:
                async for faults in followed(self._faults_file, FaultsNow):
                    await asyncio.to_thread(self._misbehave, board, faults)
            await asyncio.get_running_loop().create_future()
        finally:
            self._link.unlink(missing_ok=True)
            board.close()

    def _misbehave(self, board: EmulatedUnixBoard, faults: FaultsNow) -> None:
        if faults.off != self._now.off:
            board.power_off() if faults.off else board.power_on()
        if faults.frozen != self._now.frozen:
            board.fault("frozen" if faults.frozen else "none")
        self._now = faults


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="An emulated MicroPython board on a pseudo-terminal.")
    parser.add_argument("--link", type=Path, default=Path("board"), help="symbolic link that is kept on the port")
    parser.add_argument(
        "--faults-file", type=Path, help="JSON, read again when it changes: FaultsNow in board_station.py"
    )
    options = parser.parse_args()
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(serve_until_signalled(_Service(options.link.absolute(), options.faults_file)))


if __name__ == "__main__":
    main()
