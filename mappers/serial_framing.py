r"""Frames in a stream of bytes, and back: sans-IO, one class for each way of telling where a frame ends.

    lines       up to CR, LF or both; empty lines are none
    jsonLines   the same; the name says what is in them
    delimiter   between `frameStart`, which may be empty, and `frameEnd`
    length      `frameStart`, which may be empty, a length of `lengthBytes`, and as much as that says
    slip        RFC 1055
    cobs        consistent overhead byte stuffing (Cheshire and Baker, 1999), a zero after each frame
    idle        whatever comes until the line is idle for `idleMs`

A decoder never fails. What is garbled, too long or does not bear its checksum is counted in `refused` and left out, and the next
whole frame is found. It keeps no more than `maxFrame` bytes and what a frame needs around them. Frames depend on the bytes only,
not on the pieces they come in; with `idle`, also on when the caller says that the line is idle.

`board` is no framing of this kind, but a link with a session: `serial_board_line.py`.
"""

import struct
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from edgewire.cobs import cobs, uncobs
from edgewire.config import nearest

from .serial_checksums import CHECKSUMS, NMEA, Seal, make_seal
from .serial_stuffing import slip, unslip

BOARD = "board"
"""The framing of boards with a session of their own."""
LARGEST_FRAME = 65536
_LENGTHS = {1: "B", 2: "H", 4: "I"}
_LINE_ENDS = b"\r\n"
_HALF_A_FRAME_MS = 500.0  # a length that stands alone for so long belongs to no frame


class Framing(Struct, frozen=True, kw_only=True):
    """How frames are told apart. Raises ValueError naming the key that a Device's author should correct."""

    kind: str = "lines"
    start: bytes = b""
    end: bytes | None = None
    """None: CR LF for lines that do not bring their own end when they are sent."""
    length_bytes: int = 2
    length_order: str = "big"
    length_counts: str = "rest"
    """`payload`, `rest` (payload and checksum) or `frame` (start and length too)."""
    idle_ms: float = 0
    """After so much silence a frame ends (`idle`), or what there is of one is dropped (`length`)."""
    max_frame: int = 4096
    checksum: str = ""
    checksum_order: str = ""
    checksum_at: str = "end"
    checksum_form: str = "binary"
    checksum_covers: str = "payload"
    """`payload`, or `frame`: start and length too."""

    def __post_init__(self) -> None:
        _one_of("framing", self.kind, (*FRAMERS, BOARD))
        _one_of("lengthBytes", self.length_bytes, _LENGTHS)
        _one_of("lengthOrder", self.length_order, ("big", "little"))
        _one_of("lengthCounts", self.length_counts, ("payload", "rest", "frame"))
        _one_of("checksum", self.checksum, ("", *CHECKSUMS, NMEA))
        _one_of("checksumOrder", self.checksum_order, ("", "big", "little"))
        _one_of("checksumAt", self.checksum_at, ("end", "start"))
        _one_of("checksumForm", self.checksum_form, ("binary", "hex"))
        _one_of("checksumCovers", self.checksum_covers, ("payload", "frame"))
        if not 1 <= self.max_frame <= LARGEST_FRAME:
            raise ValueError(f"`maxFrame` must lie between 1 and {LARGEST_FRAME}")
        if not 0 <= self.idle_ms <= 60_000:
            raise ValueError("`idleMs` must lie between 0 and 60000")
        if self.kind == "delimiter" and not self.end:
            raise ValueError("`frameEnd` is missing: what a frame ends with")
        if self.kind == "delimiter" and (self.end or b"") in self.start:
            raise ValueError("`frameEnd` stands in `frameStart`: leave `frameStart` out")
        if self.kind == "idle" and not self.idle_ms:
            raise ValueError("`idleMs` is missing: how long the line is idle between two frames")


class Framer(Protocol):
    """Both directions of one line."""

    gap_s: float
    """The silence after which `idle` wants to be called; 0: never."""
    refused: int
    """How many frames were no good, and how often something between frames was none."""

    def feed(self, data: bytes) -> list[bytes]:
        """Take in what came; the payloads that are whole now."""
        ...

    def idle(self) -> list[bytes]:
        """The line has been silent for `gap_s`."""
        ...

    def encode(self, payload: bytes) -> bytes:
        """A frame to send. Raises ValueError for what cannot be framed."""
        ...


def make_framer(framing: Framing) -> Framer:
    """A framer at the beginning of a stream."""
    return FRAMERS[framing.kind](framing)


