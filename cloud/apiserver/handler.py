"""From an HTTP request to the core and back: who asks, what for, and the answer's bytes."""

import logging
from collections.abc import AsyncIterator, Iterator
from itertools import chain
from typing import Any

import msgspec
from aiohttp import web

from cloud.apiserver import (
    attributes,
    discovery,
    metadata,
    openapi,
    protobuf,
    requests,
    reviews,
    schema_files,
    status,
    subresources,
)
from cloud.apiserver.access import Access
from cloud.apiserver.attributes import Attributes
from cloud.apiserver.credentials import Credentials
from cloud.apiserver.kubelets import Kubelets
from cloud.apiserver.listing import Lister
from cloud.apiserver.metrics_source import MetricsSource
from cloud.apiserver.objects import Objects
from cloud.apiserver.render import Renderer
from cloud.apiserver.requests import Target
from cloud.apiserver.resources import METRICS_GROUP, Resource
from cloud.apiserver.roles import User
from cloud.apiserver.schema_files import SchemaFiles
from cloud.apiserver.status import ApiError
from cloud.apiserver.storage import Storage
from cloud.apiserver.streams import Streams
from cloud.apiserver.writes import Written

log = logging.getLogger(__name__)

WARNINGS_LIMIT, WARNINGS_BYTES = 32, 4096
"""Warnings of an answer, and letters of them together: clients take a hundred headers, and 16 kB of them."""
_PUBLIC = frozenset({"healthz", "livez", "readyz", "version"})
"""First parts of paths that need no credential."""
_HEALTH = frozenset({"/healthz", "/livez", "/readyz"})
_JSON = {"Content-Type": "application/json", "Cache-Control": "no-cache, private"}


