"""The DeviceModel and the Device of a board file, as `kubectl apply` takes them."""

from typing import Any

import msgspec

from device_fw.tools.board_file import BoardFile
from edgewire import device, ota
from edgewire.device import ModelProperty

API = f"{device.GROUP}/{device.VERSION}"
PORT = "/dev/serial/by-id/..."
"""Where to fill in the serial port of a board that is not there yet."""

_ABOUT = {
    ota.FIRMWARE: "the version that runs",
    ota.FIRMWARE_TARGET: "the image that the last update is about",
    ota.FIRMWARE_STATE: ", ".join(ota.STATES),
    ota.FIRMWARE_PROGRESS: "of the download, in percent",
    ota.FIRMWARE_REASON: "why the last update ended as it did",
}


def of(board: BoardFile, node: str, *, updates: bool = True, port: str = PORT) -> list[dict[str, Any]]:
    """Both, for the gateway `node`. With `updates` they have what a board reports that takes updates over the air.

    The DeviceModel is the user's, or made of the drivers. `port` is the gateway's serial port to a board without a network.
    """
    namespace, _, name = board.device.partition("/")
    properties = [*board.model.spec.properties, *(_of_updates(board) if updates else ())]
    model = {
        "apiVersion": API,
        "kind": "DeviceModel",
        "metadata": {"name": board.model.metadata.name, "namespace": namespace},
        "spec": {
            "protocol": board.model.spec.protocol or board.transport,
            "properties": [_written(p) for p in properties],
        },
    }
    protocol: dict[str, Any] = {"protocolName": board.transport}
    if board.transport == "serial":
        protocol["configData"] = {"port": port, "framing": "board"}
    spec = {
        "deviceModelRef": {"name": board.model.metadata.name},
        "nodeName": node,
        "protocol": protocol,
        "properties": [{"name": p.name} for p in properties],
    }
    one = {"apiVersion": API, "kind": "Device", "metadata": {"name": name, "namespace": namespace}, "spec": spec}
    return [model, one]


def _written(one: ModelProperty) -> dict[str, Any]:
    """With type and access also where they are the default: who reads the manifest need not know it."""
    return {"name": one.name, "type": one.type, "accessMode": one.access_mode, **msgspec.to_builtins(one)}


def _of_updates(board: BoardFile) -> list[ModelProperty]:
    """Those that the user's model lacks."""
    known = {p.name for p in board.model.spec.properties}
    return [
        ModelProperty(
            name=name,
            description=_ABOUT[name],
            type=device.INTEGER if name == ota.FIRMWARE_PROGRESS else "STRING",
            access_mode="ReadOnly",
        )
        for name in ota.PROPERTIES
        if name not in known
    ]
