"""What the broker lets its clients use. Every buffer and queue in it is bounded by one of these."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds; the defaults suit a Raspberry Pi with a few hundred devices."""

    payload: int = 256 * 1024
    """Bytes of the longest payload that is taken. Longer ones are skipped as they stream past, and acknowledged."""

    queue: int = 1000
    """QoS 1 and 2 messages that wait for one session, offline or slow. One more drops the oldest."""

    queue_bytes: int = 8 * 1024 * 1024
    """Bytes that wait for one session, likewise; a message counts with its payload and 300 bytes."""

    waiting_bytes: int = 64 * 1024 * 1024
    """Bytes that wait for all sessions together or are in flight, a retained message still to be sent with 100. Above it a
    session drops its oldest, unless it has little: less than its share of this among as many sessions as there may be."""

    window: int = 32
    """QoS 1 and 2 messages in flight to one client; small, since a board keeps them in its socket buffer."""

    send_buffer: int = 256 * 1024
    """Bytes waiting to be read by one client, above which QoS 0 messages to it are dropped and others queued."""

    unacknowledged: int = 1000
    """QoS 1 and 2 messages of one client without PUBACK or PUBREC yet, above which the broker stops reading from it."""

    unacknowledged_bytes: int = 4 * 1024 * 1024
    """Bytes of payload in those, likewise."""

    received: int = 5000
    """QoS 2 messages of one session whose PUBREL has not come. One more closes the connection; PUBRELs may follow on the next."""

    connections: int = 2000
    """Network connections at a time; one more is closed at once."""

    sessions: int = 5000
    """Sessions, connected or kept for offline clients. A client above it gets CONNACK 0x03."""

    subscriptions: int = 1000
    """Subscriptions of one session. One more gets SUBACK 0x80."""

    session_subscription_bytes: int = 256 * 1024
    """Bytes of the filters of one session, likewise. All are written when one changes."""

    subscription_bytes: int = 32 * 1024 * 1024
    """Memory that all subscriptions may take together, about; mostly a matter of their levels. One more gets SUBACK 0x80."""

    retained: int = 20_000
    """Topics with a retained message. A message to one more is delivered, but not retained."""

    retained_bytes: int = 64 * 1024 * 1024
    """Bytes of payload and topic in those, likewise."""

    incomplete_bytes: int = 32 * 1024 * 1024
    """Bytes of packets that have not come whole yet or wait for a password's check, of all clients together. Who sends more of a
    long one then is closed."""

    connect_timeout: float = 10.0
    """Seconds that a new connection has for its CONNECT."""

    linger: float = 5.0
    """Seconds that a closed connection has to read what was sent to it."""
