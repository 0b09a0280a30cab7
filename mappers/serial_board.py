"""Boards on a serial line (`framing: board`): properties by their names, and the link's messages (`docs/serial-link.md`). Pure.

Messages are JSON as over MQTT. What a board says is taken member by member: a value that is none costs its property, not its
neighbours; a message that is none is a BadAnswer.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct

from edgewire.board import REPORTED
from edgewire.config import nearest
from edgewire.device import ModelProperty

from .driver import BadAnswer, DefinitionError, Value, VisitorKeys, Wanted
from .serial_parsing import convert
from .serial_visitors import Address, VisitorConfig, show

FOREVER_S = 31 * 24 * 3600.0
"""How long a board may say nothing of its properties: whether it is there is told by the link."""
MOST_PROPERTIES = 256
"""Of one board; what it says of more is left out."""


class BoardVisitor(Struct, frozen=True, eq=False):
    """One property of a board."""

    at: Address
    name: str
    type: str
    pushed: bool = True
    only_written: bool = False
    silence_s: float = FOREVER_S

    def take(self, text: str) -> Value:
        """The value that a board says. Raises BadAnswer."""
        if self.type != "BYTES":
            return convert(text, self.type)
        try:
            return bytes.fromhex(text)
        except ValueError as error:
            raise BadAnswer(f"{text[:40]!r} is not hexadecimal") from error


class Said(Struct, frozen=True):
    """A property in a report."""

    text: str
    at_ms: int
    """When it was made, in ms since 1970; 0: the board does not know."""


class Refusal(Struct, frozen=True):
    """A result that is none of success."""

    event_id: str
    reason: str


def board_visitor(at: Address, keys: VisitorConfig, model: ModelProperty) -> BoardVisitor:
    """The visitor of a property. Raises DefinitionError for keys that mean nothing to a board."""
    common = {field.name for field in msgspec.structs.fields(VisitorKeys)}
    for field in msgspec.structs.fields(keys):
        if field.name not in common and getattr(keys, field.name) != field.default:
            name = field.encode_name
            raise DefinitionError(
                f"`{name}` has no meaning with `framing: board`: a board knows its properties by name"
            )
    return BoardVisitor(at, model.name, "STRING" if keys.enum else model.type)


def read_report(payload: bytes) -> dict[str, Said]:
    """The properties in a report. Raises BadAnswer."""
    twin = _object(payload).get("twin")
    if not isinstance(twin, dict):
        raise BadAnswer(f"a report without twin: {show(payload)}")
    found = {}
    for name, entry in list(twin.items())[:MOST_PROPERTIES]:
        reported = entry.get(REPORTED) if isinstance(entry, dict) else None
        text = reported.get("value") if isinstance(reported, dict) else None
        if reported is not None and isinstance(text, str):
            found[name] = Said(text, _time(reported))
    return found


def read_refused(payload: bytes) -> dict[str, str]:
    """Which desired values a board does not follow, of its state: property -> why. Raises BadAnswer."""
    refused = _object(payload).get("refused")
    pairs = refused.items() if isinstance(refused, dict) else ()
    return {name: why for name, why in pairs if isinstance(why, str)}


def read_result(payload: bytes) -> Refusal | None:
    """A result, or None for one of success. Raises BadAnswer."""
    content = _object(payload)
    if not content.get("code"):
        return None
    return Refusal(str(content.get("event_id", "")), str(content.get("reason", "")) or f"code {content['code']}")


def delta(event_id: str, property: str, text: str) -> bytes:
    """What tells a board a desired value."""
    return msgspec.json.encode({"event_id": event_id, "delta": {property: text}})


def text_of(value: Wanted) -> str:
    """A value to write, as a twin carries it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return value.hex() if isinstance(value, bytes) else value


def unknown(property: str, known: Mapping[str, Any]) -> str:
    """What to say of a property that a board has and its Device has not."""
    near = nearest(property, list(known))
    return f"did you mean {near!r}?" if near else "the Device has none of that name"


def _object(payload: bytes) -> dict[str, Any]:
    try:
        content = msgspec.json.decode(payload)
    except msgspec.DecodeError as error:
        raise BadAnswer(f"no JSON: {show(payload)}") from error
    if not isinstance(content, dict):
        raise BadAnswer(f"no JSON object: {show(payload)}")
    return content


def _time(reported: Any) -> int:
    metadata = reported.get("metadata")
    at_ms = metadata.get("timestamp") if isinstance(metadata, dict) else None
    return at_ms if isinstance(at_ms, int) and not isinstance(at_ms, bool) and at_ms > 0 else 0
