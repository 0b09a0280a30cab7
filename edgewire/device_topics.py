"""The MQTT topics of a device, as far as a board needs them; `topics.py` has them too, and all others.

A device's id is `<namespace>/<name>`, two topic levels. This module also runs on MicroPython, where each name costs memory.
"""

_DEVICE = "$hw/events/device/"
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


def data_update(device: str) -> str:
    """Where a device publishes values for applications on the site that do not belong to its twin."""
    return _APP + device + "/data/update"
