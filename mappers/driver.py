"""What a driver is to the framework, and what can go wrong with one.

A driver serves one bus (a Modbus server, a serial line, a Bluetooth adapter), knows nothing of MQTT, cycles, scaling or
reporting, and is never called twice at the same time: the framework takes the devices of a bus in turn. `Drivers` reads the
protocol's part of a Device and makes a driver for each bus.

    MapperError                 base of everything this package raises
    ├── DefinitionError         a Device or DeviceModel that cannot be used; names the field; the user's to correct
    ├── ValueRefused            a desired value that cannot be written; says why
    └── DriverError             reading or writing failed
        ├── BusDown             nothing on the bus can be reached: the framework closes, waits and opens again
        ├── NoAnswer            this device did not answer in time; others on the bus may
        ├── Refused             the device answered and said no, with the protocol's reason
        └── BadAnswer           the device answered something that makes no sense; nothing of it is used
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from msgspec import Struct, field

from edgewire import config
from edgewire.device import ModelProperty

Value: TypeAlias = bool | int | float | Decimal | str | bytes
"""What a driver reads: the register's own value, unscaled. A number that was read as text may stay text, or become a Decimal."""

Wanted: TypeAlias = bool | Decimal | str | bytes
"""What a driver is asked to write: unscaled; every number comes as an exact Decimal, not rounded to what is held there."""

T = TypeVar("T")


class Dated(Struct, frozen=True):
    """A value that its device says the time of."""

    value: Value
    at_ms: int
    """When it was made, in ms since 1970."""


class MapperError(Exception):
    """Base of the errors of this package."""


class DefinitionError(MapperError):
    """A Device or DeviceModel that cannot be used; the text names the field and is meant for its author."""


class ValueRefused(MapperError):
    """A desired value that cannot be written; the text is the reason, without property and value."""


class DriverError(MapperError):
    """Reading or writing failed; the text says what was asked and what came back."""

    reason = "DriverFailed"
    """One word for a Device's conditions; that of the class that a driver derives its own error from."""


class BusDown(DriverError):
    """Nothing on the bus can be reached."""

    reason = "BusDown"


class NoAnswer(DriverError):
    """The device did not answer in time."""

    reason = "NoAnswer"


class Refused(DriverError):
    """The device answered, and refused; the text names the protocol's code."""

    reason = "Refused"


class BadAnswer(DriverError):
    """The device's answer makes no sense, so nothing of it is used."""

    reason = "BadAnswer"


class Driver(Protocol):
    """Reads and writes the devices of one bus. Every method has its own deadline and raises DriverError."""

    async def open(self) -> None:
        """Make the bus usable. Raises BusDown. Called again after BusDown and `close`."""
        ...

    async def read(self, visitors: Sequence[Any]) -> Sequence[Value | DriverError]:
        """Read properties of one device: a value or what went wrong, for each visitor in order.

        Raises NoAnswer or BusDown when the device or the bus is out of reach, at the first sign of it: what is left of
        the read is given up, so that a dead device costs its bus one timeout.
        """
        ...

    async def write(self, visitor: Any, value: Wanted) -> None:
        """Write one property. Raises ValueRefused when it cannot hold the value, Refused when the device says no."""
        ...

    async def close(self) -> None:
        """Let go of the bus. Never raises; harmless when it is not open."""
        ...


@runtime_checkable
class Listener(Protocol):
    """A driver whose devices also speak unasked.

    Its visitors that are heard instead of read have an attribute `pushed` that is True. A device is offline when all its
    visitors are such and nothing was heard of it for `silence_s`, an attribute of the driver's address or else of its
    visitors, in seconds; without it, or at 0, it counts as online while its bus is open.
    """

    def listen(self, visitors: Sequence[Any], heard: Callable[[Any, Value | Dated | DriverError], None]) -> None:
        """From now on, call `heard` in the event loop with each value that comes of one of these visitors, or what is wrong.

        A value without a time of its own counts as of now, and none as later.
        What is wrong with a value is Refused or BadAnswer; NoAnswer says that the device cannot be heard any more, and BusDown
        that none can: the framework closes, waits and opens again.
        They are the pushed ones of all devices of the bus and replace those of the last call. Called when the bus is open,
        and again whenever its devices change. May raise BusDown.
        """
        ...


