"""A real instrument: the bench knows where it is, perhaps how to switch it, and has no way to let it misbehave."""

import re
from pathlib import Path

from hil_tests.bench.bench_file import Addressed, Entry
from hil_tests.bench.boards import BoardError, Transcript
from hil_tests.bench.serial_board import switch


class RealInstrument:
    """One instrument."""

    faults: tuple[str, ...] = ("none",)

    def __init__(self, name: str, entry: Entry, address: str, folder: Path) -> None:
        self.name, self.kind, self.address = name, entry.kind, address
        self._power = entry.power if isinstance(entry, Addressed) else None
        folder.mkdir(parents=True, exist_ok=True)
        self.transcript = Transcript(folder / "console.log")

    def power_on(self) -> None:
        """Switch it on, where that is possible."""
        if self._power is not None:
            switch(self._power, True)

    def power_off(self) -> None:
        """Switch it off. BoardError where that is not possible."""
        if self._power is None:
            raise BoardError(f"{self.name}: its power cannot be switched, see `power` in docs/hil.md")
        switch(self._power, False)

    def cycle(self) -> None:
        """Power off and on."""
        self.power_off()
        self.power_on()

    def fault(self, name: str, value: int = 1) -> None:
        """It has none to be told."""
        if name != "none":
            raise KeyError(name)

    def expect(self, pattern: str, timeout_s: float = 10.0) -> re.Match[str]:
        """It has no console: nothing ever comes."""
        return self.transcript.expect(pattern, timeout_s)

    def close(self) -> None:
        """Its power stays as it is."""
