"""Every MQTT topic of the gateway: built here, matched here, nowhere else; those of a device in `device_topics.py`.

A device's id is `<namespace>/<name>`, two topic levels. The `$hw/` and `$ke/` topics are KubeEdge's, so that its clients
work unchanged; those below `$hw/events/mapper/` are Hedgerow's own, and all retained. This module also runs on MicroPython.
"""

from edgewire.device_topics import (
    DELTA as DELTA,
)
from edgewire.device_topics import (
    DOCUMENT as DOCUMENT,
)
from edgewire.device_topics import (
    GET as GET,
)
from edgewire.device_topics import (
    GET_RESULT as GET_RESULT,
)
from edgewire.device_topics import (
    METHOD as METHOD,
)
from edgewire.device_topics import (
    METHOD_RESULT as METHOD_RESULT,
)
from edgewire.device_topics import (
    OTA_CHUNK as OTA_CHUNK,
)
from edgewire.device_topics import (
    OTA_GET as OTA_GET,
)
from edgewire.device_topics import (
    OTA_OFFER as OTA_OFFER,
)
from edgewire.device_topics import (
    RESULT as RESULT,
)
from edgewire.device_topics import (
    STATE as STATE,
)
from edgewire.device_topics import (
    STATE_RESULT as STATE_RESULT,
)
from edgewire.device_topics import (
    UPDATE as UPDATE,
)
from edgewire.device_topics import (
    data_update as data_update,
)
from edgewire.device_topics import (
    device_topic as device_topic,
)
from edgewire.device_topics import (
    of_device as of_device,
)

_DEVICE = of_device("", "")[:-1]
_NODE = "$hw/events/node/"
_MAPPER = "$hw/events/mapper/"

# What the gateway takes in, as subscriptions.
GATEWAY_FILTERS = (
    _DEVICE + "+/+/" + UPDATE,
    _DEVICE + "+/+/" + GET,
    _DEVICE + "+/+/" + STATE,
    _DEVICE + "+/+/" + OTA_GET,
    _NODE + "+/membership/get",
)


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
