"""The mistakes that people make in pods, in the words of kube-apiserver (pkg/apis/core/validation).

Not all that kube-apiserver finds: what is not looked at here is stored as it comes, and is for the node to refuse.
"""

import copy
from collections.abc import Iterator
from typing import Any

from cloud.apiserver import fields, metadata, pod_defaults, quantities, status
from cloud.apiserver.status import Cause

Object = dict[str, Any]
_POLICIES = ["Always", "OnFailure", "Never"]
_PULLS = ["Always", "IfNotPresent", "Never"]
_DNS = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]
_PROTOCOLS = ["SCTP", "TCP", "UDP"]
_EFFECTS = ["NoSchedule", "PreferNoSchedule", "NoExecute"]
_NATIVE = frozenset({"cpu", "memory", "ephemeral-storage"})
_UNCHANGED = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def check_quantities(pod: Object) -> None:
    """Raise ApiError 400 for a resource that is no quantity."""
    spec = pod.get("spec") or {}
    written = [spec.get("overhead")]
    for container in pod_defaults.containers(spec):
        resources = container.get("resources") or {}
        written += [resources.get("requests"), resources.get("limits")]
    for amounts in written:
        for value in (amounts or {}).values():
            try:
                quantities.parse(value)
            except quantities.QuantityError as error:
                message = f'Pod in version "v1" cannot be handled as a Pod: {error}'
                raise status.bad_request(message) from error


def validate(pod: Object, old: Object | None) -> list[Cause]:
    """What is wrong with a complete pod; a spec that stays as it is stored is not looked at again."""
    spec = pod.get("spec") or {}
    if old is not None and old.get("spec") == spec:
        return []
    causes = list(_volumes(spec))
    volumes = {volume.get("name") for volume in spec.get("volumes") or ()}
    names: set[str] = set()
    if not spec.get("containers"):
        causes.append(fields.required("spec.containers"))
    for part in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(part) or ()):
            causes += _container(f"spec.{part}[{index}]", container, volumes, names)
    if spec.get("restartPolicy") not in _POLICIES:
        causes.append(fields.not_supported("spec.restartPolicy", spec.get("restartPolicy"), _POLICIES))
    if spec.get("dnsPolicy") not in _DNS:
        causes.append(fields.not_supported("spec.dnsPolicy", spec.get("dnsPolicy"), _DNS))
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        seconds = spec["terminationGracePeriodSeconds"]
        causes.append(
            fields.invalid("spec.terminationGracePeriodSeconds", seconds, "must be greater than or equal to 0")
        )
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 0x7FFFFFFF:
        why = "must be between 1 and 2147483647, inclusive"
        causes.append(fields.invalid("spec.activeDeadlineSeconds", deadline, why))
    for index, toleration in enumerate(spec.get("tolerations") or ()):
        causes += _toleration(f"spec.tolerations[{index}]", toleration)
    return causes + list(_affinity(spec))


def validate_update(pod: Object, old: Object) -> list[Cause]:
    """What may not change in a pod: all of its spec, but for images, a shorter life, more tolerations and fewer gates."""
    before = copy.deepcopy(old)
    pod_defaults.complete(before)  # it may be older than these defaults
    spec, was = pod["spec"], before["spec"]
    causes = []
    for part in ("containers", "initContainers"):
        if len(spec.get(part) or ()) != len(was.get(part) or ()):
            return [fields.forbidden(f"spec.{part}", "pod updates may not add or remove containers")]
    causes += _changed_deadline(spec.get("activeDeadlineSeconds"), was.get("activeDeadlineSeconds"))
    causes += _changed_tolerations(spec, was)
    if [gate for gate in spec.get("schedulingGates") or () if gate not in (was.get("schedulingGates") or ())]:
        why = "only deletion is allowed, but found new scheduling gate"
        causes.append(fields.forbidden("spec.schedulingGates", why))
    if _without_free_fields(spec) != _without_free_fields(was):
        causes.append(fields.forbidden("spec", _UNCHANGED))
    return causes


