"""What surrounds the emulated board, told by a JSON file that a test or a person may change at any time.

docs/sensors.md has its keys. It is looked at on every access to a pin or a bus. What the board does to its pins is written to
another file, whole or not at all. Both lie on the machine, not in the board's flash: in the folder `HEDGEROW_BOARD_HARDWARE`.
Without it there is no file; tests `say` what is there.
"""

import json
import os

SURROUNDINGS = "hardware.json"
PINS = "pins.json"


def _system_clock():
    try:
        from utime import ticks_ms
    except ImportError:
        from time import monotonic

        return lambda: int(monotonic() * 1000)
    return ticks_ms


class Surroundings:
    """The file, and what the board made of its pins."""

    def __init__(self, folder=None):
        """`folder` is where the files lie."""
        self.now_ms = _system_clock()
        self._open = None
        if folder:
            self._reach(folder)
        self._text = None
        self._said = {}
        self._parts = {}
        self._pins = {}
        self._written = None

    def _reach(self, folder):
        """Around the board's own file system, which is mounted over the machine's."""
        from vfs import VfsPosix

        outside = VfsPosix()
        self._open, self._rename = outside.open, outside.rename
        self._folder = folder + "/"

    def say(self, said):
        """Other surroundings, in a test without a file: new parts, which say this."""
        self._open = None
        self._said = said
        self._parts = {}

    def now(self):
        """What the file says now; what cannot be read leaves everything as it was."""
        if self._open is None:
            return self._said
        try:
            with self._open(self._folder + SURROUNDINGS, "r") as file:
                text = file.read()
        except OSError:
            text = "{}"
        if text != self._text:
            self._text = text
            try:
                self._said = json.loads(text)
            except ValueError:
                pass
        return self._said

    def parts(self, kind):
        """The parts of a kind ("i2c", "onewire", "dht") that are there, each as the file describes it."""
        return self.now().get(kind, ())

    def kept(self, key, make):
        """What a part keeps inside, made at first sight."""
        if key not in self._parts:
            self._parts[key] = make()
        return self._parts[key]

    def show(self, pin, state):
        """Write down what the board did to a pin."""
        self._pins[str(pin)] = state
        text = json.dumps(self._pins)
        if self._open is None or text == self._written:
            return
        self._written = text
        with self._open(self._folder + PINS + ".new", "w") as file:
            file.write(text)
        self._rename(self._folder + PINS + ".new", self._folder + PINS)


around = Surroundings(os.getenv("HEDGEROW_BOARD_HARDWARE"))
"""Those of this board."""
