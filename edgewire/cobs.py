"""Byte stuffing so that no byte is zero (COBS; Cheshire and Baker, 1999), and the CRC-16 that serial frames bear.

The CRC is CRC-16/GENIBUS of Greg Cook's catalogue: polynomial 0x1021, initial value 0xFFFF, inverted at the end. Without that
last step zeros after a frame would go unnoticed, and a garbled end makes one. This module also runs on MicroPython.
"""

try:
    from binascii import crc_hqx
except ImportError:  # MicroPython
    crc_hqx = None  # type: ignore[assignment]


def cobs(data: bytes) -> bytes:
    """Stuffed so that no byte is zero."""
    runs = data.split(b"\0")
    last = len(runs) - 1
    found = bytearray()
    for number, run in enumerate(runs):
        while len(run) > 254 or (len(run) == 254 and number < last):
            found.append(0xFF)
            found.extend(run[:254])
            run = run[254:]
        found.append(len(run) + 1)  # 0xFF of a last run that is full: no code follows
        found.extend(run)
    return bytes(found)


def uncobs(body: bytes) -> "bytes | None":
    """What was stuffed, or None when it was not; `body` is without its zero."""
    found = bytearray()
    at, end = 0, len(body)
    while at < end:
        code = body[at]
        run = body[at + 1 : at + code]
        if not code or len(run) != code - 1 or run.find(b"\0") >= 0:
            return None
        found.extend(run)
        at += code
        if code < 0xFF and at < end:
            found.append(0)
    return bytes(found)


def crc16(data: bytes) -> int:
    """The CRC of some bytes."""
    if crc_hqx is not None:
        return crc_hqx(data, 0xFFFF) ^ 0xFFFF
    crc = 0xFFFF
    for byte in data:  # the polynomial's three terms, eight bits at a time; all numbers stay small
        mixed = crc >> 8 ^ byte
        mixed ^= mixed >> 4
        crc = (crc << 8 ^ mixed << 12 ^ mixed << 5 ^ mixed) & 0xFFFF
    return crc ^ 0xFFFF
