"""The containers of a pod in the order in which they run: what starts next, what stops first, and what they came to. A core.

Init containers run one after another (those with restartPolicy Always stay on beside the others), then all containers at once.
What has ended for good stays ended. Sidecars stop last, the last one first.
"""

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from edge_gateway.edged.actions import Action, Now
from edge_gateway.edged.container_life import UNKNOWN, UNKNOWN_CODE, ContainerLife, Role
from edge_gateway.edged.pods import Pod
from edge_gateway.edged.records import ContainerRecord, State
from edge_gateway.edged.runtime import Exit, Running


class Members:
    """The containers of one pod."""

    def __init__(self, pod: Pod, records: dict[str, ContainerRecord]) -> None:
        """`records` are theirs, by name; those that are missing are added."""
        called = f"{pod.metadata.name}_{pod.metadata.namespace}({pod.uid})"
        self.inits: list[ContainerLife] = []
        self.mains: list[ContainerLife] = []
        self._policy = pod.spec.restart_policy
        self._grace_s = float(pod.spec.termination_grace_period_seconds)
        for spec in pod.spec.init_containers:
            role = Role.SIDECAR if spec.restart_policy == "Always" else Role.INIT
            self.inits.append(ContainerLife(called, spec, role, records.setdefault(spec.name, ContainerRecord())))
        for spec in pod.spec.containers:
            self.mains.append(ContainerLife(called, spec, Role.MAIN, records.setdefault(spec.name, ContainerRecord())))

    def __iter__(self) -> Iterator[ContainerLife]:
        """All of it, in the order of their starts."""
        yield from self.inits
        yield from self.mains

    @property
    def alive(self) -> bool:
        """Whether any runs, or is about to."""
        return any(container.alive for container in self)

    @property
    def initialized(self) -> bool:
        """Whether the containers proper may run, as far as the init containers are concerned."""
        return all(c.succeeded or (c.role is Role.SIDECAR and c.started) for c in self.inits)

    @property
    def succeeded(self) -> bool:
        """Whether all containers proper ran to their ends without an error."""
        return bool(self.mains) and all(c.succeeded for c in self.mains)

    @property
    def outcome(self) -> str:
        """`Succeeded` or `Failed` once it is over and none is to run again; empty before."""
        for container in self.inits:
            if container.role is Role.INIT and container.state is State.ENDED and not container.succeeded:
                return "Failed" if self._policy == "Never" else ""
        if any(c.state is not State.ENDED or self._restarts(c) for c in self.mains):
            return ""
        return "Succeeded" if self.succeeded else "Failed"

    def adopt(self, runs: Iterable[Running], now: Now) -> Iterator[Action]:
        """edgecore is back: these runs the runtime knows. What ran and is not among them has ended unseen."""
        newest: dict[str, Running] = {}
        for run in runs:
            if run.id.attempt >= newest.get(run.id.container, run).id.attempt:
                newest[run.id.container] = run
        for container in self:
            yield from _adopt(container, newest.get(container.name), now)

    def redefine(self, pod: Pod) -> None:
        """Their pod is this now, in which the images alone can be others (Kubernetes lets nobody change more)."""
        for container in self:
            spec = pod.container(container.name)
            if spec is not None and spec.image != container.spec.image:
                container.spec = replace(container.spec, image=spec.image)
                container.not_before = container.record.back_off_s = 0.0

    def run(self, now: Now) -> Iterator[Action]:
        """Start what may be started now, and stop what is to start again with another image."""
        for container in self:
            if container.role is not Role.INIT:
                yield from _renew(container, self._grace_s, now)
        for container in self.inits:
            if container.role is Role.INIT and container.succeeded:
                continue
            if container.role is Role.INIT and container.state is State.ENDED and self._policy == "Never":
                return
            if not container.alive:
                yield from container.start(now)
            if not (container.role is Role.SIDECAR and container.started):
                return
        for container in self.mains:
            if container.state is State.WAITING or self._restarts(container):
                yield from container.start(now)

    def _restarts(self, container: ContainerLife) -> bool:
        if container.state is not State.ENDED:
            return False
        return (
            container.record.renewing
            or self._policy == "Always"
            or (self._policy == "OnFailure" and not container.succeeded)
        )

    def stop(self, left_s: float, now: Now) -> Iterator[Action]:
        """Stop them within so many seconds; what is stopped last is told later."""
        first = [c for c in self if c.role is not Role.SIDECAR]
        for container in first:
            yield from container.stop(left_s, f"Stopping container {container.name}", now)
        if any(c.alive for c in first):
            return
        for container in reversed([c for c in self.inits if c.role is Role.SIDECAR]):
            if container.alive:
                yield from container.stop(left_s, f"Stopping container {container.name}", now)
                return


def _renew(container: ContainerLife, grace_s: float, now: Now) -> Iterator[Action]:
    """Stop one that runs with another image than it shall have; its start is next, whatever the restart policy says."""
    record = container.record
    if record.state is State.RUNNING and record.image != container.spec.image and not record.renewing:
        record.renewing = True
        yield from container.stop(grace_s, f"Container {container.name} definition changed, will be restarted", now)


def _adopt(container: ContainerLife, known: Running | None, now: Now) -> Iterator[Action]:
    record = container.record
    if known is not None and known.exit is None:
        container.adopt(known.id.attempt, known.at, now)
    elif known is not None and known.exit is not None and container.alive:
        record.attempt, record.started_at = known.id.attempt, known.at
        record.state = State.RUNNING
        yield from container.exited(known.exit, now)
    elif container.alive:
        lost = Exit(UNKNOWN_CODE, now.wall, UNKNOWN, "it ended while nobody looked")
        yield from container.exited(lost, now)
    else:
        container.resume(now)
