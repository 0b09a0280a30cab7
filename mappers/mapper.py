"""A mapper's core: which devices it serves, what it is told of them, and which of them share a bus.

Definitions, the index of devices and desired values come in as MQTT topic and payload; `Output`s for the gateway and the set
of buses come out. A device is served while the index names it and its definition can be used; one whose definition cannot is
reported unhealthy, with one log line that names the field, and harms nobody else. A definition that comes again unchanged
changes nothing; a changed one restarts the properties that changed, and the device only when its address did.
"""

import logging
import random
from collections.abc import Callable, Hashable

import msgspec
from msgspec import Struct

from edgewire import board, methods, topics
from edgewire.device import DeviceError, MapperDevice, parse_mapper_device
from edgewire.twin import TwinError

from .calls import Answer
from .driver import DefinitionError, DriverError, Drivers
from .health import DEFINITION_REFUSED, LONGEST_MESSAGE, UNHEALTHY, State
from .mapped import MappedDevice, Output
from .plan import Plan, Settings, make_plan
from .relays import Mail, kinds

log = logging.getLogger(__name__)

HEARD = (topics.DELTA, topics.METHOD)
"""What a mapper listens to of each device it serves, whatever its driver."""


class Listen(Struct, frozen=True):
    """Subscribe to what concerns a device: `HEARD`, and the kinds that pass through to it."""

    device: str
    relays: tuple[str, ...] = ()


class Ignore(Struct, frozen=True):
    """A device is served no more: unsubscribe, and drop what waits to be sent for it."""

    device: str
    relays: tuple[str, ...] = ()


Effect = Output | Listen | Ignore
"""What taking in a message leads to."""


class _Index(Struct, frozen=True):
    devices: list[str]


class _Definition(Struct):
    """The newest definition of a device that was sent, usable or not."""

    content: MapperDevice
    plan: Plan | None
    protocol: str
    """Of the topic it came on."""


