"""Device and DeviceModel, parsed and validated from their custom resources (`devices.kubeedge.io/v1beta1`).

Unknown keys are let through: a newer cloud may send more than this gateway knows. What is wrong is said with the path of
the field, so that the message can stand in a Device's conditions and be acted on.
"""

from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from msgspec import Struct, field

from edgewire import twin
from edgewire.message import UNREADABLE

GROUP = "devices.kubeedge.io"
VERSION = "v1beta1"

INTEGER = "INT"
FLOATS = frozenset({"FLOAT", "DOUBLE"})
BOOLEAN = "BOOLEAN"
TYPES = frozenset({"INT", "FLOAT", "DOUBLE", "STRING", "BOOLEAN", "BYTES", "STREAM"})

_TRUE = frozenset({"true", "1"})
_FALSE = frozenset({"false", "0"})
_FLOAT_CHARACTERS = frozenset("0123456789+-.eEinftyaINFTYA")  # digits, exponent, inf, infinity, nan


class DeviceError(Exception):
    """A Device or DeviceModel resource that cannot be used; the text names the field."""


class Desired(Struct, frozen=True, omit_defaults=True):
    """A value a user wants: a string, as on the wire."""

    value: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


class Visitor(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """How one property is reached over the device's protocol; `config_data` is the driver's to read."""

    protocol_name: str = ""
    config_data: dict[str, Any] = field(default_factory=dict)


class Property(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A property of one device: what is wanted, how it is reached, how often."""

    name: str
    desired: Desired | None = None
    visitors: Visitor = field(default_factory=Visitor)
    collect_cycle: int = 0
    """Milliseconds between reads; 0 leaves it to the mapper."""
    report_cycle: int = 0
    """Milliseconds between reports of an unchanged value; 0 leaves it to the mapper."""
    report_to_cloud: bool = True
    push_method: dict[str, Any] = field(default_factory=dict)
    """Where the mapper sends the values besides; the mapper's to read."""


class Protocol(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """The protocol a device speaks and where it is found; `config_data` is the driver's to read."""

    protocol_name: str = ""
    config_data: dict[str, Any] = field(default_factory=dict)


class Reference(Struct, frozen=True, omit_defaults=True):
    """The name of another object in the same namespace."""

    name: str = ""


class Metadata(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """The part of an object's metadata that the edge uses."""

    name: str
    namespace: str = "default"
    uid: str = ""
    resource_version: str = ""
    generation: int = 0


class Method(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """Something that can be called of a device."""

    name: str
    description: str = ""
    property_names: list[str] = field(default_factory=list)
    """The properties it sets; none for a method of the driver's own."""


class DeviceSpec(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What a user wrote of a device."""

    device_model_ref: Reference = field(default_factory=Reference)
    node_name: str = ""
    protocol: Protocol = field(default_factory=Protocol)
    properties: list[Property] = field(default_factory=list)
    methods: list[Method] = field(default_factory=list)


class Device(Struct, frozen=True, omit_defaults=True):
    """A Device resource; its status is the cloud's affair and not read here."""

    metadata: Metadata
    spec: DeviceSpec = field(default_factory=DeviceSpec)

    @property
    def id(self) -> str:
        """`<namespace>/<name>`: the device's id in topics, stores and logs."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def model_id(self) -> str:
        """`<namespace>/<name>` of its device model."""
        return f"{self.metadata.namespace}/{self.spec.device_model_ref.name}"


class ModelProperty(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What every device of a model has in common about one property."""

    name: str
    description: str = ""
    type: str = "STRING"
    access_mode: str = "ReadWrite"
    minimum: str = ""
    maximum: str = ""
    unit: str = ""

    @property
    def writable(self) -> bool:
        """Whether a desired value may be written to the device."""
        return self.access_mode != "ReadOnly"


class ModelSpec(Struct, frozen=True, omit_defaults=True):
    """What a user wrote of a device model."""

    protocol: str = ""
    properties: list[ModelProperty] = field(default_factory=list)


class DeviceModel(Struct, frozen=True, omit_defaults=True):
    """A DeviceModel resource."""

    metadata: Metadata
    spec: ModelSpec = field(default_factory=ModelSpec)

    @property
    def id(self) -> str:
        """`<namespace>/<name>`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    def property(self, name: str) -> ModelProperty | None:
        """The property of that name, or None."""
        return next((p for p in self.spec.properties if p.name == name), None)


class MapperDevice(Struct, frozen=True):
    """What a mapper learns of a device: both resources, as `topics.mapper_device` carries them."""

    device: Device
    model: DeviceModel


_encoder = msgspec.json.Encoder()
_device = msgspec.json.Decoder(Device)
_model = msgspec.json.Decoder(DeviceModel)
_mapper_device = msgspec.json.Decoder(MapperDevice)


def parse_device(content: bytes | msgspec.Raw) -> Device:
    """A Device from its JSON. Raises DeviceError naming the field at fault."""
    try:
        return _device.decode(content)
    except UNREADABLE as error:
        raise DeviceError(f"Device: {error}") from error


def parse_model(content: bytes | msgspec.Raw) -> DeviceModel:
    """A DeviceModel from its JSON. Raises DeviceError naming the field at fault."""
    try:
        return _model.decode(content)
    except UNREADABLE as error:
        raise DeviceError(f"DeviceModel: {error}") from error


def parse_mapper_device(payload: bytes) -> MapperDevice:
    """What a `topics.mapper_device` topic carries. Raises DeviceError naming the field at fault."""
    try:
        return _mapper_device.decode(payload)
    except UNREADABLE as error:
        raise DeviceError(f"mapper device: {error}") from error


def encode_mapper_device(definition: MapperDevice) -> bytes:
    """The payload of a `topics.mapper_device` topic."""
    return _encoder.encode(definition)


def problems(device: Device, model: DeviceModel) -> list[str]:
    """What a user should correct in a device, in words; empty when it fits its model."""
    found = []
    declared = {p.name: p for p in model.spec.properties}
    for p in device.spec.properties:
        of_model = declared.get(p.name)
        if of_model is None:
            found.append(f"property {p.name!r} is not declared in device model {model.metadata.name!r}")
        elif p.desired is not None and p.desired.value:
            why = desired_problem(p.desired.value, of_model)
            if why is not None:
                found.append(f"desired value of property {p.name!r}: {why}")
    return found


def desired_problem(value: str, of_model: ModelProperty) -> str | None:
    """Why a value cannot be desired of a property, or None when it can."""
    if not of_model.writable:
        return "the property is ReadOnly"
    return twin.value_problem(value) or value_problem(value, of_model.type) or _range_problem(value, of_model)


def value_problem(value: str, type: str) -> str | None:
    """Why a string is no value of a model's type ("INT", "FLOAT", …), or None when it is one."""
    if type == INTEGER:
        return None if _is_integer(value) else f"{_short(value)} is not an integer"
    if type in FLOATS:
        return None if _is_float(value) else f"{_short(value)} is not a number"
    if type == BOOLEAN:
        return None if value.lower() in _TRUE | _FALSE else f"{_short(value)} is not true or false"
    return None


def same_value(one: str, other: str, type: str) -> bool:
    """Whether two strings say the same value of a type: 25 and 25.0 are one FLOAT, true and 1 one BOOLEAN."""
    if one == other:
        return True
    if type in FLOATS and _is_float(one) and _is_float(other):
        first, second = _exact(one), _exact(other)  # floats would take neighbours beyond 2^53 for one
        return first == second or (first.is_nan() and second.is_nan())
    if type == INTEGER and _is_integer(one) and _is_integer(other):
        return int(one) == int(other)
    if type == BOOLEAN:
        return {one.lower(), other.lower()} <= _TRUE or {one.lower(), other.lower()} <= _FALSE
    return False


def _range_problem(value: str, of_model: ModelProperty) -> str | None:
    """A limit that is no number limits nothing: the model's own mistake is not a device's."""
    if of_model.type != INTEGER and of_model.type not in FLOATS:
        return None
    number = _exact(value)
    if number.is_nan():
        return None
    if _is_limit(of_model.minimum) and number < _exact(of_model.minimum):
        return f"{_short(value)} is below the minimum {of_model.minimum}"
    if _is_limit(of_model.maximum) and number > _exact(of_model.maximum):
        return f"{_short(value)} is above the maximum {of_model.maximum}"
    return None


def _is_integer(value: str) -> bool:
    digits = value[1:] if value[:1] in ("-", "+") else value
    return len(value) <= 40 and digits.isascii() and digits.isdigit()


def _exact(number: str) -> Decimal:
    try:
        return Decimal(number)
    except InvalidOperation:  # an exponent of more than 18 digits
        return Decimal(float(number))


def _is_limit(value: str) -> bool:
    return _is_float(value) and not _exact(value).is_nan()


def _is_float(value: str) -> bool:
    if not _FLOAT_CHARACTERS.issuperset(value):
        return False  # `float` also takes blanks, underscores and other alphabets' digits, which no device means
    try:
        float(value)
    except ValueError:
        return False
    return True


def _short(value: str) -> str:
    return repr(value if len(value) <= 40 else value[:37] + "...")
