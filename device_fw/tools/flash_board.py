"""A board at its raw REPL, over mpremote's transport: what it is, what is on it, files written whole, and the reset.

The board counts what it holds itself: sha256 is computed there. Ctrl-C stops the firmware that runs, and its memory is given
back; the board is reset only where that is not enough.
"""

import ast
import base64
import contextlib
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Annotated, Self, TypeVar

import msgspec
import serial
from mpremote.transport import TransportError
from mpremote.transport_serial import SerialTransport
from msgspec import Meta, Struct

from device_fw.tools import bytecode, flash_entry, said
from device_fw.tools.flash_code import FACTS, MAKE_ROOM, PRELUDE
from device_fw.tools.flash_errors import BoardLost, FlashError, NoAnswer, NoMemory, NoSpace, VerifyFailed
from device_fw.tools.flash_plan import PART, Present, Write
from device_fw.tools.flash_transport import ANSWER_S, open_port

CHUNK = 1024
"""Bytes of a file in one command: a board needs about six times as much memory for it."""

T = TypeVar("T")
_Number = Annotated[int, Meta(ge=0, le=1 << 48)]
_Block = Annotated[int, Meta(ge=1, le=1 << 30)]
_Text = Annotated[str, Meta(max_length=said.LONGEST)]


class _FactsSaid(Struct, array_like=True, forbid_unknown_fields=True):
    platform: _Text
    name: _Text
    version: list[_Number | _Text]
    banner: _Text
    machine: _Text
    build: _Text
    mpy: _Number
    unique_id: _Text
    network: bool
    free: _Number
    block: _Block
    root: list[str]


class _FileSaid(Struct, array_like=True, forbid_unknown_fields=True):
    path: str
    size: _Number
    sha256: Annotated[str, Meta(max_length=64)]


_SENSELESS = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)
"""What reading an answer raises; msgspec's errors are ValueErrors."""


@dataclass(frozen=True)
class Facts:
    """What a board says of itself."""

    platform: str
    """`sys.platform`: esp32, rp2, linux."""
    version: tuple[int, ...]
    """Of its MicroPython."""
    banner: str
    """`sys.version` from `MicroPython` on, as the runtime's image contains it."""
    machine: str
    build: str
    mpy_number: int
    """`sys.implementation._mpy`; 0: it loads no bytecode."""
    mpy: str
    """The version of bytecode it loads, `6.3`; empty: none."""
    architecture: str
    """Of its native code, as mpy-cross calls it; empty: none."""
    unique_id: str
    network: bool
    """Whether its MicroPython has Wi-Fi or Ethernet."""
    free: int
    """Bytes, in blocks of `block`."""
    block: int

    @property
    def release(self) -> str:
        """`1.28.0`"""
        return ".".join(map(str, self.version[:3]))


