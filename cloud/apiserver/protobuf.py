"""Protobuf bodies of the kinds that kubectl sends so by itself (`kubectl create configmap`, `kubectl drain`), read into objects.

Answers are always JSON, which those clients accept. The envelope and field numbers are those of k8s.io/apimachinery's
`runtime.Unknown` and of the `generated.proto` files beside the API types.
"""

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from cloud.apiserver import status
from cloud.apiserver.formats import format_time

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Read = Callable[[Any], Any]
Message = dict[int, tuple[str, Read, bool]]
"""Field number -> (JSON name, reader, whether it repeats)."""


class _UnknownField(Exception):
    """A field that says something and is not known here, of a kind of which not all are."""


def decode(body: bytes) -> Any:
    """The object in a protobuf body. Raises ApiError 400 for one that cannot be read, 415 for a kind or field not known here."""
    if not body.startswith(_MAGIC):
        raise status.bad_request("the object provided is not a Kubernetes protobuf message")
    try:
        envelope = _read(_ENVELOPE, body[len(_MAGIC) :])
        type_meta = envelope.get("typeMeta", {})
        message = _KINDS.get(type_meta.get("kind", ""))
        if message is None:
            raise status.unsupported_media_type(("application/json",))
        return type_meta | _read(message, envelope.get("raw", b""))
    except _UnknownField as error:
        raise status.unsupported_media_type(("application/json",)) from error
    except (IndexError, ValueError, OverflowError, OSError) as error:
        raise status.bad_request(f"the object provided cannot be read as protobuf: {error}") from error


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        value: Any
        if wire == _VARINT:
            value, at = _varint(data, at)
        elif wire == _BYTES:
            length, at = _varint(data, at)
            value = data[at : at + length]
            if len(value) != length:
                raise ValueError("message ends within a field")
            at += length
        elif wire in (_FIXED32, _FIXED64):  # no field known here has one
            at += 4 if wire == _FIXED32 else 8
            continue
        else:
            raise ValueError(f"wire type {wire}")
        yield number, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("number too long")


