"""What a request asks for: its path, its query parameters and its media types, parsed and checked."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from cloud.apiserver import bodies, fields, propagation, protobuf, selectors, status
from cloud.apiserver.deletion import DeleteOptions
from cloud.apiserver.listing import ListOptions
from cloud.apiserver.patches import APPLY
from cloud.apiserver.render import PARTIAL, TABLE, Form
from cloud.apiserver.resources import Resource
from cloud.apiserver.writes import Restriction, WriteOptions

Query = Mapping[str, str]
BODY_LIMIT = 3 << 20
"""Bytes of a request's body, as kube-apiserver has it."""
MANAGER_LIMIT = 128
"""Characters of a field manager's name."""
_NUMBER_LIMIT = (1 << 63) - 1
_OPTIONS = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions"}


class Target(NamedTuple):
    """What a path names: a collection, an object, or a subresource of it."""

    group: str
    version: str
    plural: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def parse_path(path: str) -> Target | None:
    """The target of `/api/v1/...` or `/apis/<group>/<version>/...`; None for anything else."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3 and not (group == "" and rest[2] in ("status", "finalize")):
        namespace, rest = rest[1], rest[2:]
    if len(rest) > 3 or "" in rest:
        return None
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    return Target(group, version, rest[0], namespace, name, subresource)


def list_options(resource: Resource, query: Query) -> ListOptions:
    """The parameters of a list. Raises ApiError 400."""
    match = query.get("resourceVersionMatch", "")
    if match not in ("", "Exact", "NotOlderThan"):
        raise status.bad_request(f'resourceVersionMatch: Unsupported value: "{match}"')
    return ListOptions(
        selector=selector(resource, query),
        limit=_number(query, "limit"),
        continue_token=query.get("continue", ""),
        resource_version=query.get("resourceVersion", ""),
        exact=match == "Exact",
    )


def selector(resource: Resource, query: Query) -> selectors.Selector:
    """The label and field selectors. Raises ApiError 400."""
    return selectors.parse(query.get("labelSelector", ""), query.get("fieldSelector", ""), resource.selectable)


class WatchOptions(NamedTuple):
    """The parameters of a watch."""

    selector: selectors.Selector
    resource_version: str
    bookmarks: bool
    timeout_s: float
    """0 leaves it to the server."""
    initial_events: bool


def watch_options(resource: Resource, query: Query, name: str) -> WatchOptions:
    """The parameters of a watch, of one object where a name is given. Raises ApiError 400."""
    chosen = selector(resource, query)
    if name:
        chosen = chosen._replace(fields=(*chosen.fields, ("metadata.name", True, name)))
    return WatchOptions(
        selector=chosen,
        resource_version=query.get("resourceVersion", ""),
        bookmarks=_flag(query, "allowWatchBookmarks"),
        timeout_s=_number(query, "timeoutSeconds"),
        initial_events=_flag(query, "sendInitialEvents"),
    )


def is_watch(query: Query) -> bool:
    """Whether a GET of a collection asks to be told of changes."""
    return _flag(query, "watch")


def write_options(
    query: Query,
    method: str = "",
    agent: str = "",
    content_type: str = "",
    restriction: Restriction | None = None,
) -> WriteOptions:
    """The parameters of a write; `agent` is the client's User-Agent, `restriction` what its outcome has to pass.

    Raises ApiError 400 or 422.
    """
    validation = query.get("fieldValidation", "") or "Warn"
    if validation not in ("Ignore", "Warn", "Strict"):
        raise status.bad_request(f'fieldValidation: Unsupported value: "{validation}"')
    dry_run = _dry_run(query.get("dryRun", ""))
    manager, applies = query.get("fieldManager", ""), media_type(content_type) == APPLY
    causes = []
    if len(manager) > MANAGER_LIMIT:
        causes.append(fields.too_long("fieldManager", MANAGER_LIMIT))
    if not manager.isprintable():
        causes.append(fields.invalid("fieldManager", manager, "should only contain printable characters"))
    if applies and not manager:
        causes.append(fields.required("fieldManager", "is required for apply patch"))
    if "force" in query and method == "PATCH" and not applies:
        causes.append(fields.forbidden("force", "may not be specified for non-apply patch"))
    if causes:
        raise status.invalid(_OPTIONS.get(method, "UpdateOptions"), "meta.k8s.io", "", causes)
    asks = query.get("fieldValidation", "") in ("Warn", "Strict")
    return WriteOptions(dry_run, validation, manager or _manager_of(agent), _flag(query, "force"), restriction, asks)


def _manager_of(agent: str) -> str:
    """The name that a client without a `fieldManager` goes by: the first part of its User-Agent."""
    name = "".join(letter for letter in agent.partition("/")[0] if letter.isprintable())
    return name[:MANAGER_LIMIT] or "unknown"


def decode_body(content_type: str, body: bytes) -> Any:
    """The object in a body, JSON or protobuf. Raises ApiError 400 or 415."""
    media = media_type(content_type)
    if media == protobuf.MEDIA_TYPE:
        return protobuf.decode(body)
    if media not in ("", "application/json", "*/*", "application/octet-stream"):
        raise status.unsupported_media_type(("application/json", protobuf.MEDIA_TYPE))
    return bodies.decode(body)


def delete_options(query: Query, content_type: str, body: bytes) -> DeleteOptions:
    """The options of a DELETE, from its body and its query. Raises ApiError 400."""
    try:
        options = msgspec.convert(decode_body(content_type, body), DeleteOptions) if body.strip() else DeleteOptions()
    except msgspec.ValidationError as error:
        raise status.bad_request(f"the delete options cannot be read: {error}") from error
    if "gracePeriodSeconds" in query:
        options.grace_period_seconds = _number(query, "gracePeriodSeconds")
    if "dryRun" in query:
        options.dry_run = [query["dryRun"]]
    if "propagationPolicy" in query:
        options.propagation_policy = query["propagationPolicy"]
    if "orphanDependents" in query:
        options.orphan_dependents = _flag(query, "orphanDependents")
    propagation.check(options.propagation_policy, options.orphan_dependents)
    for asked in options.dry_run or ():
        _dry_run(asked)
    return options


def form(accept: str, resource: Resource, query: Query, many: bool | None = None) -> Form:
    """What the client wants to read: `many` objects, or one, where that is known. Raises ApiError 406 when it is nothing this
    server writes, or the first form that it writes is for the other: kube-apiserver looks no further."""
    if not accept:
        return Form(resource.api_version)
    for part in accept.split(","):
        media, *rest = (piece.strip() for piece in part.split(";"))
        if media not in ("application/json", "*/*", "application/*"):
            continue
        parameters: dict[str, str] = dict(piece.split("=", 1) for piece in rest if "=" in piece)
        shape = parameters.get("as", "").removesuffix("List")
        if not shape:
            return Form(resource.api_version)
        if shape == PARTIAL and many is not None and many != parameters["as"].endswith("List"):
            raise status.misfit(parameters["as"], many)
        if shape in (TABLE, PARTIAL) and parameters.get("v") == "v1" and parameters.get("g") == "meta.k8s.io":
            include = query.get("includeObject", "") or "Metadata"
            return Form(resource.api_version, shape, include if shape == TABLE else "")
    raise status.not_acceptable("application/json")


def media_type(content_type: str) -> str:
    """The media type in a Content-Type, without its parameters."""
    return content_type.partition(";")[0].strip()


def _dry_run(value: str) -> bool:
    if value not in ("", "All"):
        raise status.bad_request(f'dryRun: Unsupported value: "{value}": supported values: "All"')
    return value == "All"


def _flag(query: Query, name: str) -> bool:
    return query.get(name, "") in ("true", "1", "True", "") and name in query


def _number(query: Query, name: str) -> int:
    text: Any = query.get(name, "") or "0"
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) > _NUMBER_LIMIT:
        raise status.bad_request(f'{name}: Invalid value: "{text}": must be a number')
    return int(text)
