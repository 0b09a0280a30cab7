"""Probes: when each is due, and what its results come to. A core; `probe_calls` makes the calls.

A probe turns only after as many equal results in a row as its threshold says (kubelet's prober). Times are seconds of a monotonic
clock.
"""

from typing import Literal

from edge_gateway.edged.pods import Container, Probe

Kind = Literal["Startup", "Liveness", "Readiness"]
KINDS: tuple[Kind, ...] = ("Startup", "Liveness", "Readiness")


class ProbeLife:
    """One probe of a running container."""

    __slots__ = ("_flying", "_next_at", "_row", "kind", "passed", "spec")

    def __init__(self, kind: Kind, spec: Probe, now: float) -> None:
        """The container was started now."""
        self.kind = kind
        self.spec = spec
        self.passed = kind == "Liveness"
        """What it comes to; a container counts as alive until the contrary is proved, and as ready when that is proved."""
        self._next_at = now + spec.initial_delay_seconds
        self._flying = False
        self._row = 0
        """Results in a row that contradict `passed`; one that agrees sets it back. Of a startup probe: failures in a row."""

    @property
    def due_at(self) -> float | None:
        """When it is to be made; None while one is under way."""
        return None if self._flying else self._next_at

    def sent(self, now: float) -> None:
        """It is being made."""
        self._flying = True
        self._next_at = now + self.spec.period_seconds

    def answered(self, ok: bool, now: float) -> bool:
        """A result; whether the probe has turned, or has failed as often as it may once more."""
        self._flying = False
        self._next_at = max(self._next_at, now)
        if ok == self.passed and not (self.kind == "Startup" and not ok):
            self._row = 0
            return False
        self._row += 1
        threshold = self.spec.success_threshold if ok else self.spec.failure_threshold
        if self._row < threshold:
            return False
        self._row = 0
        self.passed = ok
        return True


def probes_of(container: Container, now: float) -> dict[Kind, ProbeLife]:
    """The probes of a container that was started now."""
    specs: dict[Kind, Probe | None] = {
        "Startup": container.startup_probe,
        "Liveness": container.liveness_probe,
        "Readiness": container.readiness_probe,
    }
    return {kind: ProbeLife(kind, spec, now) for kind, spec in specs.items() if spec is not None}
