"""What kube-apiserver fills in and refuses of Deployments, ReplicaSets and DaemonSets (pkg/apis/apps/v1/defaults.go,
pkg/apis/apps/validation).

What the controllers here cannot do is refused as well, and says so, rather than stored and not done.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from cloud.apiserver import fields, label_selectors, metadata, pod_defaults, pod_validation
from cloud.apiserver.status import Cause

Object = dict[str, Any]
ROLLING, RECREATE, ON_DELETE = "RollingUpdate", "Recreate", "OnDelete"
REPLICAS_LIMIT = 10_000
"""Of one Deployment: this API serves one machine, and each is an object in its memory."""


def deployment_defaults(obj: Object) -> None:
    """Fill in a Deployment."""
    spec = _spec(obj)
    _fill(spec, {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600})
    strategy = spec["strategy"] = spec.get("strategy") or {}
    _fill(strategy, {"type": ROLLING})
    if strategy["type"] == ROLLING:
        rolling = strategy["rollingUpdate"] = strategy.get("rollingUpdate") or {}
        _fill(rolling, {"maxSurge": "25%", "maxUnavailable": "25%"})


def replica_set_defaults(obj: Object) -> None:
    """Fill in a ReplicaSet."""
    _fill(_spec(obj), {"replicas": 1})


def daemon_set_defaults(obj: Object) -> None:
    """Fill in a DaemonSet."""
    spec = _spec(obj)
    _fill(spec, {"revisionHistoryLimit": 10})
    strategy = spec["updateStrategy"] = spec.get("updateStrategy") or {}
    _fill(strategy, {"type": ROLLING})
    if strategy["type"] == ROLLING:
        rolling = strategy["rollingUpdate"] = strategy.get("rollingUpdate") or {}
        _fill(rolling, {"maxSurge": 0, "maxUnavailable": 1})


def validate_deployment(obj: Object, old: Object | None) -> list[Cause]:
    """What is wrong with a complete Deployment."""
    spec = obj["spec"]
    causes = [*_common(spec, old), *_replicas(spec), *_strategy(spec["strategy"])]
    deadline, ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds") or 0
    if deadline is not None and deadline <= ready:
        causes.append(fields.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return causes


def _strategy(strategy: Object) -> Iterator[Cause]:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind not in (ROLLING, RECREATE):
        yield fields.not_supported("spec.strategy", kind, [RECREATE, ROLLING])
    elif kind == RECREATE and rolling is not None:
        why = "may not be specified when strategy `type` is 'Recreate'"
        yield fields.forbidden("spec.strategy.rollingUpdate", why)
    elif rolling is not None:
        for name in ("maxUnavailable", "maxSurge"):
            yield from _amount(f"spec.strategy.rollingUpdate.{name}", rolling.get(name))
        if {_zero(rolling.get("maxUnavailable")), _zero(rolling.get("maxSurge"))} == {True}:
            why = "may not be 0 when `maxSurge` is 0"
            yield fields.invalid("spec.strategy.rollingUpdate.maxUnavailable", rolling["maxUnavailable"], why)


def validate_replica_set(obj: Object, old: Object | None) -> list[Cause]:
    """What is wrong with a complete ReplicaSet."""
    return [*_common(obj["spec"], old), *_replicas(obj["spec"])]


def validate_daemon_set(obj: Object, old: Object | None) -> list[Cause]:
    """What is wrong with a complete DaemonSet."""
    spec = obj["spec"]
    causes = list(_common(spec, old))
    strategy = spec["updateStrategy"]
    if strategy.get("type") not in (ROLLING, ON_DELETE):
        causes.append(fields.not_supported("spec.updateStrategy", strategy.get("type"), [ROLLING, ON_DELETE]))
    elif strategy.get("rollingUpdate") is not None:
        rolling, path = strategy["rollingUpdate"], "spec.updateStrategy.rollingUpdate"
        causes += _amount(f"{path}.maxUnavailable", rolling.get("maxUnavailable"))
        if not _zero(rolling.get("maxSurge")):
            causes.append(
                fields.forbidden(f"{path}.maxSurge", "this API replaces a node's pod, and runs no two beside")
            )
        elif _zero(rolling.get("maxUnavailable")):
            why = "cannot be 0 when `maxSurge` is 0"
            causes.append(fields.required(f"{path}.maxUnavailable", why))
    return causes


def same_selector(obj: Object, old: Object) -> list[Cause]:
    """A selector may not change."""
    selector = obj["spec"].get("selector")
    if selector == (old.get("spec") or {}).get("selector"):
        return []
    return [fields.invalid("spec.selector", selector, "field is immutable")]


def check_quantities(obj: Object) -> None:
    """Raise ApiError 400 for a resource in the template that is no quantity."""
    pod_validation.check_quantities((obj.get("spec") or {}).get("template") or {})


def _common(spec: Object, old: Object | None) -> Iterator[Cause]:
    if old is not None and (old.get("spec") or {}) == spec:
        return
    selector, template = spec.get("selector") or {}, spec["template"]
    if spec.get("selector") is None:
        yield fields.required("spec.selector")
    elif label_selectors.is_empty(selector):
        yield fields.invalid("spec.selector", selector, "empty selector is invalid")
    yield from label_selectors.validate("spec.selector", selector)
    labels = (template.get("metadata") or {}).get("labels") or {}
    if not label_selectors.matches(selector, labels):
        why = "`selector` does not match template `labels`"
        yield fields.invalid("spec.template.metadata.labels", labels, why)
    for name in ("minReadySeconds", "revisionHistoryLimit"):
        if (spec.get(name) or 0) < 0:
            yield fields.invalid(f"spec.{name}", spec[name], "must be greater than or equal to 0")
    for cause in pod_validation.validate({"spec": template["spec"]}, None):
        yield replace(cause, field=f"spec.template.{cause.field}")
    if template["spec"].get("restartPolicy") not in (None, "Always"):
        policy = template["spec"]["restartPolicy"]
        yield fields.not_supported("spec.template.spec.restartPolicy", policy, ["Always"])
    if template["spec"].get("activeDeadlineSeconds") is not None:
        why = "activeDeadlineSeconds in ReplicaSet is not Supported"
        yield fields.forbidden("spec.template.spec.activeDeadlineSeconds", why)
    meta, _ = metadata.parse({"metadata": {**(template.get("metadata") or {}), "name": "t", "namespace": "t"}})
    for cause in metadata.validate(meta, False):
        yield replace(cause, field=f"spec.template.{cause.field}")


def _replicas(spec: Object) -> Iterator[Cause]:
    if spec["replicas"] < 0:
        yield fields.invalid("spec.replicas", spec["replicas"], "must be greater than or equal to 0")
    elif spec["replicas"] > REPLICAS_LIMIT:
        yield fields.invalid("spec.replicas", spec["replicas"], f"must be less than or equal to {REPLICAS_LIMIT}")


def _amount(path: str, value: Any) -> Iterator[Cause]:
    """A number, or a share of all."""
    if isinstance(value, str):
        number = value.removesuffix("%")
        if not value.endswith("%") or not number.isascii() or not number.isdigit():
            yield fields.invalid(
                path, value, "a valid percent string must be a numeric string followed by an ending '%'"
            )
        elif int(number) > 100:
            yield fields.invalid(path, value, "must not be greater than 100%")
    elif isinstance(value, int) and value < 0:
        yield fields.invalid(path, value, "must be greater than or equal to 0")


def _zero(value: Any) -> bool:
    return value in (None, 0, "0%")


def _spec(obj: Object) -> Object:
    """The spec, with its template filled in."""
    spec: Object = obj.get("spec") or {}
    obj["spec"] = spec
    template = spec["template"] = spec.get("template") or {}
    meta = template["metadata"] = {k: v for k, v in (template.get("metadata") or {}).items() if v is not None}
    meta.pop("creationTimestamp", None)
    pod_defaults.complete_template(template)
    return spec


def _fill(target: Object, defaults: Object) -> None:
    for name, value in defaults.items():
        if target.get(name) is None:
            target[name] = value
