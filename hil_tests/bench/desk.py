"""A bench in use: takes the parts that a test needs by their capabilities, and lets go of them when the test is over."""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hil_tests.bench.bench_file import BOARD_KINDS, INSTRUMENT_KINDS, BenchFile, Entry, MicropythonUnix
from hil_tests.bench.boards import CAPABILITIES, Board, Instrument, Part
from hil_tests.bench.broker import BenchBroker, ServerTls
from hil_tests.bench.kinds import KINDS

DEFAULT = Path(__file__).with_name("default.yaml")
"""The bench of every machine, all emulated."""


class Lacking(Exception):
    """A bench has no part with what was asked for; the text says why."""


def offered(described: BenchFile) -> dict[str, frozenset[str]]:
    """What each part of a bench can do, as far as this machine has what it needs."""
    return {
        name: KINDS[entry.kind].offered(entry)
        for name, entry in {**described.boards, **described.instruments}.items()
        if not KINDS[entry.kind].missing
    }


def lacking(described: BenchFile, needs: Iterable[str], *, were_all_installed: bool = False) -> str:
    """Why a bench cannot do what a test needs; empty when it can. ValueError for a capability that there is not.

    With `were_all_installed`, as if this machine had all that any kind needs.
    """
    needs = list(needs)
    unknown = [need for need in needs if need not in CAPABILITIES]
    if unknown:
        raise ValueError(f"no capability {unknown[0]!r}: there are {', '.join(CAPABILITIES)}")
    everything = {**described.boards, **described.instruments}
    of_board = frozenset(need for need in needs if need.startswith("board."))
    extras = frozenset(need for need in needs if need.startswith("instrument."))
    whys = [_none_has(described.boards, of_board, were_all_installed)] if of_board else []
    others = [need for need in needs if need not in of_board | extras]
    whys += [_none_has(everything, extras | {need}, were_all_installed) for need in others]
    return "; ".join(why for why in whys if why)


def _none_has(entries: dict[str, Entry], wanted: frozenset[str], were_all_installed: bool) -> str:
    able = [entry for entry in entries.values() if wanted <= KINDS[entry.kind].offered(entry)]
    if not able:
        return f"no part has {', '.join(sorted(wanted))}"
    if not were_all_installed and all(KINDS[entry.kind].missing for entry in able):
        return f"{able[0].kind} needs {KINDS[able[0].kind].missing}"
    return ""


def supportable(needs: Iterable[str], *, were_all_installed: bool = False) -> bool:
    """Whether emulated parts could do this on this machine, whatever the bench's file says."""
    boards: dict[str, Entry] = {name: Entry(kind=name) for name in BOARD_KINDS if KINDS[name].emulated}
    boards["micropython-unix"] = MicropythonUnix(kind="micropython-unix", heap_kb=1 << 20)
    instruments: dict[str, Entry] = {name: Entry(kind=name) for name in INSTRUMENT_KINDS if KINDS[name].emulated}
    one_of_each = BenchFile(DEFAULT, "127.0.0.1", boards, instruments)
    return not lacking(one_of_each, needs, were_all_installed=were_all_installed)


class Desk:
    """The parts in use. Each is off when it is taken, where its power can be switched."""

    def __init__(self, described: BenchFile, folder: Path) -> None:
        """`folder` takes what the parts keep: flash, ports, transcripts."""
        self.described = described
        self.folder = folder
        self.parts: list[Part | BenchBroker] = []

    @property
    def host(self) -> str:
        """This machine, as boards see it."""
        return self.described.host

    def board(self, *needs: str) -> Board:
        """A board with all of these capabilities that is not in use yet. Lacking when there is none."""
        found: Any = self._take(self.described.boards, frozenset(needs))
        return found  # type: ignore[no-any-return]

    def instrument(self, *needs: str) -> Instrument:
        """An instrument with all of these capabilities that is not in use yet. Lacking when there is none."""
        found: Any = self._take(self.described.instruments, frozenset(needs))
        return found  # type: ignore[no-any-return]

    def broker(self, tls: ServerTls | None = None) -> BenchBroker:
        """An MQTT broker that boards reach, running. Raises MosquittoMissing."""
        made = BenchBroker(self.folder / f"broker-{len(self.parts)}", self.host, tls)
        self.parts.append(made)
        made.power_on()
        return made

    def close(self) -> None:
        """Let go of everything, in reverse."""
        with contextlib.ExitStack() as stack:
            for part in self.parts:
                stack.callback(part.close)

    def transcripts(self) -> dict[str, str]:
        """What each part in use said, by name."""
        return {part.name: part.transcript.text() for part in self.parts}

    def _take(self, entries: dict[str, Entry], wanted: frozenset[str]) -> Part:
        taken = {part.name for part in self.parts}
        for name, entry in entries.items():
            kind = KINDS[entry.kind]
            if name not in taken and not kind.missing and wanted <= kind.offered(entry):
                made = kind.make(name, entry, self.folder / name)
                self.parts.append(made)
                return made
        raise Lacking(f"{self.described.path}: no part that is free has {', '.join(sorted(wanted))}")
