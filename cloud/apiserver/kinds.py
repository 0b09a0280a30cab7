"""What the built-in kinds do of their own on create and update: defaults the server fills in, and rules beyond metadata.

A kind without an entry is stored as it comes. `Rules` of a resource are called by `objects.py` with the object about to be
stored, which they may change in place.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cloud.apiserver import fields, pod_defaults, pod_validation, workload_rules
from cloud.apiserver.status import Cause

Object = dict[str, Any]


def _nothing(obj: Object) -> None:
    return None


def _keep(obj: Object, old: Object) -> None:
    return None


def _fine(obj: Object, old: Object | None) -> list[Cause]:
    return []


def _unchanged(obj: Object, old: Object) -> list[Cause]:
    return []


@dataclass(frozen=True, slots=True)
class Rules:
    """The behaviour of a kind."""

    on_create: Callable[[Object], None] = _nothing
    on_update: Callable[[Object, Object], None] = _keep
    """Called with the new and the stored object, for updates of the object itself, not of its status."""
    validate: Callable[[Object, Object | None], list[Cause]] = _fine
    validate_update: Callable[[Object, Object], list[Cause]] = _unchanged
    """What an update of the object itself may not change; called with the new and the stored object."""
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
    pod_validation.check_quantities(obj)
    pod_defaults.complete(obj)
    obj["status"] = pod_defaults.first_status(obj)


def _pod_on_update(obj: Object, old: Object) -> None:
    pod_validation.check_quantities(obj)
    pod_defaults.complete(obj)


def _node_on_create(obj: Object) -> None:
    # Nothing may run there before somebody says that the node is ready.
    spec = obj["spec"] = obj.get("spec") or {}
    taints = spec.get("taints") or []
    if not any(t.get("key") == _NOT_READY["key"] and t.get("effect") == _NOT_READY["effect"] for t in taints):
        spec["taints"] = [*taints, dict(_NOT_READY)]


_NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


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


def _workload_on_create(fill: Callable[[Object], None]) -> Callable[[Object], None]:
    def on_create(obj: Object) -> None:
        workload_rules.check_quantities(obj)
        fill(obj)
        obj["status"] = {}

    return on_create


def _workload_on_update(fill: Callable[[Object], None]) -> Callable[[Object, Object], None]:
    def on_update(obj: Object, old: Object) -> None:
        workload_rules.check_quantities(obj)
        fill(obj)

    return on_update


PLAIN = Rules()
NAMESPACE = Rules(on_create=_namespace_on_create, on_update=_namespace_on_update, label_name=True)
NODE = Rules(on_create=_node_on_create)
POD = Rules(
    on_create=_pod_on_create,
    on_update=_pod_on_update,
    validate=pod_validation.validate,
    validate_update=pod_validation.validate_update,
    graceful=True,
)
CONFIG_MAP = Rules(validate=_text_map_validate)
SECRET = Rules(on_create=_secret_on_create, on_update=_secret_on_update, validate=_text_map_validate)
EVENT = Rules(create_on_update=True, expires_after_s=3600)
SERVICE_ACCOUNT = Rules()
LEASE = Rules(validate=_lease_validate, create_on_update=True, unconditional_update=False)
DEPLOYMENT = Rules(
    on_create=_workload_on_create(workload_rules.deployment_defaults),
    on_update=_workload_on_update(workload_rules.deployment_defaults),
    validate=workload_rules.validate_deployment,
    validate_update=workload_rules.same_selector,
    counts_generations=True,
)
REPLICA_SET = Rules(
    on_create=_workload_on_create(workload_rules.replica_set_defaults),
    on_update=_workload_on_update(workload_rules.replica_set_defaults),
    validate=workload_rules.validate_replica_set,
    validate_update=workload_rules.same_selector,
    counts_generations=True,
)
DAEMON_SET = Rules(
    on_create=_workload_on_create(workload_rules.daemon_set_defaults),
    on_update=_workload_on_update(workload_rules.daemon_set_defaults),
    validate=workload_rules.validate_daemon_set,
    validate_update=workload_rules.same_selector,
    counts_generations=True,
)
CUSTOM = Rules(unconditional_update=False, counts_generations=True)