class BoardConnection:
    """A board at its raw REPL; a context. Every error is a FlashError."""

    def __init__(
        self,
        port: str,
        on_command: Callable[[], None] | None = None,
        answer_s: float = ANSWER_S,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`on_command` is called before each command that the board is sent: for who counts them. `answer_s`: a board that is
        silent for so long is lost. `say` is told what takes long."""
        self._port = port
        self._answer_s = answer_s
        self._on_command = on_command or (lambda: None)
        self._say = say
        self._transport: SerialTransport | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def open(self, deadline_s: float = ANSWER_S) -> None:
        """Open the port and stop what runs there. NoBoard, PortBusy, PortForbidden, NoAnswer."""
        begun = time.monotonic()
        if self._transport is None:
            self._transport = open_port(self._port, deadline_s, self._answer_s)
        starved = False
        while True:
            self._enter(deadline_s, begun)
            try:
                self.run(MAKE_ROOM)
                self.run(PRELUDE)
                return
            except NoMemory:
                if starved:
                    raise
                starved = True
                with self._lost():
                    flash_entry.soft_reset(self._at_work())
            except BoardLost:  # it was reset meanwhile, or is slow
                if time.monotonic() - begun > deadline_s:
                    raise

    def _enter(self, deadline_s: float, begun: float) -> None:
        def slow() -> None:
            self._say(f"No raw REPL yet, trying for {deadline_s:g} s: press the board's reset button if it hangs")

        with self._lost():
            found = flash_entry.enter(self._at_work(), max(0.0, begun + deadline_s - time.monotonic()), slow)
        if not found:
            self.close()
            raise NoAnswer(_no_answer(self._port, deadline_s))

    def close(self) -> None:
        """Let the port go; harmless when it is."""
        transport, self._transport = self._transport, None
        if transport is not None:
            with contextlib.suppress(OSError, serial.SerialException):
                transport.close()

    def facts(self) -> Facts:
        """What the board is. NoAnswer when it is no board but a computer's MicroPython."""
        found = self._understood(self.run(FACTS), _FactsSaid)
        if found.name != "micropython":
            raise NoAnswer(
                f"{self._port} runs {said.plain(found.name)}, not MicroPython: write it with --runtime IMAGE"
            )
        if "proc" in found.root and "etc" in found.root:
            raise NoAnswer(f"{self._port} is a MicroPython with a computer's files, not a board's")
        loads = bytecode.of_board(found.mpy) if found.mpy else None
        banner = said.plain(found.banner)
        return Facts(
            said.plain(found.platform),
            tuple(part for part in found.version if isinstance(part, int)),
            banner[banner.find("MicroPython") :] if "MicroPython" in banner else banner,
            said.plain(found.machine),
            said.plain(found.build),
            found.mpy,
            str(loads) if loads is not None else "",
            loads.arch if loads is not None else "",
            said.plain(found.unique_id),
            found.network,
            found.free,
            found.block,
        )

    def files(self) -> dict[str, Present]:
        """Every file of the board's own file system, by its path without the leading slash; `/sd` and `/rom` are others."""
        lines = self.run("_walk('')").splitlines()
        found = [self._understood(line, _FileSaid) for line in lines]
        return {file.path: Present(file.size, file.sha256) for file in found}

    def read(self, path: str) -> bytes | None:
        """A file's content; None when there is none. For small files."""
        code = f"try:\n print(binascii.b2a_base64(open({'/' + path!r}, 'rb').read()))\nexcept OSError:\n print(None)"
        text = self.run(code).strip()
        if text == "None":
            return None
        try:
            return base64.b64decode(ast.literal_eval(text))
        except _SENSELESS as error:
            raise self._senseless(text) from error

    def free(self) -> int:
        """Bytes that are free."""
        return self._understood(self.run("_v = os.statvfs('/')\nprint(_v[0] * _v[3])"), int)

    def remove(self, path: str) -> None:
        """Remove a file, and the folders that it leaves empty."""
        self.run(f"_remove({'/' + path!r})")

    def write(self, step: Write, written: Callable[[int], None] = lambda size: None) -> None:
        """Write a file beside its place, have the board sum it up, and rename it. `written` is told of the bytes of each piece.

        VerifyFailed when the board holds something else than was sent; then what was there before still is.
        """
        place, part = "/" + step.path, "/" + step.path + PART
        self.run(f"_folders({place!r})\n_f = open({part!r}, 'wb')")
        for at in range(0, len(step.content), CHUNK):
            piece = step.content[at : at + CHUNK]
            self.run(f"_feed()\n_f.write(binascii.a2b_base64({base64.b64encode(piece)!r}))\ngc.collect()")
            written(len(piece))
        found = self.run(f"_f.close()\nprint(_sum({part!r}))").strip()
        if found != step.sha256:
            self.run(f"_remove({part!r})")
            raise VerifyFailed(
                f"{step.path} came to the board damaged (sha256 {found[:16]}…, not {step.sha256[:16]}…): "
                "try again, with another cable or USB port if it happens twice"
            )
        self.run(f"_place({part!r}, {place!r})")

    def reset(self) -> None:
        """Reset the board as its button does, and let the port go."""
        self._fire("import machine\nmachine.reset()")

    def bootloader(self) -> None:
        """Let the board start its boot loader, and let the port go."""
        self._fire("import machine\nmachine.bootloader()")

    def run(self, code: str) -> str:
        """What a piece of code prints on the board. BoardLost when the board goes away, NoSpace when its flash is full."""
        self._on_command()
        with self._lost():
            printed, complaint = self._at_work().exec_raw(code, self._answer_s)
            if complaint:
                raise _of_board(complaint.decode(errors="replace"), self._port)
            return str(printed.decode())

    def _understood(self, text: str, type: type[T]) -> T:
        """What the board printed, as what it should be. BoardLost when it is not: the line garbles, or it is no board of ours."""
        try:
            return msgspec.convert(ast.literal_eval(text.strip()), type)
        except _SENSELESS as error:
            raise self._senseless(text) from error

    def _senseless(self, text: str) -> BoardLost:
        return BoardLost(
            f"the board at {self._port} answers {said.plain(text, 60)!r}, which makes no sense: run this again; another cable or "
            "USB port if it happens twice"
        )

    def _fire(self, code: str) -> None:
        self._on_command()
        with self._lost():
            self._at_work().exec_raw_no_follow(code)
        self.close()

    def _at_work(self) -> SerialTransport:
        if self._transport is None:
            raise BoardLost(f"the port {self._port} is closed")
        return self._transport

    @contextlib.contextmanager
    def _lost(self) -> Iterator[None]:
        try:
            yield
        except (TransportError, OSError, struct.error, UnicodeDecodeError) as error:
            raise BoardLost(
                f"the board at {self._port} went away ({error}): check its cable and power, then run this again, "
                "it goes on where it stopped"
            ) from error


def _of_board(traceback: str, port: str) -> FlashError:
    """An exception on the board."""
    text = said.plain("".join(traceback.strip().splitlines()[-1:]))
    if "ENOSPC" in text or text.endswith("OSError: 28"):
        return NoSpace(
            f"the board at {port} is full: remove files of yours from it (`mpremote fs ls`), and run this again"
        )
    if text.startswith("MemoryError"):
        return NoMemory(f"the board at {port} has not enough memory free: reset it, and run this again")
    return FlashError(f"the board at {port} says: {text}")


def _no_answer(port: str, deadline_s: float) -> str:
    return (
        f"the board at {port} answers no raw REPL within {deadline_s:g} s: its firmware catches Ctrl-C, or it is in its boot "
        "loader, or has no MicroPython. Press its reset button and run this again; if that does not help, write MicroPython "
        "anew with --runtime IMAGE"
    )
