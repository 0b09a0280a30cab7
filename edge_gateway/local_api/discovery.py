"""What the local API says that it has: kinds, groups and verbs, and its version. A core.

kubectl asks for the aggregated form (apidiscovery.k8s.io, v2 and v2beta1), and falls back to the other.
"""

from typing import Any, NamedTuple

from edge_gateway.local_api.objects import NODE
from edgewire import __version__, device, resource

Object = dict[str, Any]


class Kind(NamedTuple):
    """One kind of object; `type` is the gateway's own name of it."""

    type: str
    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ("get", "list", "watch")
    categories: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        """`v1`, `devices.kubeedge.io/v1beta1`."""
        return f"{self.group}/{self.version}" if self.group else self.version


KINDS = (
    Kind(resource.CONFIGMAP, "", "v1", "configmaps", "ConfigMap", short=("cm",)),
    Kind(resource.EVENT, "", "v1", "events", "Event", short=("ev",)),
    Kind(NODE, "", "v1", "nodes", "Node", namespaced=False, short=("no",)),
    Kind(resource.POD, "", "v1", "pods", "Pod", short=("po",), categories=("all",)),
    Kind(resource.SECRET, "", "v1", "secrets", "Secret"),
    Kind(resource.DEVICE_MODEL, device.GROUP, device.VERSION, "devicemodels", "DeviceModel"),
    Kind(
        resource.DEVICE,
        device.GROUP,
        device.VERSION,
        "devices",
        "Device",
        verbs=("get", "list", "patch", "update", "watch"),
        categories=("all",),
    ),
)

VERSION = {
    "major": "1",
    "minor": "33",
    "gitVersion": f"v1.33.0+hedgerow-gateway-{__version__}",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "cpython",
    "platform": "linux",
}


def find(group: str, version: str, plural: str) -> Kind | None:
    """The kind below a path, or None."""
    return next((k for k in KINDS if (k.group, k.version, k.plural) == (group, version, plural)), None)


def answer(parts: list[str], accept: str = "") -> tuple[Object, int, str] | None:
    """What is said below `/api`, `/apis` and `/version`, with code and media type; None when it is no path of discovery."""
    form = next((form for form in ("v2", "v2beta1") if _aggregated_form(form) in accept.replace(" ", "")), "")
    if form and parts in (["api"], ["apis"]):
        return _aggregated(form, core=parts == ["api"]), 200, _aggregated_form(form)
    found = _plain(parts)
    return (found, 200, "application/json") if found is not None else None


def _aggregated_form(version: str) -> str:
    return f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"


def _aggregated(form: str, *, core: bool) -> Object:
    group, version = ("", "v1") if core else (device.GROUP, device.VERSION)
    resources = []
    for kind in (kind for kind in KINDS if kind.group == group):
        made: Object = {
            "resource": kind.plural,
            "responseKind": {"group": group, "version": version, "kind": kind.kind},
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "singularResource": kind.kind.lower(),
            "verbs": list(kind.verbs),
            "shortNames": list(kind.short),
            "categories": list(kind.categories),
        }
        if kind.type == resource.POD:
            log = {"group": "", "version": "v1", "kind": kind.kind}
            made["subresources"] = [{"subresource": "log", "responseKind": log, "verbs": ["get"]}]
        resources.append(made)
    versions = [{"version": version, "resources": resources, "freshness": "Current"}]
    items = [{"metadata": {"name": group} if group else {}, "versions": versions}]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{form}",
        "metadata": {},
        "items": items,
    }


def _plain(parts: list[str]) -> Object | None:
    match parts:
        case ["version"]:
            return VERSION
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"]}
        case ["apis"]:
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group()]}
        case ["apis", device.GROUP]:
            return {"kind": "APIGroup", "apiVersion": "v1", **_group()}
        case ["api", "v1"]:
            return _resources("", "v1")
        case ["apis", device.GROUP, device.VERSION]:
            return _resources(device.GROUP, device.VERSION)
    return None


def _group() -> Object:
    version = {"groupVersion": f"{device.GROUP}/{device.VERSION}", "version": device.VERSION}
    return {"name": device.GROUP, "versions": [version], "preferredVersion": version}


def _resources(group: str, version: str) -> Object:
    found = [
        {
            "name": k.plural,
            "singularName": k.kind.lower(),
            "namespaced": k.namespaced,
            "kind": k.kind,
            "verbs": list(k.verbs),
            "shortNames": list(k.short),
            "categories": list(k.categories),
        }
        for k in KINDS
        if k.group == group
    ]
    if not group:
        log = {"name": "pods/log", "singularName": "", "namespaced": True, "kind": "Pod", "verbs": ["get"]}
        found.append(log)
    group_version = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": found}
