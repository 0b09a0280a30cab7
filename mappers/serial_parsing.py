r"""From a frame to the raw value of a property: which frames are of it, and which field. Pure.

The keys of a property say how, and nothing else does:

    json: /net or $.scale.net      a member of a JSON document, by JSON pointer (RFC 6901) or path
    pattern: '(?P<kg>[\d.]+)kg'    a regular expression; `field` names the group when there are several
    struct: "<Hhf"                 Python's struct; `field` is the place from 0, or a name of `fields`
    column: 3 or "temp"            comma-separated: the column counted from 1, or by the header
    sentence: GGA                  NMEA 0183; `field` is a name of `serial_nmea.FIELDS`, or a number, 1 the first after the type
    none of them                   the whole frame

`match` narrows down the frames, by a regular expression. A frame that is not of a property gives `MISSING`, one that is but
makes no sense raises BadAnswer. Numbers stay exact: an int, or a Decimal with the digits that came.
"""

import csv
import json
import re
import struct
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import cached_property
from typing import Any, Final, TypeAlias

import msgspec

from edgewire.config import nearest
from edgewire.device import BOOLEAN, FLOATS, INTEGER

from . import serial_nmea
from .driver import BadAnswer, DefinitionError, Value
from .values import shortest


class Missing(Enum):
    """What a parser gives for a frame that is not of its property."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING

Parser: TypeAlias = Callable[["Frame"], Any]
"""A field of a frame, as it stands there, or `MISSING`. Raises BadAnswer."""

_NUMBER = re.compile(r"([+-]?)\s*((?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?)", re.ASCII)
_LONGEST_NUMBER = 64
_documents = msgspec.json.Encoder(decimal_format="number")
_TRUE = frozenset({"1", "true", "on", "yes"})
_FALSE = frozenset({"0", "false", "off", "no"})


class Frame:
    """A payload, and what several properties make of it, each worked out once."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @cached_property
    def text(self) -> str:
        """As UTF-8, or as Latin-1 when it is not: older devices write degrees that way."""
        try:
            return self.data.decode()
        except UnicodeDecodeError:
            return self.data.decode("latin-1")

    @cached_property
    def document(self) -> Any:
        """As JSON, or `MISSING`."""
        try:
            return json.loads(self.data, parse_float=Decimal, parse_constant=_no_number)
        except (ValueError, RecursionError, InvalidOperation):
            return MISSING

    @cached_property
    def sentence(self) -> "serial_nmea.Sentence | None":
        """As NMEA 0183 with a good checksum, else None."""
        return serial_nmea.parse(self.text)

    @cached_property
    def unsealed_sentence(self) -> "serial_nmea.Sentence | None":
        """The same, of a frame whose checksum was checked and taken off."""
        return serial_nmea.split(self.text)

    def columns(self, separator: str) -> Sequence[str]:
        """As one row of comma-separated values."""
        try:
            return next(csv.reader([self.text], delimiter=separator, skipinitialspace=True), [])
        except csv.Error:
            return []


def json_parser(path: str, where: str = "") -> Parser:
    """A member of a document; `where` is `path=value` that must hold. Raises DefinitionError."""
    steps = _steps(path, "json")
    condition, equals, wanted = where.partition("=")
    if where and not equals:
        raise DefinitionError(f"`where` {where!r} must be a path, =, and a value: /kind=weight")
    checked = _steps(condition.strip(), "where") if where else ()

    def parse(frame: Frame) -> Any:
        document = frame.document
        if document is MISSING or (where and _plain(_member(document, checked)) != wanted.strip()):
            return MISSING
        return _member(document, steps)

    return parse


def pattern_parser(pattern: str, field: str = "") -> Parser:
    """A group of a regular expression: `field`, or the only one, or all that matches. Raises DefinitionError."""
    regex = regular("pattern", pattern)
    group: str | int = int(regex.groups > 0)
    if field:
        if field not in regex.groupindex:
            raise DefinitionError(f"`field` {field!r} is no group of `pattern`{_hint(field, list(regex.groupindex))}")
        group = field
    elif regex.groups > 1:
        raise DefinitionError("`field` is missing: which group of `pattern`, by its name: (?P<name>...)")

    def parse(frame: Frame) -> Any:
        found = regex.search(frame.text)
        if found is None:
            return MISSING
        return MISSING if found[group] is None else found[group]

    return parse


def struct_parser(format: str, field: str = "", fields: str = "") -> Parser:
    """A field of a packed frame, of exactly its size. Raises DefinitionError."""
    try:
        packed = struct.Struct(format if format[:1] in "@=<>!" else ">" + format)
        count = len(packed.unpack(bytes(packed.size)))
    except struct.error as error:
        raise DefinitionError(f"`struct` {format!r}: {error}") from error
    names = [name.strip() for name in fields.split(",")] if fields else []
    if not count or (names and len(names) != count):
        raise DefinitionError(f"`struct` {format!r} has {count} fields, `fields` names {len(names)}")
    at = names.index(field) if field in names else _index(field or "0")
    if at is None or at >= count:
        raise DefinitionError(f"`field` {field!r} is none of the {count} of `struct`{_hint(field, names)}")

    single = _codes(packed.format)[at] == "f"

    def parse(frame: Frame) -> Any:
        if len(frame.data) != packed.size:
            return MISSING
        found = packed.unpack(frame.data)[at]
        return shortest(found) if single else found

    return parse


def _codes(format: str) -> str:
    """The code of each field of a struct."""
    found = re.findall(r"(\d*)([a-zA-Z?])", format)
    return "".join(code * (1 if code in "sp" else int(count or 1)) for count, code in found if code != "x")


