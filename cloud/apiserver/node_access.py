"""What an edge node may do, as kube-apiserver's node authorizer and its NodeRestriction admission have it: its own Node and
Lease, the pods bound to it, what these need, its devices with their models, and events.

`decide` sees a request without its body, `restrict` what a write would make of an object. Two things differ from a kubelet's
rights: there are no mirror pods, so pods are never created, and lists of pods must select the node.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from cloud.apiserver import status
from cloud.apiserver.attributes import READ, Attributes
from cloud.apiserver.state import State, Stored

Object = dict[str, Any]
LEASES = "kube-node-lease"
"""The namespace of nodes' leases."""
DEVICES = "devices.kubeedge.io"
"""The group of Device and DeviceModel, which are stored as `devices.<group>` and `devicemodels.<group>`."""

_WRITE = ("create", "update", "patch")
_OWN_LABELS = frozenset(
    {
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "node.kubernetes.io/instance-type",
    }
)
_OWN_PREFIXES = ("kubelet.kubernetes.io", "node.kubernetes.io")
RULES: tuple[dict[str, list[str]], ...] = (
    {"verbs": [*READ, *_WRITE], "apiGroups": [""], "resources": ["nodes"]},
    {"verbs": ["get", "update", "patch"], "apiGroups": [""], "resources": ["nodes/status"]},
    {"verbs": [*READ, "delete"], "apiGroups": [""], "resources": ["pods"]},
    {"verbs": ["get", "update", "patch"], "apiGroups": [""], "resources": ["pods/status"]},
    {"verbs": [*READ], "apiGroups": [""], "resources": ["configmaps", "secrets"]},
    {"verbs": [*_WRITE], "apiGroups": ["", "events.k8s.io"], "resources": ["events"]},
    {"verbs": ["get", *_WRITE, "delete"], "apiGroups": ["coordination.k8s.io"], "resources": ["leases"]},
    {"verbs": [*READ], "apiGroups": [DEVICES], "resources": ["devices", "devicemodels"]},
    {"verbs": ["get", "update", "patch"], "apiGroups": [DEVICES], "resources": ["devices/status"]},
)
"""The ResourceRules of the role; which objects of these, `decide` says."""


def decide(node: str, asked: Attributes, state: State) -> str | None:
    """None when the node may, else why not, which may be "" where kube-apiserver gives no reason either."""
    if not any(
        asked.verb in rule["verbs"] and asked.group in rule["apiGroups"] and asked.what in rule["resources"]
        for rule in RULES
    ):
        return ""
    match asked.resource:
        case "nodes":
            return _decide_node(node, asked)
        case "leases":
            return _decide_lease(node, asked)
        case "pods" | "devices":
            return _decide_bound(node, asked, state)
        case "configmaps" | "secrets" | "devicemodels":
            return _decide_needed(node, asked, state)
    return None  # events


def _decide_node(node: str, asked: Attributes) -> str | None:
    if asked.name == node or (not asked.name and asked.verb == "create"):
        return None
    if asked.verb in READ:
        return f"node '{node}' cannot read '{asked.name}', only its own Node object"
    return f"node '{node}' is not allowed to modify node '{asked.name}'"


def _decide_lease(node: str, asked: Attributes) -> str | None:
    if asked.namespace != LEASES:
        return f'can only access leases in the "{LEASES}" system namespace'
    if asked.name == node or (not asked.name and asked.verb == "create"):
        return None
    return "can only access node lease with the same name as the requesting node"


def _decide_bound(node: str, asked: Attributes, state: State) -> str | None:
    """Objects with a `spec.nodeName`: by themselves, or in lists that select it."""
    if asked.selected.get("spec.nodeName") == node:
        return None
    if not asked.name:
        return f"can only list/watch {asked.resource} with spec.nodeName field selector"
    found = state.newest(status.qualified(asked.resource, asked.group), asked.namespace, asked.name)
    if found is not None and _node_of(found) == node:
        return None
    return _unrelated(node)


def _decide_needed(node: str, asked: Attributes, state: State) -> str | None:
    """Objects that what is bound to the node refers to, one by one."""
    if not asked.name or not asked.namespace:
        return f"can only read resources of this type by name: {asked.resource}"
    is_model = asked.resource == "devicemodels"
    storage = status.qualified("devices", DEVICES) if is_model else "pods"
    refers = _model_of if is_model else _needed_by
    for stored in state.newest_all(storage, asked.namespace):
        if _node_of(stored) == node and (asked.resource, asked.name) in refers(msgspec.json.decode(stored.body)):
            return None
    return _unrelated(node)


