"""The board's end of its serial link (`board_link.py`). No I/O, no clock; runs on MicroPython too."""

from edgewire.board_frames import HELLO, TIME, VERSION, WELCOME, WHO, u16
from edgewire.board_link import Link

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from edgewire.board_link import Event


class BoardEnd(Link):
    """The board's end: it asks for the session."""

    def __init__(self, name: str, nonce: int, **options: int) -> None:
        """`name` is the device, `<namespace>/<name>`; `nonce` any number, best a random one; `options` those of `Link`."""
        super().__init__(**options)
        self._name = name.encode()
        self._nonce = nonce & 0xFFFF
        self._asking = False
        self._asked = 0
        self.refused_version = 0
        """The version of a gateway that speaks another one."""

    def connect(self, now: int) -> None:
        """Begin to ask for a session, over and over, until the event WELCOME; a session there is ends without an event."""
        self.connected = False
        self._begin(0, now)
        self._nonce = (self._nonce + 1) & 0xFFFF
        self._asking = True
        self.refused_version = 0
        self._ask(now)

    def tick(self, now: int) -> "list[Event]":
        """As `Link.tick`, and asks again for a session."""
        if self._asking and now - self._asked >= self.resend_ms:
            self._ask(now)
        return super().tick(now)

    def _ask(self, now: int) -> None:
        self._asked = now
        about = bytes((VERSION,)) + u16(self._nonce) + u16(self.room) + u16(self.limit) + bytes((self.keepalive_s,))
        self._put(HELLO, 0, about + self._name)

    def _handle(self, kind: int, body: bytes, now: int, events: "list[Event]") -> None:
        if kind == WELCOME and self._asking and len(body) >= 7 and body[5] << 8 | body[6] == self._nonce:
            self._welcomed(body, now, events)
        elif kind == WHO and self._asking:
            self._ask(now)
        elif kind == WHO and self.connected and body[1] << 8 | body[2] != self._tag:
            self._lose("the gateway began anew", events)

    def _welcomed(self, body: bytes, now: int, events: "list[Event]") -> None:
        if body[4] != VERSION or len(body) < 19:
            self.refused_version = body[4]
            return
        self._asking = False
        self._begin(body[1] << 8 | body[2], now)
        self._room_of_peer = max(
            1, min(self.room, body[7] << 8 | body[8])
        )  # no larger a frame than it has room for itself
        self.limit_of_peer = body[9] << 8 | body[10]
        self.connected = True
        events.append((WELCOME, b""))
        events.append((TIME, body[11:19]))
