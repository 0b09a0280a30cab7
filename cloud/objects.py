"""Kubernetes objects as the controllers see them, and what a list-watch says about them.

Controllers are told of an object by `Added`, `Modified`, `Deleted`, and by `Synced` once everything that exists has been
told. `Object` reads a few fields of the metadata and keeps the JSON as the API server sent it, so that it travels on to a
node byte for byte; all but `metadata.managedFields`, which nobody here reads and which can be as large as the rest.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from msgspec import Raw, Struct

from cloud import CloudError
from edgewire.message import UNREADABLE

NODE_PREFIX = "system:node:"
"""What a node's name follows in the common name of its certificate."""


class ObjectError(CloudError):
    """What the API server sent is no Kubernetes object."""


class ResourceType(NamedTuple):
    """A type of object in the API: `prefix` is `/api/v1` or `/apis/<group>/<version>`."""

    prefix: str
    plural: str

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of an object, of its subresource, or of all objects when neither name nor namespace is given."""
        parts = [self.prefix]
        if namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)


DEVICES = ResourceType("/apis/devices.kubeedge.io/v1beta1", "devices")
DEVICE_MODELS = ResourceType("/apis/devices.kubeedge.io/v1beta1", "devicemodels")
DEVICE_FIRMWARES = ResourceType("/apis/devices.hedgerow.dev/v1alpha1", "devicefirmwares")
CONFIGMAPS = ResourceType("/api/v1", "configmaps")
NODES = ResourceType("/api/v1", "nodes")
PODS = ResourceType("/api/v1", "pods")
SECRETS = ResourceType("/api/v1", "secrets")
EVENTS = ResourceType("/api/v1", "events")
NAMESPACES = ResourceType("/api/v1", "namespaces")
LEASES = ResourceType("/apis/coordination.k8s.io/v1", "leases")
DEFINITIONS = ResourceType("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions")


class Object(Struct, frozen=True):
    """One object at one version."""

    namespace: str
    name: str
    uid: str
    version: str
    """The resourceVersion."""
    generation: int
    """Counts changes of the spec; a change of the status leaves it."""
    raw: bytes
    """The whole object, JSON, without its managed fields."""

    @property
    def id(self) -> str:
        """`<namespace>/<name>`, or the name alone outside any namespace."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True)
class Added:
    """The object exists."""

    object: Object


@dataclass(frozen=True, slots=True)
class Modified:
    """The object has a new version."""

    object: Object


@dataclass(frozen=True, slots=True)
class Deleted:
    """The object is no more; its last known version, without JSON where nobody kept it."""

    object: Object


@dataclass(frozen=True, slots=True)
class Synced:
    """All that exists has been told."""


Event = Added | Modified | Deleted | Synced


class _Metadata(Struct, rename="camel"):
    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    managed_fields: Raw = Raw()


class _Envelope(Struct):
    metadata: _Metadata


_envelope = msgspec.json.Decoder(_Envelope)
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


def parse(content: bytes | Raw) -> Object:
    """An object from its JSON. Raises ObjectError."""
    raw = bytes(content)
    try:
        metadata = _envelope.decode(raw).metadata
    except UNREADABLE as error:
        raise ObjectError(f"no object: {error}") from error
    if managed := bytes(metadata.managed_fields):
        raw = _without(raw, b'"managedFields":' + managed)
    return Object(metadata.namespace, metadata.name, metadata.uid, metadata.resource_version, metadata.generation, raw)


def _without(raw: bytes, member: bytes) -> bytes:
    """JSON without one member of an object in it; as it is where the member is not told apart by its bytes."""
    begin = raw.find(member)
    end = begin + len(member)
    if begin < 0 or raw.find(member, end) >= 0:
        return raw
    if raw[begin - 1 : begin] == b",":
        begin -= 1
    elif raw[end : end + 1] == b",":
        end += 1
    return raw[:begin] + raw[end:]


def is_name(text: str) -> bool:
    """Whether Kubernetes takes a text as the name of an object: a subdomain of RFC 1123."""
    return len(text) <= 253 and _NAME.fullmatch(text) is not None
