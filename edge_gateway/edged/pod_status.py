"""A pod's status as a kubelet reports it: phase, conditions, states of its containers. A core.

What is reported follows from the pod's life alone, so that equal lives give equal statuses and nothing is told twice. The class
of service is left to the API server, which lets nobody change it.
"""

from datetime import UTC, datetime
from typing import Any

from edge_gateway.edged.actions import Now
from edge_gateway.edged.container_life import CRASH_LOOP, ContainerLife, Role
from edge_gateway.edged.environment import Facts
from edge_gateway.edged.pod_life import EVICTED, PodLife
from edge_gateway.edged.records import Ended, Since, State


def status_of(life: PodLife, facts: Facts, runtime: str, now: Now, address: str = "") -> dict[str, Any]:
    """The PodStatus; the times of conditions that changed are noted in the life's record.

    `address` is the pod's own, where it has one.
    """
    final, phase = life.record.final, phase_of(life)
    status: dict[str, Any] = {
        "phase": phase,
        "startTime": rfc3339(life.record.started_at),
        "conditions": _conditions(life, phase, now),
    }
    for name, containers in (
        ("containerStatuses", life.containers.mains),
        ("initContainerStatuses", life.containers.inits),
    ):
        # What will never start has no state, as in a kubelet's refusals: else kubectl calls it ContainerCreating for ever.
        told = [_container(life, c, runtime) for c in containers if final is None or _has_been(c)]
        if told:
            status[name] = told
    if final is not None and final.reason:
        status["reason"], status["message"] = final.reason, final.message
    if facts.address:
        status["hostIP"], status["hostIPs"] = facts.address, [{"ip": facts.address}]
        if life.prepared or final is not None:
            status["podIP"] = address or facts.address
            status["podIPs"] = [{"ip": status["podIP"]}]
    return status


def phase_of(life: PodLife) -> str:
    """Kubernetes' one word for a pod (kubelet's getPhase)."""
    final = life.record.final
    if final is not None and not life.containers.alive:
        return final.phase
    if not life.containers.initialized and not any(c.state is State.RUNNING for c in life.containers.mains):
        return "Pending"
    if any(c.state is State.RUNNING or c.record.ended or c.record.last for c in life.containers.mains):
        return "Running"
    return "Pending"


def _conditions(life: PodLife, phase: str, now: Now) -> list[dict[str, Any]]:
    over = phase in ("Succeeded", "Failed")
    unready = [c.name for c in life.containers.mains if not c.ready]
    uninitialized = [
        c.name for c in life.containers.inits if not (c.succeeded or (c.role is Role.SIDECAR and (c.started or over)))
    ]
    why_unready = ("PodCompleted", "") if phase == "Succeeded" else ("PodFailed", "") if phase == "Failed" else None
    if why_unready is None and unready:
        why_unready = ("ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    initialized = life.containers.initialized or (over and not uninitialized) or phase == "Succeeded"
    why_uninitialized = ("ContainersNotInitialized", f"containers with incomplete status: [{' '.join(uninitialized)}]")
    found: list[tuple[str, bool, tuple[str, str] | None]] = [
        ("PodReadyToStartContainers", life.prepared and not over, None),
        ("Initialized", initialized, None if initialized else why_uninitialized),
        ("Ready", why_unready is None, why_unready),
        ("ContainersReady", why_unready is None, why_unready),
    ]
    final = life.record.final
    if final is not None and final.reason == EVICTED:  # for controllers that count failures
        found.append(("DisruptionTarget", True, ("TerminationByKubelet", final.message)))
    return [_condition(life, type, holds, why, now) for type, holds, why in found]


def _condition(life: PodLife, type: str, holds: bool, why: tuple[str, str] | None, now: Now) -> dict[str, Any]:
    status = "True" if holds else "False"
    known = life.record.conditions.get(type)
    if known is None or known.status != status:
        known = life.record.conditions[type] = Since(status, now.wall)
    condition = {"type": type, "status": status, "lastTransitionTime": rfc3339(known.at)}
    if why is not None:
        condition["reason"] = why[0]
        if why[1]:
            condition["message"] = why[1]
    return condition


def _container(life: PodLife, container: ContainerLife, runtime: str) -> dict[str, Any]:
    record = container.record
    last: dict[str, Any] = {}
    if record.last is not None:
        last = {"terminated": _terminated(life, container, record.last, runtime)}
    return {
        "name": container.name,
        "image": container.spec.image,
        "imageID": "",
        "ready": container.ready or (container.role is Role.INIT and container.succeeded),
        "started": container.started,
        "restartCount": record.restarts,
        "state": _state(life, container, runtime),
        "lastState": last,
        **({"containerID": _id(life, container, record.attempt, runtime)} if _has_run(container) else {}),
    }


def _state(life: PodLife, container: ContainerLife, runtime: str) -> dict[str, Any]:
    record = container.record
    if record.state is State.RUNNING:
        return {"running": {"startedAt": rfc3339(record.started_at)}}
    if record.state is State.ENDED and record.ended is not None:
        return {"terminated": _terminated(life, container, record.ended, runtime)}
    if record.last is not None and life.record.final is not None:
        return {"terminated": _terminated(life, container, record.last, runtime)}
    reason, message = container.waiting
    if container.role is Role.MAIN and not life.containers.initialized and reason != CRASH_LOOP:
        reason, message = "PodInitializing", ""
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def _terminated(life: PodLife, container: ContainerLife, ended: Ended, runtime: str) -> dict[str, Any]:
    return {
        "exitCode": ended.code,
        "reason": ended.reason,
        "startedAt": rfc3339(ended.started_at),
        "finishedAt": rfc3339(ended.finished_at),
        "containerID": _id(life, container, ended.attempt, runtime),
        **({"message": ended.message} if ended.message else {}),
    }


def _has_been(container: ContainerLife) -> bool:
    return container.state is not State.WAITING or container.record.last is not None


def _has_run(container: ContainerLife) -> bool:
    return container.state in (State.RUNNING, State.ENDED)


def _id(life: PodLife, container: ContainerLife, attempt: int, runtime: str) -> str:
    return f"{runtime}://{life.pod.uid}/{container.name}/{attempt}"


def rfc3339(seconds: float) -> str:
    """A time, in seconds since 1970, as Kubernetes writes it."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
