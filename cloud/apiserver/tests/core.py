"""A whole server's core without its shell: writes are committed as soon as they are made."""

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import yaml

from cloud.apiserver.deletion import DeleteOptions
from cloud.apiserver.listing import Lister, ListOptions
from cloud.apiserver.objects import Objects
from cloud.apiserver.patches import MERGE
from cloud.apiserver.resources import Resource
from cloud.apiserver.writes import WriteOptions, Written

MANIFESTS = Path(__file__).parents[2] / "manifests"


class Core:
    """Objects, a clock to turn, and a disk that keeps everything at once."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)
        numbers = itertools.count(1)
        self.objects = Objects(now=lambda: self.time, new_uid=lambda: f"uid-{next(numbers)}")
        self.lister = Lister(self.objects.state, self.objects.now)
        self.create("namespaces", {"metadata": {"name": "default"}})

    def later(self, seconds: float) -> None:
        """Turn the clock."""
        self.time += timedelta(seconds=seconds)

    def resource(self, plural: str) -> Resource:
        """The resource of that plural, whatever its group."""
        return next(r for r in self.objects.registry if r.plural == plural)

    def done(self, written: Written) -> dict[str, Any]:
        """Commit what a write made, and return its object."""
        if written.transaction is not None:
            self.objects.committed(written.transaction)
        return read(written)

    def create(self, plural: str, obj: dict[str, Any], namespace: str | None = None, **options: Any) -> dict[str, Any]:
        """Create and commit."""
        resource = self.resource(plural)
        place = self._place(resource, namespace)
        return self.done(self.objects.create(resource, place, obj, WriteOptions(**options)))

    def update(self, plural: str, obj: dict[str, Any], subresource: str = "", **options: Any) -> dict[str, Any]:
        """Replace and commit."""
        resource = self.resource(plural)
        place, name = obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
        return self.done(self.objects.update(resource, place, name, obj, WriteOptions(**options), subresource))

    def patch(self, plural: str, name: str, patch: Any, subresource: str = "", **options: Any) -> dict[str, Any]:
        """Merge-patch and commit."""
        resource = self.resource(plural)
        body = MERGE, msgspec.json.encode(patch)
        place = self._place(resource, None)
        return self.done(self.objects.patch(resource, place, name, body, WriteOptions(**options), subresource))

    def delete(self, plural: str, name: str, namespace: str | None = None, **options: Any) -> Written:
        """Delete and commit."""
        resource = self.resource(plural)
        written = self.objects.delete(resource, self._place(resource, namespace), name, DeleteOptions(**options))
        self.done(written)
        return written

    def get(self, plural: str, name: str, namespace: str | None = None) -> dict[str, Any]:
        """The committed object."""
        resource = self.resource(plural)
        found: dict[str, Any] = msgspec.json.decode(
            self.objects.get(resource, self._place(resource, namespace), name).data
        )
        return found

    def names(self, plural: str, namespace: str = "") -> list[str]:
        """The names of the committed objects."""
        return [s.name for s in self.lister.read(self.resource(plural), namespace, ListOptions()).items]

    def define_devices(self) -> None:
        """Create the project's own definitions."""
        for path in sorted(MANIFESTS.glob("devices.*.yaml")):
            self.create("customresourcedefinitions", yaml.safe_load(path.read_text()))

    def _place(self, resource: Resource, namespace: str | None) -> str:
        if not resource.namespaced:
            return ""
        return "default" if namespace is None else namespace


def read(written: Written) -> dict[str, Any]:
    """The object a write answers with."""
    obj: dict[str, Any] = msgspec.json.decode(written.stored.data)
    return obj


def device(name: str = "s1", **spec: Any) -> dict[str, Any]:
    """A Device as a user writes it."""
    return {
        "apiVersion": "devices.kubeedge.io/v1beta1",
        "kind": "Device",
        "metadata": {"name": name},
        "spec": {"nodeName": "gw", "deviceModelRef": {"name": "m"}, **spec},
    }


def config_map(name: str, value: str = "v", **metadata: Any) -> dict[str, Any]:
    """A ConfigMap of one value."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": {"k": value}}


def widgets(version: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A definition of Widgets: small, and changed at will."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.test.example"},
        "spec": {
            "group": "test.example",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {
                                "spec": {
                                    "type": "object",
                                    "properties": {
                                        "size": {"type": "integer", "minimum": 1, "default": 1},
                                        "name": {"type": "string"},
                                    },
                                },
                                "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
                            },
                        }
                    },
                    **(version or {}),
                }
            ],
            **spec,
        },
    }


def scalable(group: str) -> dict[str, Any]:
    """A definition of Fleets, which have a scale."""
    definition = widgets()
    definition["metadata"]["name"] = f"fleets.{group}"
    definition["spec"] |= {"group": group, "names": {"plural": "fleets", "kind": "Fleet"}}
    (version,) = definition["spec"]["versions"]
    numbers = {"type": "integer"}
    version["schema"]["openAPIV3Schema"]["properties"] = {
        "spec": {"type": "object", "properties": {"replicas": numbers, "colour": {"type": "string"}}},
        "status": {"type": "object", "properties": {"replicas": numbers, "selector": {"type": "string"}}},
    }
    version["subresources"] = {
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    }
    return definition
