"""Modbus requests, and what a right answer to each looks like: function codes and data, without unit and checksum.

Bytes only. Everything is from the Modbus Application Protocol Specification V1.1b3, the section named at each function.
"""

import struct
from collections.abc import Sequence

from msgspec import Struct

from .driver import BadAnswer, DriverError, NoAnswer, Refused

READ_COILS, READ_DISCRETE, READ_HOLDING, READ_INPUT = 1, 2, 3, 4
WRITE_COIL, WRITE_REGISTER, WRITE_COILS, WRITE_REGISTERS, MASK_WRITE = 5, 6, 15, 16, 22

MAX_BITS = 2000
"""Bits in one read; section 6.1."""
MAX_REGISTERS = 125
"""Registers in one read; section 6.3."""
MAX_WRITTEN = 123
"""Registers in one write; section 6.12."""

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "server device failure",
    5: "acknowledge",
    6: "server device busy",
    7: "negative acknowledge",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target device failed to respond",
}
"""Exception codes; section 7 (7: an older edition)."""

_UNREACHABLE = (10, 11)
_EXCEPTION_BIT = 0x80
_three = struct.Struct(">BHH")
_four = struct.Struct(">BHHH")


class RefusedCode(Refused):
    """An exception answer, with its `code`."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Request(Struct, frozen=True):
    """A request, and how its right answer begins and how long it is."""

    pdu: bytes
    head: bytes
    length: int

    @property
    def function(self) -> int:
        """The function code."""
        return self.pdu[0]


def read(function: int, start: int, count: int) -> Request:
    """Read `count` bits (functions 1 and 2) or registers (3 and 4); sections 6.1 to 6.4."""
    size = (count + 7) // 8 if function <= READ_DISCRETE else 2 * count
    return Request(_three.pack(function, start, count), bytes((function, size)), 2 + size)


def write_coil(address: int, bit: bool) -> Request:
    """Set or clear one coil; section 6.5."""
    return _echoed(_three.pack(WRITE_COIL, address, 0xFF00 if bit else 0))


def write_register(address: int, word: bytes) -> Request:
    """Write one register of two bytes; section 6.6."""
    return _echoed(struct.pack(">BH", WRITE_REGISTER, address) + word)


def write_coils(start: int, bits: Sequence[bool]) -> Request:
    """Set and clear coils that lie side by side; section 6.11."""
    size = (len(bits) + 7) // 8
    packed = sum(1 << number for number, bit in enumerate(bits) if bit).to_bytes(size, "little")
    head = _three.pack(WRITE_COILS, start, len(bits))
    return Request(head + bytes((size,)) + packed, head, len(head))


def write_registers(start: int, data: bytes) -> Request:
    """Write registers that lie side by side, two bytes each; section 6.12."""
    head = _three.pack(WRITE_REGISTERS, start, len(data) // 2)
    return Request(head + bytes((len(data),)) + data, head, len(head))


def mask_write(address: int, mask: int, bits: int) -> Request:
    """Set those bits of a register that `mask` names to those of `bits`; section 6.16."""
    return _echoed(_four.pack(MASK_WRITE, address, ~mask & 0xFFFF, bits & mask))


def answer_size(request: Request, start: bytes) -> int:
    """How many bytes the answer has that starts with these three; 0 when it is none to this request's function.

    What is right by its own word only: a read's answer may be of another length than asked for.
    """
    function = start[0]
    if function == request.pdu[0] | _EXCEPTION_BIT:
        return 2
    if function != request.pdu[0]:
        return 0
    return 2 + start[1] if function <= READ_INPUT else request.length


def failure(request: Request, answer: bytes, where: str, doing: str) -> DriverError:
    """What is to be raised for an answer that is not the right one.

    RefusedCode for an exception; NoAnswer for a gateway's word that the unit behind it did not answer; else BadAnswer.
    """
    function = request.function
    if len(answer) == 2 and answer[0] == function | _EXCEPTION_BIT:
        code = answer[1]
        text = f"{where} answered exception {code} ({EXCEPTIONS.get(code, 'unknown')}), {doing}"
        return NoAnswer(text) if code in _UNREACHABLE else RefusedCode(text, code)
    return BadAnswer(f"{where} gave no valid answer ({_problem(request, answer)}), {doing}")


def _problem(request: Request, answer: bytes) -> str:
    function = request.function
    if not answer:
        return "empty"
    if answer[0] & ~_EXCEPTION_BIT != function:
        return f"function {answer[0] & ~_EXCEPTION_BIT} instead of {function}"
    if answer[0] & _EXCEPTION_BIT:
        return "exception of wrong length"
    if function > READ_INPUT:
        return "confirmed another write" if len(answer) == request.length else "confirmation of wrong length"
    if len(answer) < 2 or answer[1] != len(answer) - 2:
        return "wrong byte count"
    return f"{answer[1]} bytes of values instead of {request.length - 2}"


def _echoed(pdu: bytes) -> Request:
    return Request(pdu, pdu, len(pdu))
