r"""What is sent to a serial device: commands and, around a value, write templates. Pure.

    "P\r\n"   "SP {value:.1f}\r\n"   "{value:struct <h}"   '{{"sp": {value}}}'

A template is Python's format syntax with one name, `value`, and nothing of it that could reach further: no attributes, no
indices, no conversions, no nested fields, widths of two digits. `struct` and a format pack a number. Characters are bytes, so
that `\xA5` is one; `\r`, `\n`, `\t`, `\0`, `\e`, `\\` and `\xHH` may also be written out, where YAML's quotes did not resolve
them. Text that is written must not hold control characters: it would be a command of its own.
"""

import re
import string
import struct
from decimal import Decimal

from edgewire.device import value_problem

from .driver import DefinitionError, ValueRefused, Wanted

_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|[rnt0e\\])|\\(.|$)", re.DOTALL)
_ESCAPED = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "e": "\x1b", "\\": "\\"}
_SPEC = re.compile(r"(?:[ -~]?[<>=^])?[+\- ]?#?0?\d{0,2}(?:\.\d{1,2})?([bdoxXeEfgG%s]?)", re.ASCII)
_STRUCT = re.compile(r"struct ([@=<>!]?[bBhHiIlLqQefd])")
_LONGEST = 1024


def raw_bytes(key: str, text: str) -> bytes:
    """The bytes that a string of a Device means. Raises DefinitionError naming the key."""
    return _latin(key, _unescaped(key, text))


class Template:
    """What to send for a value."""

    def __init__(self, key: str, text: str) -> None:
        """Raises DefinitionError naming the key."""
        if len(text) > _LONGEST:
            raise DefinitionError(f"`{key}` is longer than {_LONGEST} characters")
        try:
            parts = list(string.Formatter().parse(_unescaped(key, text)))
        except ValueError as error:
            raise DefinitionError(f"`{key}` {text!r}: {error}; braces that are sent are doubled") from error
        self._parts: list[bytes | _Slot] = []
        for literal, name, spec, conversion in parts:
            self._parts += [_latin(key, literal)] if literal else []
            if name is not None:
                if name != "value" or conversion:
                    raise DefinitionError(
                        f"`{key}` {text!r}: {{{name}}} is not known, only {{value}} is; braces that are sent are doubled"
                    )
                self._parts.append(_Slot(key, spec or ""))

    @property
    def filled(self) -> bool:
        """Whether a value stands in it at all."""
        return any(not isinstance(part, bytes) for part in self._parts)

    def fill(self, value: Wanted) -> bytes:
        """The bytes to send. Raises ValueRefused for a value that the template has no form for."""
        return b"".join(part if isinstance(part, bytes) else part.fill(value) for part in self._parts)


class _Slot:
    """`{value:spec}`."""

    def __init__(self, key: str, spec: str) -> None:
        packed = _STRUCT.fullmatch(spec)
        self._packed = struct.Struct(packed[1] if packed[1][0] in "@=<>!" else ">" + packed[1]) if packed else None
        plain = _SPEC.fullmatch(spec)
        if packed is None and plain is None:
            raise DefinitionError(
                f"`{key}`: {{value:{spec}}} is no format for a value, as .1f, 04d, X or `struct <h` are"
            )
        self._spec = spec
        self._code = plain[1] if plain else ""

    def fill(self, value: Wanted) -> bytes:
        """The value in its form. Raises ValueRefused."""
        if isinstance(value, bytes):
            return value
        if isinstance(value, str):
            if self._packed is not None or (self._code and self._code != "s"):
                return self.fill(_number(value))
            if any(ord(c) < 32 or ord(c) == 127 for c in value):
                raise ValueRefused("holds control characters")
            return self._formatted(value)
        number = Decimal(int(value)) if isinstance(value, bool) else value
        if self._packed is not None:
            return self._pack(number)
        if self._code and self._code in "bdoxX":
            return self._formatted(_whole(number))
        if not self._code and not self._spec:
            return format(number, "f").encode() if abs(number.adjusted()) <= 40 else str(number).encode()
        return self._formatted(str(number) if self._code == "s" else number)

    def _formatted(self, value: str | int | Decimal) -> bytes:
        try:
            return format(value, self._spec).encode()
        except ValueError as error:
            raise ValueRefused(f"has no form {self._spec!r}: {error}") from error

    def _pack(self, number: Decimal) -> bytes:
        assert self._packed is not None
        try:
            value = float(number) if self._packed.format[-1] in "efd" else _whole(number)
            return self._packed.pack(value)
        except (struct.error, OverflowError) as error:
            raise ValueRefused(f"does not fit {self._spec}") from error


def _number(text: str) -> Decimal:
    problem = value_problem(text, "DOUBLE")
    number = Decimal("NaN") if problem is not None else Decimal(text)
    if not number.is_finite() or abs(number.adjusted()) > 300:
        raise ValueRefused("not a number")
    return number


def _whole(number: Decimal) -> int:
    """Rounded half to even, as registers are."""
    if number.adjusted() > 40:
        raise ValueRefused("does not fit an integer")
    return int(number.to_integral_value())


def _unescaped(key: str, text: str) -> str:
    def replaced(found: re.Match[str]) -> str:
        known = found[1]
        if known is None:
            raise DefinitionError(f"`{key}` {text!r}: \\{found[2]} is not known; a backslash is written \\\\")
        return chr(int(known[1:], 16)) if known[0] == "x" else _ESCAPED[known]

    return _ESCAPE.sub(replaced, text)


def _latin(key: str, text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise DefinitionError(f"`{key}`: {text[error.start]!r} is no byte; write bytes as \\xHH") from error
