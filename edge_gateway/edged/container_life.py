"""One container of a pod: what state it is in, when it may be started again, and how it is stopped. A core.

Back-off is kubelet's: the first crash is followed by a start at once, the next ones wait 10 s, doubled up to 5 min,
counted from the end; ten minutes without a crash set it back. `stopping.py` says how it is stopped.
"""

from collections.abc import Iterator
from enum import Enum

from edge_gateway.edged.actions import Action, Call, Hook, Now, Start, Tell
from edge_gateway.edged.pods import Container
from edge_gateway.edged.probing import Kind, ProbeLife, probes_of
from edge_gateway.edged.records import ContainerRecord, Ended, State
from edge_gateway.edged.runtime import Exit
from edge_gateway.edged.stopping import Stopping
from edge_gateway.pod_reports import Happened

BACK_OFF_FIRST_S, BACK_OFF_LIMIT_S, BACK_OFF_RESET_S = 10.0, 300.0, 600.0
CRASH_LOOP, CREATING, INITIALIZING = "CrashLoopBackOff", "ContainerCreating", "PodInitializing"
CONFIG_ERROR = "CreateContainerConfigError"
CONFIG_RETRY_S = 10.0
UNKNOWN = "ContainerStatusUnknown"
"""The reason of a container that went while nobody looked."""
UNKNOWN_CODE = 137
START_ERROR = "StartError"
"""The reason of a container whose command cannot be run."""


class Role(Enum):
    """What a container is in its pod."""

    INIT = "init"
    SIDECAR = "sidecar"
    """An init container that goes on running."""
    MAIN = "main"


