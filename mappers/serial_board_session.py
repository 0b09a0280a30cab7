"""What goes on between a board and its Device, over the gateway's end of the serial link. Pure: the shell has port and clock.

- What the board reports goes to those who listen, and its newest values are kept for who listens later.
- A desired value is a delta. It is done when the board reports that value, or when the board has had it for `timeout`: what it
  holds then is told last, and the framework sees whether that is another. It is refused when the board says so, and why.
- When the board begins anew, or the link ends, those who listen are told that it cannot be heard, and everything is said again.
- One message is under way at a time: the delta first, then what passes through (`driver.Relay`), the newest of each kind.
"""

import logging
from collections.abc import Callable, Sequence

from msgspec import Struct

from edgewire.board_frames import ACK, CODES, DELTA, HELLO, LOST, OTA_GET, REPORT, RESULT, STATE, TEXT
from edgewire.device import same_value
from edgewire.gateway_end import GatewayEnd

from .driver import BadAnswer, BusDown, Dated, DriverError, NoAnswer, Refused, Value, ValueRefused
from .serial_board import (
    MOST_PROPERTIES,
    BoardVisitor,
    Said,
    delta,
    read_refused,
    read_report,
    read_result,
    unknown,
)  # fmt: skip

log = logging.getLogger(__name__)

Heard = Callable[[BoardVisitor, Value | Dated | DriverError], None]

WRITE_LIMIT_MS = 30_000
"""However long what was before it takes on the line, a desired value is given up after this."""
FIRST_HELLO_MS = 5000
"""A line on which no board says hello for so long has none."""
LINES_LOGGED = 20
"""Printed lines that stand in the log, in each `LOG_MS`; the rest is counted."""
LOG_MS = 10_000

_KINDS = {code: kind for kind, code in CODES.items()}


class Writing(Struct, eq=False):
    """A desired value on its way."""

    visitor: BoardVisitor
    text: str
    event_id: str
    begun_at: int
    taken_at: int | None = None
    """When the board had it, in ms of the shell's clock."""
    done: bool = False
    error: DriverError | ValueRefused | None = None

    @property
    def due_at(self) -> int:
        """When the board has had its time."""
        return self.begun_at + WRITE_LIMIT_MS if self.taken_at is None else self.taken_at + self.visitor.at.timeout


