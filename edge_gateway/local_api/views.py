"""What lists and watches show of the objects of one kind. A core."""

from typing import Any

from edge_gateway.local_api import selectors, tables
from edge_gateway.local_api.discovery import Kind
from edge_gateway.local_api.objects import Objects
from edge_gateway.local_api.refusals import Refusal
from edge_gateway.local_api.requests import Request, Target
from edge_gateway.local_api.selectors import Selector
from edge_gateway.local_api.versions import Change, Versions
from edgewire import resource
from edgewire.resource import Resource

Object = dict[str, Any]

LONGEST_WATCH_S = 3600
_INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}


class View:
    """What of a kind a list or watch is about."""

    def __init__(self, objects: Objects, versions: Versions, request: Request, target: Target) -> None:
        self.versions = versions
        self._objects = objects
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
        return [found for name in self._names() if (found := self.one(name)) is not None]

    def page(self, limit: int, after: tuple[str, str] | None) -> tuple[list[Object], tuple[str, str] | None]:
        """As many objects at most behind one of that namespace and name, and where the next page begins, if there is one."""
        found: list[Object] = []
        for name in self._names():
            if after is not None and (name.namespace, name.name) <= after:
                continue
            obj = self.one(name)
            if obj is not None and len(found) == limit:
                last = found[-1]["metadata"]
                return found, (last.get("namespace", resource.NO_NAMESPACE), last["name"])
            if obj is not None:
                found.append(obj)
        return found, None

    def _names(self) -> list[Resource]:
        return sorted(name for name in self._objects.names(self.kind.type) if self.concerns(name))

    def one(self, name: Resource) -> Object | None:
        """An object, or None when there is none or it is not selected."""
        found = self._objects.get(name)
        if found is None:
            return None
        found = of_kind(self.kind, found)
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
        versions = self._view.versions
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
        return self._event("DELETED", of_kind(kind, {"metadata": metadata}), now_ms)

    def _bookmark(self, now_ms: int, annotations: Object) -> Object:
        metadata: Object = {"resourceVersion": str(self._version), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        obj = of_kind(self._view.kind, {"metadata": metadata})
        if "as=Table" in self._view.request.accept:
            obj = tables.table(self._view.kind.type, [], metadata, "None", now_ms, titles=True)
        return {"type": "BOOKMARK", "object": obj}

    def _event(self, type: str, obj: Object, now_ms: int) -> Object:
        request = self._view.request
        include = request.query.get("includeObject", "Metadata")
        about = {"resourceVersion": obj["metadata"]["resourceVersion"]}
        shown = as_asked(self._view.kind, request.accept, include, [obj], now_ms, about, single=True)
        return {"type": type, "object": shown}


def of_kind(kind: Kind, obj: Object) -> Object:
    """An object that says what it is."""
    return {"apiVersion": kind.api_version, "kind": kind.kind, **obj}


def as_asked(
    kind: Kind, accept: str, include: str, found: list[Object], now_ms: int, metadata: Object, *, single: bool
) -> Object:
    """A list, or its one object, in the form that is accepted: itself, or a Table."""
    if "as=Table" in accept:
        return tables.table(kind.type, found, metadata, include, now_ms, titles=True)
    if single:
        return found[0]
    return {"apiVersion": kind.api_version, "kind": f"{kind.kind}List", "metadata": metadata, "items": found}