class _Framer:
    """What all framers have in common: the limit, the checksum, the counting."""

    def __init__(self, framing: Framing) -> None:
        self.gap_s = 0.0
        self.refused = 0
        self.framing = framing
        self._seal = _seal(framing)
        self._room = framing.max_frame
        self._buffer = bytearray()

    def idle(self) -> list[bytes]:
        """Nothing to do for most."""
        return []

    def _opened(self, body: bytes, head: bytes = b"") -> list[bytes]:
        """The payload of a body whose checksum is good, as a list of one."""
        payload = self._seal.open(body, head) if len(body) <= self._room else None
        if payload is None:
            self.refused += 1
        return [payload] if payload else []


class _Ended(_Framer):
    """Frames that end with a byte which is nowhere else."""

    ends = b"\n"

    def __init__(self, framing: Framing) -> None:
        super().__init__(framing)
        self._overlong = False
        # A body may be this long on the wire: bytes that are escaped take two.
        self._limit = 2 * framing.max_frame + 16

    def feed(self, data: bytes) -> list[bytes]:
        """Split at the ends; an overlong frame is dropped as it comes."""
        found: list[bytes] = []
        parts = self._split(data)
        for number, part in enumerate(parts):
            if not self._overlong:
                self._buffer += part
                if len(self._buffer) > self._limit:
                    self._overlong = True
                    self._buffer.clear()
            if number < len(parts) - 1:
                found += self._ended()
        return found

    def _split(self, data: bytes) -> list[bytes]:
        return data.split(self.ends)

    def _ended(self) -> list[bytes]:
        body, overlong = bytes(self._buffer), self._overlong
        self._buffer.clear()
        self._overlong = False
        if overlong:
            self.refused += 1
            return []
        return self._body(body) if body else []

    def _body(self, body: bytes) -> list[bytes]:
        return self._opened(body)


class Lines(_Ended):
    """Text lines, whatever they end with."""

    def _split(self, data: bytes) -> list[bytes]:
        return data.replace(b"\r", b"\n").split(b"\n")

    def encode(self, payload: bytes) -> bytes:
        """The line with its checksum, and an end if it brings none."""
        body = payload.rstrip(_LINE_ENDS)
        end = payload[len(body) :]
        if not end:
            end = b"\r\n" if self.framing.end is None else self.framing.end
        sealed = self._seal.close(body)
        if not body or b"\r" in sealed or b"\n" in sealed:
            raise ValueError("not one line")
        return sealed + end


class Slip(_Ended):
    """RFC 1055: END 0xC0; ESC 0xDB before a replaced END 0xDC or ESC 0xDD. An END also goes before each frame, to end noise."""

    ends = b"\xc0"

    def _body(self, body: bytes) -> list[bytes]:
        plain = unslip(body)
        if plain is None:
            self.refused += 1
            return []
        return self._opened(plain)

    def encode(self, payload: bytes) -> bytes:
        """The escaped frame between two ENDs."""
        sealed = self._seal.close(payload)
        if not sealed:
            raise ValueError("an empty frame is none")
        return b"\xc0" + slip(sealed) + b"\xc0"


class Cobs(_Ended):
    """COBS, each frame ended by a zero."""

    ends = b"\0"

    def _body(self, body: bytes) -> list[bytes]:
        plain = uncobs(body)
        if not plain:
            self.refused += 1
            return []
        return self._opened(plain)

    def encode(self, payload: bytes) -> bytes:
        """The stuffed frame and its zero."""
        sealed = self._seal.close(payload)
        if not sealed:
            raise ValueError("an empty frame is none")
        return cobs(sealed) + b"\0"


class Delimited(_Framer):
    """Between a start, which may be empty, and an end. A second start before the end begins the frame anew."""

    def __init__(self, framing: Framing) -> None:
        super().__init__(framing)
        self._start, self._end = framing.start, framing.end or b"\n"
        self._limit = framing.max_frame + 16 + len(self._start) + len(self._end)

    def feed(self, data: bytes) -> list[bytes]:
        """Look for the ends; what has grown too long for a frame is cut at its beginning."""
        buffer, found = self._buffer, list[bytes]()
        buffer += data
        while (end := buffer.find(self._end)) >= 0:
            begin = buffer.rfind(self._start, 0, end) if self._start else 0
            if begin >= 0:
                body = bytes(buffer[begin + len(self._start) : end])
                found += self._opened(body, self._start) if body else []
            elif end:
                self.refused += 1
            del buffer[: end + len(self._end)]
        if len(buffer) > self._limit:
            # One byte beyond the limit stays, so that what ends later is known to be too long.
            del buffer[: len(buffer) - self._limit]
        return found

    def encode(self, payload: bytes) -> bytes:
        """The frame. Raises ValueError when the payload holds a delimiter."""
        sealed = self._seal.close(payload, self._start)
        frame = self._start + sealed + self._end
        end = len(self._start) + len(sealed)
        if not sealed or frame.find(self._end) != end:
            raise ValueError("the frame's end stands within it")
        if self._start and frame.rfind(self._start, 0, end) != 0:
            raise ValueError("the frame's start stands within it")
        return frame