@runtime_checkable
class Relay(Protocol):
    """A driver whose devices exchange messages with the gateway that the framework need not understand: firmware updates.

    What a device hears is named by an attribute `relays` of its address, a tuple of kinds of `edgewire.topics`: the framework
    subscribes to them. At most one message of each kind waits for a device, the newest, and one for the gateway.
    """

    def relay(self, said: Callable[[str, bytes], None]) -> None:
        """From now on, call `said` in the event loop with kind and payload of what a device of the bus says.

        Called when the bus is open. What cannot be passed on is dropped: a device that needs an answer asks again.
        """
        ...

    def hand_over(self, address: Any, kind: str, payload: bytes) -> None:
        """Take a message for the device at an address. Never waits and never raises; what cannot be delivered is dropped."""
        ...


@runtime_checkable
class Caller(Protocol):
    """A driver whose devices have methods of their own."""

    async def call(self, address: Any, method: str, arguments: Mapping[str, str]) -> Mapping[str, Value]:
        """Carry out a method of the device at an address (`Drivers.address_type`), and give its results by name.

        Has its own deadline. Raises ValueRefused for a method or an argument that there is not, and DriverError.
        """
        ...


@runtime_checkable
class BitWriter(Protocol):
    """A driver that can also write some bits of an integer."""

    async def write_bits(self, visitor: Any, mask: int, bits: int) -> None:
        """Set the bits of `mask` to those of `bits`, and leave the others as they are. Raises what `Driver.write` raises.

        Both are within the integer as it is numbered from its least significant bit. Nothing else may write between the
        reading and the writing, if the driver has to do it in two steps.
        """
        ...


class VisitorKeys(Struct, frozen=True, kw_only=True):
    """The keys of a visitor's `configData` that mean the same in every protocol; a driver's own struct inherits them.

    The framework acts on them: a driver that is asked for a visitor with `bits`, or an `enum` of integers, is shown a model
    property of type INT, whatever the model says.
    """

    scale: Decimal = Decimal(1)
    """value = register * scale + valueOffset, exactly, in decimal arithmetic."""
    value_offset: Decimal = field(default=Decimal(0), name="valueOffset")
    """`offset` is KubeEdge's name for a register's address, hence this one."""
    enum: dict[str, str] = field(default_factory=dict)
    """Raw value -> what a user reads and writes instead. A raw value it does not name is none."""
    bits: int | str = ""
    """One bit of an integer, `3`, or some that stand together, `4-7`; counted from 0, the least significant."""
    deadband: int | float | str = ""
    """How far a number may move without being reported: `0.5`, or `2%` of the value last reported."""

    def __post_init__(self) -> None:
        for name, value in (("scale", self.scale), ("valueOffset", self.value_offset)):
            if not value.is_finite() or abs(value.adjusted()) > 100:
                raise ValueError(f"`{name}` must be a finite number")
        if not self.scale:
            raise ValueError("`scale` must not be 0")


class Drivers(Protocol):
    """Describes one protocol's part of a Device, and makes its drivers.

    With an attribute `aliases`, a tuple of further protocol names, devices of those are served too. A class that has a
    `settings_type`, a struct, is constructed with one: the `options` of its mapper. A property without `visitors.configData`
    is one of the twin only, unless the device's address has an attribute `by_name` that is True: its properties are known by
    their names.
    """

    @property
    def protocol(self) -> str:
        """The protocol's name, as in a Device's `protocol.protocolName`."""
        ...

    @property
    def address_type(self) -> type[Any]:
        """The struct that a Device's `protocol.configData` is read into: where the device is."""
        ...

    @property
    def visitor_type(self) -> type[VisitorKeys]:
        """The struct that a property's `visitors.configData` is read into."""
        ...

    def bus(self, address: Any) -> Hashable:
        """The bus a device is on. Devices with equal buses share a driver and take turns; `str` of it stands in logs."""
        ...

    def visitor(self, address: Any, keys: Any, model: ModelProperty) -> Any:
        """How one property is reached, in a form the driver reads fast. Raises DefinitionError."""
        ...

    def driver(self, bus: Any) -> Driver:
        """A driver for a bus; does not open it."""
        ...


def read_config(content: Mapping[str, Any], type: type[T], where: str) -> T:
    """A struct of `type` from a `configData`, whose numbers may also be written as strings, as KubeEdge's users do.

    Raises DefinitionError naming the key, and the nearest known one for a key that `type` lacks.
    """
    try:
        return config.parse(content, type, where, strict=False)
    except config.ConfigError as error:
        raise DefinitionError(str(error)) from error
