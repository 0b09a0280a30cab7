"""The resource types this server has: the built-in ones, and one for each version of each CustomResourceDefinition.

`Registry` is what discovery lists and what a request's path is looked up in. Objects are stored once per group and plural
(`Resource.storage`), whatever version they are asked for in.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from cloud.apiserver import columns, field_types, kinds, workload_columns
from cloud.apiserver.field_types import FieldType
from cloud.apiserver.jsonpath import Path, compile_path
from cloud.apiserver.kinds import Rules
from cloud.apiserver.scale_paths import ScalePaths
from cloud.apiserver.schema import Schema
from cloud.apiserver.shapes import SHAPES
from cloud.apiserver.status import qualified
from cloud.apiserver.table import PLAIN, Column
from cloud.apiserver.validations import Validations

READ = ("get", "list", "watch")
ALL = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_NO_FIELDS: Mapping[str, Path] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One resource type in one version."""

    group: str
    version: str
    plural: str
    kind: str
    singular: str = ""
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: frozenset[str] = frozenset()
    verbs: tuple[str, ...] = ALL
    """What discovery says can be done with it."""
    columns: tuple[Column, ...] = PLAIN
    fields: Mapping[str, Path] = field(default_factory=lambda: _NO_FIELDS)
    """Fields beside name and namespace that a field selector may name."""
    rules: Rules = kinds.PLAIN
    custom: bool = False
    scale: ScalePaths | None = None
    """Where the numbers of its scale subresource are, if it has one."""
    schema: Schema | None = None
    """What objects are checked against; the built-in kinds have only their shape."""
    validations: Validations | None = None
    """The rules in its schema."""
    types: FieldType = field_types.DEDUCED
    """How its fields are owned and merged."""
    openapi: dict[str, Any] | None = None
    """The schema as published."""
    storage_version: str = ""
    """The version objects are kept in, when it is not this one."""
    translate: "Translation | None" = None
    """How an object of the storage version reads in this one, where more differs than the version's name."""

    @property
    def storage(self) -> str:
        """The name under which objects are kept: `devices.devices.kubeedge.io`, `pods`."""
        return qualified(self.plural, self.group) if self.translate is None else self.translate.storage

    @property
    def api_version(self) -> str:
        """`devices.kubeedge.io/v1beta1`, or `v1` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def stored_as(self) -> str:
        """The apiVersion that stored objects carry."""
        if self.translate is not None:
            return self.translate.stored_as
        version = self.storage_version or self.version
        return f"{self.group}/{version}" if self.group else version

    @property
    def list_kind(self) -> str:
        """The kind of a list."""
        return f"{self.kind}List"

    @property
    def selectable(self) -> frozenset[str]:
        """Every field that a field selector may name."""
        return frozenset(self.fields) | {"metadata.name"} | ({"metadata.namespace"} if self.namespaced else set())


@dataclass(frozen=True, slots=True)
class Translation:
    """Two views of one kind of object, such as events of core/v1 and of events.k8s.io/v1: top-level fields are renamed."""

    storage: str
    stored_as: str
    renames: Mapping[str, str]
    """Field here -> field as stored."""

    def from_stored(self, obj: dict[str, Any]) -> dict[str, Any]:
        """A stored object as this version shows it."""
        back = {stored: here for here, stored in self.renames.items()}
        return {back.get(name, name): value for name, value in obj.items()}

    def to_stored(self, obj: dict[str, Any]) -> dict[str, Any]:
        """An object of this version as it is stored."""
        return {self.renames.get(name, name): value for name, value in obj.items()}


class Registry:
    """The resource types served now."""

    def __init__(self) -> None:
        self._by_path = {(r.group, r.version, r.plural): r for r in _built_in()}

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """The resource at `/apis/<group>/<version>/<plural>`."""
        return self._by_path.get((group, version, plural))

    def stored_as(self, storage: str) -> Resource | None:
        """The resource in whose version objects of this storage name are kept."""
        found = [r for r in self._by_path.values() if r.storage == storage and r.stored_as == r.api_version]
        return found[0] if found else None

    def storages(self) -> dict[str, Resource]:
        """Storage name -> its resource, one version each."""
        return {r.storage: r for r in self._by_path.values() if r.stored_as == r.api_version}

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._by_path.values())

    def replace_custom(self, group: str, plural: str, served: tuple[Resource, ...]) -> None:
        """Serve these versions of a custom resource, and no others; none at all takes it away."""
        stale = [k for k, r in self._by_path.items() if r.custom and r.group == group and r.plural == plural]
        for path in stale:
            del self._by_path[path]
        for resource in served:
            self._by_path[resource.group, resource.version, resource.plural] = resource

    def taken(self, group: str, plural: str) -> bool:
        """Whether a built-in resource has this name."""
        return any(r.group == group and r.plural == plural and not r.custom for r in self._by_path.values())


def _paths(*names: str) -> Mapping[str, Path]:
    return MappingProxyType({name: compile_path("." + name) for name in names})


_POD_FIELDS = _paths(
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
)
_ABOUT = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_EVENT_FIELDS = MappingProxyType(
    {
        **_paths(*(f"involvedObject.{name}" for name in _ABOUT), "reason", "type", "reportingComponent"),
        "source": compile_path(".source.component"),
    }
)
_NEW_EVENT_FIELDS = MappingProxyType(
    {
        **{f"regarding.{name}": compile_path(f".involvedObject.{name}") for name in _ABOUT},
        **_paths("reason", "type"),
        "reportingController": compile_path(".reportingComponent"),
    }
)
_NEW_EVENTS = Translation(
    storage="events",
    stored_as="v1",
    renames=MappingProxyType(
        {
            "regarding": "involvedObject",
            "note": "message",
            "reportingController": "reportingComponent",
            "deprecatedSource": "source",
            "deprecatedFirstTimestamp": "firstTimestamp",
            "deprecatedLastTimestamp": "lastTimestamp",
            "deprecatedCount": "count",
        }
    ),
)
_STATUS = frozenset({"status"})
_REPLICAS = ScalePaths(("spec", "replicas"), ("status", "replicas"), ("spec", "selector"))
DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"
"""The storage name of CustomResourceDefinitions."""
NAMESPACES = "namespaces"
"""The storage name of namespaces."""


def _built_in() -> tuple[Resource, ...]:
    return tuple(
        replace(resource, schema=SHAPES[resource.kind], types=field_types.of_kind(resource.kind))
        for resource in _BUILT_IN
    )


_BUILT_IN = (
    Resource(
        "",
        "v1",
        "namespaces",
        "Namespace",
        "namespace",
        namespaced=False,
        short_names=("ns",),
        subresources=_STATUS | {"finalize"},
        columns=columns.NAMESPACES,
        fields=_paths("status.phase"),
        rules=kinds.NAMESPACE,
    ),
    Resource(
        "",
        "v1",
        "nodes",
        "Node",
        "node",
        namespaced=False,
        short_names=("no",),
        subresources=_STATUS,
        columns=columns.NODES,
        fields=_paths("spec.unschedulable"),
        rules=kinds.NODE,
    ),
    Resource(
        "",
        "v1",
        "pods",
        "Pod",
        "pod",
        short_names=("po",),
        categories=("all",),
        subresources=_STATUS | {"binding", "eviction", "log", "exec", "attach", "portforward"},
        columns=columns.PODS,
        fields=_POD_FIELDS,
        rules=kinds.POD,
    ),
    Resource(
        "",
        "v1",
        "configmaps",
        "ConfigMap",
        "configmap",
        short_names=("cm",),
        columns=columns.CONFIG_MAPS,
        rules=kinds.CONFIG_MAP,
    ),
    Resource(
        "", "v1", "secrets", "Secret", "secret", columns=columns.SECRETS, fields=_paths("type"), rules=kinds.SECRET
    ),
    Resource(
        "",
        "v1",
        "serviceaccounts",
        "ServiceAccount",
        "serviceaccount",
        short_names=("sa",),
        columns=columns.SERVICE_ACCOUNTS,
        rules=kinds.SERVICE_ACCOUNT,
    ),
    Resource(
        "",
        "v1",
        "events",
        "Event",
        "event",
        short_names=("ev",),
        columns=columns.EVENTS,
        fields=_EVENT_FIELDS,
        rules=kinds.EVENT,
    ),
    Resource(
        "events.k8s.io",
        "v1",
        "events",
        "Event",
        "event",
        short_names=("ev",),
        columns=columns.EVENTS,
        fields=_NEW_EVENT_FIELDS,
        rules=kinds.EVENT,
        translate=_NEW_EVENTS,
    ),
    Resource(
        "apps",
        "v1",
        "deployments",
        "Deployment",
        "deployment",
        short_names=("deploy",),
        categories=("all",),
        subresources=_STATUS | {"scale"},
        columns=workload_columns.DEPLOYMENTS,
        rules=kinds.DEPLOYMENT,
        scale=_REPLICAS,
    ),
    Resource(
        "apps",
        "v1",
        "replicasets",
        "ReplicaSet",
        "replicaset",
        short_names=("rs",),
        categories=("all",),
        subresources=_STATUS | {"scale"},
        columns=workload_columns.REPLICA_SETS,
        rules=kinds.REPLICA_SET,
        scale=_REPLICAS,
    ),
    Resource(
        "apps",
        "v1",
        "daemonsets",
        "DaemonSet",
        "daemonset",
        short_names=("ds",),
        categories=("all",),
        subresources=_STATUS,
        columns=workload_columns.DAEMON_SETS,
        rules=kinds.DAEMON_SET,
    ),
    Resource("coordination.k8s.io", "v1", "leases", "Lease", "lease", columns=columns.LEASES, rules=kinds.LEASE),
    Resource(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        "customresourcedefinition",
        namespaced=False,
        short_names=("crd", "crds"),
        categories=("api-extensions",),
        subresources=_STATUS,
        columns=columns.DEFINITIONS,
        rules=Rules(counts_generations=True, unconditional_update=False),
    ),
)

_ACCESS, _CREATE = "authorization.k8s.io", ("create",)
REVIEWS = (
    Resource("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False, verbs=_CREATE),
    Resource(_ACCESS, "v1", "localsubjectaccessreviews", "LocalSubjectAccessReview", verbs=_CREATE),
    Resource(_ACCESS, "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False, verbs=_CREATE),
    Resource(_ACCESS, "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview", namespaced=False, verbs=_CREATE),
    Resource(_ACCESS, "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False, verbs=_CREATE),
)
"""Questions that are answered and not kept (`reviews`): discovery lists them, the registry has none of them."""
METRICS_GROUP = "metrics.k8s.io"
METRICS = (
    Resource(METRICS_GROUP, "v1beta1", "nodes", "NodeMetrics", namespaced=False, verbs=("get", "list")),
    Resource(METRICS_GROUP, "v1beta1", "pods", "PodMetrics", verbs=("get", "list")),
)
"""What nodes are asked for when somebody asks (`metrics`); likewise."""