def _unrelated(node: str) -> str:
    return f"no relationship found between node '{node}' and this object"


def _node_of(stored: Stored) -> str:
    found = stored.fields.get("spec.nodeName")
    if found is None:
        found = (msgspec.json.decode(stored.body).get("spec") or {}).get("nodeName")
    return found or ""


def _model_of(device: Object) -> set[tuple[str, str]]:
    return {("devicemodels", ((device.get("spec") or {}).get("deviceModelRef") or {}).get("name", ""))}


def _needed_by(pod: Object) -> set[tuple[str, str]]:
    return set(_references(pod.get("spec")))


_REFERENCES = {
    "configMap": ("configmaps", "name"),
    "configMapKeyRef": ("configmaps", "name"),
    "configMapRef": ("configmaps", "name"),
    "secret": ("secrets", "secretName"),
    "secretKeyRef": ("secrets", "name"),
    "secretRef": ("secrets", "name"),
    "nodePublishSecretRef": ("secrets", "name"),
}
"""Key of a pod's spec -> what it refers to, and where the name stands. A projected Secret has it under `name`."""


def _references(part: Any) -> Iterator[tuple[str, str]]:
    """Every ConfigMap and Secret that a part of a pod's spec names."""
    if isinstance(part, list):
        for item in part:
            yield from _references(item)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key in _REFERENCES and isinstance(value, dict):
                plural, where = _REFERENCES[key]
                yield plural, value.get(where) or value.get("name") or ""
            elif key == "imagePullSecrets" and isinstance(value, list):
                yield from (("secrets", item.get("name", "")) for item in value if isinstance(item, dict))
            else:
                yield from _references(value)


def restrict(node: str, storage: str, new: Object, old: Object | None) -> None:
    """Raise ApiError 403 for a write whose content is not the node's to decide; `old` is None of a creation."""
    meta = new.get("metadata") or {}
    name = meta.get("name", "")
    if storage == "nodes":
        why = f'node "{node}" is not allowed to modify node "{name}"' if name != node else _node_change(node, new, old)
    elif storage == "leases.coordination.k8s.io":
        ours = name == node and meta.get("namespace") == LEASES
        why = "" if ours else "can only access node lease with the same name as the requesting node"
    else:
        why = _pod_change(node, new, old) if storage == "pods" and old is not None else ""
    if why:
        plural, _, group = storage.partition(".")
        raise status.forbidden(plural, group, name, why)


def _pod_change(node: str, new: Object, old: Object) -> str:
    for part in ("labels", "ownerReferences", "finalizers"):
        if _meta(old, part) != _meta(new, part):
            return f'node "{node}" cannot update {part} through pod status'
    return ""


def _node_change(node: str, new: Object, old: Object | None) -> str:
    before, after = _meta(old or {}, "labels"), _meta(new, "labels")
    changed = sorted(key for key in {*before, *after} if before.get(key) != after.get(key) and not _own_label(key))
    listed = ", ".join(changed)
    if old is None:
        return f'node "{node}" is not allowed to set the following labels: {listed}' if changed else ""
    if changed:
        return f'node "{node}" is not allowed to modify labels: {listed}'
    for part, holder in (("taints", "spec"), ("ownerReferences", "metadata")):
        if ((old.get(holder) or {}).get(part) or []) != ((new.get(holder) or {}).get(part) or []):
            return f'node "{node}" is not allowed to modify {part}'
    return ""


def _meta(obj: Object, part: str) -> Any:
    return (obj.get("metadata") or {}).get(part) or {}


def _own_label(key: str) -> bool:
    """Whether a node may set this label of its own: any outside Kubernetes' domains, and a few within."""
    if key in _OWN_LABELS:
        return True
    prefix, slash, _ = key.rpartition("/")
    if not slash or any(prefix == own or prefix.endswith("." + own) for own in _OWN_PREFIXES):
        return True
    return not any(prefix == domain or prefix.endswith("." + domain) for domain in ("kubernetes.io", "k8s.io"))
