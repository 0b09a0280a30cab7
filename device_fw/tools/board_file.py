"""The board file: which board, which transport, and which driver each property has. Checked with the DeviceModel next to it.

    board: pico_w
    name: default/greenhouse
    model: model.yaml                  # types, units, limits and access; without it, those of the drivers
    properties:
      temperature: {driver: bme280, address: 0x76, interval_ms: 10000, dead_band: 0.2}
      pump:        {driver: digital_out, pin: 15}

It decides which drivers are frozen into the firmware, and which properties come with it; `manifests.py` makes the DeviceModel
and the Device of it. docs/sensors.md describes every key.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import yaml

from device_fw import drivers
from device_fw.firmware import config as board_config
from device_fw.tools import catalogue
from device_fw.tools.errors import FirmwareError
from device_fw.tools.pins import PinPlan
from edgewire import config as yaml_config
from edgewire import device
from edgewire.device import DeviceModel, ModelProperty

OF_PROPERTY = ("driver", "reading", "interval_ms", "dead_band", "digits", "values", "log")
"""Keys of a property that are not its driver's options."""

RESERVED = "firmware"
"""What the names of the properties begin with that the firmware's updates report."""

_TYPES = {"INT": "int", "FLOAT": "float", "DOUBLE": "float", "STRING": "string", "BOOLEAN": "boolean"}
_OF_READING = {"int": "INT", "float": "FLOAT", "string": "STRING", "boolean": "BOOLEAN"}
_FITS = {
    "boolean": ("BOOLEAN",),
    "int": ("INT", "FLOAT", "DOUBLE"),
    "float": ("FLOAT", "DOUBLE", "INT"),
    "string": ("STRING",),
}


class _Written(msgspec.Struct, forbid_unknown_fields=True):
    """The file as its user wrote it."""

    board: str
    name: str
    transport: str = "mqtt"
    model: str = ""
    config: dict[str, Any] = {}
    properties: dict[str, dict[str, Any]] = {}


@dataclass(frozen=True)
class Chosen:
    """One property: its driver and what `config.json` says of it."""

    name: str
    driver: str
    reading: str
    options: dict[str, Any]
    """Those that the file gives."""
    model: ModelProperty
    entry: dict[str, Any]
    """What the board is told of it, as in `properties` of `config.json`."""


@dataclass(frozen=True)
class BoardFile:
    """A board file that was found right."""

    path: Path
    board: str
    features: ModuleType
    device: str
    """`<namespace>/<name>`."""
    transport: str
    config: dict[str, Any]
    """Keys of `config.json` that the file sets besides: `heartbeat_ms` and others."""
    model: DeviceModel
    """The user's, or made of the drivers."""
    properties: dict[str, Chosen] = field(default_factory=dict)

    @property
    def drivers(self) -> list[str]:
        """The drivers that the firmware needs, in order."""
        return sorted({chosen.driver for chosen in self.properties.values()})

    def configuration(self) -> dict[str, Any]:
        """What `config.json` says of this board; whoever provisions it adds `host`, Wi-Fi and credentials.

        The properties are not among it: they come with the firmware, and change with it. `properties` of a `config.json` say
        in what one board differs.
        """
        return {**self.config, "name": self.device, "board": self.board, "transport": self.transport}

    def own(self) -> bytes:
        """`device_fw/boards/own.py`: the properties that come with the firmware."""
        lines = [f"    {name!r}: {chosen.entry!r},\n" for name, chosen in self.properties.items()]
        return f'"""Made of a board file."""\n\nPROPERTIES = {{\n{"".join(lines)}}}\n'.encode()


def load(path: Path) -> BoardFile:
    """Read and check a board file and its DeviceModel. FirmwareError that names file and key, and the nearest known name."""
    try:
        written = yaml_config.parse(_yaml(path), _Written, path.name)
    except yaml_config.ConfigError as error:
        raise FirmwareError(str(error)) from error
    return _Checked(path, written).result()


