"""The session of the serial link (docs/serial-link.md) in as little as it takes: frames in (`take`), frames out, no I/O.

No function calls another twice removed, for the board's stack has 2 kB.
"""

import random

ROOM = 32  # with a sign of life and an acknowledgement it fits the 64 bytes that are received while nobody looks
LIMIT = 160
KEEPALIVE_S = 10
HELLO = 11


class Link:
    """`queue` holds what is to be said, the first of it under way; `out` what is to be written: kind, tag, number, content."""

    def __init__(self, name):
        self.name = name
        self.out = []
        self.queue = []
        self.parts = b""
        self.tag = self.number = self.expected = 0
        self.nonce = random.randrange(65536)
        self.asked = self.heard = self.alive = self.sent = self.since = 0

    def hello(self, now):
        """Ask for a session; the one there is has ended."""
        if self.tag:
            self.nonce = self.nonce + 1 & 65535
        self.tag = 0
        self.asked = now
        about = bytes([1, self.nonce >> 8, self.nonce & 255, 0, ROOM, 0, LIMIT, KEEPALIVE_S])
        self.out.append((HELLO, 0, 0, about + self.name))
