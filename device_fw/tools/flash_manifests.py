"""The DeviceModel and the Device of a board file, as Kubernetes takes them."""

from typing import Any

import msgspec

from device_fw.tools.board_file import BoardFile
from edgewire.device import ModelProperty

API = "devices.kubeedge.io/v1beta1"
UPDATES = tuple(
    ModelProperty(
        name=name, type="INT" if name == "firmware-progress" else "STRING", access_mode="ReadOnly", description=about
    )
    for name, about in (
        ("firmware", "version that runs"),
        ("firmware-target", "the image that an update is about"),
        ("firmware-state", "idle, downloading, trial, confirmed, reverted, refused, recovery"),
        ("firmware-progress", "percent"),
        ("firmware-reason", "why the last update ended"),
    )
)
"""What boards report that take updates over the air."""


def of(described: BoardFile, node: str, *, updates: bool) -> list[dict[str, Any]]:
    """Both manifests, for the gateway `node`; `updates`: the board takes updates over the air."""
    model = described.model
    namespace, _, name = described.device.partition("/")
    known = {p.name for p in model.spec.properties}
    more = [p for p in UPDATES if updates and p.name not in known]
    properties = [_written(p) for p in (*model.spec.properties, *more)]
    return [
        {
            "apiVersion": API,
            "kind": "DeviceModel",
            "metadata": {"name": model.metadata.name, "namespace": namespace},
            "spec": {"protocol": model.spec.protocol or described.transport, "properties": properties},
        },
        {
            "apiVersion": API,
            "kind": "Device",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "deviceModelRef": {"name": model.metadata.name},
                "nodeName": node,
                "protocol": {"protocolName": described.transport},
                "properties": [{"name": p["name"]} for p in properties],
            },
        },
    ]


def _written(p: ModelProperty) -> dict[str, Any]:
    """A property with what the definition of DeviceModel asks for, also where it is the default here."""
    return {"name": p.name, "type": p.type, "accessMode": p.access_mode, **msgspec.to_builtins(p)}
