"""Messages between devices and the gateway that pass through a mapper unread (`driver.Relay`): firmware updates. Pure.

They are not kept: of each kind one waits for a device and one for the gateway, the newest, and what waits is dropped with
the device or the connection. Who needs an answer asks again.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from edgewire import topics

from .driver import Relay

if TYPE_CHECKING:
    from .mapper import Mapper

LARGEST = 65536
"""Bytes of the longest message that is passed on."""


class Relayed(Struct, frozen=True):
    """A device's message for the gateway."""

    device: str
    kind: str
    """Of `edgewire.topics`."""
    payload: bytes

    @property
    def topic(self) -> str:
        """Where it goes."""
        return topics.of_device(self.device, self.kind)


def kinds(address: Any) -> tuple[str, ...]:
    """What the device at an address hears, of what passes through."""
    found: tuple[str, ...] = getattr(address, "relays", ())
    return found


class Mail:
    """What waits for devices, by device and kind."""

    def __init__(self) -> None:
        self._waiting: dict[str, dict[str, bytes]] = {}

    def put(self, device: str, kind: str, payload: bytes) -> None:
        """Let a message wait, in place of an older one of its kind. Raises ValueError for one that is too long."""
        if len(payload) > LARGEST:
            raise ValueError(f"{len(payload)} bytes are more than is passed on to a device")
        self._waiting.setdefault(device, {})[kind] = payload

    def take(self, device: str) -> dict[str, bytes]:
        """What waits for a device, by kind; it waits no longer."""
        return self._waiting.pop(device, {})


class Relays:
    """What goes to the gateway: of each topic one message is on its way and one waits."""

    def __init__(self) -> None:
        self._waiting: dict[str, bytes] = {}
        self._sent: set[str] = set()

    def put(self, relayed: Relayed) -> None:
        """Let a message go as soon as the one before it has been taken."""
        self._waiting[relayed.topic] = relayed.payload

    def take(self) -> Iterator[tuple[str, bytes]]:
        """Topic and payload of what can be published now; each counts as on its way once it is taken."""
        for topic in [topic for topic in self._waiting if topic not in self._sent]:
            self._sent.add(topic)
            yield topic, self._waiting.pop(topic)

    def acknowledged(self, topic: str) -> None:
        """The broker took what was on its way; harmless for any other topic."""
        self._sent.discard(topic)

    def lost(self) -> None:
        """The connection is gone, and all this with it."""
        self._waiting.clear()
        self._sent.clear()


class Courier:
    """Carries messages through one driver that is open."""

    def __init__(
        self, mapper: "Mapper", bus: Hashable, driver: Relay, emit: Callable[[Sequence[Relayed]], None]
    ) -> None:
        """`emit` takes what is for the gateway."""
        self._mapper = mapper
        self._bus = bus
        self._driver = driver
        self._emit = emit
        driver.relay(self._said)

    def follow(self) -> None:
        """Hand over what waits for the devices of the bus. Cheap when nothing does."""
        for device in self._mapper.on_bus(self._bus):
            for kind, payload in self._mapper.mail.take(device.id).items():
                self._driver.hand_over(device.plan.address, kind, payload)

    def _said(self, kind: str, payload: bytes) -> None:
        for device in self._mapper.on_bus(self._bus):
            if kinds(device.plan.address):
                self._emit([Relayed(device.id, kind, payload)])
