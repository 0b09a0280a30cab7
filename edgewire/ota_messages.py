"""Messages of firmware updates: offer, request, chunk, built and read alike by gateway and board. Also runs on MicroPython."""

import json
from binascii import hexlify, unhexlify

from edgewire.ota_codes import BAD_OFFER, MAX_CHUNK, MAX_COUNTER, MAX_IMAGE, MAX_MANIFEST, MAX_OFFER
from edgewire.ota_fields import OtaError, hex_digits, number, parsed, text

_HEAD = 12  # of a chunk: the first 8 bytes of the id, 4 of the offset


class Offer:
    """An image that the gateway offers. `signature` is r and s, 32 bytes each; a higher `retry` has a failed one tried again."""

    def __init__(self, id: str, size: int, signature: bytes, version: str, counter: int, retry: int = 0) -> None:
        self.id = id
        self.size = size
        self.signature = signature
        self.version = version
        self.counter = counter
        self.retry = retry


def offer(offered: Offer) -> str:
    """An `ota/offer` payload."""
    content: "dict[str, object]" = {
        "id": offered.id,
        "size": offered.size,
        "signature": hexlify(offered.signature).decode(),
        "version": offered.version,
        "counter": offered.counter,
    }
    if offered.retry:
        content["retry"] = offered.retry
    return json.dumps(content)


def no_offer() -> str:
    """The `ota/offer` payload that takes an offer back."""
    return "{}"


def parse_offer(payload: bytes) -> "Offer | None":
    """What is offered, None when nothing is. OtaError when it is no offer."""
    content = parsed(payload, MAX_OFFER, BAD_OFFER)
    if not content:
        return None
    signature = hex_digits(content, "signature", 128, BAD_OFFER)
    return Offer(
        hex_digits(content, "id", 64, BAD_OFFER),
        number(content, "size", 1, MAX_MANIFEST, BAD_OFFER),
        unhexlify(signature),
        text(content, "version", BAD_OFFER),
        number(content, "counter", 0, MAX_COUNTER, BAD_OFFER),
        number(content, "retry", 0, MAX_COUNTER, BAD_OFFER) if "retry" in content else 0,
    )


def get(id: str, offset: int, length: int) -> str:
    """An `ota/get` payload: asks for a piece of an image's stream."""
    return json.dumps({"id": id, "offset": offset, "length": length})


def parse_get(payload: bytes) -> "tuple[str, int, int]":
    """Id, offset and length that a board asks for. OtaError when it is no request, or asks for more than `MAX_CHUNK`."""
    content = parsed(payload, MAX_OFFER, BAD_OFFER)
    return (
        hex_digits(content, "id", 64, BAD_OFFER),
        number(content, "offset", 0, MAX_IMAGE + MAX_MANIFEST, BAD_OFFER),
        number(content, "length", 1, MAX_CHUNK, BAD_OFFER),
    )


def chunk(id: str, offset: int, data: bytes) -> bytes:
    """An `ota/chunk` payload; without data it says that there is no such stream, or nothing at this offset."""
    return unhexlify(id[:16]) + offset.to_bytes(4, "big") + data


def parse_chunk(payload: bytes) -> "tuple[str, int, bytes]":
    """`short(id)`, offset and data of a chunk. OtaError when it is shorter than its head or longer than `MAX_CHUNK` allows."""
    id, offset, data = view_chunk(payload)
    return id, offset, bytes(data)


def view_chunk(payload: bytes) -> "tuple[str, int, memoryview]":
    """The same without a copy of the data."""
    if not _HEAD <= len(payload) <= _HEAD + MAX_CHUNK:
        raise OtaError(BAD_OFFER, "a chunk has {} to {} bytes, not {}".format(_HEAD, _HEAD + MAX_CHUNK, len(payload)))
    return hexlify(payload[:8]).decode(), int.from_bytes(payload[8:_HEAD], "big"), memoryview(payload)[_HEAD:]


def short(id: str) -> str:
    """How chunks and twins name an image: the first 16 hex digits of its id."""
    return id[:16]
