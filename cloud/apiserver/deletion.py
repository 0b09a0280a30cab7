"""Deletion: at once, or held by finalizers or by the node that runs a pod; namespaces and definitions take their content along.

Whatever a deletion lets go, such as a namespace whose last object went, goes in the same transaction. What an object owned is
the garbage collector's part: here are only the finalizers that tell it what to do.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec

from cloud.apiserver import crds, metadata, namespace_life, propagation, status
from cloud.apiserver.drafts import Draft
from cloud.apiserver.formats import format_time, parse_time
from cloud.apiserver.managed_fields import Managed
from cloud.apiserver.resources import DEFINITIONS, NAMESPACES, Registry, Resource
from cloud.apiserver.state import State, Stored

Object = dict[str, Any]
GRACE_LIMIT_S = 10 * 365 * 86_400
"""Longest that a deletion waits; dates have an end, and numbers in requests have none."""
PROTECTED_NAMESPACES = frozenset({"default", "kube-system", "kube-public"})


class Preconditions(msgspec.Struct, rename="camel"):
    """What must hold of the object for its deletion."""

    uid: str | None = None
    resource_version: str | None = None


class DeleteOptions(msgspec.Struct, rename="camel"):
    """The body of a DELETE; other fields of the API's DeleteOptions are read and have no effect here."""

    grace_period_seconds: int | None = None
    preconditions: Preconditions | None = None
    propagation_policy: str | None = None
    """Background, Foreground or Orphan; None leaves it to the finalizers that the object has."""
    orphan_dependents: bool | None = None
    """The older way to say it."""
    dry_run: list[str] | None = None

    def check(self, resource: Resource, stored: Stored) -> None:
        """Raise ApiError 403 or 409 when the object may not be deleted so."""
        if resource.storage == NAMESPACES and stored.name in PROTECTED_NAMESPACES:
            raise status.forbidden("namespaces", "", stored.name, "this namespace may not be deleted")
        wanted = self.preconditions
        if wanted is None:
            return
        uid = metadata.peek(stored).uid
        if wanted.uid is not None and wanted.uid != uid:
            why = f"Precondition failed: UID in precondition: {wanted.uid}, UID in object meta: {uid}"
            raise status.conflict(resource.plural, resource.group, stored.name, why)
        if wanted.resource_version is not None and wanted.resource_version != str(stored.revision):
            why = (
                f"Precondition failed: ResourceVersion in precondition: {wanted.resource_version}, "
                f"ResourceVersion in object meta: {stored.revision}"
            )
            raise status.conflict(resource.plural, resource.group, stored.name, why)


