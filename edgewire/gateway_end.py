"""The gateway's end of a board's serial link (`board_link.py`), and what a board prints between its frames. No I/O, no clock."""

from edgewire.board_frames import HELLO, TEXT, TIME, VERSION, WELCOME, WHO, encode, u16
from edgewire.board_link import Link

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from edgewire.board_link import Event

LONGEST_LINE = 240
"""Bytes of a printed line; a longer one comes in several."""
_WHO_MS = 500
_FORBIDDEN = tuple(byte for byte in range(32) if byte not in (7, 8, 9, 10, 13, 27))


class GatewayEnd(Link):
    """The gateway's end: it waits for a board to say hello, and asks who is there while none has."""

    def __init__(
        self, tag: int, room: int = 1024, limit: int = 65535, timeout_ms: int = 5000, resend_ms: int = 300
    ) -> None:
        """`tag` is any number, best a random one: sessions are numbered from it on."""
        super().__init__(room, limit, timeout_ms, resend_ms)
        self._last_tag = tag % 65535 + 1
        self._nonce = -1
        self._asked = -_WHO_MS
        self.version_of_peer = VERSION
        """Of the board that said hello last."""

    def ask(self, now: int) -> None:
        """Ask who is there: on opening the line. A board in a session that is not this end's then begins anew."""
        self._asked = now
        self._put(WHO, 0, b"")

    def tick(self, now: int) -> "list[Event]":
        """As `Link.tick`, and asks who is there while nobody is."""
        events = super().tick(now)
        if not self.connected and now - self._asked >= self.keepalive_s * 1000:
            self.ask(now)
        return events

    def wait_ms(self, now: int) -> int:
        """As `Link.wait_ms`."""
        if self.connected:
            return super().wait_ms(now)
        return max(0, self._asked + self.keepalive_s * 1000 - now)

    def receive(self, data: bytes, now: int) -> "list[Event]":
        """As `Link.receive`, and lines of text as soon as they end."""
        events = super().receive(data, now)
        text = self.pieces.rest
        text = text[: text.rfind(b"\n") + 1]
        if text and is_text(text):
            self.pieces.forget(len(text))
            self._lines(text, events)
        return events

    def _handle(self, kind: int, body: bytes, now: int, events: "list[Event]") -> None:
        if kind == HELLO:
            if len(body) >= 12:
                self._greet(body, now, events)
        elif kind not in (WELCOME, WHO) and now - self._asked >= _WHO_MS:
            self.ask(now)

    def _greet(self, body: bytes, now: int, events: "list[Event]") -> None:
        self.version_of_peer = body[4]
        nonce = body[5] << 8 | body[6]
        if self.version_of_peer != VERSION:
            self._out.extend(encode(WELCOME, 0, 0, bytes((VERSION,)) + u16(nonce)))
            return
        if not (self.connected and self._untouched and nonce == self._nonce):
            # Once anything came in a session, its board's hello can only be that of another life, whatever it looks like.
            self._last_tag = self._last_tag % 65535 + 1
            self._begin(self._last_tag, now)
            self._nonce = nonce
            self.connected = True
            self._room_of_peer = max(1, body[7] << 8 | body[8])
            self.limit_of_peer = body[9] << 8 | body[10]
            self.keepalive_s = max(1, body[11])
            events.append((HELLO, body[12:]))
        about = bytes((VERSION,)) + u16(nonce) + u16(self.room) + u16(self.limit)
        self._put(WELCOME, 0, about + self._time(now))

    def _of_session(self, kind: int, body: bytes, now: int, events: "list[Event]") -> None:
        if kind != TIME:  # a board has its time from here
            super()._of_session(kind, body, now, events)

    def _no_frame(self, piece: bytes, events: "list[Event]") -> None:
        if is_text(piece):
            self._lines(piece, events)
        else:
            super()._no_frame(piece, events)

    def _lines(self, text: bytes, events: "list[Event]") -> None:
        for line in text.replace(b"\r", b"\n").split(b"\n"):
            while line:
                events.append((TEXT, line[:LONGEST_LINE]))
                line = line[LONGEST_LINE:]


def is_text(piece: bytes) -> bool:
    """Whether something may have been printed. Every frame has a byte that text has not, among its first."""
    for byte in _FORBIDDEN:
        if byte in piece:
            return False
    try:
        piece.decode()
    except (UnicodeError, ValueError):
        return False
    return True
