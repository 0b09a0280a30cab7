"""The local API's core: a request in; an answer, a log, a watch or a write out.

It is told of everything that changed once that is durable (`changed`, `marked`), and calls whoever watches then.
"""

from collections.abc import Callable, Iterable
from typing import Any

from edge_gateway.edge_core import EdgeCore
from edge_gateway.effects import Effects
from edge_gateway.local_api import changes, discovery, logs, openapi, paging
from edge_gateway.local_api.discovery import Kind
from edge_gateway.local_api.objects import NODE, TYPES, Objects
from edge_gateway.local_api.refusals import Refusal, not_found
from edge_gateway.local_api.requests import Answer, Log, Request, Target, Write, check_namespace, target_of
from edge_gateway.local_api.versions import Versions
from edge_gateway.local_api.views import View, Watch, as_asked, of_kind
from edgewire import resource
from edgewire.resource import Resource, ResourceError
from edgewire.twin import TwinError

Object = dict[str, Any]

_HEALTH = (["healthz"], ["livez"], ["readyz"])
_DEVICES = ("devices.kubeedge.io", "v1beta1", "devices")


class LocalApi:
    """What one gateway serves to its own machine."""

    def __init__(self, core: EdgeCore, now_ms: int) -> None:
        """`core` keeps objects of all types in `objects.KEPT`, and has restored them."""
        self._core = core
        self.versions = Versions(now_ms)
        self.objects = Objects(core, self.versions, now_ms)
        for type in TYPES:
            self.versions.begin(self.objects.names(type))
        self.watchers: set[Callable[[], None]] = set()
        """Called when something changed."""

    # What changed

    def changed(self, effects: Effects) -> None:
        """These effects are durable."""
        names: dict[Resource, None] = {}
        for table, key, _ in effects.changes:
            if table == "object":
                _note(names, key)
            elif table in ("twin", "device"):
                namespace, name = key.split("/")[:2]
                names[Resource(namespace, resource.DEVICE, name)] = None
        for model in [name for name in names if name.type == resource.DEVICE_MODEL]:
            names |= dict.fromkeys(self._devices_of(model))  # their condition Accepted says whether there is one
        if resource.NODE_STATUS in effects.dirty:
            names[Resource(resource.NO_NAMESPACE, NODE, self._core.node)] = None
        self._touch(names)

    def marked(self, keys: list[str]) -> None:
        """Edged told of these statuses and events."""
        names: dict[Resource, None] = {}
        for key in keys:
            _note(names, key)
        told = [name._replace(type=resource.POD) if name.type == resource.POD_STATUS else name for name in names]
        if any(name.type == resource.EVENT for name in told):
            there = set(self.objects.names(resource.EVENT))
            told += [
                name for name in self.versions.names(resource.EVENT) if name not in there
            ]  # forgotten for new ones
        self._touch(told)

    def _touch(self, names: Iterable[Resource]) -> None:
        before = self.versions.newest
        for name in names:
            if name.type in TYPES:
                self.versions.touch(name, self.objects.has(name))
        if self.versions.newest != before:
            for wake in list(self.watchers):
                wake()

    def _devices_of(self, model: Resource) -> Iterable[Resource]:
        for name in self._core.names_of(resource.DEVICE):
            record = self._core.twins_of(name.id)
            if record is not None and record.device.model_id == model.id:
                yield name

    # What is asked

    def handle(self, request: Request, now_ms: int) -> "Answer | Log | Watch | Write":
        """The outcome of a request. Raises Refusal."""
        parts = [part for part in request.path.split("/") if part]
        if request.method == "GET" and parts in _HEALTH:
            return Answer("ok")
        if request.method == "GET" and (found := discovery.answer(parts, request.accept)) is not None:
            return Answer(*found)
        if request.method == "GET" and (document := openapi.document(parts)) is not None:
            return Answer(document)
        target = target_of(parts)
        check_namespace(request.rights, target)
        if target.kind.type == resource.SECRET and not request.rights.secrets:
            raise Refusal(403, f"{request.rights.name} has no right to read Secrets on this gateway")
        if target.part:
            return self._log(request, target)
        if request.method in ("PATCH", "PUT"):
            return self._write(request, target, now_ms)
        if request.method != "GET":
            raise Refusal(405, f"{request.method} is nothing this gateway does; objects come from the cloud")
        if target.name and request.query.get("watch") not in ("true", "1"):
            return Answer(self._shown(request, target.kind, [self._object(target)], now_ms, single=True))
        if request.query.get("watch") in ("true", "1"):
            return self._watch(request, target)
        return self._list(request, target, now_ms)

    def _list(self, request: Request, target: Target, now_ms: int) -> Answer:
        """A list, or a page of it; all pages tell the version of the first, so that a watch from there misses nothing."""
        view = View(self.objects, self.versions, request, target)
        version, after = paging.read(request.query.get("continue", ""), self.versions.newest)
        if not self.versions.can_tell_since(version):
            raise Refusal(410, "the provided continue parameter is too old; list anew")
        found, more = view.page(paging.limit(request.query.get("limit", "")), after)
        metadata: Object = {"resourceVersion": str(version)}
        if more is not None:
            metadata["continue"] = paging.token(version, more)
        return Answer(self._shown(request, target.kind, found, now_ms, metadata))

    def _log(self, request: Request, target: Target) -> Log:
        if request.method != "GET":
            raise Refusal(405, f"{request.method} is nothing one does with a log")
        containers = self._object(target)["spec"].get("containers", ())
        return Log(logs.request(target, [c.get("name", "") for c in containers], request.query))

    def written(self, write: Write, now_ms: int) -> Answer:
        """The answer to a write that is durable."""
        kind = discovery.find(*_DEVICES)
        assert kind is not None
        found = self._object(Target(kind, write.name.namespace, write.name.name))
        return Answer(as_asked(kind, write.accept, "Metadata", [found], now_ms, found["metadata"], single=True))

    def _object(self, target: Target) -> Object:
        name = Resource(target.namespace or resource.NO_NAMESPACE, target.kind.type, target.name)
        found = self.objects.get(name)
        if found is None:
            raise not_found(target.kind.plural, target.kind.group, target.name)
        return of_kind(target.kind, found)

    def _shown(
        self, request: Request, kind: Kind, found: list[Object], now_ms: int, metadata: Object | None = None, *,
        single: bool = False,
    ) -> Object:  # fmt: skip
        about = metadata if metadata is not None else {"resourceVersion": found[0]["metadata"]["resourceVersion"]}
        include = request.query.get("includeObject", "Metadata")
        return as_asked(kind, request.accept, include, found, now_ms, about, single=single)

    def _watch(self, request: Request, target: Target) -> "Watch":
        version = request.query.get("resourceVersion", "")
        if version in ("", "0") or request.query.get("sendInitialEvents") == "true":
            return Watch(View(self.objects, self.versions, request, target), None)
        if not version.isascii() or not version.isdigit() or len(version) > 20:
            raise Refusal(400, f"resourceVersion {version[:40]!r} is none of this gateway's")
        if not self.versions.can_tell_since(int(version)):
            raise Refusal(410, f"too old resource version: {version}; list anew")
        return Watch(View(self.objects, self.versions, request, target), int(version))

    def _write(self, request: Request, target: Target, now_ms: int) -> Write:
        if target.kind.type != resource.DEVICE or not target.name:
            raise Refusal(405, "only a Device's spec.properties[].desired.value can be set on this gateway")
        if not request.rights.desire:
            raise Refusal(403, f"{request.rights.name} may not set desired values: its role is viewer")
        if request.query.get("dryRun"):
            raise Refusal(400, "dryRun is nothing this gateway does")
        before = self._object(target)
        if request.method == "PUT":
            after = changes.decoded(request.body)
        else:
            after = changes.patched(before, request.content_type, request.body)
        wishes = changes.wishes(before, after)
        name = Resource(target.namespace, resource.DEVICE, target.name)
        try:
            effects = self._core.desire(name.id, wishes, now_ms) if wishes else Effects()
        except TwinError as error:
            raise Refusal(422, f'Device "{target.name}" is invalid: {error.reason}') from error
        return Write(effects, name, request.accept)


def _note(names: dict[Resource, None], key: str) -> None:
    try:
        name = resource.parse(key)
    except ResourceError:  # of a device's report, which is in a table of its own
        return
    if name.type in (*TYPES, resource.POD_STATUS):
        names[name] = None