class Mapper:
    """The devices of one protocol, by id and by bus."""

    def __init__(
        self,
        drivers: Drivers,
        settings: Settings | None = None,
        draw: Callable[[], float] = random.random,
        instance: str = "",
    ) -> None:
        """`instance` is this one's name among mappers of one protocol: it serves devices of `<protocol>@<instance>` only."""
        self.drivers = drivers
        self._settings = settings or Settings()
        self._draw = draw
        suffix = f"@{instance}" if instance else ""
        self._protocols = tuple(name + suffix for name in (drivers.protocol, *getattr(drivers, "aliases", ())))
        self._index: dict[str, set[str]] = {}
        self._definitions: dict[str, _Definition] = {}
        self._served: dict[str, MappedDevice] = {}
        self._unusable: dict[str, State] = {}
        self.mail = Mail()
        """What devices hear that the framework does not understand."""
        self.changes = 0
        """Counts up whenever the devices of a bus or their points change."""
        self._on_bus: dict[Hashable, list[MappedDevice]] = {}

    @property
    def protocol(self) -> str:
        """Which devices it serves: their `protocolName`."""
        first: str = self._protocols[0]
        return first

    def filters(self) -> list[str]:
        """What to subscribe to on every new session with the broker."""
        definitions = (topic for protocol in self._protocols for topic in topics.mapper_filters(protocol))
        return [
            *definitions,
            *(topic for d in self._served.values() for topic in concerning(d.id, kinds(d.plan.address))),
        ]

    def received(self, topic: str, payload: bytes, now: float, now_ms: int = 0) -> list[Effect]:
        """Take in a message. Whatever is wrong with it costs one log line."""
        try:
            about = topics.device_of_mapper_topic(topic)
            if about is not None:
                return self._told(*about, payload, now) if about[0] in self._protocols else []
            device = topics.device_topic(topic)
            if device is not None and device[1] == topics.DELTA:
                self._desired(device[0], payload)
            elif device is not None and device[1] == topics.METHOD:
                return [*self._called(device[0], payload, now, now_ms)]
            elif device is not None and device[1] in self._relays(device[0]):
                self.mail.put(*device, payload)
        except (DeviceError, ValueError) as error:  # msgspec's and json's errors are ValueErrors
            log.warning("< message refused topic=%s reason=%s", topic, error)
        return []

    def disconnected(self) -> None:
        """The session with the broker is over. Definitions come again with the next, so those of nobody may go."""
        indexed = self._indexed()
        self._definitions = {id: d for id, d in self._definitions.items() if id in indexed}

    def reconnected(self) -> list[Effect]:
        """A new session with the broker: tell the states again."""
        out: list[Effect] = []
        for device in self._served.values():
            out += device.reconnected()
        return [*out, *(self._unusable[id] for id in sorted(self._unusable))]

    def buses(self) -> set[Hashable]:
        """The buses that have devices now."""
        return set(self._on_bus)

    def on_bus(self, bus: Hashable) -> list[MappedDevice]:
        """The devices of a bus."""
        return self._on_bus.get(bus, [])

    def serves(self, device: MappedDevice) -> bool:
        """Whether a device is still the one served under its id; a turn may outlast it."""
        return self._served.get(device.id) is device

    def served(self, id: str) -> MappedDevice | None:
        """The device served under an id."""
        return self._served.get(id)

    def next_on(self, bus: Hashable) -> tuple[MappedDevice, float] | None:
        """The device of a bus that is due first, and when."""
        first = min(self.on_bus(bus), key=MappedDevice.due_at, default=None)
        return None if first is None else (first, first.due_at())

    def bus_down(self, bus: Hashable, error: DriverError, now: float, now_ms: int = 0) -> list[Output]:
        """Nothing on a bus can be reached."""
        out: list[Output] = []
        for device in self.on_bus(bus):
            out += [*device.missed(error, now, bus_down=True), *device.give_up_calls(now_ms, str(error))]
        return out

    def _told(self, protocol: str, device: str | None, payload: bytes, now: float) -> list[Effect]:
        if device is None:
            devices = msgspec.json.decode(payload, type=_Index).devices if payload else []
            return self._reindex(protocol, set(devices), now)
        known = self._definitions.get(device)
        if not payload:
            if known is not None and known.protocol != protocol:
                return []  # it has moved to another of the driver's names, and is there already
            self._definitions.pop(device, None)
            return self._drop(device)
        content = parse_mapper_device(payload)
        if content.device.id != device:
            raise ValueError(f"the definition is of {content.device.id}")
        if known is not None and _same(known.content, content):
            return []
        self._definitions[device] = _Definition(content, known.plan if known is not None else None, protocol)
        return self._serve(device, now, known) if device in self._indexed() else []

    def _indexed(self) -> set[str]:
        return set().union(*self._index.values())

    def _reindex(self, protocol: str, devices: set[str], now: float) -> list[Effect]:
        before = self._indexed()
        self._index[protocol] = devices
        after = self._indexed()
        out: list[Effect] = []
        for id in sorted(before - after):
            out += self._drop(id)
        for id in sorted(after - before):
            if id in self._definitions:
                out += self._serve(id, now, None)
        return out

    def _serve(self, id: str, now: float, before: _Definition | None) -> list[Effect]:
        definition = self._definitions[id]
        old = (before.content, before.plan) if before is not None and before.plan is not None else None
        try:
            plan = make_plan(definition.content, self.drivers, self._settings, old)
        except DefinitionError as error:
            return self._refuse(id, error)
        except Exception as error:  # the driver's mistake, made with this device: the others go on
            log.exception("= driver failed device=%s", id)
            return self._refuse(id, DefinitionError(f"the driver failed: {error!r}"))
        definition.plan = plan
        self._unusable.pop(id, None)
        self.changes += 1
        served = self._served.get(id)
        if served is not None and served.plan.address == plan.address:
            if set(served.plan.points) != set(plan.points):
                log.info("= device changed device=%s properties=%d", id, len(plan.points))
            served.follow(plan, now)
            return []
        given_up = self._remove(id) or []
        log.info("= device added device=%s bus=%s properties=%d", id, plan.bus, len(plan.points))
        self._served[id] = device = MappedDevice(id, plan, self._settings, now, self._draw)
        self._on_bus.setdefault(plan.bus, []).append(device)
        return [*given_up, Listen(id, kinds(plan.address))]

    def _refuse(self, id: str, error: DefinitionError) -> list[Effect]:
        log.warning("< device cannot be used device=%s reason=%s", id, error)
        self._definitions[id].plan = None
        ignore = self._ignore(id)
        given_up = self._remove(id) or []
        self._unusable[id] = State(id, UNHEALTHY, DEFINITION_REFUSED, str(error)[:LONGEST_MESSAGE])
        return [*given_up, ignore, self._unusable[id]]

    def _drop(self, id: str) -> list[Effect]:
        self._unusable.pop(id, None)
        ignore = self._ignore(id)
        given_up = self._remove(id)
        if given_up is None:
            return []
        log.info("= device removed device=%s", id)
        return [*given_up, ignore]

    def _ignore(self, id: str) -> Ignore:
        return Ignore(id, self._relays(id))

    def _relays(self, id: str) -> tuple[str, ...]:
        device = self._served.get(id)
        return () if device is None else kinds(device.plan.address)

    def _remove(self, id: str) -> list[Answer] | None:
        """Serve a device no more: the answers to its calls, or None when it was not served."""
        device = self._served.pop(id, None)
        if device is None:
            return None
        self.changes += 1
        self.mail.take(id)
        neighbours = self._on_bus[device.plan.bus]
        neighbours.remove(device)
        if not neighbours:
            del self._on_bus[device.plan.bus]
        return device.give_up_calls(0, "the device was removed or changed")

    def _called(self, id: str, payload: bytes, now: float, now_ms: int) -> list[Answer]:
        device = self._served.get(id)
        if device is None:
            return []  # another mapper's, or nobody's
        try:
            return device.call(methods.parse_call(payload), now, now_ms)
        except TwinError as error:
            log.warning("< call refused device=%s reason=%s", id, error)
            return [Answer(id, methods.refusal(error.event_id, "", now_ms, error.code, error.reason))]

    def _desired(self, id: str, payload: bytes) -> None:
        device = self._served.get(id)
        if device is not None:
            device.wishes.want(board.delta(payload))


def concerning(device: str, relays: tuple[str, ...]) -> list[str]:
    """The topics that concern a device, with the kinds that pass through to it."""
    return [topics.of_device(device, kind) for kind in (*HEARD, *relays)]


def _same(one: MapperDevice, other: MapperDevice) -> bool:
    """Whether two definitions ask for the same; versions and statuses do not count."""
    return one.device.spec == other.device.spec and one.model.spec == other.model.spec
