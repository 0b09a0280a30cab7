"""The fields of a pod that nothing here reads: which are refused, which are nobody's loss, which a pod's user is told of. A core.

So that nothing a pod asks for is ignored without a word. Fields that Kubernetes may get later are told of and not refused: API
servers fill in what they know.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

import msgspec
from msgspec import Struct

_SCHEDULER, _TOKENS = "the scheduler's business", "pods of this node have no service account tokens"
HARMLESS = {
    "PodSpec.affinity": _SCHEDULER,
    "PodSpec.nodeName": "it is here because it has this one",
    "PodSpec.nodeSelector": _SCHEDULER,
    "PodSpec.overhead": _SCHEDULER,
    "PodSpec.preemptionPolicy": _SCHEDULER,
    "PodSpec.priorityClassName": "resolved to `priority` by the API server",
    "PodSpec.schedulerName": _SCHEDULER,
    "PodSpec.schedulingGates": _SCHEDULER,
    "PodSpec.schedulingGroup": _SCHEDULER,
    "PodSpec.tolerations": "the scheduler's business, and that of who evicts",
    "PodSpec.topologySpreadConstraints": _SCHEDULER,
    "PodSpec.evictionResponders": "the business of who evicts through the API",
    "PodSpec.automountServiceAccountToken": _TOKENS,
    "PodSpec.serviceAccount": "the old name of `serviceAccountName`",
    "PodSpec.enableServiceLinks": "no Services reach pods of this node, so there are no links",
    "PodSpec.subdomain": "a name in a cluster's DNS, in which pods of this node are not",
    "PodSecurityContext.fsGroupChangePolicy": "volumes are made with their group",
    "PodSecurityContext.seLinuxChangePolicy": "volumes are not labelled anew",
    "Container.resizePolicy": "resources change with the next pod only",
    "Container.stdinOnce": "says how `stdin` goes on, which is refused",
    "FieldRef.apiVersion": "there is v1 only",
}
"""Structure and field -> why it need not be read."""
REFUSED = {
    "PodSpec.hostnameOverride": "use `hostname`",
    "PodSpec.os": "this node runs Linux",
    "PodSpec.readinessGates": "this node does not hear of conditions that others set",
    "PodSpec.resourceClaims": "this node has no such devices; use a hostPath",
    "PodSpec.resources": "limits are kept for each container",
    "PodSpec.runtimeClassName": "this node has one runtime",
    "PodSpec.setHostnameAsFQDN": "this node has no domain",
    "PodSecurityContext.windowsOptions": "this node runs Linux",
    "SecurityContext.windowsOptions": "this node runs Linux",
    "Container.restartPolicyRules": "use `restartPolicy` of the pod",
    "Container.stdin": "this node gives containers no input",
    "Lifecycle.stopSignal": "containers get SIGTERM; use a preStop hook",
    "HttpGet.protocol": "HTTP/1.1 is spoken",
    "Resources.claims": "this node has no such devices; use a hostPath",
    "EnvSource.fileKeyRef": "use a ConfigMap",
    "VolumeMount.bindMountOptions": "mounts have the options of their volume",
    "VolumeMount.recursiveReadOnly": "what is mounted below a volume keeps its own mode",
    "KeyFiles.defaultUser": "files of volumes are root's",
    "KeyToPath.user": "files of volumes are root's",
    "DownwardFiles.defaultUser": "files of volumes are root's",
    "DownwardFile.user": "files of volumes are root's",
}
"""Structure and field -> what to know of it."""
TOLD = {"PodSpec.ephemeralContainers": "no container can be added to a pod that runs; `kubectl exec` can be used"}
_FINE: dict[str, tuple[Any, ...]] = {
    "PodSpec.os": ({"name": "linux"},),
    "VolumeMount.recursiveReadOnly": ("Disabled", "IfPossible"),
}
"""Values of refused fields that ask for nothing."""


def unread(raw: Any, of: type[Struct], where: str) -> Iterator[tuple[str, str]]:
    """Every field that is set and that nothing reads: its name as in the tables, and where it stands."""
    if not isinstance(raw, dict):
        return
    fields, closed = (
        _fields(of),
        of.__struct_config__.forbid_unknown_fields,
    )  # these refuse by themselves what they do not know
    for name, value in raw.items():
        key, path = f"{of.__name__}.{name}", f"{where}.{name}"
        if (within := fields.get(name)) is not None:
            for item in value if isinstance(value, list) else [value]:
                called = item.get("name") if isinstance(item, dict) and isinstance(value, list) else None
                yield from unread(item, within, f"{path}[{called}]" if called else path)
        elif name not in fields and not closed and value and key not in HARMLESS and value not in _FINE.get(key, ()):
            yield key, path


@cache
def _fields(of: type[Struct]) -> dict[str, type[Struct] | None]:
    """The fields of a structure, and the structures in them."""
    return {field.encode_name: _struct_in(field.type) for field in msgspec.structs.fields(of)}


def _struct_in(type_: Any) -> type[Struct] | None:
    if isinstance(type_, type) and issubclass(type_, Struct):
        return type_
    return next((found for part in get_args(type_) if (found := _struct_in(part)) is not None), None)
