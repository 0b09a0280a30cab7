"""Methods called of one device, in the order they came: few wait, each for a limited time, and none is carried out twice."""

from collections import OrderedDict, deque

from msgspec import Struct

from edgewire import methods
from edgewire.methods import Call

MOST_WAITING = 16
REMEMBERED = 32
"""Answers that a repeated call is given again, for MQTT may deliver one twice."""


class Answer(Struct, frozen=True):
    """What is to be published on a device's `method/call/result`."""

    device: str
    payload: bytes


class Waiting(Struct, frozen=True):
    """A call that waits for its turn."""

    call: Call
    at: float
    """When it came, on the clock of `now`."""


class Calls:
    """The calls of one device."""

    __slots__ = ("_answered", "_device", "_under_way", "_waiting")

    def __init__(self, device: str) -> None:
        self._device = device
        self._waiting: deque[Waiting] = deque()
        self._under_way: Call | None = None
        self._answered: OrderedDict[str, Answer] = OrderedDict()

    @property
    def due_at(self) -> float:
        """When the first of them came; infinite without any."""
        return self._waiting[0].at if self._waiting else float("inf")

    def put(self, call: Call, now: float, now_ms: int) -> list[Answer]:
        """Let a call wait; what is answered at once comes back."""
        if call.event_id in self._answered:
            return [self._answered[call.event_id]]
        if self._known(call.event_id):
            return []
        if len(self._waiting) >= MOST_WAITING:
            reason = f"{MOST_WAITING} calls of this device wait already"
            payload = methods.refusal(call.event_id, call.method, now_ms, methods.TOO_MANY, reason)
            return [Answer(self._device, payload)]  # not remembered: it may come again later
        self._waiting.append(Waiting(call, now))
        return []

    def begin(self, now: float, now_ms: int) -> tuple[Call | None, list[Answer]]:
        """The call to carry out now, and the answers of those that waited for too long."""
        late: list[Answer] = []
        while self._waiting:
            first = self._waiting.popleft()
            self._under_way = first.call
            if now - first.at <= first.call.timeout / 1000:
                return first.call, late
            late += self.refused(methods.TOO_LATE, f"not begun within {first.call.timeout} ms", now_ms)
        return None, late

    def carried_out(self, values: dict[str, str], now_ms: int) -> list[Answer]:
        """The call that was begun succeeded."""
        call, self._under_way = self._under_way, None
        return [] if call is None else [self._answer(call.event_id, methods.result(call, now_ms, values))]

    def refused(self, code: int, reason: str, now_ms: int) -> list[Answer]:
        """The call that was begun was not carried out, or failed."""
        call, self._under_way = self._under_way, None
        if call is None:
            return []
        return [self._answer(call.event_id, methods.refusal(call.event_id, call.method, now_ms, code, reason))]

    def give_up(self, code: int, reason: str, now_ms: int) -> list[Answer]:
        """None of them can be carried out."""
        given_up = self.refused(code, reason, now_ms)
        while self._waiting:
            self._under_way = self._waiting.popleft().call
            given_up += self.refused(code, reason, now_ms)
        return given_up

    def _known(self, event_id: str) -> bool:
        if self._under_way is not None and self._under_way.event_id == event_id:
            return True
        return any(waiting.call.event_id == event_id for waiting in self._waiting)

    def _answer(self, event_id: str, payload: bytes) -> Answer:
        answer = self._answered[event_id] = Answer(self._device, payload)
        while len(self._answered) > REMEMBERED:
            self._answered.popitem(last=False)
        return answer
