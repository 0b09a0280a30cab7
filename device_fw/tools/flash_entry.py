"""Into the raw REPL of a board, whatever it does: works, starts, starts again and again, or is short of memory.

Ctrl-C and Ctrl-A are sent until the board shows its raw REPL, then a question that was never asked before: what a slow board
still has to say to older ones is told from its answer, and no wait takes the time of the next try. Memory is had back by a soft
reset, which in the raw REPL does not start `main.py`; a board that hears nothing is reset by the lines of its port.
"""

import contextlib
import itertools
import secrets
import time
from collections.abc import Callable

import serial
from mpremote.transport_serial import SerialTransport

CALLS_S = (0.25, 0.25, 0.5, 1.5)
"""From one Ctrl-C to the next, over and over. The last is longer than a serial link keeps half a frame, which would swallow
it."""
QUIET_S = 5.0
"""So long nobody need be told that it takes long."""
_ANSWER_S = (1.0, 3.0, 8.0)
_BUTTON_S = 0.2
_RESET_S = 5.0
_READ_S = 0.05
_INTERRUPT = b"\r\x03\r\x01"
_RAW = b"raw REPL; CTRL-B to exit\r\n"
_SOFT_RESET = b"\r\x03\r\x01\x04"


def enter(transport: SerialTransport, deadline_s: float, slow: Callable[[], None] = lambda: None) -> bool:
    """Interrupt what runs until the raw REPL answers; whether it did. `slow` is called once, when that takes long.

    What comes next from the board is its prompt. OSError when the port is gone, TransportError from a board that never stops
    talking.
    """
    transport.serial.timeout, usual_s = _READ_S, transport.serial.timeout
    try:
        return _entered(transport, deadline_s, slow)
    finally:
        transport.serial.timeout = usual_s


def _entered(transport: SerialTransport, deadline_s: float, slow: Callable[[], None]) -> bool:
    begun = time.monotonic()
    told = pressed = False
    answers_s = itertools.chain(_ANSWER_S, itertools.repeat(_ANSWER_S[-1]))
    for call_s in itertools.cycle(CALLS_S):
        passed_s = time.monotonic() - begun
        if passed_s >= deadline_s:
            return False
        if not told and passed_s > QUIET_S:
            told = True
            slow()
        if not pressed and passed_s > deadline_s / 2:
            pressed = True
            press_reset(transport.serial)
        transport.serial.write(_INTERRUPT)
        if not _heard(transport, _RAW, min(call_s, deadline_s - passed_s)):
            continue
        if _answers(transport, min(next(answers_s), deadline_s)):
            transport.in_raw_repl = True
            return True
    return False


def soft_reset(transport: SerialTransport) -> None:
    """Have a board at its raw REPL begin anew, without `main.py`; `enter` comes next."""
    transport.serial.write(_SOFT_RESET)
    _heard(transport, b"soft reboot\r\n", _RESET_S)


def press_reset(port: serial.Serial) -> None:
    """Reset by the port's lines, as esptool does: boards with a bridge have RTS at their reset. Nothing where there are none."""
    with contextlib.suppress(OSError):
        port.dtr = False
        port.rts = True
        time.sleep(_BUTTON_S)
        port.rts = False
        time.sleep(_BUTTON_S)
        port.dtr = True  # a Pico talks to nobody without; and before RTS, or it were a reset again
        port.rts = True


def _answers(transport: SerialTransport, within_s: float) -> bool:
    asked = 1 << 29 | secrets.randbits(
        29
    )  # a small integer: text would be interned, and full heaps have no room for names
    transport.serial.write(f"print({asked},end='')\x04".encode())
    ending = f"OK{asked}\x04\x04".encode()
    said = transport.read_until(1, ending, timeout=within_s, timeout_overall=within_s)
    if said.endswith(ending):
        return True
    if b"MemoryError" in said:
        soft_reset(transport)
    return False


def _heard(transport: SerialTransport, ending: bytes, within_s: float) -> bool:
    return bool(transport.read_until(1, ending, timeout=within_s, timeout_overall=within_s).endswith(ending))
