"""One pod: what is done next so that it runs as it should, or stops. A core, told the time and what happened.

`step` gives the actions; the shell carries them out and tells what came of each. First the volumes, then the init containers one
after another (those with restartPolicy Always stay on beside the others), then all containers at once. What has ended for good
stays ended. A pod that is deleted is stopped, sidecars last; `finished` says that nothing of it runs any more.
"""

from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct, field

from edge_gateway.edged.actions import Action, Now, Prepare, Tell
from edge_gateway.edged.container_life import (
    CONFIG_ERROR,
    UNKNOWN,
    UNKNOWN_CODE,
    ContainerLife,
    ContainerRecord,
    Role,
    State,
)
from edge_gateway.edged.pods import Container, Pod
from edge_gateway.edged.probing import Kind
from edge_gateway.edged.runtime import Exit, Running
from edge_gateway.pod_reports import Happened

PREPARE_RETRY_S = 10.0


class Final(Struct, frozen=True):
    """How a pod ended."""

    phase: str
    """`Succeeded` or `Failed`."""
    reason: str = ""
    message: str = ""


class Since(Struct, frozen=True):
    """A condition's status, and since when (since 1970)."""

    status: str
    at: float


class PodRecord(Struct):
    """What outlives edgecore."""

    id: str
    """`<namespace>/<name>`."""
    started_at: float
    containers: dict[str, ContainerRecord] = field(default_factory=dict)
    final: Final | None = None
    conditions: dict[str, Since] = field(default_factory=dict)
    boot: str = ""
    """Which of the machine's starts it last ran in."""


