"""A protocol without devices, for tests of the cores: an address, a bus, a cell; nothing is ever read through it."""

import json
from collections.abc import Hashable
from typing import Any

from msgspec import Struct

from edgewire.device import MapperDevice, ModelProperty, parse_mapper_device
from mappers.driver import DefinitionError, Driver, VisitorKeys


class Address(Struct, frozen=True):
    """`protocol.configData` of the protocol `toy`."""

    line: str = "line1"
    unit: int = 1


class Keys(VisitorKeys, frozen=True, kw_only=True):
    """`visitors.configData` of the protocol `toy`."""

    cell: int = 0


class Toy:
    """`Drivers` of the protocol `toy`: a visitor is its cell's number."""

    protocol = "toy"
    address_type: type[Any] = Address
    visitor_type: type[VisitorKeys] = Keys

    def __init__(self, driver: Driver | None = None) -> None:
        self._driver = driver

    def bus(self, address: Address) -> Hashable:
        return address.line

    def visitor(self, address: Address, keys: Keys, model: ModelProperty) -> int:
        if keys.cell < 0:
            raise DefinitionError("`cell` must not be negative")
        return keys.cell

    def driver(self, bus: Any) -> Driver:
        assert self._driver is not None
        return self._driver


def model_json(**properties: dict[str, str] | str) -> dict[str, Any]:
    """A DeviceModel with properties name -> type, or name -> its fields."""
    return {
        "metadata": {"name": "toy-model"},
        "spec": {
            "protocol": "toy",
            "properties": [{"name": n, **({"type": p} if isinstance(p, str) else p)} for n, p in properties.items()],
        },
    }


def device_json(
    name: str,
    address: dict[str, Any] | None = None,
    methods: dict[str, list[str]] | None = None,
    **properties: dict[str, Any],
) -> dict[str, Any]:
    """A Device with properties name -> `visitors.configData`; the keys collect, report and desired go to the property.

    `methods` are name -> `propertyNames`.
    """
    fields = {"collect": "collectCycle", "report": "reportCycle", "desired": "desired"}
    return {
        "metadata": {"name": name},
        "spec": {
            "deviceModelRef": {"name": "toy-model"},
            "protocol": {"protocolName": "toy", "configData": address or {}},
            "methods": [{"name": n, "propertyNames": names} for n, names in (methods or {}).items()],
            "properties": [
                {
                    "name": n,
                    "visitors": {"configData": {k: v for k, v in p.items() if k not in fields}},
                    **{fields[k]: {"value": v} if k == "desired" else v for k, v in p.items() if k in fields},
                }
                for n, p in properties.items()
            ],
        },
    }


def payload(device: dict[str, Any], model: dict[str, Any]) -> bytes:
    """What a `topics.mapper_device` topic carries."""
    return json.dumps({"device": device, "model": model}).encode()


def definition(device: dict[str, Any], model: dict[str, Any]) -> MapperDevice:
    """The same, parsed."""
    return parse_mapper_device(payload(device, model))