class Deletion:
    """Deletes into one draft. Nothing here raises: what may not be deleted is refused before."""

    def __init__(self, registry: Registry, state: State, draft: Draft, now: Callable[[], datetime]) -> None:
        self._registry = registry
        self._state = state
        self._draft = draft
        self._now = now
        self._emptied: set[tuple[str, str]] = set()
        """Namespaces and definitions whose content is being deleted right now: looked at once, when that is done."""

    def delete(self, resource: Resource, stored: Stored, options: DeleteOptions) -> tuple[Stored, bool]:
        """Delete one object: its new state, and whether it is gone."""
        obj: Object = msgspec.json.decode(stored.body)
        meta = obj["metadata"]
        grace = self._grace(resource, obj, options)
        if "deletionTimestamp" not in meta:
            meta["deletionTimestamp"] = format_time(self._now() + timedelta(seconds=grace))
            meta["deletionGracePeriodSeconds"] = grace
            if meta.get("generation"):
                meta["generation"] += 1
        else:
            meta["deletionGracePeriodSeconds"] = min(grace, meta.get("deletionGracePeriodSeconds", 0))
        held_by = propagation.finalizers(
            meta.get("finalizers") or [], options.propagation_policy, options.orphan_dependents
        )
        meta["finalizers"] = held_by
        if not held_by:
            del meta["finalizers"]
        if resource.storage == NAMESPACES:
            return self._delete_namespace(resource, stored, obj), False
        if resource.storage == DEFINITIONS:
            return self._delete_definition(resource, stored, obj), False
        return self.settle(resource, stored, obj)

    def settle(
        self, resource: Resource, stored: Stored, obj: Object, managed: Managed | None = None
    ) -> tuple[Stored, bool]:
        """Take an object that is marked for deletion away, or keep it as it now is while something holds it."""
        if resource.storage == NAMESPACES:
            namespace_life.progress(obj, self._content(stored.name), self._now())
        if not self._held(resource, obj):
            return self._remove(resource, stored, obj), True
        if managed is None and msgspec.json.encode(obj) == stored.body:
            return stored, False
        return self._draft.put(resource, obj, stored, managed), False

    def expire(self, resource: Resource) -> None:
        """Remove the objects of a kind that are older than its rules keep them."""
        now = self._now()
        limit = now - timedelta(seconds=resource.rules.expires_after_s)
        for stored in list(self._state.newest_all(resource.storage)):
            obj = msgspec.json.decode(stored.body)
            seen = parse_time(obj.get("lastTimestamp") or "")
            if seen is None or seen > now:  # what its writer says of the future keeps nothing
                seen = parse_time(obj["metadata"].get("creationTimestamp") or "")
            if seen is None or seen < limit:
                self._draft.remove(resource, obj, stored)

    def _grace(self, resource: Resource, obj: Object, options: DeleteOptions) -> int:
        """Seconds that a deletion leaves to the node that runs the object."""
        spec = obj.get("spec") or {}
        ended = (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if not resource.rules.graceful or not spec.get("nodeName") or ended:
            return 0
        if options.grace_period_seconds is not None:
            return min(max(options.grace_period_seconds, 0), GRACE_LIMIT_S)
        return min(int(spec.get("terminationGracePeriodSeconds") or 30), GRACE_LIMIT_S)

    def _held(self, resource: Resource, obj: Object) -> bool:
        meta = obj["metadata"]
        if meta.get("finalizers") or meta.get("deletionGracePeriodSeconds"):
            return True
        if resource.storage == NAMESPACES:
            return bool((obj.get("spec") or {}).get("finalizers"))
        if resource.storage == DEFINITIONS:
            return next(self._state.newest_all(meta["name"]), None) is not None
        return False

    def _remove(self, resource: Resource, stored: Stored, obj: Object) -> Stored:
        gone = self._draft.remove(resource, obj, stored)
        if stored.namespace:
            self._release(NAMESPACES, stored.namespace)
        if resource.custom:
            self._release(DEFINITIONS, resource.storage)
        return gone

    def _release(self, storage: str, name: str) -> None:
        """Let a namespace or a definition go that only waited for its content."""
        if (storage, name) in self._emptied:
            return
        holder = self._state.newest(storage, "", name)
        resource = self._registry.stored_as(storage)
        if holder is not None and resource is not None and metadata.peek(holder).deletion_timestamp:
            self.settle(resource, holder, msgspec.json.decode(holder.body))

    def _content(self, namespace: str) -> Iterator[tuple[Resource, Stored]]:
        """Everything in a namespace."""
        for storage, resource in self._registry.storages().items():
            if resource.namespaced:
                for stored in self._state.newest_all(storage, namespace):
                    yield resource, stored

    def _delete_namespace(self, resource: Resource, stored: Stored, obj: Object) -> Stored:
        obj["status"] = (obj.get("status") or {}) | {"phase": "Terminating"}
        marked = self._draft.put(resource, obj, stored)
        self._empty(NAMESPACES, stored.name, list(self._content(stored.name)))
        return marked

    def _delete_definition(self, resource: Resource, stored: Stored, obj: Object) -> Stored:
        marked = self._draft.put(resource, obj, stored)
        content = self._registry.stored_as(crds.storage_of(obj))
        items = [] if content is None else [(content, item) for item in self._state.newest_all(content.storage)]
        self._empty(DEFINITIONS, stored.name, items)
        return marked

    def _empty(self, storage: str, name: str, content: list[tuple[Resource, Stored]]) -> None:
        """Delete the content of a namespace or a definition, and then, if nothing holds it, the thing itself."""
        self._emptied.add((storage, name))
        for resource, item in content:
            self.delete(resource, item, DeleteOptions())
        self._emptied.remove((storage, name))
        self._release(storage, name)
