"""What a write has to pass before it becomes a draft: the schema of its kind, the rules beyond it, the namespace and the
definition that it is to live in, and the version that it was made from.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from cloud.apiserver import crds, metadata, status
from cloud.apiserver.known_fields import KnownFields
from cloud.apiserver.metadata import ObjectMeta
from cloud.apiserver.resources import DEFINITIONS, NAMESPACES, Registry, Resource
from cloud.apiserver.state import State, Stored
from cloud.apiserver.status import Cause
from cloud.apiserver.writes import WriteOptions

Object = dict[str, Any]


class Admission:
    """Of one server."""

    def __init__(self, registry: Registry, state: State, now: Callable[[], datetime]) -> None:
        """`state` has the objects that there are."""
        self._registry = registry
        self._state = state
        self._now = now
        self.known_fields: KnownFields | None = None
        """The fields of built-in kinds, for writes that ask whether they name others."""

    def admit(
        self,
        resource: Resource,
        obj: Object,
        old: Object | None,
        known: Object | None,
        unknown: list[str],
        options: WriteOptions,
    ) -> tuple[list[Cause], list[str]]:
        """Prune and fill in an object by its schema, and check its rules: causes against it, and warnings.

        `old` is the stored object, and `known` too if it was admitted under the same schema; `unknown` are fields of the
        metadata that nobody knows. Raises ApiError 400 for a built-in object of another shape, and for unknown fields when
        validation is strict. Those of built-in kinds are looked for when the client asks, and kept.
        """
        if resource.schema is None:
            return [], []
        report = resource.schema.admit(obj, known)
        if not resource.custom:
            if report.causes:
                raise cannot_be_handled(resource, report.causes[0].text())
            if self.known_fields is None or not options.asks_validation:
                return [], []
            report.unknown = self.known_fields.unknown(resource.kind, obj, old)
        strict = [f'unknown field "{path}"' for path in unknown + report.unknown]
        if strict and options.field_validation == "Strict":
            raise cannot_be_handled(resource, f"strict decoding error: {', '.join(strict)}")
        causes = report.causes
        if resource.validations is not None:
            causes = causes + resource.validations.check(obj, old, causes)
        return causes, strict if options.field_validation != "Ignore" else []

    def rules(self, resource: Resource, obj: Object, old: Object | None) -> list[Cause]:
        """What the rules of a kind have against an object."""
        if resource.storage == DEFINITIONS:
            crds.complete(obj, self._now())
            return crds.validate(obj, old, self._registry)
        return resource.rules.validate(obj, old)

    def check_alive(self, resource: Resource, namespace: str, name: str) -> None:
        """Raise ApiError when the namespace or the definition is missing or about to go."""
        if resource.custom:
            definition = self._state.newest(DEFINITIONS, "", resource.storage)
            if definition is None:
                raise status.no_such_path()
            if metadata.peek(definition).deletion_timestamp:
                raise status.method_not_allowed()
        if not namespace:
            return
        found = self._state.newest(NAMESPACES, "", namespace)
        if found is None:
            raise status.not_found("namespaces", "", namespace)
        if metadata.peek(found).deletion_timestamp:
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            cause = Cause("NamespaceTerminating", f"namespace {namespace} is being terminated", "metadata.namespace")
            raise status.forbidden(resource.plural, resource.group, name, why, [cause])


def check_same(resource: Resource, stored: Stored, meta: ObjectMeta, old_meta: ObjectMeta) -> None:
    """Raise ApiError 409 when a write is of another object of this name, or of an older state of it."""
    if meta.uid and meta.uid != old_meta.uid:
        why = f"Precondition failed: UID in precondition: {meta.uid}, UID in object meta: {old_meta.uid}"
        raise status.conflict(resource.plural, resource.group, stored.name, why)
    if meta.resource_version and meta.resource_version != str(stored.revision):
        raise status.modified(resource.plural, resource.group, stored.name)


def cannot_be_handled(resource: Resource, why: str) -> status.ApiError:
    return status.bad_request(
        f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {why}'
    )
