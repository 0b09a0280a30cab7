"""How a container is stopped, once it is to: preStop hook, SIGTERM to its first process, SIGKILL to all of it. A core.

As a kubelet does: the hook takes its part of the grace period, and what comes after it has two seconds at least.
"""

from collections.abc import Iterator

from edge_gateway.edged.actions import KILL, TERM, Action, Hook, Now, Signal
from edge_gateway.edged.pods import Container

TERM_LEAST_S = 2.0
"""What a container has after its preStop hook, however long that took."""
KILL_AGAIN_S = 5.0


class Stopping:
    """The end of one attempt at a container."""

    def __init__(self, spec: Container, attempt: int, grace_s: float, now: Now) -> None:
        self._spec, self._attempt = spec, attempt
        self._asked = self._deadline = now.mono + grace_s
        """When it shall be over, and when it will be killed: later where a hook took all the time."""
        self._stage = "asked"
        self._kill_at = 0.0

    @property
    def due(self) -> float:
        """When time alone brings something about."""
        return max(self._deadline, self._kill_at)

    def within(self, grace_s: float, now: Now) -> None:
        """It shall be over within so many seconds, if that is sooner."""
        if now.mono + grace_s < self._asked - 0.01:
            self._asked = self._deadline = now.mono + grace_s

    def hooked(self) -> None:
        """Its preStop hook is over."""
        if self._stage == "hook":
            self._stage = "hooked"

    def go_on(self, now: Now) -> Iterator[Action]:
        """The next step."""
        hook, name = self._spec.lifecycle.pre_stop, self._spec.name
        if self._stage == "asked" and hook is not None and now.mono < self._deadline:
            self._stage = "hook"
            yield Hook(self._spec, self._attempt, "preStop", hook, self._deadline - now.mono)
        elif self._stage == "asked" and now.mono < self._deadline:
            self._stage = "term"
            yield Signal(name, self._attempt, TERM)
        elif self._stage == "hooked" or (self._stage == "hook" and now.mono >= self._deadline):
            self._stage = "term"
            self._deadline = max(self._deadline, now.mono + TERM_LEAST_S)
            yield Signal(name, self._attempt, TERM)
        elif now.mono >= self.due and self._stage != "hook":
            self._stage = "kill"
            self._kill_at = now.mono + KILL_AGAIN_S
            yield Signal(name, self._attempt, KILL, everything=True)
