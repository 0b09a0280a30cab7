"""How the fields of a kind belong together: which lists are merged by which keys, which are sets, and which lists and maps are
one value that only one manager owns (atomic).

A custom resource says so in its schema (`x-kubernetes-list-type`, `x-kubernetes-list-map-keys`, `x-kubernetes-map-type`). For the
built-in kinds it stands here, after the listType, listMapKey, mapType and structType tags of k8s.io/api/core/v1: lists that are
not named are atomic, everything else is merged field by field.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from cloud.apiserver import strategic


class FieldType:
    """One level: a map of fields, a list, or a value. What it is in an object, the object's value decides."""

    __slots__ = ("atomic", "element", "fields", "item", "key_defaults", "keys", "names_all", "unique")

    def __init__(self, element: "FieldType | None" = None, *, atomic: bool = False, names_all: bool = False) -> None:
        self.fields: dict[str, FieldType] = {}
        """Fields of a map that the schema names."""
        self.element = element
        """The type of other fields of a map; None where the schema allows none."""
        self.names_all = names_all
        """Whether fields that are not in `fields` count as named all the same."""
        self.atomic = atomic
        self.item: FieldType | None = None
        self.keys: tuple[str, ...] = ()
        """The keys that tell items of a list apart."""
        self.key_defaults: dict[str, Any] = {}
        self.unique = False
        """Whether a list is a set of values."""

    def is_map(self, value: Any) -> bool:
        """Whether each field of the value has an owner of its own."""
        return value.__class__ is dict and not self.atomic

    def is_list(self, value: Any) -> bool:
        """Whether each item of the value has an owner of its own."""
        return value.__class__ is list and (self.unique or bool(self.keys))

    def declares(self, name: str) -> bool:
        """Whether the schema has a place for a field."""
        return name in self.fields or self.element is not None

    def names(self, name: str) -> bool:
        """Whether the schema names a field, rather than taking whatever comes."""
        return self.names_all or name in self.fields

    def of(self, name: str) -> "FieldType":
        """The type of a field."""
        return self.fields.get(name) or self.element or DEDUCED

    def of_item(self) -> "FieldType":
        """The type of a list's items."""
        return self.item or DEDUCED

    def element_of(self, item: Any) -> str | None:
        """The path element of a list's item; None when it has no key."""
        if self.unique:
            return "v:" + msgspec.json.encode(item, order="deterministic").decode()
        if item.__class__ is not dict:
            return None
        key = {name: item.get(name, self.key_defaults.get(name)) for name in self.keys if self._has_key(item, name)}
        return "k:" + msgspec.json.encode(key, order="deterministic").decode() if key else None

    def same_key(self, one: Any, other: Any) -> bool:
        """Whether two items of a list have the same key, told without encoding it."""
        if self.unique or one.__class__ is not dict or other.__class__ is not dict:
            return False
        return all(name in one and one[name] == other.get(name) for name in self.keys)

    def _has_key(self, item: dict[str, Any], name: str) -> bool:
        return name in item or name in self.key_defaults


def _deduced(names_all: bool) -> FieldType:
    made = FieldType(names_all=names_all)
    made.element = made
    return made


DEDUCED = _deduced(names_all=False)
"""Whatever comes: maps field by field, lists as one value."""
_OPEN = _deduced(names_all=True)
"""The inside of built-in kinds: as above, of fields whose names are known elsewhere."""


def of_schema(openapi: Mapping[str, Any]) -> FieldType:
    """The types of a whole custom resource, from its valid structural schema."""
    made = _of_schema(openapi)
    _add_identity(made)
    return made


