"""What a container's environment and command line are: variables, and what they come from. Pure.

Order and expansion are a kubelet's: `envFrom` first, then `env`, later ones win; `$(NAME)` is replaced by what is known so far,
`$$` is a dollar. What is missing makes a `Missing`, and its container waits with `CreateContainerConfigError`.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from decimal import ROUND_CEILING
from typing import NamedTuple

import msgspec
from msgspec import Struct, field

from edge_gateway.edged import EdgedError, quantities
from edge_gateway.edged.pod_volumes import ResourceFieldRef
from edge_gateway.edged.pods import Container, EnvFrom, EnvVar, KeyRef, Pod
from edgewire import resource
from edgewire.message import UNREADABLE
from edgewire.resource import Resource

Content = Callable[[Resource], bytes | None]
"""The JSON of a ConfigMap or Secret, or None."""
TEXT_LIMIT, ALL_LIMIT = 128 * 1024, 2 * 1024 * 1024
"""Bytes of one variable or argument, and of all of a container: Linux gives a process no more (execve(2))."""
_REFERENCE = re.compile(r"\$(\$|\(([^()]*)\))")
_VARIABLE = re.compile(r"[!-<>-~]+")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class Missing(EdgedError):
    """Something a container names is not there; it may come."""


class Facts(NamedTuple):
    """What of the node shows in its pods."""

    node: str
    address: str
    cpus: int
    memory_bytes: int
    pod_address: str = ""
    """Of the pod that is asked for; empty where it has the node's."""


class _ConfigMap(Struct, rename="camel"):
    data: dict[str, str] = field(default_factory=dict)
    binary_data: dict[str, str] = field(default_factory=dict)
    string_data: dict[str, str] = field(default_factory=dict)


def files_of(name: Resource, content: Content) -> dict[str, bytes] | None:
    """Key -> value of a ConfigMap or Secret; None when there is none. Raises Missing for one that cannot be read."""
    raw = content(name)
    if raw is None:
        return None
    try:
        found = msgspec.json.decode(raw, type=_ConfigMap)
        if name.type == resource.SECRET:
            return {key: base64.b64decode(value, validate=True) for key, value in found.data.items()}
        binary = {key: base64.b64decode(value, validate=True) for key, value in found.binary_data.items()}
        return {key: value.encode() for key, value in found.data.items()} | binary
    except (*UNREADABLE, binascii.Error) as error:
        raise Missing(f"{name.type} {name.name!r} cannot be read: {error}") from error


def environment(pod: Pod, container: Container, facts: Facts, content: Content) -> dict[str, str]:
    """A container's variables. Raises Missing."""
    found: dict[str, str] = {}
    size = 0
    for source in container.env_from:
        variables = _all_of(pod, source, content)
        size = _bounded(size, *variables, *variables.values())
        found |= variables
    for variable in container.env:
        value = _value(pod, container, variable, found, facts, content)
        if value is not None:
            size = _bounded(size, variable.name, value)
            found[variable.name] = value
    return found


def _bounded(size: int, *texts: str) -> int:
    """The size with these texts. Raises Missing when that is more than a process can have."""
    size += sum(map(len, texts))
    if size > ALL_LIMIT:
        raise Missing(f"variables or arguments are longer than {ALL_LIMIT} bytes together")
    return size


def expand(text: str, known: Mapping[str, str]) -> str:
    """A text with each `$(NAME)` of a known variable replaced by its value; others stay as they are.

    Raises Missing for one that grows beyond `TEXT_LIMIT`: a few variables that name each other would fill any memory.
    """
    size = len(text)

    def replaced(match: re.Match[str]) -> str:
        nonlocal size
        value = "$" if match[1] == "$" else known.get(match[2], match[0])
        size += len(value) - len(match[0])
        if size > TEXT_LIMIT:
            raise Missing(f"a variable or argument is longer than {TEXT_LIMIT} bytes")
        return value

    return _REFERENCE.sub(replaced, text)


def command_line(container: Container, known: Mapping[str, str]) -> tuple[str, ...]:
    """A container's command and arguments, expanded. Raises Missing."""
    words, size = [], 0
    for word in (*container.command, *container.args):
        words.append(expand(word, known))
        size = _bounded(size, words[-1])
    return tuple(words)


