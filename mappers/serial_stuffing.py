"""How bytes are written so that the one that ends a frame is not among them: SLIP (RFC 1055); COBS is `edgewire.cobs`."""

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
