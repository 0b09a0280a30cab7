"""Names of what a link message is about, built and parsed in one place.

In the cloud an object is `node/<node>/<namespace>/<type>/<name>`; on the wire the `node/<node>/` is cut, for both sides know
the node. An object outside any namespace has namespace `null`. Devices report on `device/<namespace>/<name>/...`.
"""

from typing import NamedTuple

from msgspec import Struct

DEVICE, DEVICE_MODEL, POD, CONFIGMAP, SECRET = "device", "devicemodel", "pod", "configmap", "secret"
"""What a node has of the cloud's."""
NODE_STATUS, POD_STATUS, EVENT = "nodestatus", "podstatus", "event"
"""What a node tells; events are Hedgerow's own."""
ROLLOUT, FIRMWARE_PART = "devicefirmware", "firmwarepart"
"""A gateway's plan of a rollout, whose reports go by the same name, and a part of a firmware image (Hedgerow's own)."""

INVENTORY = "inventory"
"""What the edge sends on connecting: object -> resource version (Hedgerow's own)."""
MEMBERSHIP = "membership"
MEMBERSHIP_DETAIL = "membership/detail"
KEEPALIVE = "node"

TWIN_UPDATED = "twin/edge_updated"
STATE_UPDATED = "state/update"

NO_NAMESPACE = "null"


class ResourceError(Exception):
    """A resource name that is none."""


class Resource(NamedTuple):
    """One object of a node, as named on the wire: `<namespace>/<type>/<name>`."""

    namespace: str
    type: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.type}/{self.name}"

    @property
    def id(self) -> str:
        """`<namespace>/<name>`, as devices are called on MQTT."""
        return f"{self.namespace}/{self.name}"

    def in_cloud(self, node: str) -> str:
        """The name with the node it belongs to."""
        return f"node/{node}/{self}"


def of_id(type: str, id: str) -> Resource:
    """The object of a type whose id is `<namespace>/<name>`."""
    namespace, _, name = id.partition("/")
    return Resource(namespace, type, name)


def parse(resource: str) -> Resource:
    """An object's name, with or without its `node/<node>/`. Raises ResourceError."""
    parts = resource.split("/")
    if len(parts) == 5 and parts[0] == "node":
        parts = parts[2:]
    if len(parts) != 3 or not all(parts):
        raise ResourceError(f"{resource!r} is not <namespace>/<type>/<name>")
    return Resource(*parts)


def device_report(id: str, kind: str) -> str:
    """What a device's twin (`TWIN_UPDATED`) or state (`STATE_UPDATED`) is reported on."""
    return f"device/{id}/{kind}"


def parse_device_report(resource: str) -> tuple[str, str] | None:
    """Device id and kind of a `device_report`, or None for any other resource."""
    parts = resource.split("/", 3)
    if len(parts) < 4 or parts[0] != "device" or not parts[1] or not parts[2]:
        return None
    if parts[3] not in (TWIN_UPDATED, STATE_UPDATED):
        return None
    return f"{parts[1]}/{parts[2]}", parts[3]


class ObjectMeta(Struct, frozen=True, rename="camel"):
    """The metadata that says which version of an object this is."""

    uid: str = ""
    resource_version: str = ""
    generation: int = 0


def version(metadata: ObjectMeta, type: str = "") -> str:
    """Which version of an object somebody has, as far as the edge is concerned.

    Kubernetes counts an object's edits of `spec` in `generation`; its resource version also moves with each status, which
    is the edge's own doing. So it is `<uid>.<generation>` where there is a generation, else the resource version. A pod's
    containers see its labels and annotations too, which no generation counts: it is the resource version there.
    """
    counts = metadata.generation and type != POD
    return f"{metadata.uid}.{metadata.generation}" if counts else metadata.resource_version