def _all_of(pod: Pod, source: EnvFrom, content: Content) -> dict[str, str]:
    named = source.config_map_ref or source.secret_ref
    if named is None:
        return {}
    type = resource.CONFIGMAP if source.config_map_ref is not None else resource.SECRET
    files = files_of(Resource(pod.metadata.namespace, type, named.name), content)
    if files is None:
        if named.optional:
            return {}
        raise Missing(f'{type} "{named.name}" not found')
    variables = {source.prefix + key: value for key, value in files.items()}
    return {name: _text(value, name) for name, value in variables.items() if _VARIABLE.fullmatch(name)}


def _value(
    pod: Pod, container: Container, variable: EnvVar, known: Mapping[str, str], facts: Facts, content: Content
) -> str | None:
    source = variable.value_from
    if source is None:
        return expand(variable.value, known)
    if source.field_ref is not None:
        return field_of(pod, source.field_ref.field_path, facts)
    if source.resource_field_ref is not None:
        return resource_of(pod, container, source.resource_field_ref, facts)
    if source.config_map_key_ref is not None:
        return _key_of(pod, resource.CONFIGMAP, source.config_map_key_ref, variable.name, content)
    if source.secret_key_ref is not None:
        return _key_of(pod, resource.SECRET, source.secret_key_ref, variable.name, content)
    return ""


def _key_of(pod: Pod, type: str, ref: KeyRef, variable: str, content: Content) -> str | None:
    name = Resource(pod.metadata.namespace, type, ref.name)
    files = files_of(name, content)
    if files is not None and ref.key in files:
        return _text(files[ref.key], variable)
    if ref.optional:
        return None
    if files is None:
        raise Missing(f'{type} "{ref.name}" not found')
    raise Missing(f"couldn't find key {ref.key} in {type} {pod.metadata.namespace}/{ref.name}")


def _text(value: bytes, variable: str) -> str:
    """A value as an environment can have it."""
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise Missing(f"variable {variable}: its value is not text") from error
    if "\0" in text:
        raise Missing(f"variable {variable}: its value has a zero byte")
    return text


def field_of(pod: Pod, path: str, facts: Facts) -> str:
    """A field of the pod for the downward API. Raises Missing for one that it does not have."""
    found = _SUBSCRIPT.fullmatch(path)
    if found is not None:
        of = pod.metadata.labels if found[1] == "labels" else pod.metadata.annotations
        return of.get(found[2], "")
    fields = {
        "metadata.name": pod.metadata.name,
        "metadata.namespace": pod.metadata.namespace,
        "metadata.uid": pod.uid,
        "metadata.labels": _lines(pod.metadata.labels),
        "metadata.annotations": _lines(pod.metadata.annotations),
        "spec.nodeName": facts.node,
        "spec.serviceAccountName": pod.spec.service_account_name or "default",
        "status.hostIP": facts.address,
        "status.hostIPs": facts.address,
        "status.podIP": facts.pod_address or facts.address,
        "status.podIPs": facts.pod_address or facts.address,
    }
    if path not in fields:
        raise Missing(f"fieldRef {path!r} is not known here")
    return fields[path]


def _lines(of: Mapping[str, str]) -> str:
    quoted = {key: msgspec.json.encode(value).decode() for key, value in of.items()}
    return "\n".join(f"{key}={value}" for key, value in sorted(quoted.items()))


def resource_of(pod: Pod, container: Container, ref: ResourceFieldRef, facts: Facts) -> str:
    """A request or limit, divided, rounded up; what is not limited is all the node has. Raises Missing."""
    of = pod.container(ref.container_name) if ref.container_name else container
    kind, _, name = ref.resource.partition(".")
    if of is None or kind not in ("requests", "limits") or not name:
        raise Missing(f"resourceFieldRef {ref.resource!r} of container {ref.container_name!r} is not known here")
    given = of.resources.limits if kind == "limits" else {**of.resources.limits, **of.resources.requests}
    whole = {"cpu": str(facts.cpus), "memory": str(facts.memory_bytes)}
    missing = whole.get(name, "0") if kind == "limits" else "0"
    amount, divisor = quantities.parse(given.get(name, missing)), quantities.parse(ref.divisor)
    return str((amount / (divisor or 1)).to_integral_value(ROUND_CEILING))
