"""The pods of all nodes with the ConfigMaps and Secrets they name: what each node should have of them. No I/O.

A node gets a pod without its status and managed fields: what it reports itself must not come back to it as something new. Of the
status only a phase that is final is left, so that a node that lost its store does not run again what has ended.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import msgspec

from cloud.objects import Object
from cloud.pod_files import PodFiles
from cloud.sessions import Want
from edgewire import resource
from edgewire.message import UNREADABLE

FINAL = ("Succeeded", "Failed")
"""The phases of pods that have ended."""
MIRROR = "kubernetes.io/config.mirror"
"""The annotation of a pod that shows a static one, and its value that one's uid."""
_METADATA = (
    "name",
    "namespace",
    "uid",
    "generation",
    "labels",
    "annotations",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
)
_NAMED_AT = {
    "configMap": (resource.CONFIGMAP, "name"),
    "configMapKeyRef": (resource.CONFIGMAP, "name"),
    "configMapRef": (resource.CONFIGMAP, "name"),
    "secret": (resource.SECRET, "secretName"),
    "secretKeyRef": (resource.SECRET, "name"),
    "secretRef": (resource.SECRET, "name"),
}
"""Key in a pod's spec -> what it names, and where the name stands; a projected Secret's is under `name`."""


@dataclass(slots=True)
class PodEntry:
    """A pod, and where it belongs."""

    object: Object
    """As a node gets it."""
    since: str
    """The version since which nodes see no difference."""
    node: str = ""
    needs: frozenset[str] = frozenset()
    """The keys of the ConfigMaps and Secrets it names."""
    status: dict[str, Any] = field(default_factory=dict)
    mirrors: str = ""
    """The uid of the static pod that it shows."""
    deleting: bool = False

    @property
    def id(self) -> str:
        """`<namespace>/<name>`."""
        return self.object.id

    @property
    def key(self) -> str:
        """As the link names it."""
        return str(resource.of_id(resource.POD, self.object.id))


class PodCatalogue:
    """All pods that have a node, and the ConfigMaps and Secrets that those of edge nodes name.

    Keys are `<ns>/pod|configmap|secret/<name>`.
    """

    def __init__(self, files: PodFiles) -> None:
        """`files` is told what is named, and has what of it was read."""
        self.pods: dict[str, PodEntry] = {}
        self._files = files
        self._served: set[str] = set()
        self._of_node: dict[str, dict[str, None]] = {}
        """Node -> its pods, in the order they came."""
        self._needed: dict[str, dict[str, set[str]]] = {}
        """Node -> ConfigMap or Secret -> the pods that name it."""

    def serve(self, node: str) -> None:
        """A node is one of ours, for it has connected: from now on it is known what its pods name."""
        if node not in self._served:
            self._served.add(node)
            for id in self._of_node.get(node, ()):
                self._need(self.pods[id])

    def _need(self, entry: PodEntry) -> None:
        if entry.node in self._served:
            for key in sorted(entry.needs):
                self._files.need(key)

    def put_pod(self, object: Object) -> tuple[PodEntry | None, bool]:
        """Take a pod's newest version in: its entry, if it has a node, and whether the node sees a difference."""
        pod = _decoded(object)
        node = (pod.get("spec") or {}).get("nodeName") or ""
        if not node:
            return None, False
        sent = _for_node(object, pod)
        entry = self.pods.get(object.id)
        status = pod.get("status") or {}
        if entry is not None and _content(entry.object) == _content(sent):
            entry.object, entry.status = sent, status
            return entry, False
        before = entry
        entry = PodEntry(sent, object.version, node, frozenset(needs(object.namespace, pod.get("spec"))), status)
        self._need(entry)  # before the old one goes: what both name stays
        if before is not None:
            self._unindex(before)
        metadata = pod["metadata"]
        entry.mirrors = (metadata.get("annotations") or {}).get(MIRROR) or ""
        entry.deleting = bool(metadata.get("deletionTimestamp"))
        self.pods[object.id] = entry
        self._of_node.setdefault(node, {})[object.id] = None
        for key in entry.needs:
            self._needed.setdefault(node, {}).setdefault(key, set()).add(object.id)
        return entry, True

    def remove_pod(self, id: str) -> PodEntry | None:
        """Forget a pod; its entry, if it had a node."""
        entry = self.pods.pop(id, None)
        if entry is not None:
            self._unindex(entry)
        return entry

    def nodes_that_need(self, key: str) -> list[str]:
        """The nodes with pods that name a ConfigMap or Secret."""
        return [node for node, needed in self._needed.items() if key in needed]

    def pods_that_need(self, node: str, key: str) -> list[str]:
        """The keys of a node's pods that name a ConfigMap or Secret."""
        return sorted(self.pods[id].key for id in self._needed.get(node, {}).get(key, ()))

    def keys(self, node: str) -> Iterable[str]:
        """Everything a node should have; pods after what they need."""
        yield from sorted(self._needed.get(node, ()))
        yield from (self.pods[id].key for id in self._of_node.get(node, ()))

    def want(self, node: str, key: str) -> Object | Want:
        """What a node should have of a pod, ConfigMap or Secret."""
        named = resource.parse(key)
        if named.type == resource.POD:
            entry = self.pods.get(named.id)
            if entry is None or entry.node != node:
                return Want.NOTHING
            # It comes after what it names, which has to be read first.
            return entry.object if all(map(self._files.is_known, entry.needs)) else Want.AS_IT_IS
        if key not in self._needed.get(node, ()):
            return Want.NOTHING
        if not self._files.is_known(key):
            return Want.AS_IT_IS
        return self._files.get(key) or Want.NOTHING

    def is_current(self, key: str, version: str) -> bool:
        """Whether a node that has this version needs no newer one."""
        named = resource.parse(key)
        if named.type != resource.POD:
            found = self._files.get(key)
            return found is not None and found.version == version
        entry = self.pods.get(named.id)
        if entry is None:
            return False
        span = (entry.since, version, entry.object.version)
        if all(v.isascii() and v.isdigit() for v in span):
            since, at, newest = map(int, span)
            return since <= at <= newest
        return version in (entry.since, entry.object.version)

    def _unindex(self, entry: PodEntry) -> None:
        self._of_node.get(entry.node, {}).pop(entry.id, None)
        needed = self._needed.get(entry.node, {})
        for key in entry.needs:
            needed[key].discard(entry.id)
            if not needed[key]:
                del needed[key]
            if entry.node in self._served:
                self._files.release(key)