class LengthPrefixed(_Framer):
    """A length first. After a frame that is none, the next is looked for one byte further on, or at the next start."""

    def __init__(self, framing: Framing) -> None:
        super().__init__(framing)
        self.gap_s = (framing.idle_ms or _HALF_A_FRAME_MS) / 1000
        self._length = struct.Struct((">" if framing.length_order == "big" else "<") + _LENGTHS[framing.length_bytes])
        self._head = len(framing.start) + self._length.size
        self._extra = {"payload": self._seal.size, "rest": 0, "frame": -self._head}[framing.length_counts]
        self._lost = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take whole frames from the front."""
        self._buffer += data
        return self._scan()

    def idle(self) -> list[bytes]:
        """A frame that stopped half way will not go on: was there another behind what looked like its length?"""
        found = self._scan(over=True)
        if self._buffer:
            self._noise()
            self._buffer.clear()
        self._lost = False
        return found

    def encode(self, payload: bytes) -> bytes:
        """Start, length, payload and checksum."""
        size = len(payload) + self._seal.size
        if not payload or size > self._room:
            raise ValueError(f"a frame holds 1 to {self._room - self._seal.size} bytes")
        try:
            head = self.framing.start + self._length.pack(size - self._extra)
        except struct.error as error:
            raise ValueError("too long for the length") from error
        return head + self._seal.close(payload, head)

    def _scan(self, *, over: bool = False) -> list[bytes]:
        """What is whole; `over` when nothing will follow, so that what is not whole is none."""
        view, at, found = bytes(self._buffer), 0, list[bytes]()
        while True:
            at = self._begin(view, at)
            if len(view) - at < self._head:
                break
            size = self._length.unpack_from(view, at + len(self.framing.start))[0] + self._extra
            body = at + self._head
            fits = self._seal.size <= size <= self._room
            if fits and len(view) < body + size and not over:
                break
            whole = fits and len(view) >= body + size
            payload = self._seal.open(view[body : body + size], view[at:body]) if whole else None
            if payload is None:
                self._noise()
                at += 1
                continue
            found += [payload] if payload else []
            at, self._lost = body + size, False
        del self._buffer[:at]
        return found

    def _begin(self, view: bytes, at: int) -> int:
        """Where the next frame may begin: at a start, or where the last bytes may become one."""
        start = self.framing.start
        if not start:
            return at
        found = view.find(start, at)
        if found < 0:
            found = next(
                (n for n in range(max(at, len(view) - len(start) + 1), len(view)) if start.startswith(view[n:])),
                len(view),
            )
        if found > at:
            self._noise()
        return found

    def _noise(self) -> None:
        """Count a run of noise once."""
        if not self._lost:
            self.refused += 1
            self._lost = True


class Idle(_Framer):
    """What comes until the line is silent."""

    def __init__(self, framing: Framing) -> None:
        super().__init__(framing)
        self.gap_s = framing.idle_ms / 1000

    def feed(self, data: bytes) -> list[bytes]:
        """Keep it; of what is too long already, only that it is."""
        self._buffer += data[: max(0, self._room + 1 - len(self._buffer))]
        return []

    def idle(self) -> list[bytes]:
        """The frame is over."""
        body = bytes(self._buffer)
        self._buffer.clear()
        return self._opened(body) if body else []

    def encode(self, payload: bytes) -> bytes:
        """Nothing around it; the caller leaves the line idle between frames."""
        return self._seal.close(payload)


FRAMERS: dict[str, Callable[[Framing], Framer]] = {
    "lines": Lines,
    "jsonLines": Lines,
    "delimiter": Delimited,
    "length": LengthPrefixed,
    "slip": Slip,
    "cobs": Cobs,
    "idle": Idle,
}
"""Framings by the name a Device gives them."""


def _seal(framing: Framing) -> Seal:
    return make_seal(
        framing.checksum,
        order=framing.checksum_order,
        first=framing.checksum_at == "start",
        digits=framing.checksum_form == "hex",
        whole=framing.checksum_covers == "frame",
    )


def _one_of(key: str, value: object, known: object) -> None:
    names = [str(name) for name in known]  # type: ignore[attr-defined]
    if str(value) in names:
        return
    near = nearest(str(value), names)
    raise ValueError(
        f"`{key}` {value!r} is not known: "
        + (f"did you mean {near}?" if near else f"one of {', '.join(filter(None, names))}")
    )