def csv_parser(column: str, separator: str = ",", header: str = "") -> Parser:
    """A column by its number from 1, or by its name in `header` or in the device's own header. Raises DefinitionError."""
    if len(separator) != 1:
        raise DefinitionError("`separator` must be one character")
    names = [name.strip() for name in header.split(separator)] if header else []
    number = _index(column)
    if number == 0 or (number is None and names and column not in names):
        raise DefinitionError(f"`column` {column!r} is not in `header`, and no number from 1{_hint(column, names)}")
    if number is None and not names:
        return _headed(column, separator)
    at = names.index(column) if number is None else number - 1

    def parse(frame: Frame) -> Any:
        row = frame.columns(separator)
        return row[at].strip() if at < len(row) and (not names or len(row) == len(names)) else MISSING

    return parse


def _headed(column: str, separator: str) -> Parser:
    """The header is the row in which the column's name stands."""
    at, width = -1, 0

    def parse(frame: Frame) -> Any:
        nonlocal at, width
        row = [cell.strip() for cell in frame.columns(separator)]
        if column in row:
            at, width = row.index(column), len(row)
            return MISSING
        return row[at] if at >= 0 and len(row) == width else MISSING

    return parse


def nmea_parser(sentence: str, field: str, *, sealed: bool = True) -> Parser:
    """A field of an NMEA sentence, of any talker unless it is named: `GGA`, `GPGGA`. Raises DefinitionError.

    `sealed` frames bear their checksum; of others it was checked and taken off.
    """
    try:
        take = serial_nmea.field(sentence, field)
    except ValueError as error:
        raise DefinitionError(str(error)) from error

    def parse(frame: Frame) -> Any:
        found = frame.sentence if sealed else frame.unsealed_sentence
        if found is None or not found.is_a(sentence):
            return MISSING
        try:
            value = take(found)
        except ValueError as error:
            raise BadAnswer(f"{sentence} {field}: {error}") from error
        return MISSING if value is None else value

    return parse


def whole_parser(frame: Frame) -> Any:
    """All of it."""
    return frame.data


def regular(key: str, pattern: str) -> re.Pattern[str]:
    """A regular expression. Raises DefinitionError naming the key."""
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise DefinitionError(f"`{key}` {pattern!r} is no regular expression: {error}") from error


def convert(found: Any, type: str, decimal_mark: str = ".") -> Value:
    """A field as a value of a model's type. Raises BadAnswer for what is none, the overload's dashes of a scale for example."""
    if isinstance(found, bytes) and type != "BYTES":
        found = Frame(found.rstrip(b"\0") if type == "STRING" else found).text
    if type == INTEGER or type in FLOATS:
        return _number(found, decimal_mark)
    if type == BOOLEAN:
        return _truth(found)
    if type == "BYTES":
        return found if isinstance(found, bytes) else _plain(found).encode()
    return _plain(found)


def _number(found: Any, decimal_mark: str) -> Value:
    if isinstance(found, bool):
        return int(found)
    if isinstance(found, int | float | Decimal):
        number = Decimal(found) if isinstance(found, int) else Decimal(str(found))
        if not number.is_finite() or abs(number.adjusted()) > 300:
            raise BadAnswer(f"{str(found)[:40]} is not a finite number")
        return found
    text = found.strip() if isinstance(found, str) else ""
    if decimal_mark != ".":
        text = text.replace(".", "x").replace(decimal_mark, ".")
    match = _NUMBER.fullmatch(text) if len(text) <= _LONGEST_NUMBER else None
    if match is None:
        raise BadAnswer(f"{_plain(found)[:40]!r} is not a number")
    sign, digits = match.groups()
    signed = sign.replace("+", "") + digits
    return int(signed) if digits.isdigit() else Decimal(signed)


def _truth(found: Any) -> bool:
    if isinstance(found, bool):
        return found
    if isinstance(found, int | float | Decimal):
        return bool(found)
    text = _plain(found).strip().lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise BadAnswer(f"{text[:40]!r} is not true or false")


def _plain(found: Any) -> str:
    """A member of a document as text."""
    if isinstance(found, str):
        return found
    if isinstance(found, bool) or found is None:
        return "null" if found is None else str(found).lower()
    if not isinstance(found, dict | list):
        return str(found)
    try:
        return _documents.encode(found).decode()
    except (OverflowError, ValueError) as error:
        raise BadAnswer(f"cannot be written as JSON: {error}") from error


def _steps(path: str, key: str) -> tuple[str, ...]:
    """RFC 6901, or members with dots between them; a number is a place in a list in either."""
    if path in ("", "$", "/") or (path == "$."):
        return ()
    if path.startswith("/"):
        return tuple(step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/"))
    steps = tuple(re.sub(r"\[(\d+)\]", r".\1", path.removeprefix("$").removeprefix(".")).strip(".").split("."))
    if not all(steps):
        raise DefinitionError(f"`{key}` {path!r} is neither a JSON pointer (/net/value) nor a path (net.value)")
    return steps


def _member(document: Any, steps: Sequence[str]) -> Any:
    for step in steps:
        if isinstance(document, dict) and step in document:
            document = document[step]
        elif isinstance(document, list) and (at := _index(step)) is not None and at < len(document):
            document = document[at]
        else:
            return MISSING
    return document


def _index(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else None


def _hint(name: str, known: list[str]) -> str:
    near = nearest(name, known)
    return f": did you mean {near}?" if near else f": one of {', '.join(known)}" if known else ""


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no JSON")
