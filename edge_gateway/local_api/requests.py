"""Requests to the local API: what comes in, what they are about, and what can come out. A core."""

from typing import Any, NamedTuple

from edge_gateway.effects import Effects
from edge_gateway.local_api import discovery
from edge_gateway.local_api.access import Rights
from edge_gateway.local_api.discovery import Kind
from edge_gateway.local_api.refusals import Refusal
from edgewire import resource
from edgewire.resource import Resource

Object = dict[str, Any]


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
    media_type: str = "application/json"
    """Of an object."""


class Log(NamedTuple):
    """The log of a container, to be read from Edged."""

    request: Object
    """`edgewire.streams.LogRequest`, as JSON."""


class Write(NamedTuple):
    """Effects to perform; once they are durable, `LocalApi.written` is the answer."""

    effects: Effects
    name: Resource
    accept: str


class Target(NamedTuple):
    """What a request is about."""

    kind: Kind
    namespace: str
    """Empty for all."""
    name: str
    """Empty for a list."""
    part: str = ""
    """What of the object: `log`, of a pod."""


def target_of(parts: list[str]) -> Target:
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
    part = rest.pop() if kind is not None and kind.type == resource.POD and rest[2:] == ["log"] else ""
    if kind is None or len(rest) > 2 or (namespace and not kind.namespaced):
        raise Refusal(404, "the gateway could not find the requested resource")
    name = rest[1] if len(rest) == 2 else ""
    if name and kind.namespaced and not namespace:
        raise Refusal(404, f"{kind.plural} are in namespaces: .../namespaces/NAMESPACE/{kind.plural}/{name[:253]}")
    return Target(kind, namespace, name, part)


def check_namespace(rights: Rights, target: Target) -> None:
    """Raises Refusal for what somebody of one namespace may not see."""
    own, device = rights.namespace, target.kind.type in (resource.DEVICE, resource.DEVICE_MODEL)
    if own and not (device and target.namespace == own):
        where = f"namespace {target.namespace!r}" if target.namespace else "all namespaces"
        raise Refusal(
            403, f"{rights.name} may see devices and devicemodels of {own!r}, not {target.kind.plural} of {where}"
        )
