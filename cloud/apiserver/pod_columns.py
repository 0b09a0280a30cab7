"""What `kubectl get pods` says of a pod in a word, as kube-apiserver prints it (pkg/printers/internalversion, printPod)."""

from typing import Any

from cloud.apiserver import conditions

Object = dict[str, Any]
_ENDED = ("Succeeded", "Failed")


def state(pod: Object) -> str:
    """The status column: the phase, or what the containers or the pod's deletion say more exactly."""
    status = pod.get("status") or {}
    found = str(status.get("reason") or status.get("phase") or "")
    scheduled = conditions.find(pod, "PodScheduled") or {}
    if scheduled.get("reason") == "SchedulingGated":
        found = "SchedulingGated"
    first = _initializing(pod)
    initialized = (conditions.find(pod, "Initialized") or {}).get("status") == "True"
    if first:
        found = first
    if not first or initialized:
        found = _running(pod, found)
    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            return "Unknown"
        if status.get("phase") not in _ENDED:
            return "Terminating"
    return found or "Unknown"


def _initializing(pod: Object) -> str:
    """What the first init container that has not done its part says; nothing when all have."""
    wanted = (pod.get("spec") or {}).get("initContainers") or ()
    staying = {container.get("name") for container in wanted if container.get("restartPolicy") == "Always"}
    for index, status in enumerate((pod.get("status") or {}).get("initContainerStatuses") or ()):
        ended, waits = _part(status, "terminated"), _part(status, "waiting")
        if ended is not None and ended.get("exitCode", 0) == 0:
            continue
        if status.get("name") in staying and status.get("started"):
            continue
        if ended is not None:
            return f"Init:{ended.get('reason') or _exit(ended)}"
        if waits is not None and waits.get("reason") not in (None, "", "PodInitializing"):
            return f"Init:{waits['reason']}"
        return f"Init:{index}/{len(wanted)}"
    return ""


def _running(pod: Object, found: str) -> str:
    """What the first of the containers that has something to say says."""
    any_runs = False
    for status in reversed((pod.get("status") or {}).get("containerStatuses") or ()):
        ended, waits = _part(status, "terminated"), _part(status, "waiting")
        if waits is not None and waits.get("reason"):
            found = str(waits["reason"])
        elif ended is not None:
            found = str(ended.get("reason") or _exit(ended))
        elif status.get("ready") and _part(status, "running") is not None:
            any_runs = True
    if found == "Completed" and any_runs:
        ready = (conditions.find(pod, "Ready") or {}).get("status") == "True"
        return "Running" if ready else "NotReady"
    return found


def _part(status: Object, name: str) -> Object | None:
    found = (status.get("state") or {}).get(name)
    return found if isinstance(found, dict) else None


def _exit(ended: Object) -> str:
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"
