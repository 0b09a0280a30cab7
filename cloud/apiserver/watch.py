"""Watches: what changed in one kind of object since a revision, from memory.

Each kind has a `Log` of its last events, bounded in number and in bytes; a watch that starts before the window is told to list
again (410). A published event is offered to the watches it concerns and encoded once for each form it is asked for in, however
many watches there are. A watch that does not read has a bounded queue and is ended when it overflows: its client
comes back with the last revision it saw.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple

from cloud.apiserver.selectors import Selector
from cloud.apiserver.state import Change, Stored
from cloud.apiserver.status import too_old

ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"
WINDOW_EVENTS = 2048
"""Events of one kind that are kept for watches to catch up with."""
WINDOW_BYTES = 8 << 20
"""Bytes of objects in those events; the window shrinks to it."""
QUEUE_EVENTS = 1024
"""Events that wait for one watch's connection before the watch is ended."""


class Event:
    """One change as watches see it; encodings are kept with it."""

    __slots__ = ("_encoded", "before", "removed", "revision", "stored")

    def __init__(self, change: Change) -> None:
        self.revision = change.revision
        self.before = change.before
        self.stored = change.after
        self.removed = change.removed
        self._encoded: dict[Hashable, bytes] = {}

    @property
    def size(self) -> int:
        """Bytes this event keeps alive, its object counted once."""
        return len(self.stored.body)

    def type_for(self, namespace: str, selector: Selector) -> str | None:
        """ADDED, MODIFIED or DELETED as a watch with this selector sees it, or None when it does not concern it."""
        if namespace and self.stored.namespace != namespace:
            return None
        was = self.before is not None and _selects(selector, self.before)
        if self.removed:
            return DELETED if was else None
        if _selects(selector, self.stored):
            return MODIFIED if was else ADDED
        return DELETED if was else None

    def encoded(self, form: Hashable, encode: Callable[[], bytes]) -> bytes:
        """The bytes of this event in a form, made by the first that asks."""
        found = self._encoded.get(form)
        if found is None:
            found = self._encoded[form] = encode()
        return found


def _selects(selector: Selector, stored: Stored) -> bool:
    if not selector.fields and not selector.labels:
        return True
    return selector.matches(stored.labels, selectable_fields(stored))


def selectable_fields(stored: Stored) -> dict[str, str]:
    """The fields of an object that a field selector can name, with their values."""
    return {"metadata.name": stored.name, "metadata.namespace": stored.namespace, **stored.fields}


class Delivery(NamedTuple):
    """An event and its type for one watch."""

    type: str
    event: Event


class Watch:
    """One client's watch: a queue the log fills and the shell empties."""

    __slots__ = ("_after", "_queue", "namespace", "overflowed", "selector", "wake")

    def __init__(self, namespace: str, selector: Selector, missed: Iterable[Delivery], after: int) -> None:
        self.namespace = namespace
        self.selector = selector
        self.overflowed = False
        """Whether events were dropped because nobody took them: the watch is over."""
        self.wake: Callable[[], None] | None = None
        """Called when something is there to take."""
        self._queue: deque[Delivery] = deque(missed)
        self._after = after

    def offer(self, event: Event) -> None:
        """Queue an event if it concerns this watch."""
        if event.revision <= self._after or self.overflowed:
            return  # it began with a list that was ahead of the events
        type = event.type_for(self.namespace, self.selector)
        if type is None:
            return
        if len(self._queue) >= QUEUE_EVENTS:
            self.overflowed = True
            self._queue.clear()
        else:
            self._queue.append(Delivery(type, event))
        if self.wake is not None:
            self.wake()

    def take(self) -> list[Delivery]:
        """What waits, oldest first; the queue is then empty."""
        taken = list(self._queue)
        self._queue.clear()
        return taken


class Log:
    """The last events of one kind, and the watches on it."""

    def __init__(self, floor: int, events: int = WINDOW_EVENTS, size: int = WINDOW_BYTES) -> None:
        self._floor = floor
        self._events: deque[Event] = deque()
        self._bytes = 0
        self._limit_events = events
        self._limit_bytes = size
        self._watches: set[Watch] = set()

    def publish(self, event: Event) -> None:
        """Keep an event and offer it to the watches; revisions only rise."""
        self._events.append(event)
        self._bytes += event.size
        while len(self._events) > self._limit_events or (self._bytes > self._limit_bytes and len(self._events) > 1):
            oldest = self._events.popleft()
            self._bytes -= oldest.size
            self._floor = oldest.revision
        for watch in tuple(self._watches):
            watch.offer(event)

    def subscribe(self, namespace: str, selector: Selector, after: int) -> Watch:
        """A watch that has everything after a revision, and all that follows. Raises ApiError 410 before the window."""
        if after < self._floor:
            raise too_old(after, self._floor)
        missed = []
        for event in self._events:
            if event.revision > after:
                type = event.type_for(namespace, selector)
                if type is not None:
                    missed.append(Delivery(type, event))
        watch = Watch(namespace, selector, missed, after)
        self._watches.add(watch)
        return watch

    def unsubscribe(self, watch: Watch) -> None:
        """Forget a watch."""
        self._watches.discard(watch)

    @property
    def watching(self) -> int:
        """How many watches there are."""
        return len(self._watches)


class Logs:
    """The logs of all kinds, made as they are needed."""

    def __init__(self, floor: int = 1) -> None:
        self._floor = floor
        self._logs: dict[str, Log] = {}

    def of(self, storage: str) -> Log:
        """The log of a kind; one that is new reaches back to this process's start."""
        log = self._logs.get(storage)
        if log is None:
            log = self._logs[storage] = Log(self._floor)
        return log