def _read(message: Message, data: bytes, *, strict: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, value in _fields(data):
        known = message.get(number)
        if known is None:
            if strict and value:
                raise _UnknownField(f"field {number}")
            continue
        name, read, repeated = known
        if isinstance(value, bytes) is (read in _OF_NUMBERS):
            raise ValueError(f"field {number} has another wire type")
        made = read(value)
        if not repeated:
            found[name] = made
        elif isinstance(made, dict) and read in (_text_map, _bytes_map):
            found.setdefault(name, {}).update(made)
        else:
            found.setdefault(name, []).append(made)
    return {name: value for name, value in found.items() if value != ""}


def _text(value: Any) -> str:
    return bytes(value).decode()


def _number(value: Any) -> int:
    return int(value) - (1 << 64) if value >= 1 << 63 else int(value)


def _entry(value: Any) -> tuple[str, bytes]:
    pair = dict(_fields(value))
    key, content = pair.get(1, b""), pair.get(2, b"")
    if not isinstance(key, bytes) or not isinstance(content, bytes):
        raise ValueError("a map entry has another wire type")
    return _text(key), content


def _text_map(value: Any) -> dict[str, str]:
    key, content = _entry(value)
    return {key: content.decode()}


def _bytes_map(value: Any) -> dict[str, str]:
    key, content = _entry(value)
    return {key: base64.b64encode(content).decode()}


def _time(value: Any) -> str | None:
    seconds = dict(_fields(value)).get(1)
    return None if not isinstance(seconds, int) else format_time(datetime.fromtimestamp(_number(seconds), UTC))


_OF_NUMBERS: tuple[Read, ...] = (_number, bool)
"""Readers of varints; all others read bytes."""


def _message(message: Message) -> Read:
    return lambda value: _read(message, value)


def _strict(message: Message) -> Read:
    """Likewise, where nothing that a client says may be passed over; what is empty says nothing."""
    return lambda value: _read(message, value, strict=True)


def _one(name: str, read: Read = _text) -> tuple[str, Read, bool]:
    return name, read, False


def _many(name: str, read: Read = _text) -> tuple[str, Read, bool]:
    return name, read, True


_ENVELOPE: Message = {
    1: _one("typeMeta", _message({1: _one("apiVersion"), 2: _one("kind")})),
    2: _one("raw", bytes),
}
_OWNER: Message = {
    1: _one("kind"),
    3: _one("name"),
    4: _one("uid"),
    5: _one("apiVersion"),
    6: _one("controller", bool),
    7: _one("blockOwnerDeletion", bool),
}
_META: Message = {
    1: _one("name"),
    2: _one("generateName"),
    3: _one("namespace"),
    5: _one("uid"),
    6: _one("resourceVersion"),
    7: _one("generation", _number),
    8: _one("creationTimestamp", _time),
    9: _one("deletionTimestamp", _time),
    10: _one("deletionGracePeriodSeconds", _number),
    11: _many("labels", _text_map),
    12: _many("annotations", _text_map),
    13: _many("ownerReferences", _message(_OWNER)),
    14: _many("finalizers"),
}
_metadata = _one("metadata", _message(_META))
_REFERENCE: Message = {
    1: _one("kind"),
    2: _one("namespace"),
    3: _one("name"),
    4: _one("uid"),
    5: _one("apiVersion"),
    6: _one("resourceVersion"),
    7: _one("fieldPath"),
}
_DELETE_OPTIONS: Message = {
    1: _one("gracePeriodSeconds", _number),
    2: _one("preconditions", _message({1: _one("uid"), 2: _one("resourceVersion")})),
    3: _one("orphanDependents", bool),
    4: _one("propagationPolicy"),
    5: _many("dryRun"),
}
_REQUIREMENT: Message = {1: _one("key"), 2: _one("operator"), 3: _many("values")}
_ASKED: Message = {
    1: _one("namespace"),
    2: _one("verb"),
    3: _one("group"),
    4: _one("version"),
    5: _one("resource"),
    6: _one("subresource"),
    7: _one("name"),
    8: _one("fieldSelector", _message({1: _one("rawSelector"), 2: _many("requirements", _message(_REQUIREMENT))})),
}
_ACCESS: Message = {
    1: _one("resourceAttributes", _message(_ASKED)),
    2: _one("nonResourceAttributes", _message({1: _one("path"), 2: _one("verb")})),
}
_OTHERS_ACCESS: Message = _ACCESS | {3: _one("user"), 4: _many("groups")}
_PORT: Message = {
    1: _one("name"),
    2: _one("hostPort", _number),
    3: _one("containerPort", _number),
    4: _one("protocol"),
    5: _one("hostIP"),
}
_CONTAINER: Message = {
    1: _one("name"),
    2: _one("image"),
    3: _many("command"),
    4: _many("args"),
    5: _one("workingDir"),
    6: _many("ports", _strict(_PORT)),
    7: _many("env", _strict({1: _one("name"), 2: _one("value")})),
    8: _one("resources", _strict({})),
    14: _one("imagePullPolicy"),
}
_POD_TEMPLATE: Message = {
    1: _metadata,
    2: _one("spec", _strict({2: _many("containers", _strict(_CONTAINER)), 3: _one("restartPolicy")})),
}
_SELECTOR: Message = {1: _many("matchLabels", _text_map), 2: _many("matchExpressions", _message(_REQUIREMENT))}
_DEPLOYMENT: Message = {
    1: _one("replicas", _number),
    2: _one("selector", _strict(_SELECTOR)),
    3: _one("template", _strict(_POD_TEMPLATE)),
    4: _one("strategy", _strict({1: _one("type")})),
    5: _one("minReadySeconds", _number),
    6: _one("revisionHistoryLimit", _number),
    7: _one("paused", bool),
    9: _one("progressDeadlineSeconds", _number),
}
"""What `kubectl create deployment` says."""
_KINDS: dict[str, Message] = {
    "Deployment": {1: _metadata, 2: _one("spec", _strict(_DEPLOYMENT))},
    "Namespace": {1: _metadata, 2: _one("spec", _message({1: _many("finalizers")}))},
    "ConfigMap": {
        1: _metadata,
        2: _many("data", _text_map),
        3: _many("binaryData", _bytes_map),
        4: _one("immutable", bool),
    },
    "Secret": {
        1: _metadata,
        2: _many("data", _bytes_map),
        3: _one("type"),
        4: _many("stringData", _text_map),
        5: _one("immutable", bool),
    },
    "ServiceAccount": {
        1: _metadata,
        2: _many("secrets", _message(_REFERENCE)),
        3: _many("imagePullSecrets", _message({1: _one("name")})),
        4: _one("automountServiceAccountToken", bool),
    },
    "DeleteOptions": _DELETE_OPTIONS,
    "Eviction": {1: _metadata, 2: _one("deleteOptions", _message(_DELETE_OPTIONS))},
    "Binding": {1: _metadata, 2: _one("target", _message(_REFERENCE))},
    "Scale": {1: _metadata, 2: _one("spec", _message({1: _one("replicas", _number)}))},
    "SelfSubjectReview": {1: _metadata},
    "SelfSubjectAccessReview": {1: _metadata, 2: _one("spec", _message(_ACCESS))},
    "SelfSubjectRulesReview": {1: _metadata, 2: _one("spec", _message({1: _one("namespace")}))},
    "SubjectAccessReview": {1: _metadata, 2: _one("spec", _message(_OTHERS_ACCESS))},
    "LocalSubjectAccessReview": {1: _metadata, 2: _one("spec", _message(_OTHERS_ACCESS))},
}