def _of_schema(openapi: Mapping[str, Any]) -> FieldType:
    keeps = bool(openapi.get("x-kubernetes-preserve-unknown-fields"))
    made = FieldType(DEDUCED if keeps else None, atomic=openapi.get("x-kubernetes-map-type") == "atomic")
    made.fields = {name: _of_schema(sub) for name, sub in (openapi.get("properties") or {}).items()}
    extra = openapi.get("additionalProperties")
    if extra:
        made.element = _of_schema(extra) if isinstance(extra, dict) else DEDUCED
    if openapi.get("x-kubernetes-embedded-resource"):
        _add_identity(made)
    items = openapi.get("items")
    if isinstance(items, dict):
        made.item = _of_schema(items)
        made.unique = openapi.get("x-kubernetes-list-type") == "set"
        if openapi.get("x-kubernetes-list-type") == "map":
            made.keys = tuple(sorted(openapi.get("x-kubernetes-list-map-keys") or ()))
            fields = items.get("properties") or {}
            made.key_defaults = {
                name: fields[name]["default"] for name in made.keys if "default" in fields.get(name, {})
            }
    return made


def _add_identity(made: FieldType) -> None:
    made.fields |= {"apiVersion": _OPEN, "kind": _OPEN, "metadata": _metadata()}


_METADATA = (
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
)


def _metadata() -> FieldType:
    made = FieldType()
    made.fields = dict.fromkeys(_METADATA, _OPEN)
    made.fields["finalizers"] = _list(("",), _OPEN)
    made.fields["ownerReferences"] = _list(("uid",), FieldType(atomic=True))
    return made


def _list(keys: Iterable[str], item: FieldType) -> FieldType:
    """A list by its keys; the key "" makes a set."""
    made = FieldType()
    made.keys = tuple(sorted(name for name in keys if name))
    made.unique = "" in keys
    made.item = item
    made.key_defaults = {name: value for name, value in _KEY_DEFAULTS.items() if name in made.keys}
    return made


_KEY_DEFAULTS = {"protocol": "TCP"}
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_KEYS: dict[str, dict[str, tuple[str, ...]]] = {
    "Pod": {
        **{f"spec.{name}.ports": ("containerPort", "protocol") for name in _CONTAINERS},
        **{f"spec.{name}.resources.claims": ("name",) for name in _CONTAINERS},
        "spec.topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
        "status.hostIPs": (),
    },
    "CustomResourceDefinition": {"status.conditions": ("type",)},
}
_KEYS |= {
    kind: {strategic.TEMPLATE + path: keys for path, keys in _KEYS["Pod"].items() if path.startswith("spec.")}
    for kind in strategic.WORKLOADS
}
"""Kind -> list -> keys, where these are not those of a strategic merge patch; () for an atomic list after all."""
_SELECTED = ("configMapKeyRef", "fieldRef", "resourceFieldRef", "secretKeyRef")
_ATOMIC: dict[str, tuple[str, ...]] = {
    "Pod": (
        "spec.nodeSelector",
        *(f"spec.{name}.env.valueFrom.{source}" for name in _CONTAINERS for source in _SELECTED),
        "spec.imagePullSecrets.*",
    ),
    "ServiceAccount": ("secrets.*",),
    "Event": ("involvedObject", "related"),
}
_ATOMIC |= {
    kind: ("spec.selector", *(strategic.TEMPLATE + path for path in _ATOMIC["Pod"])) for kind in strategic.WORKLOADS
}
"""Kind -> maps that are one value; `*` is an item of a list."""


def of_kind(kind: str) -> FieldType:
    """The types of a built-in kind."""
    made = FieldType(_OPEN, names_all=True)
    _add_identity(made)
    merged = {path: (key,) for path, key in strategic.KEYS.get(kind, {}).items()} | _KEYS.get(kind, {})
    for path, keys in sorted(merged.items()):
        if keys:
            parent, name = _parent(made, path)
            parent.fields[name] = _list(keys, FieldType(_OPEN, names_all=True))
    for path in _ATOMIC.get(kind, ()):
        parent, name = _parent(made, path)
        if name == "*":
            parent.item = FieldType(atomic=True)
        else:
            parent.fields[name] = FieldType(atomic=True)
    return made


def _parent(root: FieldType, path: str) -> tuple[FieldType, str]:
    """The type that a path's last name belongs to, made on the way; lists are entered by themselves."""
    *names, last = path.split(".")
    found = root
    for name in names:
        below = found.fields.get(name)
        if below is None:
            below = found.fields[name] = FieldType(_OPEN, names_all=True)
        found = below if last == "*" and name == names[-1] else below.item or below
    return found, last
