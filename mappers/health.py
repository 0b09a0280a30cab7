"""How a device is, why, and which desired values it does not follow; and when the gateway is to be told of it.

A change of state is told at once, and so is a desired value that is refused. The text of an error that goes on, which may differ
from one attempt to the next, is told anew at most every `QUIET_S`.
"""

import logging

from msgspec import Struct, field

from .driver import DriverError

log = logging.getLogger(__name__)

ONLINE, OFFLINE, UNHEALTHY = "online", "offline", "unhealthy"

UNREADABLE = "Unreadable"
"""The reason of a device that answers, but not for every property."""
DEFINITION_REFUSED = "DefinitionRefused"
"""The reason of a device whose resources cannot be used."""
SILENT = "Silent"
"""The reason of a device that should speak unasked, and does not."""

QUIET_S = 10.0
LONGEST_MESSAGE = 1000
MOST_NAMED = 16
"""Properties that one message names; the rest is counted."""


class State(Struct, frozen=True):
    """A device's state: online, offline or unhealthy; why it is not well, and the desired values it does not follow."""

    device: str
    state: str
    reason: str = ""
    """One word, such as NoAnswer; empty when all is well."""
    message: str = ""
    """The last error."""
    refused: dict[str, str] = field(default_factory=dict)
    """Property -> the desired value that could not be written, and why."""


class Health:
    """One device's state. `state` is empty until it is known."""

    __slots__ = ("_device", "_message", "_reason", "_refused", "_told", "_told_at", "_unreadable", "state")

    def __init__(self, device: str) -> None:
        self._device = device
        self.state = ""
        self._reason = ""
        self._message = ""
        self._unreadable: dict[str, str] = {}
        self._refused: dict[str, str] = {}
        self._told: State | None = None
        self._told_at = float("-inf")

    def answers(self, *, at_all: bool) -> None:
        """The device answers; not `at_all`: for no property as it should."""
        state = ONLINE if at_all else UNHEALTHY
        if state == ONLINE != self.state:
            log.info("= device online device=%s", self._device)
        self.state, self._message = state, ""
        self._reason = UNREADABLE if self._unreadable else ""

    def silent(self, why: str, reason: str, *, alive: bool = False) -> None:
        """The device does not answer; `alive` when it is heard all the same."""
        state = UNHEALTHY if alive else OFFLINE
        if state != self.state:
            log.warning("= device %s device=%s error=%s", state, self._device, why)
        self.state, self._reason, self._message = state, reason, why

    @property
    def troubled(self) -> bool:
        """Whether a property could not be read."""
        return bool(self._unreadable)

    def readable(self, property: str) -> None:
        """A property was read."""
        if property in self._unreadable:
            del self._unreadable[property]
            log.info("= property readable again device=%s property=%s", self._device, property)

    def unreadable(self, property: str, error: DriverError) -> None:
        """A property could not be read; said once, however the words change, until it can be."""
        if property not in self._unreadable:
            log.warning("= property unreadable device=%s property=%s error=%s", self._device, property, error)
        self._unreadable[property] = str(error)

    def refused(self, property: str, why: str) -> None:
        """A desired value is not followed."""
        self._refused[property] = why

    def follows(self, property: str) -> None:
        """What is desired of a property is what it holds, or nothing is desired any more."""
        self._refused.pop(property, None)

    def keep(self, properties: set[str]) -> None:
        """Forget properties that are there no more."""
        self._unreadable = {n: e for n, e in self._unreadable.items() if n in properties}
        self._refused = {n: e for n, e in self._refused.items() if n in properties}

    def told(self) -> list[State]:
        """The state as it was last told, to be told again."""
        return [self._told] if self._told is not None else []

    def news(self, now: float) -> list[State]:
        """What is to be told the gateway now."""
        before = self._told
        if not self.state or (before is not None and self._is_well_as(before)):
            return []
        state = State(self._device, self.state, self._reason, self._text(), _most(self._refused))
        if state == before or (before is not None and now - self._told_at < QUIET_S and _only_text(before, state)):
            return []
        self._told, self._told_at = state, now
        return [state]

    def _is_well_as(self, told: State) -> bool:
        """Whether all is well as before; cheap, for it is asked with every read."""
        quiet = not self._reason and not told.reason and not self._refused and not told.refused
        return quiet and told.state == self.state

    def _text(self) -> str:
        if self._message or not self._unreadable:
            return self._message[:LONGEST_MESSAGE]
        return _joined(self._unreadable)


def _only_text(one: State, other: State) -> bool:
    return (one.state, bool(one.reason), one.refused) == (other.state, bool(other.reason), other.refused)


def _joined(texts: dict[str, str]) -> str:
    """`property: text; property: text; and 3 more`, not too long."""
    named = "; ".join(f"{name}: {text}" for name, text in _most(texts).items())
    more = f"; and {len(texts) - MOST_NAMED} more" if len(texts) > MOST_NAMED else ""
    return named[: LONGEST_MESSAGE - len(more)] + more


def _most(texts: dict[str, str]) -> dict[str, str]:
    return {name: texts[name][:200] for name in list(texts)[:MOST_NAMED]}