def _without_free_fields(spec: Object) -> Object:
    kept = {
        name: value
        for name, value in spec.items()
        if name not in ("activeDeadlineSeconds", "tolerations", "schedulingGates") and value not in (None, [], {}, "")
    }
    for part in ("containers", "initContainers"):
        if part in kept:
            kept[part] = [{k: v for k, v in container.items() if k != "image"} for container in kept[part]]
    return kept


def _changed_deadline(deadline: int | None, was: int | None) -> list[Cause]:
    path = "spec.activeDeadlineSeconds"
    if was is None or deadline == was:
        return []
    if deadline is None:
        return [fields.invalid(path, None, "must not update from a positive integer to nil value")]
    if deadline > was:
        return [fields.invalid(path, deadline, "must be less than or equal to previous value")]
    return []


def _changed_tolerations(spec: Object, was: Object) -> list[Cause]:
    def identity(toleration: Object) -> Object:
        return {name: value for name, value in toleration.items() if value and name != "tolerationSeconds"}

    present = [identity(toleration) for toleration in spec.get("tolerations") or ()]
    if all(identity(toleration) in present for toleration in was.get("tolerations") or ()):
        return []
    why = "existing toleration can not be modified except its tolerationSeconds"
    return [fields.forbidden("spec.tolerations", why)]


def _container(path: str, container: Object, volumes: set[Any], names: set[str]) -> Iterator[Cause]:
    name, image = container.get("name") or "", container.get("image") or ""
    if not name:
        yield fields.required(f"{path}.name")
    else:
        yield from metadata.validate_name(f"{path}.name", name, label=True)
    if name in names:
        yield fields.duplicate(f"{path}.name", name)
    names.add(name)
    if not image:
        yield fields.required(f"{path}.image")
    elif image != image.strip():
        yield fields.invalid(f"{path}.image", image, "must not have leading or trailing whitespace")
    if container.get("imagePullPolicy") not in _PULLS:
        yield fields.not_supported(f"{path}.imagePullPolicy", container.get("imagePullPolicy"), _PULLS)
    yield from _ports(f"{path}.ports", container)
    yield from _mounts(f"{path}.volumeMounts", container, volumes)
    yield from _resources(f"{path}.resources", container.get("resources") or {})
    for index, variable in enumerate(container.get("env") or ()):
        if not variable.get("name"):
            yield fields.required(f"{path}.env[{index}].name")
        if variable.get("value") and variable.get("valueFrom"):
            why = "may not be specified when `value` is not empty"
            yield fields.invalid(f"{path}.env[{index}].valueFrom", "", why)


def _ports(path: str, container: Object) -> Iterator[Cause]:
    names = set()
    for index, port in enumerate(container.get("ports") or ()):
        here = f"{path}[{index}]"
        number, host = port.get("containerPort") or 0, port.get("hostPort") or 0
        if not number:
            yield fields.required(f"{here}.containerPort")
        elif not 1 <= number <= 65535:
            yield fields.invalid(f"{here}.containerPort", number, "must be between 1 and 65535, inclusive")
        if host and not 1 <= host <= 65535:
            yield fields.invalid(f"{here}.hostPort", host, "must be between 1 and 65535, inclusive")
        if port.get("protocol") not in _PROTOCOLS:
            yield fields.not_supported(f"{here}.protocol", port.get("protocol"), _PROTOCOLS)
        if port.get("name"):
            if port["name"] in names:
                yield fields.duplicate(f"{here}.name", port["name"])
            names.add(port["name"])


def _mounts(path: str, container: Object, volumes: set[Any]) -> Iterator[Cause]:
    places = set()
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        here = f"{path}[{index}]"
        name, place = mount.get("name"), mount.get("mountPath")
        if not name:
            yield fields.required(f"{here}.name")
        elif name not in volumes:
            yield fields.not_found(f"{here}.name", name)
        if not place:
            yield fields.required(f"{here}.mountPath")
        elif place in places:
            yield fields.invalid(f"{here}.mountPath", place, "must be unique")
        places.add(place)


