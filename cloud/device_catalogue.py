"""Every Device and DeviceModel in Kubernetes, by node and by model: what each node should have of them. No I/O."""

from collections.abc import Iterable
from dataclasses import dataclass

from cloud import device_status
from cloud.device_reports import DeviceReports
from cloud.objects import Object
from cloud.sessions import Want
from edgewire import device as devices
from edgewire import resource
from edgewire.device import Device, DeviceError, DeviceModel

MODEL_NOT_FOUND, INVALID = "ModelNotFound", "Invalid"


@dataclass(slots=True)
class Known:
    """An object, and the version since which its generation has been the same: those since are equal for a node."""

    object: Object
    since: str

    def update(self, object: Object) -> bool:
        """Take a newer version; whether it matters to a node."""
        changed = object.generation != self.object.generation
        self.object = object
        if changed:
            self.since = object.version
        return changed

    @property
    def for_nodes(self) -> str:
        """The version as a node's inventory names it."""
        return resource.version(resource.ObjectMeta(self.object.uid, self.object.version, self.object.generation))

    def is_current(self, version: str) -> bool:
        """Whether a node that has this version needs no newer one.

        Nodes say what they have as `resource.version` does, by generation; a message carries the resource version.
        """
        if version == self.for_nodes:
            return True
        # Resource versions of one type compare as numbers (Kubernetes 1.35, KEP-5504).
        ours = (self.since, version, self.object.version)
        if all(v.isascii() and v.isdigit() for v in ours):
            since, at, newest = map(int, ours)
            return since <= at <= newest
        return version in (self.since, self.object.version)


@dataclass(slots=True)
class ModelEntry:
    """A DeviceModel; `model` is None when it cannot be read, and `error` says why."""

    known: Known
    model: DeviceModel | None = None
    error: str = ""


@dataclass(slots=True)
class DeviceEntry:
    """A Device, where it belongs, and what is reported of it."""

    known: Known
    reports: DeviceReports
    device: Device | None = None
    """None when it cannot be read; `error` says why, and node and model are what they were."""
    error: str = ""
    node: str = ""
    model: str = ""
    """`<namespace>/<name>` of its model."""

    @property
    def id(self) -> str:
        """`<namespace>/<name>`."""
        return self.known.object.id

    @property
    def generation(self) -> int:
        """Counts changes of its spec."""
        return self.known.object.generation

    def place(self) -> None:
        """Read the object anew."""
        try:
            self.device = devices.parse_device(self.known.object.raw)
        except DeviceError as error:
            self.device, self.error = None, str(error)
            return
        self.node, self.model, self.error = self.device.spec.node_name, self.device.model_id, ""


class Catalogue:
    """All devices and models. Keys are `<ns>/device/<name>` and `<ns>/devicemodel/<name>`; ids have no type."""

    def __init__(self) -> None:
        self.devices: dict[str, DeviceEntry] = {}
        self.models: dict[str, ModelEntry] = {}
        self._of_node: dict[str, dict[str, set[str]]] = {}
        """Node -> model -> its devices there."""
        self._of_model: dict[str, set[str]] = {}

    def put_device(self, object: Object) -> DeviceEntry | None:
        """Take a device's newest version in; its entry, or None when nothing has changed for a node."""
        entry = self.devices.get(object.id)
        if entry is None:
            entry = DeviceEntry(Known(object, object.version), DeviceReports(device_status.parse(object.raw)))
            self.devices[object.id] = entry
        elif not entry.known.update(object):
            return None
        self._unindex(entry)
        entry.place()
        self._of_model.setdefault(entry.model, set()).add(entry.id)
        if entry.node:
            self._of_node.setdefault(entry.node, {}).setdefault(entry.model, set()).add(entry.id)
        return entry

    def remove_device(self, id: str) -> DeviceEntry | None:
        """Forget a device; its entry, if there was one."""
        entry = self.devices.pop(id, None)
        if entry is not None:
            self._unindex(entry)
        return entry

    def put_model(self, object: Object) -> bool:
        """Take a model's newest version in; whether anything has changed for a node."""
        entry = self.models.get(object.id)
        if entry is None or entry.known.object.uid != object.uid:
            entry = self.models[object.id] = ModelEntry(Known(object, object.version))
        elif not entry.known.update(object):
            return False
        try:
            entry.model, entry.error = devices.parse_model(object.raw), ""
        except DeviceError as error:
            entry.model, entry.error = None, str(error)
        return True

    def of_model(self, model: str) -> list[DeviceEntry]:
        """The devices of a model."""
        return [self.devices[id] for id in sorted(self._of_model.get(model, ()))]

    def of_node(self, node: str) -> list[DeviceEntry]:
        """The devices of a node."""
        return [self.devices[id] for ids in self._of_node.get(node, {}).values() for id in sorted(ids)]

    def problem(self, entry: DeviceEntry) -> tuple[str, str] | None:
        """Why a device cannot be used, as reason and message, or None."""
        if entry.device is None:
            return INVALID, entry.error
        model = self.models.get(entry.model)
        if model is None:
            return MODEL_NOT_FOUND, f"DeviceModel {entry.model} does not exist"
        if model.model is None:
            return INVALID, model.error
        found = devices.problems(entry.device, model.model)
        return (INVALID, "; ".join(found)) if found else None

    def keys(self, node: str) -> Iterable[str]:
        """Every model and device of a node; models first."""
        yield from (model_key(model) for model in sorted(self._of_node.get(node, ())))
        yield from (device_key(entry.id) for entry in self.of_node(node))

    def want(self, node: str, key: str) -> Object | Want:
        """What a node should have of a device or model. What cannot be used stays there as it was before."""
        named = resource.parse(key)
        if named.type == resource.DEVICE:
            entry = self.devices.get(named.id)
            if entry is None or entry.node != node:
                return Want.NOTHING
            return entry.known.object if self.problem(entry) is None else Want.AS_IT_IS
        if named.id not in self._of_node.get(node, ()):
            return Want.NOTHING
        model = self.models.get(named.id)
        return Want.AS_IT_IS if model is None or model.model is None else model.known.object

    def is_current(self, key: str, version: str) -> bool:
        """Whether a version has the spec of the newest."""
        named = resource.parse(key)
        entries: dict[str, DeviceEntry] | dict[str, ModelEntry]
        entries = self.devices if named.type == resource.DEVICE else self.models
        entry = entries.get(named.id)
        return entry is not None and entry.known.is_current(version)

    def _unindex(self, entry: DeviceEntry) -> None:
        _discard(self._of_model, entry.model, entry.id)
        if (models := self._of_node.get(entry.node)) is not None:
            _discard(models, entry.model, entry.id)
            if not models:
                del self._of_node[entry.node]


def device_key(id: str) -> str:
    """The key of a device."""
    return str(resource.of_id(resource.DEVICE, id))


def model_key(id: str) -> str:
    """The key of a model."""
    return str(resource.of_id(resource.DEVICE_MODEL, id))


def _discard(index: dict[str, set[str]], key: str, id: str) -> None:
    ids = index.get(key)
    if ids is not None:
        ids.discard(id)
        if not ids:
            del index[key]
