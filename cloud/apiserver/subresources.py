"""Subresources that are no part of their object but things of their own: `pods/binding`, `pods/eviction`, `scale`, and those
that a kubelet would answer.

`status` and `finalize` are parts, and go the way of the object itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from cloud.apiserver import pod_actions, requests, scale, status
from cloud.apiserver.objects import Objects
from cloud.apiserver.requests import Target
from cloud.apiserver.resources import Resource
from cloud.apiserver.state import Transaction
from cloud.apiserver.status import ApiError
from cloud.apiserver.writes import WriteOptions, Written

Object = dict[str, Any]
PARTS = frozenset({"status", "finalize"})
_STREAMS = frozenset({"exec", "attach", "portforward"})
_EXEC_WORDS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
"""Options of PodExecOptions as kubelets call them; there a flag that is set is 1."""
_COMMANDS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_FORWARDS = ("SPDY/3.1+portforward.k8s.io", "v4.channel.k8s.io")
_CONVERSATIONS = {"exec": _COMMANDS, "attach": _COMMANDS, "portforward": _FORWARDS}
KUBELET_PORT = 10250


class Upstream(NamedTuple):
    """Where a kubelet, or whoever stands in for it, answers a request."""

    address: str
    port: int
    path: str
    query: tuple[tuple[str, str], ...]
    protocols: tuple[str, ...] = ()
    """Of WebSockets, where it is a conversation; that may be had over SPDY too."""


class Call(NamedTuple):
    """A request to a subresource."""

    method: str
    query: Mapping[str, str]
    content_type: str
    body: bytes
    agent: str = ""
    """The client's User-Agent."""

    @property
    def options(self) -> WriteOptions:
        """The options of a write. Raises ApiError 400 or 422."""
        return requests.write_options(self.query, self.method, self.agent, self.content_type)


@dataclass(frozen=True, slots=True)
class Reply:
    """Its answer, to be given when the transaction, if any, is on disk."""

    code: int
    body: bytes
    transaction: Transaction | None = None
    content_type: str = "application/json"


def is_own(subresource: str) -> bool:
    """Whether a subresource is answered here."""
    return bool(subresource) and subresource not in PARTS


def answer(objects: Objects, resource: Resource, target: Target, call: Call) -> Reply:
    """Answer a request to a subresource that the resource has. Raises ApiError."""
    if target.subresource == "scale":
        return _answer_scale(objects, resource, target, call)
    if target.subresource in _STREAMS:
        raise _without_kubelet(objects, resource, target, call)
    match call.method, target.subresource:
        case "GET", "log":
            return _answer_log(objects, resource, target, call)
        case "POST", "binding" | "eviction":
            act = pod_actions.bind if target.subresource == "binding" else pod_actions.evict
            body = requests.decode_body(call.content_type, call.body)
            options = call.options
            written = act(objects, resource, target.namespace, target.name, body, options)
            done = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
            return Reply(201, msgspec.json.encode(done), written.transaction)
    raise status.method_not_allowed()


def _answer_scale(objects: Objects, resource: Resource, target: Target, call: Call) -> Reply:
    namespace, name = target.namespace, target.name
    written: Written
    match call.method:
        case "GET" | "HEAD":
            return Reply(200, msgspec.json.encode(scale.read(resource, objects.get(resource, namespace, name))))
        case "PUT":
            body = requests.decode_body(call.content_type, call.body)
            options = call.options
            written = scale.replace(objects, resource, namespace, name, body, options)
        case "PATCH":
            document = requests.media_type(call.content_type), call.body
            written = scale.patch(objects, resource, namespace, name, document, call.options)
        case _:
            raise status.method_not_allowed()
    return Reply(200, msgspec.json.encode(scale.read(resource, written.stored)), written.transaction)