def _resources(path: str, resources: Object) -> Iterator[Cause]:
    limits = resources.get("limits") or {}
    for part in ("limits", "requests"):
        for name, value in (resources.get(part) or {}).items():
            here = f"{path}.{part}"
            if name not in _NATIVE and not name.startswith("hugepages-") and "/" not in name:
                yield fields.invalid(f"{here}[{name}]", name, "must be a standard resource type or fully qualified")
            amount = quantities.parse(value)
            if amount < 0:
                yield fields.invalid(f"{here}[{name}]", str(value), "must be greater than or equal to 0")
            if part == "requests" and name in limits and amount > quantities.parse(limits[name]):
                yield fields.invalid(here, str(value), f"must be less than or equal to {name} limit of {limits[name]}")


def _volumes(spec: Object) -> Iterator[Cause]:
    names: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or ()):
        path = f"spec.volumes[{index}].name"
        name = volume.get("name") or ""
        if not name:
            yield fields.required(path)
            continue
        yield from metadata.validate_name(path, name, label=True)
        if name in names:
            yield fields.duplicate(path, name)
        names.add(name)


def _toleration(path: str, toleration: Object) -> Iterator[Cause]:
    operator, effect = toleration.get("operator") or "", toleration.get("effect") or ""
    if operator not in ("", "Equal", "Exists"):
        yield fields.not_supported(f"{path}.operator", operator, ["Equal", "Exists"])
    if not toleration.get("key") and operator != "Exists":
        why = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        yield fields.invalid(f"{path}.operator", operator, why)
    if operator == "Exists" and toleration.get("value"):
        yield fields.invalid(f"{path}.operator", toleration["value"], "value must be empty when `operator` is 'Exists'")
    if effect and effect not in _EFFECTS:
        yield fields.not_supported(f"{path}.effect", effect, _EFFECTS)
    if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        yield fields.invalid(f"{path}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")


def _affinity(spec: Object) -> Iterator[Cause]:
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    path = "spec.affinity.nodeAffinity"
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is not None:
        here = f"{path}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
        if not required.get("nodeSelectorTerms"):
            yield fields.required(here, "must have at least one node selector term")
        for index, term in enumerate(required.get("nodeSelectorTerms") or ()):
            yield from _term(f"{here}[{index}]", term)
    for index, wish in enumerate(affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        here = f"{path}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        if not 1 <= (wish.get("weight") or 0) <= 100:
            yield fields.invalid(f"{here}.weight", wish.get("weight") or 0, "must be in the range 1-100")
        yield from _term(f"{here}.preference", wish.get("preference") or {})


def _term(path: str, term: Object) -> Iterator[Cause]:
    for index, requirement in enumerate(term.get("matchExpressions") or ()):
        here = f"{path}.matchExpressions[{index}]"
        operator, values = requirement.get("operator") or "", requirement.get("values") or ()
        if operator in ("In", "NotIn"):
            if not values:
                yield fields.required(f"{here}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                yield fields.forbidden(f"{here}.values", why)
        elif operator in ("Gt", "Lt"):
            if len(values) != 1:
                yield fields.required(
                    f"{here}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'"
                )
        else:
            yield fields.invalid(f"{here}.operator", operator, "not a valid selector operator")
    for index, requirement in enumerate(term.get("matchFields") or ()):
        here = f"{path}.matchFields[{index}]"
        if requirement.get("operator") not in ("In", "NotIn"):
            yield fields.invalid(f"{here}.operator", requirement.get("operator") or "", "not a valid selector operator")
        elif len(requirement.get("values") or ()) != 1:
            yield fields.required(
                f"{here}.values", "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            )
        if requirement.get("key") != "metadata.name":
            yield fields.invalid(f"{here}.key", requirement.get("key") or "", "not a valid field selector key")
