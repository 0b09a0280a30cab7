"""The serial link of a board without a network: a session over a line that loses, garbles and repeats bytes. No I/O, no clock.

`docs/serial-link.md` is the specification: frames, kinds, sessions. Here is what both ends share; `board_end.py` and
`gateway_end.py` are they. All run on MicroPython, and are files of their own because one as long takes a board's heap to compile.

A shell feeds `receive` with what came, calls `tick` when `wait_ms` is over, writes `output()` after any call, and acts on
events, each a kind and its content:

    STATE .. OTA_CHUNK   a whole message of the peer's, delivered once
    ACK                  the message under way is with the peer; content: one byte, its kind
    WELCOME              the session begins (a board's event)
    HELLO                a session begins, whatever was before is over (a gateway's event); content: the board's name
    TIME                 the gateway's time (a board's event); content: 8 bytes, ms since 1970
    LOST                 the session is over; content: why
    TEXT                 a line that is no frame: what the board prints (a gateway's event)

One message is under way at a time in each direction, and one frame of it: a board needs room for one. What was under way
when a session ends may or may not have arrived: both sides tell their state anew in the next. Times are milliseconds of
any monotonic clock.
"""

from edgewire.board_frames import (
    ACK,
    HELLO,
    LARGEST_MESSAGE,
    LOST,
    MORE,
    OVERHEAD,
    TIME,
    WELCOME,
    WHO,
    Pieces,
    decode,
    encode,
)

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    Event = tuple[int, bytes]

_OUT_LIMIT = 4096  # bytes nobody has written yet; what goes beyond is lost as on a line, and sent again
_LAST_MESSAGE = 8
_SHORTEST_ROOM = 16  # a welcome must fit


