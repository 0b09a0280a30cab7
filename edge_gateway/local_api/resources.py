"""The local API's core: a request in, an answer, a watch or a write out.

It is told of everything that changed once that is durable (`changed`, `marked`), and calls whoever watches then.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from edge_gateway.edge_core import EdgeCore
from edge_gateway.effects import Effects
from edge_gateway.local_api import changes, discovery, selectors, tables
from edge_gateway.local_api.access import Rights
from edge_gateway.local_api.discovery import Kind
from edge_gateway.local_api.objects import KEPT, NODE, TYPES, Objects
from edge_gateway.local_api.refusals import Refusal, not_found
from edge_gateway.local_api.selectors import Selector
from edge_gateway.local_api.versions import Change, Versions
from edgewire import resource
from edgewire.resource import Resource, ResourceError
from edgewire.twin import TwinError

Object = dict[str, Any]

LONGEST_WATCH_S = 3600
_INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}
_HEALTH = (["healthz"], ["livez"], ["readyz"])


class Request(NamedTuple):
    """A request whose sender is known."""

    method: str
    path: str
    query: dict[str, str]
    rights: Rights
    accept: str = ""
    content_type: str = ""
    body: bytes = b""


class Answer(NamedTuple):
    """A JSON object, or text."""

    body: Object | str
    code: int = 200


class Write(NamedTuple):
    """Effects to perform; once they are durable, `LocalApi.written` is the answer."""

    effects: Effects
    name: Resource
    accept: str


class _Target(NamedTuple):
    kind: Kind
    namespace: str
    """Empty for all."""
    name: str
    """Empty for a list."""


class LocalApi:
    """What one gateway serves to its own machine."""

    def __init__(self, core: EdgeCore, now_ms: int) -> None:
        """`core` keeps objects of all types in `objects.KEPT`, and has restored them."""
        self._core = core
        self.versions = Versions(now_ms)
        self.objects = Objects(core, self.versions, now_ms)
        for type in (*KEPT, NODE):
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
        self._touch(name._replace(type=resource.POD) for name in names if name.type == resource.POD_STATUS)

    def _touch(self, names: Iterable[Resource]) -> None:
        before = self.versions.newest
        for name in names:
            if name.type in (*KEPT, NODE):
                there = name.type == NODE or self._core.content_of(name) is not None
                self.versions.touch(name, there)
        if self.versions.newest != before:
            for wake in list(self.watchers):
                wake()

    def _devices_of(self, model: Resource) -> Iterable[Resource]:
        for name in self._core.names_of(resource.DEVICE):
            record = self._core.twins_of(name.id)
            if record is not None and record.device.model_id == model.id:
                yield name

    # What is asked

    def handle(self, request: Request, now_ms: int) -> "Answer | Watch | Write":
        """The outcome of a request. Raises Refusal."""
        parts = [part for part in request.path.split("/") if part]
        if request.method == "GET" and parts in _HEALTH:
            return Answer("ok")
        if request.method == "GET" and (found := discovery.answer(parts)) is not None:
            return Answer(found)
        target = _target(parts)
        _check_namespace(request.rights, target)
        if target.kind.type == resource.SECRET and not request.rights.secrets:
            raise Refusal(403, f"{request.rights.name} has no right to read Secrets on this gateway")
        if request.method in ("PATCH", "PUT"):
            return self._write(request, target, now_ms)
        if request.method != "GET":
            raise Refusal(405, f"{request.method} is nothing this gateway does; objects come from the cloud")
        if target.name and request.query.get("watch") not in ("true", "1"):
            return Answer(self._shown(request, target.kind, [self._object(target)], now_ms, single=True))
        if request.query.get("watch") in ("true", "1"):
            return self._watch(request, target)
        view = View(self, request, target)
        metadata: Object = {"resourceVersion": str(self.versions.newest)}
        return Answer(self._shown(request, target.kind, view.all(), now_ms, metadata))

    def written(self, write: Write, now_ms: int) -> Answer:
        """The answer to a write that is durable."""
        kind = discovery.find(*_DEVICES)
        assert kind is not None
        found = self._object(_Target(kind, write.name.namespace, write.name.name))
        return Answer(_as_asked(kind, write.accept, "Metadata", [found], now_ms, found["metadata"], single=True))

    def _object(self, target: _Target) -> Object:
        name = Resource(target.namespace or resource.NO_NAMESPACE, target.kind.type, target.name)
        found = self.objects.get(name)
        if found is None:
            raise not_found(target.kind.plural, target.kind.group, target.name)
        return _of_kind(target.kind, found)

    def _shown(
        self, request: Request, kind: Kind, found: list[Object], now_ms: int, metadata: Object | None = None, *,
        single: bool = False,
    ) -> Object:  # fmt: skip
        about = metadata if metadata is not None else {"resourceVersion": found[0]["metadata"]["resourceVersion"]}
        include = request.query.get("includeObject", "Metadata")
        return _as_asked(kind, request.accept, include, found, now_ms, about, single=single)

    def _watch(self, request: Request, target: _Target) -> "Watch":
        if "watch" not in target.kind.verbs or target.kind.type == resource.EVENT:
            raise Refusal(405, f"{target.kind.plural} cannot be watched on this gateway")
        version = request.query.get("resourceVersion", "")
        if version in ("", "0") or request.query.get("sendInitialEvents") == "true":
            return Watch(View(self, request, target), None)
        if not version.isascii() or not version.isdigit() or len(version) > 20:
            raise Refusal(400, f"resourceVersion {version[:40]!r} is none of this gateway's")
        if not self.versions.can_tell_since(int(version)):
            raise Refusal(410, f"too old resource version: {version}; list anew")
        return Watch(View(self, request, target), int(version))

    def _write(self, request: Request, target: _Target, now_ms: int) -> Write:
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


class View:
    """What of a kind a list or watch is about."""

    def __init__(self, api: LocalApi, request: Request, target: _Target) -> None:
        self.api = api
        self.kind = target.kind
        self.request = request
        self._namespace, self._name = target.namespace, target.name
        query = request.query
        self._labels: Selector = selectors.by_labels(query.get("labelSelector", ""))
        self._fields: Selector = selectors.by_fields(query.get("fieldSelector", ""))

    def concerns(self, name: Resource) -> bool:
        """Whether an object is of the kind, namespace and name."""
        return name.type == self.kind.type and self._namespace in ("", name.namespace) and self._name in ("", name.name)

    def all(self) -> list[Object]:
        """Every object that is meant, ordered by namespace and name."""
        names = sorted(name for name in self.api.objects.names(self.kind.type) if self.concerns(name))
        return [found for name in names if (found := self.one(name)) is not None]

    def one(self, name: Resource) -> Object | None:
        """An object, or None when there is none or it is not selected."""
        found = self.api.objects.get(name)
        if found is None:
            return None
        found = _of_kind(self.kind, found)
        return found if self._labels(found) and self._fields(found) else None


class Watch:
    """One watch: where its client is. `events` says what it has to be told next."""

    def __init__(self, view: View, version: int | None) -> None:
        """`version`: what the client knows; None when it knows nothing."""
        self._view = view
        self._version = version
        query = view.request.query
        self._initial = version is None
        self.bookmarks = query.get("allowWatchBookmarks") == "true"
        self._announce_end = query.get("sendInitialEvents") == "true"
        limit = query.get("timeoutSeconds", "")
        self.timeout_s = (
            min(int(limit), LONGEST_WATCH_S) if limit.isdecimal() and limit.isascii() and len(limit) < 9 else 1800
        )

    def events(self, now_ms: int) -> list[Object]:
        """What the client does not know; a Status of 410, after which it has to list anew, when nobody knows any more."""
        versions = self._view.api.versions
        if self._version is None:
            self._version = versions.newest
            found = [self._event("ADDED", obj, now_ms) for obj in self._view.all()]
            return [*found, self._bookmark(now_ms, _INITIAL_EVENTS_END)] if self._announce_end else found
        if not versions.can_tell_since(self._version):
            return [{"type": "ERROR", "object": Refusal(410, "too old resource version; list anew").status()}]
        changed = versions.since(self._version, self._view.concerns)
        self._version = versions.newest
        told = (self._told(change, now_ms) for change in changed)
        return [event for event in told if event is not None]

    def bookmark(self, now_ms: int) -> Object:
        """Tells how far the client is."""
        return self._bookmark(now_ms, {})

    def _told(self, change: Change, now_ms: int) -> Object | None:
        kind = self._view.kind
        obj = None if change.gone else self._view.one(change.name)
        if obj is not None:
            return self._event("ADDED" if change.new else "MODIFIED", obj, now_ms)
        if change.new:
            return None
        metadata: Object = {"name": change.name.name, "resourceVersion": str(change.version)}
        if kind.namespaced:
            metadata["namespace"] = change.name.namespace
        return self._event("DELETED", _of_kind(kind, {"metadata": metadata}), now_ms)

    def _bookmark(self, now_ms: int, annotations: Object) -> Object:
        metadata: Object = {"resourceVersion": str(self._version), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        obj = _of_kind(self._view.kind, {"metadata": metadata})
        if "as=Table" in self._view.request.accept:
            obj = tables.table(self._view.kind.type, [], metadata, "None", now_ms, titles=True)
        return {"type": "BOOKMARK", "object": obj}

    def _event(self, type: str, obj: Object, now_ms: int) -> Object:
        request = self._view.request
        include = request.query.get("includeObject", "Metadata")
        about = {"resourceVersion": obj["metadata"]["resourceVersion"]}
        shown = _as_asked(self._view.kind, request.accept, include, [obj], now_ms, about, single=True)
        return {"type": type, "object": shown}


_DEVICES = ("devices.kubeedge.io", "v1beta1", "devices")


def _note(names: dict[Resource, None], key: str) -> None:
    try:
        name = resource.parse(key)
    except ResourceError:  # of a device's report, which is in a table of its own
        return
    if name.type in (*TYPES, resource.POD_STATUS):
        names[name] = None


def _target(parts: list[str]) -> _Target:
    """What a path is about. Raises Refusal."""
    match parts:
        case ["api", "v1", *rest]:
            group, version = "", "v1"
        case ["apis", group, version, *rest]:
            pass
        case _:
            raise Refusal(404, "the gateway has no such path; it has /api/v1 and /apis/devices.kubeedge.io/v1beta1")
    namespace = ""
    if len(rest) >= 3 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    kind = discovery.find(group, version, rest[0]) if rest else None
    if kind is None or len(rest) > 2 or (namespace and not kind.namespaced):
        raise Refusal(404, "the gateway could not find the requested resource")
    name = rest[1] if len(rest) == 2 else ""
    if name and kind.namespaced and not namespace:
        raise Refusal(404, f"{kind.plural} are in namespaces: .../namespaces/NAMESPACE/{kind.plural}/{name[:253]}")
    return _Target(kind, namespace, name)


def _check_namespace(rights: Rights, target: _Target) -> None:
    """Raises Refusal for what somebody of one namespace may not see."""
    own, device = rights.namespace, target.kind.type in (resource.DEVICE, resource.DEVICE_MODEL)
    if own and not (device and target.namespace == own):
        where = f"namespace {target.namespace!r}" if target.namespace else "all namespaces"
        raise Refusal(
            403, f"{rights.name} may see devices and devicemodels of {own!r}, not {target.kind.plural} of {where}"
        )


def _of_kind(kind: Kind, obj: Object) -> Object:
    return {"apiVersion": kind.api_version, "kind": kind.kind, **obj}


def _as_asked(
    kind: Kind, accept: str, include: str, found: list[Object], now_ms: int, metadata: Object, *, single: bool
) -> Object:
    if "as=Table" in accept:
        return tables.table(kind.type, found, metadata, include, now_ms, titles=True)
    if single:
        return found[0]
    return {"apiVersion": kind.api_version, "kind": f"{kind.kind}List", "metadata": metadata, "items": found}
