"""What one peripheral advertises: kept, decoded, and told.

A beacon repeats each packet many times, and may spread its values over several. A repetition is told again after a while, so
that the beacon counts as being there; an event in it (a button pressed) is not.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Sequence

from . import bthome
from .ble_config import Peer, Visitor
from .ble_radio import Radio, Sighting
from .driver import BadAnswer, BusDown, DriverError, NoAnswer, Refused, Value

AGAIN_S = 1.0
"""How long after it was told an unchanged advertisement is told again."""

MOST_KEPT = 200
"""Values kept of one peripheral."""

Heard = Callable[[Visitor, Value | DriverError], None]


class Ear:
    """Hears one peripheral while it is listened to or was asked."""

    def __init__(self, radio: Radio, peer: Peer) -> None:
        self._radio = radio
        self._peer = peer
        self._visitors: Sequence[Visitor] = ()
        self._heard: Heard = lambda visitor, value: None
        self._end: Callable[[], None] | None = None
        self._data: dict[tuple[int | None, str], bytes] = {}
        self._told: dict[tuple[int | None, str], float] = {}
        self._last: dict[object, tuple[Value | DriverError | bytes, float]] = {}
        self._repeats = bthome.Repeats()
        self._something = asyncio.Event()
        self._failure: BusDown | None = None
        self._unusable: DriverError | None = None

    def listen(self, visitors: Sequence[Visitor], heard: Heard) -> None:
        """Tell what comes of these visitors, instead of those of the last call."""
        self._visitors, self._heard = visitors, heard
        if visitors:
            self._start()
        else:
            self.close()

    def close(self) -> None:
        """Hear nothing more."""
        if self._end is not None:
            self._end()
            self._end = None
        self._failure = None

    async def last(self, visitor: Visitor) -> Value | DriverError:
        """The value heard last, or the first one to come. Raises NoAnswer when there is none, and BusDown."""
        self._start()
        try:
            async with asyncio.timeout(visitor.unit.timeout_s):
                while True:
                    if self._failure is not None:
                        raise self._failure
                    value, at = self._last.get(_key(visitor), (b"", float("-inf")))
                    if time.monotonic() - at <= (visitor.unit.silence_s or sys.float_info.max):
                        return value if visitor.bthome else _decoded(visitor, value)
                    if visitor.bthome and self._unusable is not None:
                        return self._unusable
                    self._something.clear()
                    await self._something.wait()
        except TimeoutError as error:
            raise NoAnswer(f"{self._peer} did not advertise {visitor} for {visitor.unit.silence_s:g} s") from error

    def _start(self) -> None:
        if self._end is None:
            self._end = self._radio.watch(self._peer, self._hear, self._fail)

    def _hear(self, sighting: Sighting) -> None:
        self._failure = None
        for company, content in sighting.advertisement.manufacturer_data.items():
            self._take((company, ""), bytes(content), sighting.at)
        for service, content in sighting.advertisement.service_data.items():
            self._take((None, service.lower()), bytes(content), sighting.at)
        self._something.set()

    def _take(self, source: tuple[int | None, str], data: bytes, now: float) -> None:
        if len(self._last) > MOST_KEPT:  # a peripheral that makes up companies and services must not fill the memory
            self._data.clear()
            self._told.clear()
            self._last.clear()
        changed = self._data.get(source) != data
        self._data[source] = data
        self._last[source] = (data, now)
        packet = _packet(data) if source == (None, bthome.SERVICE) else None
        new = changed
        if isinstance(packet, bthome.Packet):
            new = self._repeats.new(packet, data)
        if not new and now - self._told.get(source, float("-inf")) < AGAIN_S:
            return
        self._told[source] = now
        if packet is not None:
            self._keep(packet, now)
        for visitor in self._visitors:
            if (visitor.manufacturer, visitor.service_data) == source and (new or not visitor.event):
                value = _of_packet(visitor, packet) if visitor.bthome else _decoded(visitor, data)
                if value is not None:
                    self._heard(visitor, value)

    def _keep(self, packet: "bthome.Packet | DriverError", now: float) -> None:
        self._unusable = packet if isinstance(packet, DriverError) else None
        if isinstance(packet, bthome.Packet):
            counts: dict[str, int] = {}
            for name, value in packet.objects:
                counts[name] = counts.get(name, 0) + 1
                self._last[name, counts[name]] = (value, now)

    def _fail(self, error: BusDown) -> None:
        self._failure = error
        self._something.set()
        for visitor in self._visitors:
            self._heard(visitor, error)


def _key(visitor: Visitor) -> object:
    return (visitor.bthome, visitor.index) if visitor.bthome else (visitor.manufacturer, visitor.service_data)


def _packet(data: bytes) -> "bthome.Packet | DriverError":
    try:
        return bthome.parse(data)
    except (BadAnswer, Refused) as error:
        return error


def _of_packet(visitor: Visitor, packet: "bthome.Packet | DriverError | None") -> Value | DriverError | None:
    return packet.value(visitor.bthome, visitor.index) if isinstance(packet, bthome.Packet) else packet


def _decoded(visitor: Visitor, data: Value | DriverError) -> Value | DriverError:
    assert isinstance(data, bytes)
    try:
        return visitor.decode(data)
    except BadAnswer as error:
        return error
