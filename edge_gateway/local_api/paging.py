"""Lists in pages, as in Kubernetes: `limit`, and a `continue` token that says where the next page begins. A core."""

import base64
import binascii
from typing import NamedTuple

import msgspec

from edge_gateway.local_api.refusals import Refusal
from edgewire.message import UNREADABLE

ALL = 1 << 31


class _Token(NamedTuple):
    version: int
    namespace: str
    name: str


_decoder = msgspec.json.Decoder(_Token)


def limit(text: str) -> int:
    """How many objects a page has at most. Raises Refusal."""
    if not text or text == "0":
        return ALL
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise Refusal(400, f"limit {text[:40]!r} is no number")
    return int(text)


def token(version: int, last: tuple[str, str]) -> str:
    """What leads to the page behind an object, given by its namespace and name; `version` is that of the whole list."""
    return base64.urlsafe_b64encode(msgspec.json.encode(_Token(version, *last))).decode()


def read(text: str, newest: int) -> tuple[int, tuple[str, str] | None]:
    """The version of a list, and behind which object this page begins; the newest and None for the first. Raises Refusal."""
    if not text:
        return newest, None
    try:
        found = _decoder.decode(base64.urlsafe_b64decode(text))
    except (*UNREADABLE, binascii.Error, ValueError) as error:
        raise Refusal(400, "continue key is not valid") from error
    return found.version, (found.namespace, found.name)
