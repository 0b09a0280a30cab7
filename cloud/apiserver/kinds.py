"""What the built-in kinds do of their own on create and update: defaults the server fills in, and rules beyond metadata.

A kind without an entry is stored as it comes. `Rules` of a resource are called by `objects.py` with the object about to be
stored, which they may change in place.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cloud.apiserver import fields
from cloud.apiserver.status import Cause

Object = dict[str, Any]


def _nothing(obj: Object) -> None:
    return None


def _keep(obj: Object, old: Object) -> None:
    return None


def _fine(obj: Object, old: Object | None) -> list[Cause]:
    return []


@dataclass(frozen=True, slots=True)
class Rules:
    """The behaviour of a kind."""

    on_create: Callable[[Object], None] = _nothing
    on_update: Callable[[Object, Object], None] = _keep
    """Called with the new and the stored object, for updates of the object itself, not of its status."""
    validate: Callable[[Object, Object | None], list[Cause]] = _fine
    create_on_update: bool = False
    """Whether PUT creates what is not there."""
    unconditional_update: bool = True
    """Whether PUT may leave out the resourceVersion."""
    counts_generations: bool = False
    """Whether metadata.generation rises with each change of the spec."""
    graceful: bool = False
    """Whether deletion waits for the node that runs it."""
    label_name: bool = False
    """Whether names are DNS labels."""
    expires_after_s: int = 0
    """Seconds after which an object is removed by itself; 0 keeps it."""


def _namespace_on_create(obj: Object) -> None:
    spec = obj["spec"] = obj.get("spec") or {}
    spec["finalizers"] = list(dict.fromkeys([*(spec.get("finalizers") or ()), "kubernetes"]))
    obj["status"] = {"phase": "Active"}
    labels = obj["metadata"].setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = obj["metadata"]["name"]


def _namespace_on_update(obj: Object, old: Object) -> None:
    obj["spec"] = old.get("spec", {})
    labels = obj["metadata"].setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = obj["metadata"]["name"]


def _pod_on_create(obj: Object) -> None:
    spec = obj["spec"] = obj.get("spec") or {}
    for name, value in _POD_DEFAULTS.items():
        spec.setdefault(name, value if not isinstance(value, dict) else {})
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        for name, value in _CONTAINER_DEFAULTS.items():
            container.setdefault(name, value)
        container.setdefault("resources", {})
        container.setdefault("imagePullPolicy", _pull_policy(container.get("image") or ""))
    obj["status"] = {"phase": "Pending"}


def _pull_policy(image: str) -> str:
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if "@" not in image and tag in ("", "latest") else "IfNotPresent"


_POD_DEFAULTS: dict[str, Any] = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "enableServiceLinks": True,
    "securityContext": {},
}
_CONTAINER_DEFAULTS = {
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}


def _pod_validate(obj: Object, old: Object | None) -> list[Cause]:
    containers = (obj.get("spec") or {}).get("containers")
    if not containers:
        return [fields.required("spec.containers")]
    causes = []
    for index, container in enumerate(containers):
        missing = [name for name in ("name", "image") if not container.get(name)]
        causes += [fields.required(f"spec.containers[{index}].{name}") for name in missing]
    if old is not None and _node_of(old) and _node_of(obj) != _node_of(old):
        causes.append(fields.forbidden("spec", "pod updates may not change fields other than the container images"))
    return causes


def _node_of(pod: Object) -> str:
    return str((pod.get("spec") or {}).get("nodeName") or "")


def _secret_on_create(obj: Object) -> None:
    obj.setdefault("type", "Opaque")
    _merge_string_data(obj)


def _merge_string_data(obj: Object) -> None:
    written = obj.pop("stringData", None)
    if written:
        data = obj["data"] = obj.get("data") or {}
        for name, value in written.items():
            data[name] = base64.b64encode((value or "").encode()).decode()


def _secret_on_update(obj: Object, old: Object) -> None:
    obj.setdefault("type", old.get("type", "Opaque"))
    _merge_string_data(obj)


def _text_map_validate(obj: Object, old: Object | None) -> list[Cause]:
    causes = []
    if old is not None and old.get("immutable"):
        if not obj.get("immutable"):
            causes.append(fields.forbidden("immutable", "field is immutable when `immutable` is set"))
        changed = [part for part in ("data", "binaryData") if obj.get(part) != old.get(part)]
        causes += [fields.forbidden(part, "field is immutable when `immutable` is set") for part in changed]
    return causes


def _lease_validate(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = []
    for name in ("leaseDurationSeconds", "leaseTransitions"):
        value = spec.get(name)
        low = 1 if name == "leaseDurationSeconds" else 0
        if value is not None and value < low:
            word = "greater than 0" if low else "greater than or equal to 0"
            causes.append(fields.invalid(f"spec.{name}", value, f"must be {word}"))
    return causes


PLAIN = Rules()
NAMESPACE = Rules(on_create=_namespace_on_create, on_update=_namespace_on_update, label_name=True)
NODE = Rules()
POD = Rules(on_create=_pod_on_create, validate=_pod_validate, graceful=True)
CONFIG_MAP = Rules(validate=_text_map_validate)
SECRET = Rules(on_create=_secret_on_create, on_update=_secret_on_update, validate=_text_map_validate)
EVENT = Rules(create_on_update=True, expires_after_s=3600)
SERVICE_ACCOUNT = Rules()
LEASE = Rules(validate=_lease_validate, create_on_update=True, unconditional_update=False)
CUSTOM = Rules(unconditional_update=False, counts_generations=True)