def upstream(objects: Objects, resource: Resource, target: Target, call: Call) -> Upstream | None:
    """Where to ask for a pod's log, a command or a connection in it; None where there is nobody to ask. Raises ApiError."""
    conversation = target.subresource in _CONVERSATIONS
    if call.method not in (("GET", "POST") if conversation else ("GET",) if target.subresource == "log" else ()):
        return None
    pod: Object = msgspec.json.decode(objects.get(resource, target.namespace, target.name).body)
    of_pod, node_name = target.subresource == "portforward", pod["spec"].get("nodeName")
    container = "" if of_pod else _container(pod, target.name, call)
    kubelet = kubelet_of(objects, node_name) if node_name else None
    if kubelet is None:
        return None
    address, port = kubelet
    if of_pod:
        ports = tuple(("port", value) for name, value in call.query.items() if name == "ports")
        return Upstream(address, port, f"portForward/{target.namespace}/{target.name}", ports, _FORWARDS)
    where = f"{target.namespace}/{target.name}/{container}"
    if target.subresource == "log":
        query = tuple((name, value) for name, value in call.query.items() if name != "container")
        return Upstream(address, port, f"containerLogs/{where}", query)
    return Upstream(address, port, f"{target.subresource}/{where}", _exec_query(call), _COMMANDS)


def kubelet_of(objects: Objects, name: str) -> tuple[str, int] | None:
    """Address and port of whoever answers for the kubelet of a node, if anybody does."""
    stored = objects.state.newest("nodes", "", name)
    node: Object = msgspec.json.decode(stored.body) if stored is not None else {}
    status_of = node.get("status") or {}
    addresses = {a.get("type"): a.get("address") for a in status_of.get("addresses") or ()}
    port = ((status_of.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port")
    address = addresses.get("InternalDNS")
    return (address, port) if address and port else None


def _exec_query(call: Call) -> tuple[tuple[str, str], ...]:
    """The options of a command, in order, in a kubelet's words."""
    told = []
    for name, value in call.query.items():
        if name == "command":
            told.append((name, value))
        elif name in _EXEC_WORDS and value.lower() in ("true", "1"):
            told.append((_EXEC_WORDS[name], "1"))
    return tuple(told)


def _answer_log(objects: Objects, resource: Resource, target: Target, call: Call) -> Reply:
    """The log of a pod that is on no node is empty; all others are with a kubelet."""
    pod: Object = msgspec.json.decode(objects.get(resource, target.namespace, target.name).body)
    _container(pod, target.name, call)
    if not pod["spec"].get("nodeName"):
        return Reply(200, b"", content_type="text/plain")
    raise _without_kubelet(objects, resource, target, call)


def _without_kubelet(objects: Objects, resource: Resource, target: Target, call: Call) -> ApiError:
    """What kube-apiserver says when it cannot reach the kubelet of a pod's node."""
    pod: Object = msgspec.json.decode(objects.get(resource, target.namespace, target.name).body)
    container = "" if target.subresource == "portforward" else _container(pod, target.name, call)
    node_name = pod["spec"].get("nodeName")
    if not node_name:
        return status.bad_request(f"pod {target.name} does not have a host assigned")
    nodes = objects.registry.find("", "v1", "nodes")
    assert nodes is not None
    node: Object = msgspec.json.decode(objects.get(nodes, "", node_name).body)
    addresses = [a.get("address") for a in (node.get("status") or {}).get("addresses") or ()]
    if not addresses:
        return ApiError(500, "", "no preferred addresses found; known addresses: []")
    verb = "containerLogs" if target.subresource == "log" else target.subresource.replace("portforward", "portForward")
    path = "/".join(part for part in (verb, target.namespace, target.name, container) if part)
    why = "this API server does not reach kubelets"
    return ApiError(500, "", f'Get "https://{addresses[0]}:{KUBELET_PORT}/{path}": {why}')


def _container(pod: Object, name: str, call: Call) -> str:
    """The container that a request is about. Raises ApiError 400."""
    spec = pod["spec"]
    own = [str(c["name"]) for c in spec.get("containers") or ()]
    first = [str(c["name"]) for c in spec.get("initContainers") or ()]
    asked = call.query.get("container", "")
    if asked and asked not in own + first:
        raise status.bad_request(f"container {asked} is not valid for pod {name}")
    if not asked and len(own) > 1:
        inits = f" or one of the init containers: [{' '.join(first)}]" if first else ""
        listed = f"[{' '.join(own)}]{inits}"
        raise status.bad_request(f"a container name must be specified for pod {name}, choose one of: {listed}")
    return asked or own[0]
