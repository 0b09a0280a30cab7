"""Frames of the serial link, none of them longer than 254 bytes (docs/serial-link.md)."""


def crc16(data):
    """CRC-16/GENIBUS."""
    crc = 65535
    for byte in data:
        mixed = crc >> 8 ^ byte
        mixed ^= mixed >> 4
        crc = (crc << 8 ^ mixed << 12 ^ mixed << 5 ^ mixed) & 65535
    crc ^= 65535
    return bytes([crc >> 8, crc & 255])


def encode(kind, tag, number, content):
    """A frame between two zeros; a 3 in it would be Ctrl-C."""
    body = bytes([kind, tag >> 8, tag & 255, number]) + content
    out = b"\0"
    for run in (body + crc16(body)).split(b"\0"):
        out += bytes([len(run) + 1]) + run
    return out.replace(b"\4", b"\4\6").replace(b"\3", b"\4\5") + b"\0"


def decode(piece):
    """Header and content of a frame, or None."""
    piece = piece.replace(b"\4\5", b"\3").replace(b"\4\6", b"\4")
    body = b""
    while piece:
        code = piece[0]
        if code > len(piece):
            return None
        body += piece[1:code]
        piece = piece[code:]
        if piece:
            body += b"\0"
    if len(body) < 6 or crc16(body[:-2]) != body[-2:]:
        return None
    return body[:-2]
