"""Static pods: manifests in a folder of this node, which run without any cloud, from the first start on (staticPodPath).

Files are `*.yaml`, `*.yml` and `*.json`, one Pod each. Its name gets `-<node>`, its uid is made from node, file and content: one
that changed is another pod. What Kubernetes would have to be asked for, ConfigMaps, Secrets and service accounts, it cannot name.
The folder is looked at every second; a file is taken when two looks have found the same, so that nobody need write it at once.
A file that cannot be used leaves the pod as it was; nothing else is touched.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from edge_gateway.edged import EdgedError, pods
from edge_gateway.edged.pods import Pod, PodError
from edgewire import resource
from edgewire.resource import Resource

PERIOD_S = 1.0
FILE_LIMIT = 1024 * 1024
"""Bytes of a manifest, as many as Kubernetes lets an object have."""
SUFFIXES = (".yaml", ".yml", ".json")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")
_ABROAD = frozenset(
    ("configMap", "secret", "configMapKeyRef", "secretKeyRef", "configMapRef", "secretRef", "imagePullSecrets")
)
"""What in a spec names a ConfigMap or Secret."""


class StaticPodError(EdgedError):
    """A manifest that cannot be used."""


class StaticPod(NamedTuple):
    """A pod from a file."""

    name: Resource
    pod: Pod
    manifest: dict[str, Any]
    """As the cloud mirrors it."""


class _File(NamedTuple):
    seen: tuple[int, ...]
    """What told that it is another when it was last looked at."""
    taken: tuple[int, ...] = ()
    pod: StaticPod | None = None


class Look(NamedTuple):
    """What the folder has now."""

    pods: dict[Resource, StaticPod]
    problems: list[tuple[str, str]]
    """File and reason, of those that are new."""


class StaticPods:
    """The static pods of a node."""

    def __init__(self, folder: Path, node: str, period_s: float = PERIOD_S) -> None:
        self.period_s = period_s
        self.pods: dict[Resource, StaticPod] = {}
        self._folder = folder
        self._node = node
        self._files: dict[str, _File] = {}
        self._unreadable = ""

    def look(self, *, first: bool = False) -> Look:
        """Look at the folder; the first time, what is there is taken at once. Reads from a disk."""
        problems: list[tuple[str, str]] = []
        try:
            found = {path.name: _signature(path) for path in self._folder.iterdir() if path.suffix in SUFFIXES}
            self._unreadable = ""
        except FileNotFoundError:
            found = {}
        except OSError as error:  # perhaps for a moment: what runs goes on
            if str(error) != self._unreadable:
                problems.append((str(self._folder), str(error.strerror)))
            self._unreadable = str(error)
            return Look(self.pods, problems)
        files: dict[str, _File] = {}
        for name, seen in sorted(found.items()):
            before = self._files.get(name, _File(()))
            if not seen or name.startswith("."):
                continue
            files[name] = before._replace(seen=seen)
            if seen != before.taken and (first or seen == before.seen):
                try:
                    others = {**{name: file for name, file in self._files.items() if name in found}, **files}
                    files[name] = _File(seen, seen, self._read(name, others))
                except StaticPodError as error:
                    files[name] = _File(seen, seen, before.pod)
                    problems.append((name, str(error)))
        self._files = files
        return Look({f.pod.name: f.pod for f in files.values() if f.pod is not None}, problems)

    def take(self, look: Look) -> list[Resource]:
        """Have what was found: the pods that came, changed or went."""
        before, self.pods = self.pods, look.pods
        names = before.keys() | look.pods.keys()
        return [name for name in names if _uid(before.get(name)) != _uid(look.pods.get(name))]

    def _read(self, file: str, others: dict[str, _File]) -> StaticPod:
        try:
            with (self._folder / file).open("rb") as opened:
                content = opened.read(FILE_LIMIT + 1)
        except OSError as error:
            raise StaticPodError(str(error.strerror)) from error
        found = parse(file, content, self._node)
        same = [name for name, other in others.items() if other.pod is not None and other.pod.name == found.name]
        if [name for name in same if name != file]:
            raise StaticPodError(f"{same[0]} has a pod of this name already: {found.name.id}")
        return found


def parse(file: str, content: bytes, node: str) -> StaticPod:
    """The pod of a file. Raises StaticPodError."""
    if len(content) > FILE_LIMIT:
        raise StaticPodError(f"it has more than {FILE_LIMIT} bytes")
    given = _decoded(file, content)
    if not isinstance(given, dict) or (given.get("apiVersion"), given.get("kind")) != ("v1", "Pod"):
        raise StaticPodError("it has to be one Pod: `apiVersion: v1`, `kind: Pod`")
    metadata, spec = given.get("metadata") or {}, given.get("spec") or {}
    if not isinstance(metadata, dict) or not isinstance(spec, dict):
        raise StaticPodError("`metadata` and `spec` are no objects")
    name, namespace = f"{metadata.get('name') or ''}-{node}", metadata.get("namespace") or "default"
    if not metadata.get("name") or _NAME.fullmatch(name) is None:
        raise StaticPodError(f"`metadata.name` {metadata.get('name')!r} is no name of a pod, with -{node} after it")
    if not isinstance(namespace, str) or _LABEL.fullmatch(namespace) is None:
        raise StaticPodError(f"`metadata.namespace` {namespace!r} is no name of a namespace")
    abroad = sorted(set(_names_abroad(spec)))
    if abroad:
        raise StaticPodError(
            f"a static pod names no ConfigMaps, Secrets and service accounts, this one has {', '.join(abroad)}"
        )
    told = {key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)}
    manifest: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, **told},
        "spec": {**spec, "nodeName": node},
    }
    try:
        plain = msgspec.json.encode(manifest, order="deterministic")
    except TypeError as error:  # such as a key that is a list
        raise StaticPodError(str(error)) from error
    uid = hashlib.sha256(b"\0".join((node.encode(), file.encode(), plain))).hexdigest()[:32]
    manifest["metadata"]["uid"] = uid
    try:
        pod = pods.parse(msgspec.json.encode(manifest))
    except PodError as error:
        raise StaticPodError(str(error)) from error
    _check(pod)
    return StaticPod(Resource(namespace, resource.POD, name), pod, manifest)


def _decoded(file: str, content: bytes) -> Any:
    import yaml

    try:
        if file.endswith(".json"):
            return msgspec.json.decode(content)
        return msgspec.yaml.decode(content)
    except (msgspec.DecodeError, yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise StaticPodError(f"it cannot be read: {' '.join(str(error).split())}") from error


def _check(pod: Pod) -> None:
    """What the API server sees to in other pods. Raises StaticPodError."""
    containers = [c.name for c in (*pod.spec.init_containers, *pod.spec.containers)]
    volumes = [str(volume.get("name", "")) for volume in pod.spec.volumes]
    if not pod.spec.containers:
        raise StaticPodError("it has no containers")
    for what, names in (("container", containers), ("volume", volumes)):
        for name in names:
            if _LABEL.fullmatch(name) is None:
                raise StaticPodError(f"{name!r} is no name of a {what}")
            if names.count(name) > 1:
                raise StaticPodError(f"there are several {what}s of the name {name!r}")
    if pod.spec.restart_policy not in ("Always", "OnFailure", "Never"):
        raise StaticPodError(f"there is no `restartPolicy` {pod.spec.restart_policy!r}")


def _names_abroad(part: Any) -> Iterator[str]:
    if isinstance(part, list):
        for item in part:
            yield from _names_abroad(item)
    elif isinstance(part, dict):
        for key, value in part.items():
            if (key in _ABROAD and value) or (key in ("serviceAccountName", "serviceAccount") and value):
                yield key
            yield from _names_abroad(value)


def _uid(static: StaticPod | None) -> str:
    return static.pod.uid if static is not None else ""


def _signature(path: Path) -> tuple[int, ...]:
    """What is different when a file is; nothing for what is no file."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_ino, found.st_size, found.st_mtime_ns) if path.is_file() else ()
