"""What time does to the session."""

KEEPALIVE_S = 10
RESEND_MS = 300
TIMEOUT_MS = 5000
TIME = 15


def tick(link, now):
    """Ask for a session, give it up, give a sign of life, send again."""
    if not link.tag:
        if now - link.asked > RESEND_MS:
            link.hello(now)
    elif now - link.heard > 2 * KEEPALIVE_S * 1000 + TIMEOUT_MS:
        link.hello(now)
    else:
        if now - link.alive > KEEPALIVE_S * 1000:
            link.alive = now
            link.out.append((TIME, link.tag, 0, b"\0" * 8))
        if link.queue and not (link.sent and now - link.sent < RESEND_MS):
            if not link.sent:
                link.since = now
            elif now - link.since > TIMEOUT_MS:
                link.hello(now)
                return
            link.sent = now
            link.out.append((link.queue[0][0], link.tag, link.number, link.queue[0][1]))
