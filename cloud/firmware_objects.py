"""DeviceFirmware as a custom resource, and the ConfigMaps that hold an image's parts. No I/O."""

import hashlib
from typing import Any

import msgspec
from msgspec import Raw, Struct, field

from cloud import CloudError
from cloud.device_status import Condition
from cloud.objects import Object
from edgewire.message import UNREADABLE
from edgewire.rollout import Image

IMAGE_LABEL = "devices.hedgerow.dev/firmware"
"""On the ConfigMap that describes an image: `Image.target`."""
PART_LABEL = "devices.hedgerow.dev/firmware-part"
"""On the ConfigMaps of its parts: the same."""

PHASE_PENDING, RUNNING, WAITING, PAUSED, COMPLETE, ABORTED = (
    "Pending",
    "Running",
    "Waiting",
    "Paused",
    "Complete",
    "Aborted",
)
MANUAL = "Manual"


class FirmwareError(CloudError):
    """A DeviceFirmware or a part of an image that cannot be read."""


class Requirement(Struct, frozen=True):
    """One requirement of a label, as in every Kubernetes selector."""

    key: str
    operator: str
    values: list[str] = field(default_factory=list)

    def met(self, labels: dict[str, str]) -> bool:
        """Whether an object with these labels fulfils it."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case "DoesNotExist":
                return self.key not in labels
        return False


class Selector(Struct, frozen=True, rename="camel"):
    """Labels that are asked for."""

    match_labels: dict[str, str] = field(default_factory=dict)
    match_expressions: list[Requirement] = field(default_factory=list)

    def met(self, labels: dict[str, str]) -> bool:
        """Whether an object with these labels fits."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            requirement.met(labels) for requirement in self.match_expressions
        )


class Devices(Struct, frozen=True):
    """Which devices are meant."""

    names: list[str] = field(default_factory=list)
    model: str = ""
    selector: Selector | None = None

    def meant(self, name: str, model: str, labels: dict[str, str]) -> bool:
        """Whether a device of this name, model and labels is."""
        if name in self.names:
            return True
        if not self.model and self.selector is None:
            return False
        return (not self.model or model == self.model) and (self.selector is None or self.selector.met(labels))


class Canary(Struct, frozen=True):
    """The first wave."""

    names: list[str] = field(default_factory=list)
    count: int = 0


class Waves(Struct, frozen=True, rename="camel"):
    """In which steps."""

    canary: Canary | None = None
    percent: list[int] = field(default_factory=list)
    pause_seconds: int = 0
    gate: str = "Automatic"
    approved: int = 0


class FirmwareSpec(Struct, frozen=True, rename="camel"):
    """What a user wrote of a rollout."""

    image: Image
    devices: Devices
    waves: Waves = field(default_factory=Waves)
    max_failure_percent: int = 20
    timeout_seconds: int = 600
    concurrency: int = 10
    paused: bool = False
    aborted: bool = False
    retry: int = 0


class GatewayStatus(Struct, frozen=True):
    """How far one gateway is."""

    node: str
    wave: int = 0
    done: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    work: str = ""
    """`rollout.Plan.work` of the plan that this speaks of."""
    message: str = ""


class FailureStatus(Struct, frozen=True):
    """A device that failed."""

    device: str
    node: str = ""
    reason: str = ""


class FirmwareStatus(Struct, frozen=True, rename="camel"):
    """How far the rollout is."""

    observed_generation: int = 0
    phase: str = ""
    image: str = ""
    wave: int = 0
    waves: int = 0
    wave_progress: str = ""
    progress: str = ""
    stopped_attempt: int | None = None
    counts: dict[str, int] = field(default_factory=dict)
    gateways: list[GatewayStatus] = field(default_factory=list)
    failures: list[FailureStatus] = field(default_factory=list)
    conditions: list[Condition] = field(default_factory=list)

    def condition(self, type: str) -> Condition | None:
        """The condition of that type, or None."""
        return next((c for c in self.conditions if c.type == type), None)


class FirmwareMetadata(Struct, frozen=True, rename="camel"):
    """The part of its metadata that matters."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    creation_timestamp: str = ""


class DeviceFirmware(Struct, frozen=True):
    """A DeviceFirmware resource."""

    metadata: FirmwareMetadata
    spec: FirmwareSpec
    status: FirmwareStatus = field(default_factory=FirmwareStatus)

    @property
    def id(self) -> str:
        """`<namespace>/<name>`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def order(self) -> tuple[int, str, str]:
        """Of two for one device, the greater counts (as `rollout.Plan.order`)."""
        return self.spec.image.counter, self.metadata.creation_timestamp, self.metadata.name


class _SeatMetadata(Struct):
    labels: dict[str, str] = field(default_factory=dict)


class _Reference(Struct):
    name: str = ""


class _SeatSpec(Struct, rename="camel"):
    node_name: str = ""
    device_model_ref: _Reference = field(default_factory=_Reference)


class _Seat(Struct):
    metadata: _SeatMetadata
    spec: _SeatSpec = field(default_factory=_SeatSpec)


class _Part(Struct, rename="camel"):
    binary_data: Raw


class Seat(Struct, frozen=True):
    """What of a Device decides whether it is meant, and where it is."""

    node: str
    model: str
    labels: dict[str, str]


_firmware = msgspec.json.Decoder(DeviceFirmware)
_seat = msgspec.json.Decoder(_Seat)
_part = msgspec.json.Decoder(_Part)
_values = msgspec.json.Decoder(dict[str, Raw])


def parse_firmware(object: Object) -> DeviceFirmware:
    """A DeviceFirmware from its JSON. Raises FirmwareError naming the field at fault."""
    try:
        return _firmware.decode(object.raw)
    except UNREADABLE as error:
        raise FirmwareError(f"DeviceFirmware {object.id}: {error}") from error


def seat_of(object: Object) -> Seat | None:
    """Where a Device is; None when it cannot be read."""
    try:
        found = _seat.decode(object.raw)
    except UNREADABLE:
        return None
    return Seat(found.spec.node_name, found.spec.device_model_ref.name, found.metadata.labels)


def part_of(object: Object) -> Object:
    """A part of an image as it goes to gateways: its bytes, by whose hash it is compared. Raises FirmwareError."""
    try:
        content = _part.decode(object.raw).binary_data
        values = _values.decode(content)
    except UNREADABLE as error:
        raise FirmwareError(f"ConfigMap {object.id}: {error}") from error
    if len(values) != 1:
        raise FirmwareError(f"ConfigMap {object.id} holds {len(values)} values in binaryData instead of one")
    version = hashlib.sha256(content).hexdigest()[:16]
    metadata: dict[str, Any] = {"namespace": object.namespace, "name": object.name, "resourceVersion": version}
    raw = msgspec.json.encode({"metadata": metadata, "binaryData": content})
    return Object(object.namespace, object.name, object.uid, version, 0, raw)
