"""Who gets which frame of a line: the question under way, or those who listen. Pure; the caller owns clock and port.

A line carries one question at a time, and whatever its devices say meanwhile. A frame that answers the question answers it;
every frame is also offered to those who listen, for a scale that sends its weight continuously goes on while it is asked.

Serial protocols do not number their answers. So a question that was given up is remembered for as long as its answer may still
come: when a frame then fits both the old question and a new, different one, it is taken for the old one's and left out.
"""

from collections.abc import Callable, Sequence

from msgspec import Struct

from .driver import BadAnswer, DriverError, NoAnswer, Value
from .serial_parsing import MISSING, Frame, Missing
from .serial_visitors import Visitor, show

Heard = Callable[[Visitor, Value | DriverError], None]

OWED_LIMIT = 8
"""Questions given up that are remembered at a time."""


class Question(Struct, eq=False):
    """A command and what is expected of its answer."""

    command: bytes
    visitors: Sequence[Visitor]
    """Those whose values it asks for; empty for a command that writes."""
    writing: Visitor | None = None
    results: dict[int, Value | DriverError] = {}
    """Position in `visitors` -> what came; for a command that writes, under -1 the answer's text."""

    @property
    def done(self) -> bool:
        """Whether everything has come."""
        return len(self.results) == (len(self.visitors) or 1)

    def concerns(self, frame: Frame) -> bool:
        """Whether a frame may be of its answer."""
        if self.writing is not None:
            return self._of_write(frame) is not None
        return any(_taken(visitor, frame) is not MISSING for visitor in self.visitors)

    def answer(self, frame: Frame) -> None:
        """Take from a frame what is of the answer."""
        if self.writing is not None:
            found = self._of_write(frame)
            if found is not None:
                self.results.setdefault(-1, found)
            return
        for number, visitor in enumerate(self.visitors):
            if number not in self.results and (value := _taken(visitor, frame)) is not MISSING:
                self.results[number] = value

    def _of_write(self, frame: Frame) -> Value | DriverError | None:
        assert self.writing is not None
        refusal = self.writing.refusal(frame, f"writing {show(self.command)}")
        if refusal is not None:
            return refusal
        answer = self.writing.answer
        return frame.text if answer is not None and answer.search(frame.text) is not None else None


class _Owed(Struct):
    question: Question
    until: float


class Dialogue:
    """The conversation on one line."""

    def __init__(self) -> None:
        self.question: Question | None = None
        self._owed: list[_Owed] = []
        self._listeners: Sequence[Visitor] = ()
        self._heard: Heard | None = None

    @property
    def listeners(self) -> Sequence[Visitor]:
        """Those who listen now."""
        return self._listeners

    def listen(self, visitors: Sequence[Visitor], heard: Heard) -> None:
        """From now on, offer every frame to these."""
        self._listeners, self._heard = visitors, heard

    def received(self, data: bytes, now: float) -> None:
        """Take in a frame."""
        frame = Frame(data)
        for visitor in self._listeners:
            value = _taken(visitor, frame)
            if value is not MISSING and self._heard is not None:
                self._heard(visitor, value)
        question = self.question
        owed = self._owes(frame, now)
        if question is not None and not question.done:
            if owed is None or owed.question.command == question.command:
                question.answer(frame)
            elif question.concerns(frame):
                self._owed.remove(owed)
        elif owed is not None:
            self._owed.remove(owed)

    def tell(self, visitor: Visitor, value: Value | DriverError) -> None:
        """Let a listener know what does not stand in a frame."""
        if self._heard is not None and any(visitor is known for known in self._listeners):
            self._heard(visitor, value)

    def tell_all(self, error: DriverError) -> None:
        """Let all listeners know that nothing will be heard any more."""
        if self._heard is not None:
            for visitor in self._listeners:
                self._heard(visitor, error)

    def given_up(self, question: Question, until: float) -> None:
        """Nothing answered in time; an answer may still come."""
        self._owed = [*self._owed, _Owed(question, until)][-OWED_LIMIT:]

    def forget(self) -> None:
        """The line was closed: nothing can come of what was asked before."""
        self.question, self._owed = None, []

    def _owes(self, frame: Frame, now: float) -> _Owed | None:
        if not self._owed:
            return None
        self._owed = [owed for owed in self._owed if owed.until > now]
        return next((owed for owed in self._owed if owed.question.concerns(frame)), None)


def results(question: Question, silence: NoAnswer) -> list[Value | DriverError]:
    """What came for each visitor of a question; for those without a frame of theirs, the silence."""
    return [question.results.get(number, silence) for number in range(len(question.visitors))]


def unanswered(what: str, port: object, timeout_ms: int, heard: Sequence[bytes], garbled: int) -> NoAnswer:
    """The words for a question that nothing answered: what came instead is what a user needs to correct a pattern."""
    said = f"; came instead: {', '.join(show(data) for data in heard[-3:])}" if heard else ""
    noise = f"; {garbled} frames were garbled" if garbled else ""
    return NoAnswer(f"{port} did not answer within {timeout_ms} ms, {what}{said}{noise}")


def _taken(visitor: Visitor, frame: Frame) -> Value | DriverError | Missing:
    refusal = visitor.refusal(frame) if visitor.ask else None
    if refusal is not None:
        return refusal
    try:
        return visitor.take(frame)
    except BadAnswer as error:
        return error
