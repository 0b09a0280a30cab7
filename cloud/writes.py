"""What is to be written to Kubernetes: one request in flight an object, newest state only, paced and repeated. No I/O.

A controller marks the key of an object that has something new. `due` says whose turn it is; the request is built then, from
the newest state, so an object waits once however often it changes. A token bucket bounds the pace. When the API server
does not answer, or asks to be left alone, everything rests, and one request tries whether it is back before the rest go. When
it turns away some of those that are on their way (its priority and fairness), these wait, and no more go at once than it took.
Times are seconds of any monotonic clock.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from edgewire import backoff

NO_ANSWER = 0
"""The status of an `Answer` when the API server gave none."""

MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
JSON = "application/json"

_KEY_DELAY_S = {403: 5.0, 409: 0.2}
"""How long one object waits after an answer that concerns it alone."""
_TURNED_AWAY_S = 1.0
_REST_FIRST_S, _REST_LIMIT_S = 1.0, 5.0  # one request probes: it burdens nobody, and returns soon after the server does
TOO_MANY = 429
"""The status with which an API server turns away what is more than it has in hand of one client."""
_AWAY = frozenset({NO_ANSWER, 401, 408, TOO_MANY})


@dataclass(frozen=True, slots=True)
class Request:
    """One call of the API."""

    method: str
    path: str
    body: bytes
    content_type: str
    accept: str = JSON


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server said; `status` is HTTP's, or NO_ANSWER."""

    status: int
    reason: str = ""
    body: bytes = b""
    retry_after_s: float | None = None

    @property
    def ok(self) -> bool:
        """Whether it did what it was asked."""
        return 200 <= self.status < 300

    @property
    def away(self) -> bool:
        """Whether the API server is not to be asked anything for now: no answer, overload, a fault of its own."""
        return self.status in _AWAY or self.status >= 500

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later."""
        return self.away or self.status in (403, 409)


class Writer(Protocol):
    """A controller that writes."""

    def request(self, key: str) -> Request | None:
        """The newest state of an object as a request, or None when there is nothing to write any more."""
        ...

    def answered(self, key: str, answer: Answer) -> bool:
        """Take the answer to the last request of the key; whether the key is to have another turn."""
        ...


class Writes:
    """The keys of one writer."""

    def __init__(
        self,
        *,
        qps: float,
        burst: int,
        now: float,
        window: int = 32,
        delays: Callable[[], Iterator[float]] = lambda: backoff.delays(first_s=_REST_FIRST_S, limit_s=_REST_LIMIT_S),
    ) -> None:
        """At most `qps` requests a second after the first `burst`, and `window` at once; `delays` between attempts when
        the API server is away, anew each time."""
        self._qps, self._burst, self._window = qps, burst, window
        self._allowed, self._taken = window, 0
        """How many may be in flight, and how many were taken since that changed."""
        self._tokens = float(burst)
        self._filled_at = now
        self._waiting: dict[str, None] = {}
        """In the order of their turns; none of them is in flight."""
        self._later: dict[str, float] = {}
        """Key -> not before."""
        self._flying: dict[str, bool] = {}
        """Key -> whether it was marked since its request was built."""
        self._delays = delays
        self._rest: Iterator[float] | None = None
        """Delays to come while the API server is away; None while it is well."""
        self._rest_until = now
        self.wake: Callable[[], None] = lambda: None
        """Called when something has been marked."""

    @property
    def unfinished(self) -> int:
        """Keys that wait or are in flight."""
        return len(self._waiting) + len(self._later) + len(self._flying)

    def mark(self, key: str) -> None:
        """The object has something new to be written."""
        if key in self._flying:
            self._flying[key] = True
        elif key not in self._later:
            self._waiting[key] = None
            self.wake()

    def forget(self, key: str) -> None:
        """The object has nothing to be written any more."""
        self._waiting.pop(key, None)
        self._later.pop(key, None)

    def due(self, now: float) -> list[str]:
        """The keys whose turn it is; they are in flight until `finished` or `idle`."""
        if now < self._rest_until:
            return []
        for key in [key for key, at in self._later.items() if at <= now]:
            del self._later[key]
            self._waiting[key] = None
        keys = list(islice(self._waiting, max(0, self._room(now))))
        for key in keys:
            del self._waiting[key]
            self._flying[key] = False
        self._tokens -= len(keys)
        return keys

    def next_due(self, now: float) -> float | None:
        """When `due` will have something, if nothing else happens before; None when something else must."""
        if len(self._flying) >= self._at_once or not (self._waiting or self._later):
            return None
        ready_at = now if self._waiting else min(self._later.values())
        self._fill(now)
        token_at = now if self._tokens >= 1 else now + (1 - self._tokens) / self._qps
        return max(ready_at, token_at, self._rest_until)

    def idle(self, key: str) -> None:
        """The key had its turn and nothing to write."""
        self._tokens = min(float(self._burst), self._tokens + 1)
        if self._flying.pop(key, False):
            self._waiting[key] = None

    def finished(self, key: str, answer: Answer, again: bool, now: float) -> None:
        """The request of the key was answered; `again` gives the key another turn, after a while if it failed."""
        marked = self._flying.pop(key, False)
        delay_s = _KEY_DELAY_S.get(answer.status)
        if answer.status == TOO_MANY and self._flying:
            self._allowed, self._taken = len(self._flying), 0
            delay_s = max(_TURNED_AWAY_S, answer.retry_after_s or 0.0)
        elif answer.away:
            self._rest_after(answer, now)
        else:
            self._widen()
            if self._rest is not None:
                self._rest, self._rest_until = None, now
        if again and delay_s is not None:
            self._later[key] = now + delay_s
        elif again or marked:
            self._waiting[key] = None

    @property
    def _at_once(self) -> int:
        return 1 if self._rest is not None else self._allowed

    def _room(self, now: float) -> int:
        self._fill(now)
        return min(self._at_once - len(self._flying), int(self._tokens))

    def _widen(self) -> None:
        """One more at once after as many as may be were taken."""
        self._taken += 1
        if self._taken >= self._allowed:
            self._allowed, self._taken = min(self._window, self._allowed + 1), 0

    def _rest_after(self, answer: Answer, now: float) -> None:
        if answer.retry_after_s is not None:
            self._rest_until = max(self._rest_until, now + answer.retry_after_s)
        elif now >= self._rest_until:
            if self._rest is None:
                self._rest = self._delays()
            self._rest_until = now + next(self._rest)

    def _fill(self, now: float) -> None:
        self._tokens = min(float(self._burst), self._tokens + (now - self._filled_at) * self._qps)
        self._filled_at = now