class Link:
    """One end. `connected` while there is a session."""

    def __init__(
        self, room: int = 256, limit: int = 16384, timeout_ms: int = 5000, resend_ms: int = 300, keepalive_s: int = 10
    ) -> None:
        """`room` is what this end takes of a message in one frame, `limit` the longest message it takes; both in bytes.

        A message whose frames are not acknowledged for `timeout_ms` ends the session; each is repeated every `resend_ms`.
        """
        self.room = room
        self.limit = min(limit, LARGEST_MESSAGE)
        self.timeout_ms = timeout_ms
        self.resend_ms = resend_ms
        self.keepalive_s = keepalive_s
        self.connected = False
        self.epoch_ms = 0
        """What the time since 1970 is when this clock is 0; 0: not known."""
        self.garbled = 0
        """Pieces that were no frames, and no text."""
        self.resent = 0
        self.skipped = 0
        """Messages longer than `limit`."""
        self.limit_of_peer = 0
        self._room_of_peer = 1
        self._out = bytearray()
        longest = max(room, _SHORTEST_ROOM)
        self.pieces = Pieces(2 * (longest + longest // 254 + OVERHEAD))
        self._message: "bytes | None" = None
        self._launched = self._heard = self._alive = 0
        self._begin(0, 0)

    @property
    def idle(self) -> bool:
        """Whether the next message may be sent."""
        return self._message is None

    def send(self, kind: int, message: bytes, now: int) -> None:
        """Begin to send a message, while `connected` and `idle`. ValueError when it is longer than the peer takes."""
        if len(message) > self.limit_of_peer:
            raise ValueError("{} bytes are more than the other side takes".format(len(message)))
        if not self.connected or self._message is not None:
            raise ValueError("the link is not idle")
        self._message = message
        self._kind = kind
        self._offset = 0
        self._since = now
        self._launch(now)

    def receive(self, data: bytes, now: int) -> "list[Event]":
        """Take in what came, in any pieces."""
        events: "list[Event]" = []
        for piece in self.pieces.feed(data):
            body = decode(piece)
            if body is None:
                self._no_frame(piece, events)
            elif self._tag and body[1] << 8 | body[2] == self._tag and body[0] not in (HELLO, WELCOME, WHO):
                self._heard = now
                self._untouched = False
                self._of_session(body[0], body, now, events)
            else:
                self._handle(body[0], body, now, events)
        return events

    def tick(self, now: int) -> "list[Event]":
        """What time alone brings about: repeats, signs of life, and the end of a session with a peer that is gone."""
        events: "list[Event]" = []
        if not self.connected:
            return events
        if self._message is not None and now - self._since >= self.timeout_ms:
            self._lose("no acknowledgement", events)
        elif now - self._heard >= self.keepalive_s * 2000 + self.timeout_ms // 2:
            self._lose("nothing came", events)
        else:
            if self._message is not None and now - self._launched >= self.resend_ms:
                self.resent += 1
                self._launch(now)
            if now - self._alive >= self.keepalive_s * 1000:
                self._alive = now
                self._put(TIME, 0, self._time(now))
        return events

    def wait_ms(self, now: int) -> int:
        """How long `tick` has nothing to do."""
        if not self.connected:
            return self.resend_ms
        due = min(self._alive + self.keepalive_s * 1000, self._heard + self.keepalive_s * 2000 + self.timeout_ms // 2)
        if self._message is not None:
            due = min(due, self._launched + self.resend_ms, self._since + self.timeout_ms)
        return max(0, due - now)

    def output(self) -> bytes:
        """What is to be written now."""
        out = bytes(self._out)
        if out:
            self._out = bytearray()
        return out

    # What the two ends do differently.

    def _handle(self, kind: int, body: bytes, now: int, events: "list[Event]") -> None:
        """A frame that does not belong to the session, or may not."""

    def _no_frame(self, piece: bytes, events: "list[Event]") -> None:
        """What stood between two zeros, or grew too long for a frame."""
        self.garbled += 1

    # What they have in common.

    def _begin(self, tag: int, now: int) -> None:
        """Forget the session before."""
        self._tag = tag
        self._untouched = True
        self._message = None
        self._kind = self._offset = 0
        self._since = self._launched = self._heard = self._alive = now
        self._number = 0  # of the frame under way
        self._expected = 0  # the number of the next frame
        self._parts = bytearray()
        self._skipping = False

    def _lose(self, why: str, events: "list[Event]") -> None:
        if self.connected:
            self.connected = False
            events.append((LOST, why.encode()))
        self._begin(0, 0)

    def _of_session(self, kind: int, body: bytes, now: int, events: "list[Event]") -> None:
        number = body[3]
        if kind == ACK:
            if self._message is not None and number == self._number:
                self._advance(now, events)
        elif kind == TIME:
            if len(body) == 12:
                events.append((TIME, body[4:]))
        elif 0 < kind & ~MORE <= _LAST_MESSAGE:
            if number == self._expected:
                self._expected = (number + 1) & 0xFF
                self._put(ACK, number, b"")
                self._take(kind, body[4:], events)
            elif number == (self._expected - 1) & 0xFF:
                self._put(ACK, number, b"")  # the one before got lost

    def _take(self, kind: int, part: bytes, events: "list[Event]") -> None:
        if len(self._parts) + len(part) > self.limit:
            self._skipping = True
        if not self._skipping:
            self._parts.extend(part)
        if kind & MORE:
            return
        if self._skipping:
            self.skipped += 1
        else:
            events.append((kind, bytes(self._parts)))
        self._parts = bytearray()
        self._skipping = False

    def _advance(self, now: int, events: "list[Event]") -> None:
        """The frame under way is with the peer."""
        self._number = (self._number + 1) & 0xFF
        self._offset += self._room_of_peer
        self._since = now
        if self._message is not None and self._offset < len(self._message):
            self._launch(now)
        else:
            self._message = None
            events.append((ACK, bytes((self._kind,))))

    def _launch(self, now: int) -> None:
        if self._message is None:
            return
        end = self._offset + self._room_of_peer
        more = MORE if end < len(self._message) else 0
        self._launched = now
        self._put(self._kind | more, self._number, self._message[self._offset : end])

    def _put(self, kind: int, number: int, content: bytes) -> None:
        frame = encode(kind, self._tag, number, content)
        if len(self._out) + len(frame) <= max(_OUT_LIMIT, len(frame)):
            self._out.extend(frame)

    def _time(self, now: int) -> bytes:
        return (self.epoch_ms + now if self.epoch_ms else 0).to_bytes(8, "big")
