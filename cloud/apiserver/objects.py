"""Objects and their life: created, updated, patched, deleted, with uid, resourceVersion, generation and finalizers.

Every write goes through the same gate (names, schema, preconditions), ends in a `Transaction` for the store, and is answered
only when that is on disk. Nothing here waits: the shell hands `Written.transaction` to the store, and calls `committed` when
it is there, which is also the moment when readers and watches see it.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec

from cloud.apiserver import admission, bodies, crds, managed_fields, metadata, ownership, patches, status
from cloud.apiserver.admission import Admission
from cloud.apiserver.deletion import DeleteOptions, Deletion
from cloud.apiserver.drafts import Draft, restored
from cloud.apiserver.formats import format_time
from cloud.apiserver.managed_fields import NOBODY, Managed
from cloud.apiserver.metadata import ObjectMeta
from cloud.apiserver.resources import DEFINITIONS, Registry, Resource
from cloud.apiserver.state import Change, State, Stored, Transaction
from cloud.apiserver.status import Cause
from cloud.apiserver.watch import Event, Logs
from cloud.apiserver.writes import WriteOptions, Written

Object = dict[str, Any]


class Objects:
    """All objects of one server."""

    def __init__(
        self,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_uid: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self.registry = Registry()
        self.state = State()
        self.logs = Logs()
        self.published = 1
        """The newest revision that the watches were told of; readers may be ahead by the changes of this moment."""
        self.later: Callable[[Callable[[], None]], object] = lambda call: call()
        """How the watches are told of a commit: at once, or, in a server, when those who wait for it have their answers."""
        self.now = now
        self.observers: list[Callable[[Change], None]] = []
        """Called with each change once it is committed; they may look, not write."""
        self.admission = Admission(self.registry, self.state, lambda: self.now())
        """What writes have to pass."""
        self._new_uid = new_uid

    def load(self, rows: Iterable[tuple[str, str, str, int, bytes]], revision: int) -> None:
        """Start from the store: rows of (storage name, namespace, name, revision, JSON), definitions before all others."""
        self.state.load(self._restored(rows), revision)
        self.logs = Logs(self.state.revision)
        self.published = self.state.revision

    def _restored(self, rows: Iterable[tuple[str, str, str, int, bytes]]) -> Iterator[Stored]:
        storages = self.registry.storages()
        for row in rows:
            storage, _, _, revision, data = row
            if storage == DEFINITIONS:
                self._serve(msgspec.json.decode(data))
                storages = self.registry.storages()
            resource = storages.get(storage)
            yield Stored(*row) if resource is None else restored(resource, revision, data)

    def committed(self, transaction: Transaction) -> None:
        """The store has a transaction: readers and watches see it from now on."""
        self.state.commit(transaction)
        for change in transaction.changes:
            if change.after.storage == DEFINITIONS:
                definition = msgspec.json.decode(change.after.body)
                if change.removed:
                    self.registry.replace_custom(*crds.defined(definition), ())
                else:
                    self._serve(definition)
            for observe in self.observers:
                observe(change)
        self.later(partial(self._publish, transaction))

    def _publish(self, transaction: Transaction) -> None:
        """Tell the watches."""
        for change in transaction.changes:
            self.logs.of(change.after.storage).publish(Event(change))
            self.published = change.revision

    def rollback(self) -> None:
        """The store could not keep what is pending: forget it."""
        self.state.rollback()

    def get(self, resource: Resource, namespace: str, name: str) -> Stored:
        """An object as committed. Raises ApiError 404."""
        found = self.state.current(resource.storage, namespace, name)
        if found is None:
            raise status.not_found(resource.plural, resource.group, name)
        return found

    def create(self, resource: Resource, namespace: str, obj: Object, options: WriteOptions) -> Written:
        """Store a new object. Raises ApiError 400, 403, 404, 409 or 422."""
        return self._create(resource, namespace, obj, options)

    def _create(
        self, resource: Resource, namespace: str, obj: Object, options: WriteOptions, managed: Managed | None = None
    ) -> Written:
        """Create; `managed` are the fields' managers where they were applied."""
        bodies.check_kind(resource, obj)
        written = (obj.get("metadata") or {}).get("managedFields")
        meta, unknown = metadata.parse(obj)
        bodies.check_place(meta, namespace)
        if meta.resource_version:
            raise status.bad_request("resourceVersion should not be set on objects to be created")
        if not meta.name and meta.generate_name:
            meta.name = self._generated_name(resource, namespace, meta.generate_name)
        self.admission.check_alive(resource, namespace, meta.name)
        meta.namespace = namespace
        meta.uid = self._new_uid()
        meta.creation_timestamp = format_time(self.now())
        meta.deletion_timestamp = meta.deletion_grace_period_seconds = None
        meta.generation = 1 if resource.rules.counts_generations else 0
        obj = bodies.assembled(resource, obj, meta)
        if resource.custom and "status" in resource.subresources:
            obj.pop("status", None)
        causes, warnings = self.admission.admit(resource, obj, None, None, unknown, options)
        resource.rules.on_create(obj)
        causes += metadata.validate(meta, resource.rules.label_name) + self.admission.rules(resource, obj, None)
        if causes:
            raise status.invalid(resource.kind, resource.group, meta.name, causes)
        if options.restriction is not None:
            options.restriction(resource.storage, obj, None)
        if self.state.newest(resource.storage, namespace, meta.name) is not None:
            raise status.already_exists(resource.plural, resource.group, meta.name)
        if resource.storage == DEFINITIONS:
            warnings += crds.warnings(obj)
        if managed is None:
            managed = ownership.created(resource, obj, written, options.field_manager, format_time(self.now()))
        draft = self._draft(options.dry_run)
        stored = draft.write(resource, obj, None, managed)
        return Written(stored, draft.transaction, created=True, warnings=warnings)

    def update(
        self, resource: Resource, namespace: str, name: str, obj: Object, options: WriteOptions, subresource: str = ""
    ) -> Written:
        """Replace an object, or its status. Raises ApiError 400, 404, 409 or 422."""
        bodies.check_kind(resource, obj)
        meta, unknown = metadata.parse(obj)
        bodies.check_place(meta, namespace)
        if meta.name != name:
            raise status.bad_request(
                f"the name of the object ({meta.name}) does not match the name on the URL ({name})"
            )
        stored = self.state.newest(resource.storage, namespace, name)
        if stored is None:
            if resource.rules.create_on_update and not subresource:
                return self.create(resource, namespace, obj, options)
            raise status.not_found(resource.plural, resource.group, name)
        if not meta.resource_version and not resource.rules.unconditional_update:
            cause = Cause(
                "FieldValueInvalid", "Invalid value: 0: must be specified for an update", "metadata.resourceVersion"
            )
            raise status.invalid(resource.kind, resource.group, name, [cause])
        old: Object = msgspec.json.decode(stored.body)
        return self._replace(resource, stored, old, obj, meta, unknown, options, subresource)

    def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: tuple[str, bytes],
        options: WriteOptions,
        subresource: str = "",
    ) -> Written:
        """Lay a patch, (media type, document), over an object, or apply a configuration to it, which may create it.

        Raises ApiError 400, 404, 409, 415 or 422.
        """
        media_type, body = patch
        patches.check(media_type, not resource.custom)
        stored = self.state.newest(resource.storage, namespace, name)
        if media_type == patches.APPLY:
            return self._apply(resource, (namespace, name), stored, body, options, subresource)
        if stored is None:
            raise status.not_found(resource.plural, resource.group, name)
        # Hardly any patch says anything of the managed fields, so only those that may get to see them.
        before = stored.data if b"managedFields" in body else stored.body
        live: Object = msgspec.json.decode(before)
        shown = bodies.as_version(resource, live)
        obj = patches.apply(media_type, shown, bodies.decode(body, "patch"), resource.kind)
        bodies.check_kind(resource, obj)
        meta, unknown = metadata.parse(obj)
        if meta.name != name or meta.namespace != namespace:
            raise status.bad_request("the name or the namespace of an object cannot be patched")
        old = live if before is stored.body else msgspec.json.decode(stored.body)
        return self._replace(resource, stored, old, obj, meta, unknown, options, subresource)

    def _apply(
        self,
        resource: Resource,
        place: tuple[str, str],
        stored: Stored | None,
        body: bytes,
        options: WriteOptions,
        subresource: str,
    ) -> Written:
        """Server-side apply to (namespace, name)."""
        namespace, name = place
        config = bodies.decode_configuration(body)
        ownership.check_config(resource, config)
        meta, _ = metadata.parse(config)
        bodies.check_place(meta, namespace)
        if stored is None and subresource:
            raise status.not_found(resource.plural, resource.group, name)
        if meta.name != name and (meta.name or stored is None):
            raise status.bad_request(
                f"the name of the object ({meta.name}) does not match the name on the URL ({name})"
            )
        if stored is None and meta.uid:
            why = f"uid mismatch: the provided object specified uid {meta.uid}, and no existing object was found"
            raise status.conflict(resource.plural, resource.group, name, why)
        live: Object = {} if stored is None else msgspec.json.decode(stored.body)
        if resource.translate is not None:
            config = resource.translate.to_stored(config)
        obj, managed = ownership.applied(
            resource,
            NOBODY if stored is None else stored.managed,
            live,
            config,
            options.field_manager,
            format_time(self.now()),
            subresource=subresource,
            force=options.force,
        )
        if stored is None:
            return self._create(resource, namespace, obj, options, managed)
        meta, unknown = metadata.parse(obj)
        return self._replace(resource, stored, live, obj, meta, unknown, options, subresource, managed)

    def delete(self, resource: Resource, namespace: str, name: str, options: DeleteOptions) -> Written:
        """Delete an object, or mark it for deletion while finalizers or its node hold it. Raises ApiError 403, 404, 409."""
        stored = self.state.newest(resource.storage, namespace, name)
        if stored is None:
            raise status.not_found(resource.plural, resource.group, name)
        options.check(resource, stored)
        if options.dry_run:
            return Written(stored, removed=not resource.rules.graceful)
        draft = self._draft()
        after, removed = self._deletion(draft).delete(resource, stored, options)
        return Written(after, draft.transaction, removed=removed)

    def delete_all(self, resource: Resource, chosen: Sequence[Stored], options: DeleteOptions) -> Written | None:
        """Delete several objects in one transaction; None when there is nothing to delete."""
        newest = [self.state.newest(s.storage, s.namespace, s.name) for s in chosen]
        found = [stored for stored in newest if stored is not None]
        for stored in found:
            options.check(resource, stored)
        if not found:
            return None
        draft = self._draft()
        if not options.dry_run:
            for stored in found:
                self._deletion(draft).delete(resource, stored, options)
        return Written(found[-1], None if options.dry_run else draft.transaction)

    def expire(self) -> Transaction | None:
        """Remove objects of kinds that do not last, such as events; None when there are none."""
        draft = self._draft()
        deletion = self._deletion(draft)
        for resource in self.registry.storages().values():
            if resource.rules.expires_after_s:
                deletion.expire(resource)
        return draft.transaction if draft.transaction and draft.transaction.changes else None

    def _replace(
        self,
        resource: Resource,
        stored: Stored,
        old: Object,
        obj: Object,
        meta: ObjectMeta,
        unknown: list[str],
        options: WriteOptions,
        subresource: str,
        managed: Managed | None = None,
    ) -> Written:
        """The common end of update, patch and apply: `obj`, of the resource's version, takes the place of `stored`.

        `old` is what is stored, decoded, and may share parts with `obj`; `managed` are the fields' managers where they were
        applied.
        """
        if not resource.custom or stored.schema is not resource.schema:
            # Only what was admitted under this very schema, and is not one of the kinds with rules of their own, stays as it is.
            old = msgspec.json.decode(stored.body)
        written = (obj.get("metadata") or {}).get("managedFields")
        old_meta, _ = metadata.parse(old)
        admission.check_same(resource, stored, meta, old_meta)
        if subresource == "status" and resource.custom:
            meta = old_meta
        metadata.keep_system_fields(meta, old_meta)
        meta.resource_version = old_meta.resource_version
        obj = bodies.assembled(resource, obj, meta)
        obj = bodies.with_status(obj, old, resource, subresource)
        known = old if stored.schema is resource.schema else None
        causes, warnings = self.admission.admit(resource, obj, old, known, unknown, options)
        if not subresource:
            resource.rules.on_update(obj, old)
            causes += resource.rules.validate_update(obj, old)
        causes += metadata.validate(meta, resource.rules.label_name) + metadata.validate_update(meta, old_meta)
        causes += self.admission.rules(resource, obj, old)
        if causes:
            raise status.invalid(resource.kind, resource.group, stored.name, causes)
        if options.restriction is not None:
            options.restriction(resource.storage, obj, old)
        if resource.storage == DEFINITIONS and not subresource:
            warnings += crds.warnings(obj)
        equal = bodies.equal(obj, old)
        if managed is None:
            managed = stored.managed
            if not equal or written is not None:
                manager, time = options.field_manager, format_time(self.now())
                managed = ownership.updated(resource, managed, old, obj, written, manager, time, subresource)
        if equal and managed_fields.same(managed, stored.managed):
            waits = Transaction() if self.state.is_pending(stored) else None
            return Written(stored, waits, warnings=warnings)
        if resource.rules.counts_generations and subresource != "status" and bodies.spec_changed(resource, obj, old):
            obj["metadata"]["generation"] = old_meta.generation + 1
        draft = self._draft(options.dry_run)
        if old_meta.deletion_timestamp:
            after, removed = self._deletion(draft).settle(resource, stored, obj, managed)
            return Written(after, draft.transaction, removed=removed, warnings=warnings)
        after = draft.write(resource, obj, stored, managed)
        return Written(after, draft.transaction, warnings=warnings)

    def _generated_name(self, resource: Resource, namespace: str, prefix: str) -> str:
        """A name that is free, or, after a few unlucky draws, one that is not and will be refused."""
        name = ""
        for _ in range(8):
            name = prefix[:58] + bodies.random_suffix()
            if self.state.newest(resource.storage, namespace, name) is None:
                break
        return name

    def _draft(self, dry_run: bool = False) -> Draft:
        return Draft(self.state, dry_run)

    def _deletion(self, draft: Draft) -> Deletion:
        return Deletion(self.registry, self.state, draft, self.now)

    def _serve(self, definition: Object) -> None:
        group, plural = crds.defined(definition)
        before = {(r.version): r for r in self.registry if r.custom and r.group == group and r.plural == plural}
        served = crds.resources_of(definition)
        self.registry.replace_custom(group, plural, tuple(_reused(r, before.get(r.version)) for r in served))


def _reused(resource: Resource, before: Resource | None) -> Resource:
    """The resource with the schema compiled before, when that has not changed: what was admitted under it stays admitted."""
    if before is None or before.openapi != resource.openapi:
        return resource
    return replace(resource, schema=before.schema, validations=before.validations)