def _decoded(object: Object) -> dict[str, Any]:
    try:
        return msgspec.json.decode(object.raw, type=dict[str, Any])
    except UNREADABLE:
        return {}


def _for_node(object: Object, pod: dict[str, Any]) -> Object:
    metadata = {name: value for name, value in pod["metadata"].items() if name in _METADATA}
    metadata["resourceVersion"] = object.version
    sent: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod["spec"]}
    phase = (pod.get("status") or {}).get("phase")
    if phase in FINAL:
        sent["status"] = {"phase": phase}
    return msgspec.structs.replace(object, raw=msgspec.json.encode(sent))


def _content(object: Object) -> bytes:
    """What is compared: all but the version."""
    version = msgspec.json.encode(object.version)
    return object.raw.replace(b'"resourceVersion":' + version, b"", 1)


def needs(namespace: str, part: Any) -> Iterator[str]:
    """Every ConfigMap and Secret that a part of a pod's spec names."""
    if isinstance(part, list):
        for item in part:
            yield from needs(namespace, item)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key in _NAMED_AT and isinstance(value, dict):
                type, where = _NAMED_AT[key]
                name = value.get(where) or value.get("name")
                if _is_name(name):
                    yield str(resource.Resource(namespace, type, name))
            elif key == "imagePullSecrets" and isinstance(value, list):
                names = [item.get("name") for item in value if isinstance(item, dict)]
                yield from (
                    str(resource.Resource(namespace, resource.SECRET, name)) for name in names if _is_name(name)
                )
            else:
                yield from needs(namespace, value)


def _is_name(name: Any) -> TypeGuard[str]:
    """Whether there can be an object of that name: Kubernetes takes any text where a pod names one, and no key has a slash."""
    return isinstance(name, str) and bool(name) and "/" not in name


def covers(present: Any, wanted: Any) -> bool:
    """Whether a status says already all that is wanted of it; conditions may stand among others'."""
    if isinstance(wanted, dict) and isinstance(present, dict):
        return all(
            _conditions_covered(present.get(name), value) if name == "conditions" else covers(present.get(name), value)
            for name, value in wanted.items()
        )
    return bool(present == wanted) or (wanted in (None, [], {}) and not present)


def _conditions_covered(present: Any, wanted: Any) -> bool:
    known = {c.get("type"): c for c in present or () if isinstance(c, dict)}
    return all(covers(known.get(condition.get("type")), condition) for condition in wanted)
