"""The OpenAPI document (v3), as far as kubectl edits and applies by it: that this server checks what it is sent. A core.

Schemas it has none: `kubectl explain` is the cloud's to answer.
"""

from typing import Any

from edge_gateway.local_api.discovery import KINDS, Kind

Object = dict[str, Any]


def document(parts: list[str]) -> Object | None:
    """The document of a path, or None."""
    match parts:
        case ["openapi", "v3"]:
            wheres = dict.fromkeys(map(_where, KINDS))
            return {"paths": {where: {"serverRelativeURL": f"/openapi/v3/{where}"} for where in wheres}}
        case ["openapi", "v3", *where]:
            kinds = [kind for kind in KINDS if _where(kind) == "/".join(where)]
            return _of_version(kinds) if kinds else None
    return None


def _where(kind: Kind) -> str:
    return f"apis/{kind.api_version}" if kind.group else f"api/{kind.version}"


def _of_version(kinds: list[Kind]) -> Object:
    paths: Object = {}
    for kind in kinds:
        about = {"group": kind.group, "version": kind.version, "kind": kind.kind}
        scope = "/namespaces/{namespace}" if kind.namespaced else ""
        parameters = [{"name": "fieldValidation", "in": "query", "schema": {"type": "string", "uniqueItems": True}}]
        answer = {"200": {"description": "OK"}}
        patch = {"x-kubernetes-group-version-kind": about, "parameters": parameters, "responses": answer}
        paths[f"/{_where(kind)}{scope}/{kind.plural}/{{name}}"] = {"patch": patch}
    head = {"title": "Hedgerow's gateway", "version": "v1"}
    return {"openapi": "3.0.0", "info": head, "paths": paths, "components": {"schemas": {}}}
