"""What kube-apiserver fills in where a pod says nothing: defaults of the API (pkg/apis/core/v1/defaults.go) and of its usual
admission plugins (service account, priority, tolerations of nodes that are not ready or not reachable).

Everything here may be called again on a pod that is complete, and changes nothing then.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from cloud.apiserver import quantities

Object = dict[str, Any]
TOLERATION_SECONDS = 300
_AWAY = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_POD: Object = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
}
_ADMITTED: Object = {
    "enableServiceLinks": True,
    "serviceAccountName": "default",
    "priority": 0,
    "preemptionPolicy": "PreemptLowerPriority",
}
_CONTAINER: Object = {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}
_PROBE: Object = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_READABLE = 0o644
"""The mode of files in volumes made of objects."""
_MODES = ("secret", "configMap", "downwardAPI", "projected")


def complete(pod: Object) -> None:
    """Fill in a pod's spec."""
    complete_template(pod)
    spec = pod["spec"]
    _fill(spec, _ADMITTED)
    spec.setdefault("serviceAccount", spec["serviceAccountName"])
    _tolerate_absence(spec)


def complete_template(template: Object) -> None:
    """Fill in the spec of a template of pods: what admission adds is left to each pod."""
    spec = template["spec"] = template.get("spec") or {}
    _fill(spec, _POD)
    if spec.get("securityContext") is None:
        spec["securityContext"] = {}
    for container in containers(spec):
        _complete_container(container, bool(spec.get("hostNetwork")))
    for volume in spec.get("volumes") or ():
        _complete_volume(volume)


def containers(spec: Object) -> Iterator[Object]:
    """The containers and the init containers of a pod."""
    yield from spec.get("containers") or ()
    yield from spec.get("initContainers") or ()


def first_status(pod: Object) -> Object:
    """The status of a pod that was just made."""
    status: Object = {"phase": "Pending", "qosClass": qos_class(pod["spec"])}
    if pod["spec"].get("schedulingGates"):
        message = "Scheduling is blocked due to non-empty scheduling gates"
        gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": message}
        status["conditions"] = [{"lastTransitionTime": pod["metadata"].get("creationTimestamp"), **gated}]
    return status


def qos_class(spec: Object) -> str:
    """Guaranteed, Burstable or BestEffort (pkg/apis/core/v1/helper/qos)."""
    guaranteed, any_asked = True, False
    for container in containers(spec):
        resources = container.get("resources") or {}
        requests, limits = _positive(resources.get("requests")), _positive(resources.get("limits"))
        any_asked = any_asked or bool(requests or limits)
        guaranteed = guaranteed and len(limits) == 2 and requests in ({}, limits)
    if not any_asked:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def pull_policy(image: str) -> str:
    """When to pull an image that has no policy: always, if its tag may move."""
    name, at, _digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return "Always" if tag == "latest" or (not tag and not at) else "IfNotPresent"


def _complete_container(container: Object, host_network: bool) -> None:
    _fill(container, _CONTAINER)
    _fill(container, {"imagePullPolicy": pull_policy(container.get("image") or "")})
    resources = container["resources"] = container.get("resources") or {}
    if resources.get("limits"):
        resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}
    for port in container.get("ports") or ():
        _fill(port, {"protocol": "TCP"})
        if host_network and port.get("containerPort"):
            _fill(port, {"hostPort": port["containerPort"]})
    for name in _PROBES:
        probe = container.get(name)
        if probe is not None:
            _fill(probe, _PROBE)
            _complete_get(probe)
    for hook in (container.get("lifecycle") or {}).values():
        _complete_get(hook or {})
    for variable in container.get("env") or ():
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            _fill(reference, {"apiVersion": "v1"})


def _complete_get(handler: Object) -> None:
    if handler.get("httpGet") is not None:
        _fill(handler["httpGet"], {"path": "/", "scheme": "HTTP"})


def _complete_volume(volume: Object) -> None:
    if all(name == "name" or source is None for name, source in volume.items()):
        volume["emptyDir"] = {}
    for kind in _MODES:
        if volume.get(kind) is not None:
            _fill(volume[kind], {"defaultMode": _READABLE})
    if volume.get("hostPath") is not None:
        volume["hostPath"].setdefault("type", "")
    for item in (volume.get("downwardAPI") or {}).get("items") or ():
        if item.get("fieldRef") is not None:
            _fill(item["fieldRef"], {"apiVersion": "v1"})


def _tolerate_absence(spec: Object) -> None:
    tolerations = list(spec.get("tolerations") or ())
    for key in _AWAY:
        borne = any(
            toleration.get("key") in (key, "", None) and toleration.get("effect") in ("NoExecute", "", None)
            for toleration in tolerations
        )
        if not borne:
            made = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS}
            tolerations.append(made)
    spec["tolerations"] = tolerations


def _positive(amounts: Object | None) -> dict[str, Decimal]:
    found = {}
    for name in ("cpu", "memory"):
        try:
            amount = quantities.parse((amounts or {}).get(name, 0))
        except quantities.QuantityError:
            continue
        if amount > 0:
            found[name] = amount
    return found


def _fill(target: Object, defaults: Object) -> None:
    for name, value in defaults.items():
        if target.get(name) in (None, ""):
            target[name] = value
