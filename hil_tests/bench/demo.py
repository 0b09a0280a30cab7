"""The demo's devices: an emulated PLC with a boiler and a meter, and two boards with the real firmware.

`hedgerow up --demo` and the end-to-end tests run the same ones.
"""

import copy
import json
from pathlib import Path
from typing import Any

import yaml
from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException

from edgewire import board as messages
from edgewire import topics
from hil_tests.bench.micropython_board import MicroPythonBoard, Unavailable
from hil_tests.bench.mqtt_client import MqttClient
from hil_tests.bench.plc import REGISTERS

_HERE = Path(__file__).parent
BOARDS = ("board-1", "board-2")


def plc_manifests(node: str, port: int) -> list[dict[str, Any]]:
    """The PLC's DeviceModels and Devices, on this node, with the PLC on this port."""
    manifests = _load("plc.yaml")
    for manifest in manifests:
        if manifest["kind"] == "Device":
            manifest["spec"]["nodeName"] = node
            manifest["spec"]["protocol"]["configData"].update(ip="127.0.0.1", port=port)
    return manifests


def meter_manifests(node: str, port: str) -> list[dict[str, Any]]:
    """The DeviceModel and the Devices of the emulated meters on a Modbus RTU line, on this node, with their line on this port."""
    manifests = _load("rtu_meter.yaml")
    for manifest in manifests:
        if manifest["kind"] == "Device":
            manifest["spec"]["nodeName"] = node
            manifest["spec"]["protocol"]["configData"]["serialPort"] = port
    return manifests


def serial_manifests(node: str, **ports: str) -> list[dict[str, Any]]:
    """The DeviceModels and Devices of the emulated serial instruments, on this node: `scale` and `receiver` on these ports."""
    manifests = _load("serial.yaml")
    for manifest in manifests:
        if manifest["kind"] == "Device":
            manifest["spec"]["nodeName"] = node
            manifest["spec"]["protocol"]["configData"]["port"] = ports[manifest["metadata"]["name"]]
    return manifests


def ble_manifests(node: str, timeout_ms: int) -> list[dict[str, Any]]:
    """The DeviceModels and Devices of the emulated Bluetooth instruments, on this node."""
    manifests = _load("ble.yaml")
    for manifest in manifests:
        if manifest["kind"] == "Device":
            manifest["spec"]["nodeName"] = node
            manifest["spec"]["protocol"]["configData"]["timeout"] = timeout_ms
    return manifests


def board_manifests(node: str, names: tuple[str, ...] = BOARDS) -> list[dict[str, Any]]:
    """The boards' DeviceModel and a Device for each of the names."""
    model, template = _load("board.yaml")
    manifests = [model]
    for name in names:
        device = copy.deepcopy(template)
        device["metadata"]["name"] = name
        device["spec"]["nodeName"] = node
        manifests.append(device)
    return manifests


def board(folder: Path, name: str, port: int, seed: int = 1) -> MicroPythonBoard:
    """A board of that name for the broker on this port; not yet started."""
    return MicroPythonBoard(folder, {"name": f"default/{name}", "host": "127.0.0.1", "port": port, "seed": seed})


def boards(folder: Path, port: int) -> list[MicroPythonBoard]:
    """Start the demo's boards. Raises Unavailable where there is no MicroPython for this machine."""
    started: list[MicroPythonBoard] = []
    try:
        for seed, name in enumerate(BOARDS, 1):
            one = board(folder / name, name, port, seed)
            one.start()
            started.append(one)
    except Unavailable:
        for one in started:
            one.stop()
        raise
    return started


def registers(state_file: Path) -> dict[str, Any]:
    """The PLC's writable registers as they are now, `<unit>/<property>` -> value; empty before its first write."""
    try:
        found = json.loads(state_file.read_text())
    except FileNotFoundError:
        return {}
    return dict(found)


def write_register(port: int, name: str, value: int) -> None:
    """Set a register of the PLC as somebody at the cabinet would, past the gateway. Raises ConnectionError."""
    register = REGISTERS[name]
    client: Any = ModbusTcpClient("127.0.0.1", port=port)
    try:
        if not client.connect() or client.write_register(register.address, value, device_id=register.unit).isError():
            raise ConnectionError(f"the PLC does not take {value} for {name}")
    except ModbusException as error:
        raise ConnectionError(f"the PLC does not answer: {error}") from error
    finally:
        client.close()


def twin_value(port: int, device: str, property: str) -> str | None:
    """What the gateway whose broker is on this port last heard of a property, or None."""
    with MqttClient(port) as mqtt:
        answers = topics.of_device(device, topics.GET_RESULT)
        mqtt.subscribe(answers)
        mqtt.publish(topics.of_device(device, topics.GET), messages.get("demo"))
        twin = json.loads(mqtt.next(answers)).get("twin", {})
    value: str | None = twin.get(property, {}).get(messages.REPORTED, {}).get("value")
    return value


def _load(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((_HERE / name).read_text()))
