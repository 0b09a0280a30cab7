"""What this server says of itself: groups, versions and resources, the old way and aggregated, and its version.

kubectl asks for the aggregated form (apidiscovery.k8s.io/v2) and falls back to the other.
"""

from typing import Any

from cloud.apiserver.resources import METRICS, REVIEWS, Registry, Resource

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
VERSION = {
    "major": "1",
    "minor": "33",
    "gitVersion": "v1.33.0+hedgerow",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "cpython",
    "platform": "linux",
}
"""The Kubernetes version whose behaviour this server follows."""
_STATUS_VERBS = ("get", "patch", "update")
_SUBRESOURCES: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "attach": ("", "v1", "PodAttachOptions", ("create", "get")),
    "binding": ("", "v1", "Binding", ("create",)),
    "eviction": ("policy", "v1", "Eviction", ("create",)),
    "exec": ("", "v1", "PodExecOptions", ("create", "get")),
    "portforward": ("", "v1", "PodPortForwardOptions", ("create", "get")),
    "scale": ("autoscaling", "v1", "Scale", ("get", "patch", "update")),
}
"""Subresources that are of another kind than their object: group, version, kind and verbs."""
_OWN_VERBS = {"finalize": ("update",), "log": ("get",)}


def wants_aggregated(accept: str) -> bool:
    """Whether a client understands the aggregated form."""
    return "as=APIGroupDiscoveryList" in accept and "v=v2" in accept.replace("v=v2beta1", "")


def api_versions(server: str) -> dict[str, Any]:
    """`GET /api`."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server}],
    }


def group_list(registry: Registry) -> dict[str, Any]:
    """`GET /apis`."""
    groups = [group(registry, name) for name in _groups(registry) if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(registry: Registry, name: str) -> dict[str, Any] | None:
    """`GET /apis/<group>`, or None when there is no such group."""
    versions = _versions(registry, name)
    if not versions:
        return None
    found = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": found, "preferredVersion": found[0]}


def resource_list(registry: Registry, name: str, version: str) -> dict[str, Any] | None:
    """`GET /api/v1` and `GET /apis/<group>/<version>`, or None when there is no such version."""
    found = _resources(registry, name, version)
    if not found:
        return None
    listed = []
    for resource in found:
        listed.append(_resource(resource))
        listed += [_subresource(resource, sub) for sub in sorted(resource.subresources)]
    group_version = f"{name}/{version}" if name else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}


def aggregated(registry: Registry, core: bool) -> dict[str, Any]:
    """`GET /api` (core) or `GET /apis` in the aggregated form."""
    names = [name for name in _groups(registry) if bool(name) is not core]
    items = []
    for name in names:
        versions = [
            {
                "version": version,
                "resources": [_aggregated_resource(r) for r in _resources(registry, name, version)],
                "freshness": "Current",
            }
            for version in _versions(registry, name)
        ]
        meta: dict[str, Any] = {"creationTimestamp": None} | ({"name": name} if name else {})
        items.append({"metadata": meta, "versions": versions})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _groups(registry: Registry) -> list[str]:
    return list(dict.fromkeys(resource.group for resource in (*registry, *REVIEWS, *METRICS)))


def _versions(registry: Registry, group: str) -> list[str]:
    """The versions of a group, the preferred one first: as definitions list them, stored versions before others."""
    found = [r for r in (*registry, *REVIEWS, *METRICS) if r.group == group]
    stored = [r.version for r in found if r.stored_as == r.api_version]
    return list(dict.fromkeys([*stored, *(r.version for r in found)]))


def _resources(registry: Registry, group: str, version: str) -> list[Resource]:
    found = (r for r in (*registry, *REVIEWS, *METRICS) if r.group == group and r.version == version)
    return sorted(found, key=lambda r: r.plural)


def _resource(resource: Resource) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": resource.plural,
        "singularName": resource.singular or resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        made["shortNames"] = list(resource.short_names)
    if resource.categories:
        made["categories"] = list(resource.categories)
    return made


def _subresource(resource: Resource, name: str) -> dict[str, Any]:
    group, version, kind, verbs = _facts(resource, name)
    other = {"group": group, "version": version} if (group, version) != (resource.group, resource.version) else {}
    return {
        "name": f"{resource.plural}/{name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        **{key: value for key, value in other.items() if value},
        "kind": kind,
        "verbs": list(verbs),
    }


def _facts(resource: Resource, subresource: str) -> tuple[str, str, str, tuple[str, ...]]:
    own = (resource.group, resource.version, resource.kind, _OWN_VERBS.get(subresource, _STATUS_VERBS))
    return _SUBRESOURCES.get(subresource, own)


def _aggregated_subresource(resource: Resource, name: str) -> dict[str, Any]:
    group, version, kind, verbs = _facts(resource, name)
    about = {"group": group, "version": version, "kind": kind}
    return {"subresource": name, "responseKind": about, "verbs": list(verbs)}


def _aggregated_resource(resource: Resource) -> dict[str, Any]:
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    made: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": kind,
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular or resource.kind.lower(),
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        made["shortNames"] = list(resource.short_names)
    if resource.categories:
        made["categories"] = list(resource.categories)
    if resource.subresources:
        made["subresources"] = [_aggregated_subresource(resource, name) for name in sorted(resource.subresources)]
    return made