class PodLife:
    """One pod of this node."""

    def __init__(self, pod: Pod, now: Now, record: PodRecord | None = None) -> None:
        """`record` is what was known of it when edgecore last ran."""
        self.pod = pod
        self.record = record or PodRecord(pod.id, now.wall)
        self.prepared = False
        self.problem = ""
        """Why its volumes cannot be made."""
        self.inits: list[ContainerLife] = []
        self.mains: list[ContainerLife] = []
        self._preparing = False
        self._prepare_at = 0.0
        self._grace_s: float | None = None
        """Set once the pod is to stop."""
        self._stop_asked_at = 0.0
        self._told: list[Action] = []
        for spec in pod.spec.init_containers:
            self.inits.append(self._life(spec, Role.SIDECAR if spec.restart_policy == "Always" else Role.INIT))
        for spec in pod.spec.containers:
            self.mains.append(self._life(spec, Role.MAIN))
        if self.record.final is None and pod.status.phase in ("Succeeded", "Failed"):
            self.record.final = Final(pod.status.phase)
        deadline_s = pod.spec.active_deadline_seconds
        self._expires_at = None
        if deadline_s is not None:
            self._expires_at = now.mono + max(0.0, self.record.started_at + deadline_s - now.wall)

    def _life(self, spec: Container, role: Role) -> ContainerLife:
        record = self.record.containers.setdefault(spec.name, ContainerRecord())
        called = f"{self.pod.metadata.name}_{self.pod.metadata.namespace}({self.pod.uid})"
        return ContainerLife(called, spec, role, record)

    @property
    def containers(self) -> list[ContainerLife]:
        """All of it, in the order of their starts."""
        return [*self.inits, *self.mains]

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._grace_s is not None

    @property
    def finished(self) -> bool:
        """Whether it was asked to stop and nothing of it runs any more."""
        return self.stopping and not any(c.alive for c in self.containers)

    @property
    def initialized(self) -> bool:
        """Whether the containers proper may run, as far as the init containers are concerned."""
        return all(c.succeeded or (c.role is Role.SIDECAR and c.started) for c in self.inits)

    def of(self, name: str) -> ContainerLife | None:
        """One of its containers."""
        return next((c for c in self.containers if c.name == name), None)

    # What happened

    def adopt(self, runs: Iterable[Running], rebooted: bool, now: Now) -> None:
        """edgecore is back: these runs the runtime knows. What ran and is not among them has ended unseen."""
        newest: dict[str, Running] = {}
        for run in runs:
            if run.id.attempt >= newest.get(run.id.container, run).id.attempt:
                newest[run.id.container] = run
        for container in self.containers:
            known = newest.get(container.name)
            record = container.record
            if known is not None and known.exit is None:
                container.adopt(known.id.attempt, known.at, now)
            elif known is not None and known.exit is not None and container.alive:
                record.attempt, record.started_at = known.id.attempt, known.at
                record.state = State.RUNNING
                self._take(container.exited(known.exit, now))
            elif container.alive:
                lost = Exit(UNKNOWN_CODE, now.wall, UNKNOWN, "it ended while nobody looked")
                self._take(container.exited(lost, now))
            else:
                container.resume(now)
        # Volumes in memory, and whatever init containers did to the machine, went with the machine's memory.
        self.prepared = any(c.alive for c in self.containers)
        if rebooted and self.record.final is None:
            for container in self.inits:
                container.run_anew()

    def update(self, pod: Pod) -> None:
        """Labels and annotations may have changed, and whether it is to stop; its containers do not change."""
        self.pod = pod

    def stop(self, grace_s: float, now: Now) -> None:
        """It is to stop within so many seconds; a shorter time replaces a longer one."""
        if self._grace_s is None:
            self._stop_asked_at = now.mono
        self._grace_s = min(grace_s, self._grace_s if self._grace_s is not None else grace_s)

    def reject(self, reason: str, message: str) -> None:
        """It cannot run here."""
        if self.record.final is None:
            self.record.final = Final("Failed", reason, message)
            self._tell("Warning", reason, message)

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
        for container in self.inits:
            if not self._init_runs(container, now):
                return
        for container in self.mains:
            if container.state is State.WAITING or self._restarts(container):
                self._take(container.start(now))
        self._conclude()

    def _init_runs(self, container: ContainerLife, now: Now) -> bool:
        """Let an init container run; whether the next may."""
        if container.role is Role.INIT:
            if container.succeeded:
                return True
            if container.state is State.ENDED and self.pod.spec.restart_policy == "Never":
                self.record.final = Final("Failed")
                return False
        if not container.alive:
            self._take(container.start(now))
        return container.role is Role.SIDECAR and container.started

    def _restarts(self, container: ContainerLife) -> bool:
        policy = self.pod.spec.restart_policy
        if container.state is not State.ENDED:
            return False
        return policy == "Always" or (policy == "OnFailure" and not container.succeeded)

    def _conclude(self) -> None:
        """Note how it ended, once it has: every container is over and none is to run again."""
        if any(c.state is not State.ENDED or self._restarts(c) for c in self.mains):
            return
        self.record.final = Final("Succeeded" if all(c.succeeded for c in self.mains) else "Failed")

    def _stop_all(self, now: Now) -> None:
        """Containers first, then the sidecars, the last one first, with what is left of the time."""
        whole_s = self._grace_s if self._grace_s is not None else self.pod.spec.termination_grace_period_seconds
        asked_at = self._stop_asked_at or now.mono
        self._stop_asked_at = asked_at
        left_s = max(0.0, asked_at + whole_s - now.mono)
        first = [c for c in self.containers if c.role is not Role.SIDECAR]
        for container in first:
            self._take(container.stop(left_s, f"Stopping container {container.name}", now))
        if any(c.alive for c in first):
            return
        for container in reversed([c for c in self.inits if c.role is Role.SIDECAR]):
            if container.alive:
                self._take(container.stop(left_s, f"Stopping container {container.name}", now))
                return
        if self.stopping and self.record.final is None:
            ended_well = bool(self.mains) and all(c.succeeded for c in self.mains)
            self.record.final = Final("Succeeded" if ended_well else "Failed")
