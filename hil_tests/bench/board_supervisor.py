"""What lies around the processor of an emulated board: power, reset line, watchdog, clock and the USB port.

`UnixBoard` runs it as a process of its own, with nothing but the standard library. Orders come as lines of JSON on standard
input, each is answered on standard output; when the input ends, so does the board. The processor is MicroPython's Unix port on
an inner pty; who talks to the board, mpremote for one, has the outer one. It stays while the power is off, as with a USB bridge.

Ctrl-C reaches MicroPython as a signal while it runs code that may be interrupted, else as a byte.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hil_tests.bench.board_port import Console, Outside
from hil_tests.bench.board_processor import STEP_S, Processor, Watchdog

CAUSES = {"power-on": 1, "hard": 2, "watchdog": 3, "deepsleep": 4, "soft": 5}
"""Why a board starts, as `machine.reset_cause()` tells it."""

_RAW = b"raw REPL; CTRL-B to exit\r\n>"
_FRIENDLY = b'Type "help()" for more information.\r\n>>> '
_CHUNK = 4096
_REST_S = 0.02  # between two starts: what resets at once at its start must not take a whole core


class Board:
    """All of it: takes orders, and does what the processor asks for."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """`settings`: command, environment, folder, port, console, clock_s."""
        self._settings = settings
        self._outside = Outside(Path(settings["port"]))
        self._console = Console(Path(settings["console"]))
        self._watchdog = Watchdog()
        self._processor: Processor | None = None
        self._typed = bytearray()
        self._tail = b""
        self._raw = False
        self._entering_raw: bytearray | None = None
        self._clock_s = 0
        self._cut_after = 0
        self._wakes_at: float | None = None
        self._cause = ""
        self._off = "never on"
        self._starts = 0
        self._formatted = 0
        self._epoll = select.epoll()
        self._epoll.register(self._outside.master, select.EPOLLIN | select.EPOLLET)
        self._orders: dict[str, Callable[[dict[str, Any]], None]] = {
            "on": lambda order: self._power_on(),
            "off": lambda order: self._power_off("off"),
            "reset": lambda order: self._reset("hard"),
            "type": lambda order: self._typed.extend(order["text"].encode("latin-1")),
            "cut_after": lambda order: setattr(self, "_cut_after", order["steps"]),
            "state": lambda order: None,
        }

    def run(self) -> None:
        """Until nobody gives orders any more."""
        orders = b""
        self._epoll.register(0, select.EPOLLIN)
        try:
            while True:
                for fd, _ in self._epoll.poll(self._patience()):
                    if fd == 0:
                        data = os.read(0, 65536)
                        if not data:
                            return
                        *lines, orders = (orders + data).split(b"\n")
                        for line in lines:
                            self._obey(json.loads(line))
                self._turn()
        finally:
            self._end()

    def _obey(self, order: dict[str, Any]) -> None:
        self._orders[order["do"]](order)
        self._turn()
        answer = json.dumps(self._state()) + "\n"
        os.write(1, answer.encode())

    def _state(self) -> dict[str, object]:
        here = self._processor
        return {
            "pid": here.pid if here is not None else None,
            "cause": self._cause,
            "off": self._off,
            "starts": self._starts,
            "formatted": self._formatted,
        }

    def _patience(self) -> float | None:
        """How long nothing need be done unless something comes."""
        if self._wakes_at is not None:
            return max(0.0, self._wakes_at - time.monotonic())
        if self._typed or self._outside.full:
            return 0.01
        return STEP_S if self._watchdog.armed else None

    def _turn(self) -> None:
        if self._wakes_at is not None and time.monotonic() >= self._wakes_at:
            self._wakes_at = None
            self._start()
        self._outside.flush()
        here = self._processor
        if here is not None:
            ended = bool(select.select([here.ending], [], [], 0)[0])  # first: what it said before is read below
            if not self._outside.full:
                self._show(here.read())
            for request in here.requests():
                self._do(request)
                if self._processor is not here:
                    return
            self._epoll.modify(here.master, 0 if self._outside.full else select.EPOLLIN)
            if ended:
                self._ended()
            elif self._watchdog.bites():
                self._reset("watchdog")
        if len(self._typed) < _CHUNK:
            self._typed += self._outside.read()
        self._pass_on()

    # --- what is typed, what is shown

    def _pass_on(self) -> None:
        here = self._processor
        if here is None:
            self._typed.clear()
            return
        while self._typed and here.booted and self._entering_raw is None:
            if self._typed[0] == 3 and here.interruptible():
                here.interrupt()
                del self._typed[0]
                continue
            until = self._typed.find(b"\x03", 1)
            piece = bytes(self._typed if until < 0 else self._typed[:until])
            try:
                del self._typed[: os.write(here.master, piece)]
            except OSError:
                return  # its input is full, or it is gone

    def _show(self, data: bytes) -> None:
        if not data:
            return
        if self._entering_raw is not None:
            data = self._without_banner(data)
        self._say(data)
        self._tail = (self._tail + data)[-200:]
        raw, friendly = self._tail.rfind(_RAW), self._tail.rfind(_FRIENDLY)
        if raw != friendly:
            self._raw = raw > friendly

    def _without_banner(self, data: bytes) -> bytes:
        """What a board that was in the raw REPL shows from a soft reset on: no banner in between."""
        held = self._entering_raw
        assert held is not None
        assert self._processor is not None
        greeted = _FRIENDLY in held
        held += data
        if not greeted and _FRIENDLY in held:
            with contextlib.suppress(OSError):
                os.write(self._processor.master, b"\x01")
        if _RAW in held:
            self._entering_raw = None
            return bytes(held[: held.index(b"MicroPython ")] + _RAW + held.partition(_RAW)[2])
        before = held.find(b"MicroPython ")
        shown = bytes(held[:before] if before >= 0 else held[: -len(b"MicroPython ")])
        del held[: len(shown)]
        return shown

    def _say(self, data: bytes) -> None:
        self._console.write(data)
        self._outside.write(data)

    def _note(self, text: str) -> None:
        self._console.write(f"\r\n=== {text} ===\r\n".encode())

    # --- power and resets

    def _do(self, request: str) -> None:
        word, _, value = request.partition(" ")
        match word:
            case "run" if self._processor is not None:
                self._processor.booted = True
            case "watchdog":
                self._watchdog.arm(int(value))
            case "feed":
                self._watchdog.feed()
            case "interrupt" if self._processor is not None and self._processor.interruptible():
                self._processor.interrupt()
            case "clock":
                self._clock_s = int(value)
            case "formatted":
                self._formatted += 1
            case "reset":
                self._reset("hard")
            case "soft":
                self._soft_reset()
            case "cut":
                self._cut_after = 0
                self._power_off("cut")
            case "bootloader":
                self._power_off("bootloader")
            case "sleep":
                self._power_off("asleep")
                self._cause = "deepsleep"
                if int(value):
                    self._wakes_at = time.monotonic() + int(value) / 1000
            case _:
                self._note(f"unknown request: {request}")

    def _power_on(self) -> None:
        if self._processor is None:
            self._clock_s = self._settings["clock_s"]
            self._cause = "power-on"
            self._start()

    def _power_off(self, why: str) -> None:
        self._wakes_at = None
        if self._processor is not None:
            self._end()
            self._note(f"power {why}")
        self._off = why

    def _reset(self, cause: str) -> None:
        if self._processor is None and self._off not in ("asleep", "bootloader") and self._wakes_at is None:
            return
        self._end()
        self._cause = cause
        self._start_soon()

    def _ended(self) -> None:
        """MicroPython's process is gone by itself: a soft reset, unless it crashed."""
        status = self._end()
        if status < 0 and -status != signal.SIGINT:
            self._note(f"crashed: signal {-status}")
            self._raw = False
            self._cause = "hard"
            self._start_soon()
        else:
            self._soft_reset()

    def _soft_reset(self) -> None:
        self._end()
        self._say(b"MPY: soft reboot\r\n")
        self._cause = "soft"
        self._start_soon()

    def _start_soon(self) -> None:
        self._wakes_at = time.monotonic() + _REST_S

    def _start(self) -> None:
        self._wakes_at = None
        again_raw = self._raw and self._cause == "soft"
        self._entering_raw = bytearray() if again_raw else None
        self._raw = False
        self._tail = b""
        self._off = ""
        self._starts += 1
        self._note(f"start {self._starts}: {self._cause}")
        environment = {
            **self._settings["environment"],
            "HEDGEROW_BOARD_CAUSE": str(CAUSES[self._cause]),
            "HEDGEROW_BOARD_CLOCK": str(self._clock_s),
            "HEDGEROW_BOARD_CUT_AFTER": str(self._cut_after),
            "HEDGEROW_BOARD_MAIN": "" if again_raw else "1",
        }
        self._processor = here = Processor(self._settings["command"], environment, self._settings["folder"])
        for fd in (here.master, here.wires, here.ending):
            self._epoll.register(fd, select.EPOLLIN)

    def _end(self) -> int:
        """Kill the processor, if there is one. Its exit status."""
        here = self._processor
        if here is None:
            return 0
        for fd in (here.master, here.wires, here.ending):
            with contextlib.suppress(OSError):
                self._epoll.unregister(fd)
        self._processor = None
        self._watchdog.arm(0)
        printed, asked, status = here.end()
        self._say(printed)
        for request in asked:
            if request.startswith("clock "):
                self._clock_s = int(request.split()[1])
        return status


def main() -> None:
    """Be one board, with the settings in the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever runs the bench
    with contextlib.suppress(BrokenPipeError):  # nobody waits for the answer any more
        Board(json.loads(sys.argv[1])).run()