class ContainerLife:
    """One container."""

    def __init__(self, pod: str, spec: Container, role: Role, record: ContainerRecord | None = None) -> None:
        """`pod` is how events call its pod."""
        self.spec = spec
        self.role = role
        self.record = record or ContainerRecord()
        self.waiting = (CREATING if role is Role.MAIN else INITIALIZING, "")
        """Reason and message while it waits."""
        self.not_before = 0.0
        self.started = False
        self.ready = False
        self._pod = pod
        self._ended_at = 0.0
        self._probes: dict[Kind, ProbeLife] = {}
        self._stop: Stopping | None = None
        self._hooking = False

    @property
    def name(self) -> str:
        """Its name."""
        return self.spec.name

    @property
    def state(self) -> State:
        """Where it is."""
        return self.record.state

    @property
    def alive(self) -> bool:
        """Whether it runs, or is about to."""
        return self.state in (State.STARTING, State.RUNNING)

    @property
    def succeeded(self) -> bool:
        """Whether it ran to its end without an error."""
        ended = self.record.ended
        return self.state is State.ENDED and ended is not None and ended.code == 0

    def runs(self, attempt: int) -> bool:
        """Whether this attempt runs now."""
        return self.state is State.RUNNING and self.record.attempt == attempt

    # Starting

    def start(self, now: Now) -> Iterator[Action]:
        """Start it for the first time, or again when its back-off allows; nothing while it does not."""
        record = self.record
        if now.mono < self.not_before:
            return
        if record.state is State.ENDED and record.ended is not None:
            until = self._may_start_at(now)
            if now.mono < until:
                yield from self._crash_loop(until)
                return
            self._next_attempt(now, record.ended)
        elif self.waiting[0] == CRASH_LOOP and record.last is not None:
            self._next_attempt(now, record.last)
        record.state, record.image, record.renewing = State.STARTING, self.spec.image, False
        yield Start(self.spec, record.attempt)

    def _next_attempt(self, now: Now, ended: Ended) -> None:
        record = self.record
        fresh = not record.back_off_s or now.wall - record.back_off_at > BACK_OFF_RESET_S
        record.back_off_s = BACK_OFF_FIRST_S if fresh else min(record.back_off_s * 2, BACK_OFF_LIMIT_S)
        record.back_off_at = now.wall
        record.last, record.ended = ended, None
        record.attempt += 1
        record.restarts += 1
        self.waiting = (CREATING, "")

    def _may_start_at(self, now: Now) -> float:
        record = self.record
        since = self._ended_at - (now.mono - (now.wall - record.back_off_at))
        if not record.back_off_s or since > BACK_OFF_RESET_S:
            return now.mono
        return self._ended_at + record.back_off_s

    def _crash_loop(self, until: float) -> Iterator[Action]:
        record = self.record
        delay = f"{record.back_off_s:.0f}s" if record.back_off_s < 60 else _minutes(record.back_off_s)
        self.waiting = (CRASH_LOOP, f"back-off {delay} restarting failed container={self.name} pod={self._pod}")
        self.not_before = until
        record.state, record.last, record.ended = State.WAITING, record.ended, None
        why = f"Back-off restarting failed container {self.name} in pod {self._pod}"
        yield self.tell("Warning", "BackOff", why)

    def has_started(self, at: float, now: Now) -> Iterator[Action]:
        """It runs since `at` (since 1970)."""
        record = self.record
        record.state, record.started_at, record.ended = State.RUNNING, at, None
        self._probes = probes_of(self.spec, now.mono)
        self.started = "Startup" not in self._probes
        self.ready = self.started and "Readiness" not in self._probes
        yield self.tell("Normal", "Started", f"Started container {self.name}")
        hook = self.spec.lifecycle.post_start
        if hook is not None:
            self._hooking = True
            yield Hook(self.spec, record.attempt, "postStart", hook, 600.0)

    def adopt(self, attempt: int, at: float, now: Now) -> None:
        """It runs since before edgecore did; what its probes found before is not known."""
        was_started = self.record.state is State.RUNNING and self.record.attempt == attempt
        self.record.attempt = attempt
        self.record.image, self.record.renewing = self.record.image or self.spec.image, False
        for _ in self.has_started(at, now):
            self._hooking = False
        if was_started:
            self.started = True
            self.ready = "Readiness" not in self._probes

    def resume(self, now: Now) -> None:
        """It did not run while edgecore was away: its back-off goes on."""
        record = self.record
        ended = record.ended or record.last
        if ended is None:
            return
        self._ended_at = now.mono - min(max(0.0, now.wall - ended.finished_at), 2 * BACK_OFF_RESET_S)
        if record.state is State.WAITING and ended.attempt == record.attempt:
            for _ in self._crash_loop(self._ended_at + record.back_off_s):
                record.last = ended

    def must_wait(self, reason: str, message: str, now: Now) -> Iterator[Action]:
        """It could not be started for want of something that may come."""
        self.record.state = State.WAITING
        told = self.waiting == (reason, message)
        self.waiting, self.not_before = (reason, message), now.mono + CONFIG_RETRY_S
        if not told:
            yield self.tell("Warning", "Failed", f"Error: {message if reason == CONFIG_ERROR else reason}")

    def look_again(self) -> None:
        """What it waited for may have come."""
        if self.waiting[0] == CONFIG_ERROR:
            self.not_before = 0.0

    def exited(self, exit: Exit, now: Now) -> Iterator[Action]:
        """It has ended."""
        record = self.record
        if record.state is State.STARTING:
            record.started_at = exit.at
            if exit.reason != START_ERROR:
                yield self.tell("Normal", "Started", f"Started container {self.name}")
        reason = exit.reason or ("Completed" if exit.code == 0 else "Error")
        record.ended = Ended(record.attempt, exit.code, reason, exit.message, record.started_at, exit.at)
        record.state = State.ENDED
        self._ended_at = now.mono - min(max(0.0, now.wall - exit.at), BACK_OFF_LIMIT_S)
        self._stop, self._probes, self._hooking = None, {}, False
        self.started = self.ready = False
        if exit.reason == START_ERROR:
            yield self.tell("Warning", "Failed", f"Error: {exit.message}")

    def run_anew(self) -> None:
        """The machine was restarted: its pod begins from the beginning."""
        if self.record.state is State.ENDED:
            self.record.last, self.record.ended = self.record.ended, None
            self.record.attempt += 1
        self.record.state = State.WAITING

    # Probes and hooks

    def probe(self, now: Now) -> Iterator[Action]:
        """Make the probes that are due."""
        if self.state is not State.RUNNING or self._stop is not None or self._hooking:
            return
        for kind, probe in self._probes.items():
            if (kind == "Startup") == self.started:
                continue
            if probe.due_at is not None and probe.due_at <= now.mono:
                probe.sent(now.mono)
                yield Call(self.spec, self.record.attempt, kind, probe.spec)

    def probed(self, kind: Kind, ok: bool, message: str, grace_s: float, now: Now) -> Iterator[Action]:
        """The result of a probe."""
        probe = self._probes.get(kind)
        if probe is None or self.state is not State.RUNNING:
            return
        turned = probe.answered(ok, now.mono)
        if not ok:
            yield self.tell("Warning", "Unhealthy", f"{kind} probe failed: {message}")
        if not turned:
            return
        if kind == "Readiness":
            self.ready = ok
        elif ok and kind == "Startup":
            self.started = True
            self.ready = "Readiness" not in self._probes
        elif not ok:
            why = f"Container {self.name} failed {kind.lower()} probe, will be restarted"
            own_s = probe.spec.termination_grace_period_seconds
            yield from self.stop(grace_s if own_s is None else own_s, why, now)

    def hooked(self, which: str, error: str, grace_s: float, now: Now) -> Iterator[Action]:
        """A lifecycle call is over; `error` is empty when it went well."""
        self._hooking = False
        if error:
            reason = "FailedPostStartHook" if which == "postStart" else "FailedPreStopHook"
            yield self.tell("Warning", reason, f"{which} hook of container {self.name} failed: {error}")
        if which == "postStart" and error and self.state is State.RUNNING:
            yield from self.stop(grace_s, "FailedPostStartHook", now)
        elif which == "preStop" and self._stop is not None:
            self._stop.hooked()

    # Stopping

    def stop(self, grace_s: float, why: str, now: Now) -> Iterator[Action]:
        """Stop it within so many seconds; once asked, only sooner."""
        if self.state is not State.RUNNING:
            return
        if self._stop is not None:
            self._stop.within(grace_s, now)
            return
        self._stop = Stopping(self.spec, self.record.attempt, grace_s, now)
        yield self.tell("Normal", "Killing", why)
        yield from self.go_on_stopping(now)

    def go_on_stopping(self, now: Now) -> Iterator[Action]:
        """The next step of stopping it."""
        if self._stop is not None:
            yield from self._stop.go_on(now)

    # Time

    def due(self) -> Iterator[float]:
        """When time alone brings something about."""
        if self.state is State.WAITING and self.not_before:
            yield self.not_before
        if self._stop is not None:
            yield self._stop.due
        elif self.state is State.RUNNING and not self._hooking:
            for kind, probe in self._probes.items():
                if (kind == "Startup") != self.started and probe.due_at is not None:
                    yield probe.due_at

    def tell(self, type: str, reason: str, message: str) -> Tell:
        """Something that happened to it."""
        field = "containers" if self.role is Role.MAIN else "initContainers"
        return Tell(Happened("Warning" if type == "Warning" else "Normal", reason, message, self.name, field))


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s"