class BoardSession:
    """One board on one line. Times are milliseconds of the shell's clock."""

    def __init__(self, line: str, link: GatewayEnd, now: int) -> None:
        self.link = link
        self.writing: Writing | None = None
        self.said: Callable[[str, bytes], None] | None = None
        """What gets kind and payload of what passes through to the gateway."""
        self._line = line
        self._opened = now
        self._listeners: Sequence[BoardVisitor] = ()
        self._heard: Heard | None = None
        self._values: dict[str, Said] = {}
        self._away: NoAnswer | None = None
        """Why the board cannot be heard, once that was told."""
        self._unplaced: set[str] = set()
        self._outgoing: dict[int, bytes] = {}
        self._deltas = 0
        self._lines, self._lines_since = 0, now
        self._garbled = 0
        link.ask(now)

    def listen(self, visitors: Sequence[BoardVisitor], heard: Heard) -> None:
        """From now on, tell what the board says of these; what it said of new ones already, at once."""
        before = {id(visitor) for visitor in self._listeners}
        self._listeners, self._heard = visitors, heard
        for visitor in visitors:
            if id(visitor) in before:
                continue
            if self._away is not None:
                heard(visitor, self._away)
            elif visitor.name in self._values:
                self._tell(visitor, self._values[visitor.name])

    def write(self, visitor: BoardVisitor, text: str, now: int) -> Writing:
        """Begin to write. What is returned is done when it says so; `end` it then, or when it is given up."""
        self._deltas += 1
        writing = self.writing = Writing(visitor, text, str(self._deltas), now)
        if not self.link.connected:
            self._finish(self._away or NoAnswer(f"{self._line}: no board has said hello yet"))
        else:
            self._outgoing[DELTA] = delta(writing.event_id, visitor.name, text)
            self._send(now)
        return writing

    def end(self) -> None:
        """The writing under way is over: tell what the property holds."""
        writing, self.writing = self.writing, None
        self._outgoing.pop(DELTA, None)
        if writing is not None and writing.visitor.name in self._values:
            for visitor in self._listeners:
                if visitor.name == writing.visitor.name:
                    self._tell(visitor, self._values[visitor.name])

    def hand_over(self, kind: str, payload: bytes, now: int) -> None:
        """Pass a message through to the board, or drop it when there is none."""
        if self.link.connected:
            self._outgoing[CODES[kind]] = payload
            self._send(now)
        else:
            log.debug("> dropped, no board bus=%s kind=%s", self._line, kind)

    def received(self, data: bytes, now: int) -> None:
        """Take in what came on the line."""
        for kind, content in self.link.receive(data, now):
            self._event(kind, content, now)
        self._send(now)

    def tick(self, now: int) -> None:
        """What time alone brings about."""
        for kind, content in self.link.tick(now):
            self._event(kind, content, now)
        writing = self.writing
        if writing is not None and now >= writing.due_at:
            self._unanswered(writing)
        if not self.link.connected and self._away is None and now - self._opened >= FIRST_HELLO_MS:
            self._gone(NoAnswer(f"{self._line}: no board says hello"))
        if now - self._lines_since >= LOG_MS:
            self._log_quiet(now)
        self._send(now)

    def wait_ms(self, now: int) -> int:
        """How long `tick` has nothing to do."""
        due = self.link.wait_ms(now)
        if self.writing is not None and not self.writing.done:
            due = min(due, self.writing.due_at - now)
        if not self.link.connected and self._away is None:
            due = min(due, self._opened + FIRST_HELLO_MS - now)
        return max(0, due)

    def lost(self, error: BusDown) -> None:
        """The line is gone."""
        self._values.clear()
        self._finish(error)
        self._tell_all(error)

    def _event(self, kind: int, content: bytes, now: int) -> None:
        if kind == TEXT:
            self._printed(content)
        elif kind == HELLO:
            log.info("= board says hello bus=%s board=%s", self._line, content.decode(errors="replace")[:128] or "-")
            self._outgoing.clear()
            anew = NoAnswer(f"{self._line}: the board began anew")
            if self._values:
                self._gone(anew)
            else:
                self._finish(anew)
        elif kind == LOST:
            self._outgoing.clear()
            self._gone(NoAnswer(f"{self._line}: the link to the board ended: {content.decode()}"))
        elif kind == ACK:
            if content == bytes([DELTA]) and self.writing is not None and DELTA not in self._outgoing:
                self.writing.taken_at = now
        elif kind == OTA_GET:
            if self.said is not None:
                self.said(_KINDS[kind], content)
        else:
            try:
                self._message(kind, content)
            except BadAnswer as error:
                log.warning("< message refused bus=%s reason=%s", self._line, error)

    def _message(self, kind: int, content: bytes) -> None:
        if kind == REPORT:
            self._reported(read_report(content))
        elif kind == STATE:
            why = read_refused(content)
            if self.writing is not None and self.writing.visitor.name in why:
                self._refused(why[self.writing.visitor.name])
        elif kind == RESULT:
            refusal = read_result(content)
            if refusal is not None and self.writing is not None and refusal.event_id == self.writing.event_id:
                self._refused(refusal.reason)

    def _reported(self, report: dict[str, Said]) -> None:
        self._away = None
        for name, said in report.items():
            if name in self._values or len(self._values) < MOST_PROPERTIES:
                self._values[name] = said
            writing = self.writing
            if writing is not None and name == writing.visitor.name:  # told when the writing is over
                if same_value(said.text, writing.text, writing.visitor.type):
                    self._finish(None)
                continue
            placed = [visitor for visitor in self._listeners if visitor.name == name]
            for visitor in placed:
                self._tell(visitor, said)
            if not placed and self._listeners and name not in self._unplaced and len(self._unplaced) < MOST_PROPERTIES:
                self._unplaced.add(name)
                known = {visitor.name: visitor for visitor in self._listeners}
                log.warning("< property without place bus=%s property=%s: %s", self._line, name, unknown(name, known))

    def _unanswered(self, writing: Writing) -> None:
        """The board has had its time."""
        known = writing.visitor.name in self._values
        if writing.taken_at is None:
            self._finish(NoAnswer(f"{self._line} did not take it within {WRITE_LIMIT_MS // 1000} s"))
        self._finish(None if known else Refused(f"the board at {self._line} says nothing of it"))

    def _refused(self, why: str) -> None:
        if self.writing is not None:
            why = why.removeprefix(f"{self.writing.text[:40]!r}: ")  # the value is named by the framework
        self._finish(Refused(f"the board says {why[:200]!r}"))

    def _finish(self, error: DriverError | None) -> None:
        if self.writing is not None and not self.writing.done:
            self.writing.done, self.writing.error = True, error

    def _tell(self, visitor: BoardVisitor, said: Said) -> None:
        if self._heard is None:
            return
        value: Value | Dated | DriverError
        try:
            value = visitor.take(said.text)
            if said.at_ms:
                value = Dated(value, said.at_ms)
        except BadAnswer as error:
            value = error
        self._heard(visitor, value)

    def _gone(self, why: NoAnswer) -> None:
        self._values.clear()
        self._away = why
        self._finish(why)
        self._tell_all(why)

    def _tell_all(self, error: DriverError) -> None:
        if self._heard is not None:
            for visitor in self._listeners:
                self._heard(visitor, error)

    def _send(self, now: int) -> None:
        """Let the next message go, if none is under way."""
        while self._outgoing and self.link.connected and self.link.idle:
            kind = min(self._outgoing)  # the delta's is the least
            payload = self._outgoing.pop(kind)
            try:
                self.link.send(kind, payload, now)
            except ValueError as error:
                log.warning("> not sent bus=%s kind=%s reason=%s", self._line, _KINDS[kind], error)
                if kind == DELTA and self.writing is not None:
                    self.writing.done, self.writing.error = True, ValueRefused(str(error))

    def _printed(self, line: bytes) -> None:
        self._lines += 1
        if self._lines <= LINES_LOGGED:
            text = "".join(c if c.isprintable() else " " for c in line.decode(errors="replace")).strip()
            if text:
                log.info("< printed bus=%s line=%r", self._line, text)

    def _log_quiet(self, now: int) -> None:
        if self._lines > LINES_LOGGED:
            log.info("< printed more bus=%s lines=%d", self._line, self._lines - LINES_LOGGED)
        if self.link.garbled != self._garbled:
            log.warning("< frames garbled bus=%s frames=%d", self._line, self.link.garbled - self._garbled)
        self._lines, self._lines_since, self._garbled = 0, now, self.link.garbled
