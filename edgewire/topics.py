"""Every MQTT topic of the gateway: built here, matched here, nowhere else.

A device's id is `<namespace>/<name>`, two topic levels. The `$hw/` and `$ke/` topics are KubeEdge's, so that its clients
work unchanged; those below `$hw/events/mapper/` are Hedgerow's own, and all retained. This module also runs on MicroPython.
"""

_DEVICE = "$hw/events/device/"
_NODE = "$hw/events/node/"
_MAPPER = "$hw/events/mapper/"
_APP = "$ke/events/device/"

# What may follow a device's id: the "kind" that `device_topic` returns.
UPDATE = "twin/update"
RESULT = "twin/update/result"
DELTA = "twin/update/delta"
DOCUMENT = "twin/update/document"
GET = "twin/get"
GET_RESULT = "twin/get/result"
STATE = "state/update"
STATE_RESULT = "state/update/result"
METHOD = "method/call"  # Hedgerow's own, as is its result: the mapper answers, the gateway has no part in it
METHOD_RESULT = "method/call/result"
OTA_OFFER = "ota/offer"  # Hedgerow's own: the gateway offers a firmware; the device gets it piece by piece
OTA_GET = "ota/get"
OTA_CHUNK = "ota/chunk"

# What the gateway takes in, as subscriptions.
GATEWAY_FILTERS = (
    _DEVICE + "+/+/" + UPDATE,
    _DEVICE + "+/+/" + GET,
    _DEVICE + "+/+/" + STATE,
    _DEVICE + "+/+/" + OTA_GET,
    _NODE + "+/membership/get",
)


def of_device(device: str, kind: str) -> str:
    """The topic of one kind for the device `<namespace>/<name>`."""
    return _DEVICE + device + "/" + kind


def device_topic(topic: str) -> "tuple[str, str] | None":
    """Take a device's topic apart: its device id and kind, or None for any other topic."""
    if not topic.startswith(_DEVICE):
        return None
    parts = topic[len(_DEVICE) :].split("/", 2)
    if len(parts) < 3 or not parts[0] or not parts[1]:
        return None
    return parts[0] + "/" + parts[1], parts[2]


def membership_get(node: str) -> str:
    """Where a client asks which devices the node has."""
    return _NODE + node + "/membership/get"


def membership_result(node: str) -> str:
    """Where the answer to `membership_get` goes."""
    return _NODE + node + "/membership/get/result"


def membership_updated(node: str) -> str:
    """Where devices added to or removed from the node are announced."""
    return _NODE + node + "/membership/updated"


def node_of_membership_get(topic: str) -> "str | None":
    """The node of a `membership_get` topic, or None for any other topic."""
    end = "/membership/get"
    if topic.startswith(_NODE) and topic.endswith(end):
        return topic[len(_NODE) : -len(end)] or None
    return None


def mapper_index(protocol: str) -> str:
    """Retained: `{"devices": ["<ns>/<name>", ...]}`, the devices a protocol's mapper serves now."""
    return _MAPPER + protocol + "/devices"


def mapper_device(protocol: str, device: str) -> str:
    """Retained: `{"device": {...}, "model": {...}}`, one device's resources; an empty payload when it is gone."""
    return _MAPPER + protocol + "/devices/" + device


def mapper_filters(protocol: str) -> "tuple[str, str]":
    """What a mapper subscribes to, to learn its devices."""
    return mapper_index(protocol), mapper_index(protocol) + "/+/+"


def device_of_mapper_topic(topic: str) -> "tuple[str, str | None] | None":
    """Protocol and device id of a `mapper_device` topic; device None for the index; None for any other topic."""
    if not topic.startswith(_MAPPER):
        return None
    parts = topic[len(_MAPPER) :].split("/", 2)
    if len(parts) < 2 or not parts[0] or parts[1] != "devices":
        return None
    return parts[0], parts[2] if len(parts) == 3 else None


MAPPER_PREFIX = _MAPPER


def data_update(device: str) -> str:
    """Where a device publishes values for applications on the site that do not belong to its twin."""
    return _APP + device + "/data/update"
