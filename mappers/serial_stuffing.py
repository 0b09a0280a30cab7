"""How bytes are written so that the one that ends a frame is not among them: SLIP (RFC 1055), COBS (Cheshire and Baker, 1999)."""

from collections.abc import Iterator

_UNESCAPED = {0xDC: b"\xc0", 0xDD: b"\xdb"}


def slip(data: bytes) -> bytes:
    """Escaped so that no byte is END, 0xC0."""
    return data.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")


def unslip(body: bytes) -> bytes | None:
    """What was escaped, or None when it was not."""
    first, *rest = body.split(b"\xdb")
    try:
        return first + b"".join(_UNESCAPED[part[0]] + part[1:] for part in rest)
    except (KeyError, IndexError):
        return None


def cobs(data: bytes) -> bytes:
    """Stuffed so that no byte is zero."""
    return b"".join(_blocks(data))


def _blocks(data: bytes) -> Iterator[bytes]:
    runs = data.split(b"\0")
    for number, run in enumerate(runs):
        while len(run) > 254 or (len(run) == 254 and number < len(runs) - 1):
            yield b"\xff" + run[:254]
            run = run[254:]
        if len(run) == 254:
            yield b"\xff" + run  # the last, and full: no code follows
        else:
            yield bytes([len(run) + 1]) + run


def uncobs(body: bytes) -> bytes | None:
    """What was stuffed, or None when it was not; `body` is without its zero."""
    found, at = bytearray(), 0
    while at < len(body):
        code = body[at]
        run = body[at + 1 : at + code]
        if not code or len(run) != code - 1 or 0 in run:
            return None
        found += run
        at += code
        if code < 0xFF and at < len(body):
            found.append(0)
    return bytes(found)
