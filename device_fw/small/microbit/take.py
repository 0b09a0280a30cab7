"""What a frame does to the session."""

LIMIT = 160
ACK = 0
STATE = 1
WELCOME = 12
WHO = 14
MORE = 16


def take(link, body, now):
    """Take a frame. Returns a kind and what it says: of a whole message, or WELCOME for a session that begins; or None."""
    kind = body[0]
    tag = body[1] << 8 | body[2]
    number = body[3]
    if kind == WELCOME:
        if tag and not link.tag and body[5] << 8 | body[6] == link.nonce:
            link.tag = tag
            link.number = link.expected = link.sent = 0
            link.heard = link.alive = now
            link.parts = b""
            link.queue = [(STATE, b'{"state":"online"}')]
            return kind, b""
    elif kind == WHO:
        if not link.tag or tag != link.tag:
            link.hello(now)
    elif tag and tag == link.tag:
        link.heard = now
        if kind == ACK:
            if link.queue and number == link.number:
                link.queue.pop(0)
                link.number = number + 1 & 255
                link.sent = 0
        elif kind & 15 < 8 and len(link.queue) < 4:  # else it is not acknowledged, and comes again
            if number == link.expected or number == link.expected - 1 & 255:
                link.out.append((ACK, tag, number, b""))
            if number == link.expected:
                link.expected = number + 1 & 255
                link.parts += body[4:]
                if len(link.parts) > LIMIT:
                    link.parts = b""
                if not kind & MORE:
                    message = link.parts
                    link.parts = b""
                    return kind, message
    return None
