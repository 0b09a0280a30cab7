"""Rules of `metadata`: what a client may set, what the server keeps, and which names, labels and finalizers are valid.

The texts are those of k8s.io/apimachinery/pkg/util/validation and .../api/validation.
"""

import re
from typing import Any

import msgspec

from cloud.apiserver import fields
from cloud.apiserver.state import Stored
from cloud.apiserver.status import Cause, bad_request

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_is_label = re.compile(_LABEL).fullmatch
_is_subdomain = re.compile(_SUBDOMAIN).fullmatch
_is_qualified = re.compile(_QUALIFIED).fullmatch
_is_label_value = re.compile(f"({_QUALIFIED})?").fullmatch

_LABEL_ERROR = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an "
    f"alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
)
_SUBDOMAIN_ERROR = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end "
    f"with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_LABEL}(\\.{_LABEL})*')"
)
_QUALIFIED_ERROR = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_LABEL_VALUE_ERROR = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
ANNOTATIONS_LIMIT = 256 * 1024
"""Bytes of all annotations of an object together."""


class OwnerReference(msgspec.Struct, rename="camel", omit_defaults=True):
    """An object that keeps this one alive."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(msgspec.Struct, rename="camel", omit_defaults=True):
    """The metadata that a client may send; unknown fields are dropped by decoding into it."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[OwnerReference] | None = None
    finalizers: list[str] | None = None


_KNOWN = frozenset(ObjectMeta.__struct_encode_fields__) | {"managedFields", "selfLink"}


class Peek(msgspec.Struct, rename="camel"):
    """The few facts of stored metadata that need no whole object."""

    uid: str = ""
    deletion_timestamp: str | None = None


class _Peeked(msgspec.Struct):
    metadata: Peek


_peek = msgspec.json.Decoder(_Peeked)


def peek(stored: Stored) -> Peek:
    """Those facts of a stored object."""
    return _peek.decode(stored.body).metadata


def parse(obj: dict[str, Any]) -> tuple[ObjectMeta, list[str]]:
    """The metadata of an object, and the paths of fields in it that nobody knows.

    Raises ApiError 400 when a field has a wrong type.
    """
    raw = obj.get("metadata")
    if raw is None:
        return ObjectMeta(), []
    try:
        meta = msgspec.convert({k: v for k, v in raw.items() if v is not None}, ObjectMeta)
    except (msgspec.ValidationError, AttributeError) as error:
        raise bad_request(f"error decoding metadata: {error}") from error
    return meta, [f"metadata.{name}" for name in raw if name not in _KNOWN]


def encode(meta: ObjectMeta) -> dict[str, Any]:
    """The metadata as it stands in an object: without what is empty."""
    found: dict[str, Any] = msgspec.to_builtins(meta)
    return {name: value for name, value in found.items() if value not in (None, {}, [])}


def keep_system_fields(meta: ObjectMeta, old: ObjectMeta) -> None:
    """Put back what only the server sets; a client's value counts for nothing."""
    meta.uid = old.uid
    meta.generate_name = old.generate_name
    meta.generation = old.generation
    meta.creation_timestamp = old.creation_timestamp
    meta.deletion_timestamp = old.deletion_timestamp
    meta.deletion_grace_period_seconds = old.deletion_grace_period_seconds
    meta.namespace = old.namespace


def validate(meta: ObjectMeta, label_name: bool) -> list[Cause]:
    """What is wrong with names, labels, annotations, finalizers and owners; `label_name` asks for a DNS label as name."""
    causes = validate_name("metadata.name", meta.name, label_name)
    for key, value in (meta.labels or {}).items():
        causes += _qualified("metadata.labels", key)
        if len(value) > 63:
            causes.append(fields.invalid("metadata.labels", value, "must be no more than 63 bytes"))
        if not _is_label_value(value):
            causes.append(fields.invalid("metadata.labels", value, _LABEL_VALUE_ERROR))
    annotations = meta.annotations or {}
    for key in annotations:
        causes += _qualified("metadata.annotations", key.lower())
    if sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items()) > ANNOTATIONS_LIMIT:
        causes.append(fields.too_long("metadata.annotations", ANNOTATIONS_LIMIT))
    for finalizer in meta.finalizers or ():
        causes += _qualified("metadata.finalizers", finalizer)
    return causes + _validate_owners(meta.owner_references or [])


def validate_update(meta: ObjectMeta, old: ObjectMeta) -> list[Cause]:
    """What may not change in an object that is being deleted."""
    added = sorted(set(meta.finalizers or ()) - set(old.finalizers or ()))
    if old.deletion_timestamp and added:
        listed = ", ".join(f'"{name}"' for name in added)
        why = (
            f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}"
        )
        return [fields.forbidden("metadata.finalizers", why)]
    return []


def validate_name(path: str, name: str, label: bool) -> list[Cause]:
    """What is wrong with an object's name: a DNS subdomain, or a DNS label."""
    if not name:
        return [fields.required(path, "name or generateName is required")]
    limit = 63 if label else 253
    causes = []
    if len(name) > limit:
        causes.append(fields.invalid(path, name, f"must be no more than {limit} bytes"))
    if not (_is_label if label else _is_subdomain)(name):
        causes.append(fields.invalid(path, name, _LABEL_ERROR if label else _SUBDOMAIN_ERROR))
    return causes


def _qualified(path: str, key: str) -> list[Cause]:
    prefix, slash, name = key.rpartition("/")
    if slash and not _is_subdomain(prefix):
        why = "prefix part must be non-empty" if not prefix else f"prefix part {_SUBDOMAIN_ERROR}"
        return [fields.invalid(path, key, why)]
    if not name:
        return [fields.invalid(path, key, "name part must be non-empty")]
    if len(name) > 63:
        return [fields.invalid(path, key, "name part must be no more than 63 bytes")]
    return [] if _is_qualified(name) else [fields.invalid(path, key, _QUALIFIED_ERROR)]


def _validate_owners(owners: list[OwnerReference]) -> list[Cause]:
    causes = []
    controllers = [f"{owner.kind}/{owner.name}" for owner in owners if owner.controller]
    if len(controllers) > 1:
        why = f'Only one reference can have Controller set to true. Found "true" in references for {" and ".join(controllers)}'
        causes.append(fields.invalid("metadata.ownerReferences", [], why))
    for index, owner in enumerate(owners):
        path = f"metadata.ownerReferences[{index}]"
        for name, value in (
            ("apiVersion", owner.api_version),
            ("kind", owner.kind),
            ("name", owner.name),
            ("uid", owner.uid),
        ):
            if not value:
                causes.append(fields.invalid(f"{path}.{name}", "", "must not be empty"))
    return causes