class Handler:
    """Answers every request of one server."""

    def __init__(
        self,
        objects: Objects,
        storage: Storage,
        lister: Lister,
        streams: Streams,
        credentials: Credentials,
        access: Access,
        schemas: SchemaFiles,
        kubelets: Kubelets,
        metrics: MetricsSource,
    ) -> None:
        self._objects = objects
        self._storage = storage
        self._lister = lister
        self._streams = streams
        self._credentials = credentials
        self._access = access
        self._schemas = schemas
        self._kubelets = kubelets
        self._metrics = metrics

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        try:
            try:
                return await self._answer(request)
            except RecursionError as error:
                raise status.bad_request("the object provided is nested too deeply") from error
        except ApiError as error:
            log.debug(
                "> error method=%s path=%s code=%d reason=%s", request.method, request.path, error.code, error.reason
            )
            headers = dict(_JSON)
            if error.details and "retryAfterSeconds" in error.details:
                headers["Retry-After"] = str(error.details["retryAfterSeconds"])
            return web.Response(body=msgspec.json.encode(error.body()), status=error.code, headers=headers)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        target = requests.parse_path(path)
        if target is None and path.strip("/").partition("/")[0] in _PUBLIC:
            return await self._answer_about_itself(request, path)
        user = self._authenticate(request)
        self._access.check(user, attributes.of_request(request.method, path, target, request.query))
        if target is None:
            return await self._answer_about_itself(request, path)
        if target.group == METRICS_GROUP:
            return _json(await self._metrics.answer(request, target))
        if request.method == "POST" and (review := reviews.find(target)) is not None:
            body = requests.decode_body(_content_type(request), await _body(request))
            return _json(review(target, body, user, self._access), 201)
        resource = self._resource(target, request.method)
        if subresources.is_own(target.subresource):
            return await self._answer_subresource(request, resource, target)
        match request.method, bool(target.name), bool(target.subresource):
            case "GET" | "HEAD", _, _:
                return await self._read(request, resource, target)
            case ("POST", False, False) | ("PUT" | "PATCH", True, _):
                return await self._write(request, resource, target, user)
            case "DELETE", _, False:
                return await self._delete(request, resource, target)
        raise status.method_not_allowed()

    def _resource(self, target: Target, method: str) -> Resource:
        """The resource type of a target. Raises ApiError 404 where there is none, or not in this scope."""
        resource = self._objects.registry.find(target.group, target.version, target.plural)
        if resource is None or (target.subresource and target.subresource not in resource.subresources):
            raise status.no_such_path()
        everywhere = resource.namespaced and not target.name and method in ("GET", "HEAD")
        if bool(target.namespace) != resource.namespaced and not everywhere:
            raise status.no_such_path()
        return resource

    def _authenticate(self, request: web.BaseRequest) -> User:
        """Who asks, or whom an admin asks as. Raises ApiError 401, or 403 for somebody else who asks as another."""
        headers = request.headers
        certificate = request.get_extra_info("peercert")
        user = self._credentials.user(headers.get("Authorization", ""), certificate)
        if user is None:
            raise status.unauthorized()
        name = headers.get("Impersonate-User")
        if name is None:
            if any(header.lower().startswith("impersonate-") for header in headers):
                raise status.bad_request("requested to impersonate without naming a user")
            return user
        self._access.check(user, Attributes("impersonate", resource="users", name=name))
        return User(name, tuple(headers.getall("Impersonate-Group", ())))

    async def _answer_about_itself(self, request: web.BaseRequest, path: str) -> web.Response:
        """Health, version, discovery and schemas."""
        if request.method not in ("GET", "HEAD"):
            raise status.method_not_allowed()
        path = path.rstrip("/") or "/"
        if path in _HEALTH or path.startswith(("/livez/", "/readyz/", "/healthz/")):
            return web.Response(text="ok")
        found: Any = None
        accept = request.headers.get("Accept", "")
        parts = path.strip("/").split("/")
        registry = self._objects.registry
        match parts:
            case ["version"]:
                found = discovery.VERSION
            case ["api" | "apis"] if discovery.wants_aggregated(accept):
                body = discovery.aggregated(registry, core=path == "/api")
                return _json(body, content_type=discovery.AGGREGATED)
            case ["api"]:
                found = discovery.api_versions(request.host)
            case ["apis"]:
                found = discovery.group_list(registry)
            case ["api", version]:
                found = discovery.resource_list(registry, "", version)
            case ["apis", group]:
                found = discovery.group(registry, group)
            case ["apis", group, version]:
                found = discovery.resource_list(registry, group, version)
            case ["openapi", *rest]:
                if (built_in := await self._built_in_schemas(rest)) is not None:
                    return built_in
                found = openapi.document(registry, rest, accept)
            case [""]:
                found = {
                    "paths": [
                        "/api",
                        "/apis",
                        "/healthz",
                        "/livez",
                        "/openapi/v2",
                        "/openapi/v3",
                        "/readyz",
                        "/version",
                    ]
                }
        if found is None:
            raise status.no_such_path()
        return _json(found)

    async def _built_in_schemas(self, path: list[str]) -> web.Response | None:
        """The document of a group and version that has built-in kinds; None for any other, or without their schemas."""
        match path:
            case ["v3", "api", version]:
                group = ""
            case ["v3", "apis", group, version]:
                pass
            case _:
                return None
        around = openapi.around(self._objects.registry, group, version)
        file = await self._schemas.open(group, version) if around is not None else None
        if around is None or file is None:
            return None
        before, after = around
        file.seek(1)  # behind the opening brace, which `before` has
        return _pieces(chain((before,), schema_files.pieces(file), (after,)))

    async def _read(self, request: web.BaseRequest, resource: Resource, target: Target) -> web.StreamResponse:
        query = request.query
        watches = requests.is_watch(query) and not target.subresource
        form = requests.form(request.headers.get("Accept", ""), resource, query, not target.name and not watches)
        renderer = Renderer(resource, form, self._objects.now)
        if watches:
            options = requests.watch_options(resource, query, target.name)
            return await self._streams.watch(request, resource, target.namespace, renderer, options)
        if target.name:
            return _raw(renderer.one(self._objects.get(resource, target.namespace, target.name)))
        page = self._lister.read(resource, target.namespace, requests.list_options(resource, query))
        return _pieces(renderer.many(page))

    async def _write(
        self, request: web.BaseRequest, resource: Resource, target: Target, user: User
    ) -> web.StreamResponse:
        """POST, PUT and PATCH."""
        self._storage.check_room()
        body = await _body(request)
        query = request.query
        content_type = _content_type(request)
        agent = request.headers.get("User-Agent", "")
        options = requests.write_options(query, request.method, agent, content_type, self._access.restriction(user))
        form = requests.form(request.headers.get("Accept", ""), resource, query)
        if options.asks_validation and not resource.custom and requests.media_type(content_type) != protobuf.MEDIA_TYPE:
            self._objects.admission.known_fields = await self._schemas.known_fields()
        namespace, name = target.namespace, target.name
        with self._objects.state.attempt():
            if request.method == "PATCH":
                patch = requests.media_type(content_type), body
                written = self._objects.patch(resource, namespace, name, patch, options, target.subresource)
            else:
                obj = requests.decode_body(content_type, body)
                if request.method == "POST":
                    written = self._objects.create(resource, namespace, obj, options)
                else:
                    written = self._objects.update(resource, namespace, name, obj, options, target.subresource)
        await self._commit(written)
        renderer = Renderer(resource, form, self._objects.now)
        return _raw(renderer.one(written.stored), 201 if written.created else 200, written.warnings)

    async def _delete(self, request: web.BaseRequest, resource: Resource, target: Target) -> web.StreamResponse:
        self._storage.check_room()
        body = await _body(request)
        query = request.query
        options = requests.delete_options(query, _content_type(request), body)
        form = requests.form(request.headers.get("Accept", ""), resource, query)
        renderer = Renderer(resource, form, self._objects.now)
        if not target.name:
            page = self._lister.read(resource, target.namespace, requests.list_options(resource, query))
            with self._objects.state.attempt():
                deleted = self._objects.delete_all(resource, page.items, options)
            if deleted is not None:
                await self._commit(deleted)
            return _pieces(renderer.many(page))
        with self._objects.state.attempt():
            written = self._objects.delete(resource, target.namespace, target.name, options)
        await self._commit(written)
        if not written.removed:
            return _raw(renderer.one(written.stored))
        uid = metadata.peek(written.stored).uid
        return _json(status.success(target.name, resource.group, resource.plural, uid))

    async def _answer_subresource(
        self, request: web.BaseRequest, resource: Resource, target: Target
    ) -> web.StreamResponse:
        """A subresource that is no part of its object."""
        self._storage.check_room()
        agent = request.headers.get("User-Agent", "")
        call = subresources.Call(request.method, request.query, _content_type(request), await _body(request), agent)
        upstream = subresources.upstream(self._objects, resource, target, call)
        if upstream is not None:
            return await self._kubelets.pass_on(request, upstream)
        with self._objects.state.attempt():
            reply = subresources.answer(self._objects, resource, target, call)
        if reply.transaction is not None:
            await self._storage.write(reply.transaction)
        headers = {**_JSON, "Content-Type": reply.content_type}
        return web.Response(body=reply.body, status=reply.code, headers=headers)

    async def _commit(self, written: Written) -> None:
        if written.transaction is not None:
            await self._storage.write(written.transaction)