class _Checked:
    """One pass over a board file; every error goes through `_at`."""

    def __init__(self, path: Path, written: _Written) -> None:
        self._path = path
        self._written = written

    def result(self) -> BoardFile:
        written = self._written
        boards = catalogue.boards()
        features = boards[self._known("board", "board", written.board, boards)]
        transport = self._known("transport", "transport", written.transport, _transports())
        if transport == "mqtt" and not features.NETWORK:
            raise self._at("transport", f"board {written.board} has no network; use serial")
        model = _model(self._path.parent / written.model) if written.model else None
        properties = {}
        pins = PinPlan(features, transport)
        for name, keys in written.properties.items():
            properties[name] = self._property(name, keys, model)
            self._try(f"properties.{name}", pins.add, name, properties[name].driver, properties[name].options)
        if model is not None:
            self._nothing_missing(model)
        device_name = self._device()
        made = DeviceModel(
            device.Metadata(name=device_name.rpartition("/")[2] + "-model", namespace=device_name.partition("/")[0]),
            device.ModelSpec(protocol=transport, properties=[p.model for p in properties.values()]),
        )
        self._settings()
        return BoardFile(
            self._path, written.board, features, device_name, transport, written.config, model or made, properties
        )

    def _property(self, name: str, keys: Mapping[str, Any], model: DeviceModel | None) -> Chosen:
        at = f"properties.{name}"
        if name.partition("-")[0] == RESERVED:
            raise self._at(at, "the firmware itself reports properties whose names begin so")
        if "driver" not in keys:
            raise self._at(f"{at}.driver", "is missing")
        known = catalogue.drivers()
        driver_name = self._known(f"{at}.driver", "driver", str(keys["driver"]), known)
        driver = known[driver_name]
        options = {key: value for key, value in keys.items() if key not in OF_PROPERTY}
        for key in options:
            self._known(at, f"key of driver {driver_name}", key, [*OF_PROPERTY, *driver.OPTIONS])
        complete = self._try(at, drivers.complete, driver.OPTIONS, options)
        if hasattr(driver, "check"):
            self._try(at, driver.check, complete)
        reading = self._known(
            f"{at}.reading",
            f"reading of {driver_name}",
            str(keys.get("reading", _reading(name, driver))),
            driver.READINGS,
        )
        of_model = self._of_model(name, driver, reading, model)
        entry: dict[str, Any] = {"driver": driver_name, "reading": reading}
        entry["interval_ms"] = self._interval(at, keys, driver)
        if options:
            entry["options"] = options
        entry.update(self._kind(at, keys, driver, reading, of_model))
        return Chosen(name, driver_name, reading, options, of_model, entry)

    def _of_model(
        self, name: str, driver: type[catalogue.DriverClass], reading: str, model: DeviceModel | None
    ) -> ModelProperty:
        kind, unit, _ = driver.READINGS[reading]
        output = reading in driver.OUTPUTS
        if model is None:
            access = "ReadWrite" if output else "ReadOnly"
            of_kind = "STRING" if "values" in self._written.properties[name] else _OF_READING[kind]
            return ModelProperty(name=name, type=of_kind, access_mode=access, unit=unit)
        self._known("properties", f"property of {self._written.model}", name, [p.name for p in model.spec.properties])
        found = next(p for p in model.spec.properties if p.name == name)
        at = f"properties.{name}"
        fits = _FITS[kind] if "values" not in self._written.properties[name] else ("STRING",)
        if found.type not in fits:
            raise self._at(at, f"{reading} is {' or '.join(fits)}, not {found.type} as {self._written.model} says")
        if unit and found.unit and unit != found.unit:
            raise self._at(at, f"{reading} is in {unit}, not in {found.unit} as {self._written.model} says")
        if found.writable and not output:
            raise self._at(at, f"{reading} cannot be written; make it ReadOnly in {self._written.model}")
        return found

    def _kind(
        self,
        at: str,
        keys: Mapping[str, Any],
        driver: type[catalogue.DriverClass],
        reading: str,
        of_model: ModelProperty,
    ) -> dict[str, Any]:
        """What `device_fw.firmware.properties.Property` is to be told."""
        kind: dict[str, Any] = {"type": _TYPES[of_model.type]}
        if of_model.writable:
            kind["writable"] = True
        for limit, text in (("minimum", of_model.minimum), ("maximum", of_model.maximum)):
            if text and of_model.writable:
                kind[limit] = self._number(f"properties.{of_model.name}.{limit} of {self._written.model}", text)
        if kind["type"] == "float":
            kind["digits"] = int(self._number(f"{at}.digits", keys.get("digits", driver.READINGS[reading][2])))
        if keys.get("dead_band"):
            kind["dead_band"] = self._number(f"{at}.dead_band", keys["dead_band"])
        if "log" in keys:
            if not isinstance(keys["log"], bool):
                raise self._at(f"{at}.log", "true or false")
            kind["log"] = keys["log"]
        if "values" in keys:
            kind["values"] = self._values(at, keys["values"], driver.READINGS[reading][0])
            kind["type"] = "string"
        return kind

    def _values(self, at: str, values: Any, kind: str) -> list[str]:
        texts = isinstance(values, list) and all(isinstance(v, str) and v for v in values) and len(set(values)) == 2
        if kind != "boolean" or not texts or len(values) != 2:
            raise self._at(
                f"{at}.values",
                "two texts that say false and true, as in [OFF, ON] (quoted), of a reading that is BOOLEAN",
            )
        return list(values)

    def _interval(self, at: str, keys: Mapping[str, Any], driver: type[catalogue.DriverClass]) -> int:
        interval = keys.get("interval_ms", driver.INTERVAL_MS)
        if not isinstance(interval, int) or isinstance(interval, bool) or interval < max(1, driver.SHORTEST_MS):
            raise self._at(f"{at}.interval_ms", f"{interval!r} is no whole number from {max(1, driver.SHORTEST_MS)}")
        return interval

    def _number(self, at: str, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if isinstance(value, bool) or not abs(number) < float("inf"):
            raise self._at(at, f"{value!r} is no number")
        return int(number) if number == int(number) else number

    def _nothing_missing(self, model: DeviceModel) -> None:
        for p in model.spec.properties:
            if p.name not in self._written.properties and p.name.partition("-")[0] != RESERVED:
                raise self._at("properties", f"{self._written.model} declares {p.name!r}, and no driver serves it")

    def _device(self) -> str:
        name = self._written.name if "/" in self._written.name else f"default/{self._written.name}"
        self._try("name", board_config.check, {"name": name, "host": "-"})
        return name

    def _settings(self) -> None:
        own = {"name", "board", "transport", "properties"}
        for key in self._written.config:
            self._known("config", "key", key, [key for key in board_config.DEFAULTS if key not in own])
        self._try("config", board_config.check, {"host": "-", **self._written.config, "name": "a/b"})

    def _known(self, key: str, what: str, name: str, names: Any) -> str:
        return str(self._try(key, catalogue.known, what, name, names))

    def _try(self, key: str, call: Any, *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except (FirmwareError, ValueError) as error:
            raise self._at(key, str(error)) from error

    def _at(self, key: str, problem: str) -> FirmwareError:
        return FirmwareError(f"`{key}` in {self._path.name}: {problem}")


def _reading(name: str, driver: type[catalogue.DriverClass]) -> str:
    """The one meant when the file names none: the property's own name, or the only one there is."""
    if name in driver.READINGS or len(driver.READINGS) > 1:
        return name
    return next(iter(driver.READINGS))


def _transports() -> tuple[str, ...]:
    return getattr(board_config, "TRANSPORTS", ("mqtt",))


def _model(path: Path) -> DeviceModel:
    """The DeviceModel in a YAML file, which may hold other documents too."""
    found = [doc for doc in _documents(path) if isinstance(doc, dict) and doc.get("kind") == "DeviceModel"]
    if len(found) != 1:
        raise FirmwareError(f"{path.name} holds {len(found)} DeviceModels, not one")
    try:
        model = device.parse_model(json.dumps(found[0], default=str).encode())
    except device.DeviceError as error:
        raise FirmwareError(f"{path.name}: {error}") from error
    for p in model.spec.properties:
        if p.type not in _TYPES:
            raise FirmwareError(f"property {p.name!r} in {path.name}: no board has values of type {p.type}")
    return model


def _yaml(path: Path) -> Any:
    documents = _documents(path)
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise FirmwareError(f"{path.name} must hold one document of keys and values")
    return documents[0]


def _documents(path: Path) -> list[Any]:
    try:
        return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise FirmwareError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FirmwareError(f"cannot read {path}: not UTF-8 text") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1})" if where is not None else ""
        raise FirmwareError(
            f"{path.name} is not valid YAML: {getattr(error, 'problem', None) or error}{line}"
        ) from error
