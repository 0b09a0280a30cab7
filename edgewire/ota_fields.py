"""Fields of update messages and manifests, read within bounds: OtaError names the field. Also runs on MicroPython."""

import json

from edgewire.ota_codes import MAX_TEXT


class OtaError(ValueError):
    """A message or manifest is not what it should be; the text says where. `reason` is one of `REASONS`."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def parsed(payload: bytes, limit: int, reason: str) -> "dict[str, object]":
    """A JSON object of at most `limit` bytes."""
    if len(payload) > limit:
        raise OtaError(reason, "{} bytes are more than {}".format(len(payload), limit))
    try:
        content = json.loads(payload)
    except (ValueError, RuntimeError):  # RuntimeError: nested too deep
        content = None
    if not isinstance(content, dict):
        raise OtaError(reason, "not a JSON object")
    return content


def text(content: "dict[str, object]", name: str, reason: str, may_be_empty: bool = False) -> str:
    """A short text of visible ASCII."""
    value = content.get(name)
    if not isinstance(value, str) or len(value) > MAX_TEXT or not (value or may_be_empty):
        raise OtaError(reason, "{}: not a text of up to {} characters".format(name, MAX_TEXT))
    for character in value:
        if not "!" <= character <= "~" or character in '"\\':
            raise OtaError(reason, "{}: a character other than visible ASCII, or a quote".format(name))
    return value


def number(content: "dict[str, object]", name: str, least: int, most: int, reason: str) -> int:
    """A whole number within bounds."""
    value = content.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise OtaError(reason, "{}: not a whole number from {} to {}".format(name, least, most))
    return value


def hex_digits(content: "dict[str, object]", name: str, digits: int, reason: str) -> str:
    """So many small hex digits."""
    value = content.get(name)
    if not isinstance(value, str) or len(value) != digits:
        raise OtaError(reason, "{}: not {} hex digits".format(name, digits))
    for character in value:
        if character not in "0123456789abcdef":
            raise OtaError(reason, "{}: {!r} is no small hex digit".format(name, character))
    return value
