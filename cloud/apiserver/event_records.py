"""Events that the control plane itself writes: what it did with a pod, and why, for `kubectl describe`."""

from typing import NamedTuple

import msgspec

from cloud.apiserver.objects import Objects
from cloud.apiserver.state import Change, Stored
from cloud.apiserver.status import ApiError
from cloud.apiserver.writes import WriteOptions

NORMAL, WARNING = "Normal", "Warning"


class Note(NamedTuple):
    """What is to be said."""

    type: str
    reason: str
    action: str
    message: str
    reporter: str


def record(objects: Objects, about: Stored, note: Note) -> list[Change]:
    """Write an event about an object in a namespace: its changes, for the transaction of what it tells of.

    Events tell; where one cannot be kept, as in a namespace that is going, there is none.
    """
    events = objects.registry.find("", "v1", "events")
    assert events is not None
    obj = msgspec.json.decode(about.body)
    now = objects.now()
    name = f"{about.name}.{int(now.timestamp() * 1e6):x}{objects.state.assigned & 0xFFF:03x}"
    event = {
        "metadata": {"name": name},
        "involvedObject": {
            "kind": obj["kind"],
            "apiVersion": obj["apiVersion"],
            "namespace": about.namespace,
            "name": about.name,
            "uid": obj["metadata"]["uid"],
            "resourceVersion": str(about.revision),
        },
        "type": note.type,
        "reason": note.reason,
        "action": note.action,
        "message": note.message,
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingComponent": note.reporter,
        "reportingInstance": f"{note.reporter}-embedded",
        "source": {},
    }
    try:
        written = objects.create(events, about.namespace, event, WriteOptions(field_manager=note.reporter))
    except ApiError:
        return []
    return written.transaction.changes if written.transaction is not None else []
