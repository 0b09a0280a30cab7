"""OpenAPI documents, as far as kubectl reads them: which kinds there are, that patches take `fieldValidation`, and the schemas of
custom resources for `kubectl explain`.

Those of the built-in kinds are in files (`schema_files`), and `around` says what goes before and after them. Without the files,
and in v2 (which kubectl asks for in protobuf only), built-in kinds have the part common to all.
"""

from typing import Any

import msgspec

from cloud.apiserver import patches, status
from cloud.apiserver.resources import REVIEWS, Registry, Resource


def document(registry: Registry, path: list[str], accept: str) -> dict[str, Any] | None:
    """The document below `/openapi/`, or None. Raises ApiError 406 for the protobuf form of v2."""
    match path:
        case ["v2"]:
            if "protobuf" in accept and "json" not in accept and "*/*" not in accept:
                raise status.not_acceptable("application/json")
            return _v2(registry)
        case ["v3"]:
            return {"paths": {where: {"serverRelativeURL": f"/openapi/v3/{where}"} for where in _groups(registry)}}
        case ["v3", "api", version]:
            return _v3(registry, "", version)
        case ["v3", "apis", group, version]:
            return _v3(registry, group, version)
    return None


def _groups(registry: Registry) -> list[str]:
    return list(dict.fromkeys(_where(resource) for resource in (*registry, *REVIEWS)))


def _where(resource: Resource) -> str:
    return f"apis/{resource.api_version}" if resource.group else f"api/{resource.version}"


def _v3(registry: Registry, group: str, version: str) -> dict[str, Any] | None:
    found = [r for r in (*registry, *REVIEWS) if r.group == group and r.version == version]
    if not found:
        return None
    paths: dict[str, Any] = {}
    for resource in found:
        paths |= _paths(resource)
    schemas = {schema_name(resource): schema(resource) for resource in found}
    return _head(paths) | {"components": {"schemas": schemas | {_META: _META_SCHEMA}}}


def around(registry: Registry, group: str, version: str) -> tuple[bytes, bytes] | None:
    """What goes before and after the schemas of a group's built-in kinds: a JSON object without its opening brace.

    None where there are no built-in kinds.
    """
    found = [r for r in registry if r.group == group and r.version == version]
    if all(resource.custom for resource in found):
        return None
    paths: dict[str, Any] = {}
    for resource in found:
        paths |= _paths(resource)
    own = msgspec.json.encode({schema_name(r): schema(r) for r in found if r.custom})
    before = msgspec.json.encode(_head(paths))[:-1] + b',"components":{"schemas":' + own[:-1]
    return before + (b"," if len(own) > len(b"{}") else b""), b"}}"


def _head(paths: dict[str, Any]) -> dict[str, Any]:
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.33.0"}, "paths": paths}


def _v2(registry: Registry) -> dict[str, Any]:
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.33.0"},
        "paths": {},
        "definitions": {schema_name(resource): schema(resource, "#/definitions/") for resource in registry}
        | {_META: _META_SCHEMA},
    }


_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_META_SCHEMA = {
    "description": "ObjectMeta is metadata that all persisted resources must have.",
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "Name must be unique within a namespace."},
        "generateName": {"type": "string", "description": "A prefix for a name that the server makes unique."},
        "namespace": {
            "type": "string",
            "description": "Namespace defines the space within which each name must be unique.",
        },
        "labels": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "Map of string keys and values that can be used to organize and select objects.",
        },
        "annotations": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "Unstructured key value map that may be set by external tools.",
        },
        "finalizers": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Must be empty before the object is deleted.",
        },
        "uid": {"type": "string", "description": "Unique in time and space; set by the server."},
        "resourceVersion": {"type": "string", "description": "The version of this object; opaque to clients."},
        "generation": {
            "type": "integer",
            "format": "int64",
            "description": "Rises with each change of the desired state.",
        },
        "creationTimestamp": {"type": "string", "format": "date-time", "description": "Set by the server."},
        "deletionTimestamp": {"type": "string", "format": "date-time", "description": "Set by the server on deletion."},
    },
}


def schema_name(resource: Resource) -> str:
    """The name of a kind's schema, as kube-apiserver forms it."""
    if resource.custom or "." in resource.group:
        group = ".".join(reversed(resource.group.split(".")))
        return f"{group}.{resource.version}.{resource.kind}"
    return f"io.k8s.api.{resource.group or 'core'}.{resource.version}.{resource.kind}"


def schema(resource: Resource, references: str = "#/components/schemas/") -> dict[str, Any]:
    """A kind's schema with its group, version and kind; built-in kinds have only the part common to all."""
    made: dict[str, Any] = {"type": "object"} | dict(resource.openapi or {})
    properties = {
        "apiVersion": {"type": "string", "description": "The version of the schema of this object."},
        "kind": {"type": "string", "description": "The REST resource this object represents."},
        "metadata": {"allOf": [{"$ref": references + _META}], "description": "Standard object's metadata."},
    }
    made["properties"] = {**(made.get("properties") or {}), **properties}
    if resource.openapi is None:
        made["x-kubernetes-preserve-unknown-fields"] = True
    return made | about(resource)


def about(resource: Resource) -> dict[str, Any]:
    """What a schema says of its kind."""
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    return {"x-kubernetes-group-version-kind": [kind]}


def _paths(resource: Resource) -> dict[str, Any]:
    prefix = "/" + _where(resource)
    scope = "/namespaces/{namespace}" if resource.namespaced else ""
    collection = f"{prefix}{scope}/{resource.plural}"
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema_name(resource)}"}}}

    def operation(action: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        made: dict[str, Any] = {
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": kind,
            "responses": {"200": {"description": "OK", "content": content}},
        }
        if body is not None:
            made["parameters"] = [_query("fieldValidation"), _query("dryRun"), _query("fieldManager")]
            made["requestBody"] = {"content": body}
        return made

    patch: dict[str, Any] = {media_type: {} for media_type in (patches.MERGE, patches.JSON, patches.APPLY)}
    if "get" not in resource.verbs:
        # Nobody patches it; but that is where kubectl looks whether this server validates what it is sent.
        return {collection: {"post": operation("post", content), "patch": operation("patch", patch)}}
    return {
        collection: {"get": operation("list"), "post": operation("post", content)},
        f"{collection}/{{name}}": {
            "get": operation("get"),
            "put": operation("put", content),
            "patch": operation("patch", patch),
            "delete": operation("delete"),
        },
    }


def _query(name: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
