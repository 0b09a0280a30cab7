"""One pod: what is done next so that it runs as it should, or stops. A core, told the time and what happened.

`step` gives the actions; the shell carries them out and tells what came of each. First the volumes, then the containers
(`members.py`). A pod that is deleted is stopped; `finished` says that nothing of it runs any more.
"""

from collections.abc import Callable, Iterable, Iterator

from edge_gateway.edged.actions import Action, Now, Prepare, Release, Tell
from edge_gateway.edged.container_life import CONFIG_ERROR, ContainerLife
from edge_gateway.edged.members import Members
from edge_gateway.edged.pods import Pod
from edge_gateway.edged.probing import Kind
from edge_gateway.edged.records import Final, PodRecord, State
from edge_gateway.edged.runtime import Exit, Running
from edge_gateway.pod_reports import Happened

PREPARE_RETRY_S = 10.0
EVICTED, EVICTED_GRACE_S = "Evicted", 1.0


class PodLife:
    """One pod of this node."""

    def __init__(self, pod: Pod, now: Now, record: PodRecord | None = None) -> None:
        """`record` is what was known of it when edgecore last ran."""
        self.pod = pod
        """Labels, annotations and images of containers may change; nothing else does."""
        self.record = record or PodRecord(pod.id, now.wall)
        self.containers = Members(pod, self.record.containers)
        self.prepared = False
        self.problem = ""
        """Why its volumes cannot be made."""
        self._preparing = False
        self._prepare_at = 0.0
        self._grace_s: float | None = None
        """Set once the pod is to stop."""
        self._grace_at_end_s = float(pod.spec.termination_grace_period_seconds)
        """For what still runs when its end is decided here."""
        self._stop_asked_at = 0.0
        self._released = False
        self._told: list[Action] = []
        if self.record.final is None and pod.status.phase in ("Succeeded", "Failed"):
            self.record.final = Final(pod.status.phase)
        deadline_s = pod.spec.active_deadline_seconds
        self._expires_at = None
        if deadline_s is not None:
            self._expires_at = now.mono + max(0.0, self.record.started_at + deadline_s - now.wall)

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._grace_s is not None

    @property
    def finished(self) -> bool:
        """Whether it was asked to stop and nothing of it runs any more."""
        return self.stopping and not self.containers.alive

    def of(self, name: str) -> ContainerLife | None:
        """One of its containers."""
        return next((c for c in self.containers if c.name == name), None)

    # What happened

    def adopt(self, runs: Iterable[Running], rebooted: bool, now: Now) -> None:
        """edgecore is back: these runs the runtime knows. What ran and is not among them has ended unseen."""
        self._take(self.containers.adopt(runs, now))
        # Volumes in memory, and whatever init containers did to the machine, went with the machine's memory.
        self.prepared = self.containers.alive
        if rebooted and self.record.final is None:
            for container in self.containers.inits:
                container.run_anew()

    def stop(self, grace_s: float, now: Now) -> None:
        """It is to stop within so many seconds; a shorter time replaces a longer one."""
        if self._grace_s is None:
            self._stop_asked_at = now.mono
        self._grace_s = min(grace_s, self._grace_s if self._grace_s is not None else grace_s)

    def reject(self, reason: str, message: str) -> None:
        """It cannot run here, or not any longer."""
        if self.record.final is None:
            self.record.final = Final("Failed", reason, message)
            self._tell("Warning", reason, message)

    def evict(self, message: str) -> None:
        """It uses what this node has not got."""
        self._grace_at_end_s = EVICTED_GRACE_S
        self.reject(EVICTED, message)

    def prepare_done(self) -> None:
        """Its volumes are there."""
        self._preparing, self.prepared, self.problem = False, True, ""

    def prepare_failed(self, message: str, now: Now, reason: str = "FailedMount") -> None:
        """Its volumes, or what its containers share, cannot be made now."""
        self._preparing, self._prepare_at = False, now.mono + PREPARE_RETRY_S
        if message != self.problem:
            self._tell("Warning", reason, message)
        self.problem = message

    def look_again(self) -> None:
        """A ConfigMap or Secret that it may wait for came or changed."""
        self._prepare_at = 0.0
        for container in self.containers:
            container.look_again()

    def started(self, name: str, attempt: int, at: float, now: Now) -> None:
        """A container runs, since `at` (since 1970), unless its end was heard of before."""
        container = self.of(name)
        if container is not None and container.state is State.STARTING and container.record.attempt == attempt:
            self._take(container.has_started(at, now))

    def must_wait(self, name: str, message: str, now: Now, reason: str = CONFIG_ERROR) -> None:
        """A container cannot be started as long as something is missing."""
        self._with(name, lambda c: c.must_wait(reason, message, now))

    def exited(self, name: str, attempt: int, exit: Exit, now: Now) -> None:
        """A container has ended, or could not be started; of an attempt that is over already, nothing more is heard."""
        container = self.of(name)
        if container is not None and container.alive and container.record.attempt == attempt:
            self._take(container.exited(exit, now))

    def probed(self, name: str, kind: Kind, ok: bool, message: str, now: Now) -> None:
        """The result of a probe."""
        grace_s = self.pod.spec.termination_grace_period_seconds
        self._with(name, lambda c: c.probed(kind, ok, message, grace_s, now))

    def hooked(self, name: str, which: str, error: str, now: Now) -> None:
        """A lifecycle call is over."""
        grace_s = self.pod.spec.termination_grace_period_seconds
        self._with(name, lambda c: c.hooked(which, error, grace_s, now))

    def _with(self, name: str, happened: Callable[[ContainerLife], Iterator[Action]]) -> None:
        container = self.of(name)
        if container is not None:
            self._take(happened(container))

    def _take(self, actions: Iterable[Action]) -> None:
        self._told += actions

    def _tell(self, type: str, reason: str, message: str) -> None:
        self._told.append(Tell(Happened("Warning" if type == "Warning" else "Normal", reason, message)))

    # What is done next

    def step(self, now: Now) -> list[Action]:
        """What is to be done now."""
        self._expire(now)
        if not self.stopping and self.record.final is None:
            self._run(now)
        if self.stopping or self.record.final is not None:
            self._stop_all(now)
        for container in self.containers:
            self._take(container.go_on_stopping(now))
            self._take(container.probe(now))
        actions, self._told = self._told, []
        return actions

    def due(self, now: Now) -> float | None:
        """When time alone brings something about after a `step` now, by the clock that only goes forward."""
        times = [at for container in self.containers for at in container.due()]
        if not self.prepared and self._prepare_at and not self.stopping:
            times.append(self._prepare_at)
        if self._expires_at is not None and self.record.final is None:
            times.append(self._expires_at)
        return min((at for at in times if at > now.mono), default=None)

    def _expire(self, now: Now) -> None:
        if self._expires_at is not None and now.mono >= self._expires_at and self.record.final is None:
            why = "Pod was active on the node longer than the specified deadline"
            self.record.final = Final("Failed", "DeadlineExceeded", why)
            self._tell("Normal", "DeadlineExceeded", why)

    def _run(self, now: Now) -> None:
        if not self.prepared:
            if not self._preparing and now.mono >= self._prepare_at:
                self._preparing = True
                self._told.append(Prepare())
            return
        self._take(self.containers.run(now))
        if outcome := self.containers.outcome:
            self.record.final = Final(outcome)

    def _stop_all(self, now: Now) -> None:
        whole_s = self._grace_s if self._grace_s is not None else self._grace_at_end_s
        asked_at = self._stop_asked_at or now.mono
        self._stop_asked_at = asked_at
        self._take(self.containers.stop(max(0.0, asked_at + whole_s - now.mono), now))
        if self.stopping and self.record.final is None and not self.containers.alive:
            self.record.final = Final("Succeeded" if self.containers.succeeded else "Failed")
        if self.record.final is not None and not self.containers.alive and not (self._released or self._preparing):
            self._released = True
            self._told.append(Release())