def _content_type(request: web.BaseRequest) -> str:
    return request.headers.get("Content-Type", "")


async def _body(request: web.BaseRequest) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise status.too_large_body(requests.BODY_LIMIT) from error


def _json(body: Any, code: int = 200, content_type: str = "application/json") -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=code, headers={**_JSON, "Content-Type": content_type})


def _pieces(pieces: Iterator[bytes]) -> web.Response:
    """A body that is sent as it is made, where it is more than one piece: at the pace of the client that reads it."""
    first = next(pieces)
    second = next(pieces, None)
    if second is None:
        return _raw(first)

    async def body() -> AsyncIterator[bytes]:
        for piece in chain((first, second), pieces):
            yield piece

    return web.Response(body=body(), headers=_JSON)


def _raw(body: bytes, code: int = 200, warnings: list[str] | None = None) -> web.Response:
    response = web.Response(body=body, status=code, headers=_JSON)
    left = WARNINGS_BYTES
    for warning in (warnings or ())[:WARNINGS_LIMIT]:
        # They quote what the client sent, and the answer is given whatever that was: the change is on the disk.
        shown = "".join(letter if letter.isprintable() else " " for letter in warning)[:left]
        left -= len(shown)
        quoted = shown.replace("\\", "\\\\").replace('"', '\\"')
        if shown:
            response.headers.add("Warning", f'299 - "{quoted}"')
    return response
