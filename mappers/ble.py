"""Bluetooth Low Energy: `protocolName: ble`, or KubeEdge's `bluetooth`.

    apiVersion: devices.kubeedge.io/v1beta1
    kind: Device
    metadata: {name: cellar, namespace: default}
    spec:
      deviceModelRef: {name: thermometer-model}
      nodeName: edge1
      protocol:
        protocolName: ble
        configData:
          macAddress: A4:C1:38:00:11:22   # or name: as advertised, or serviceUUID: a service it advertises
          adapter: hci0                   # default: the first that is switched on
          pair: false                     # default; bond first
          timeout: 10000                  # ms to be seen, to connect, to answer; default
      properties:
        - name: temperature
          visitors:
            protocolName: ble
            configData:
              characteristicUUID: 2A6E    # 16, 32 or 128 bits
              mode: notify                # or read, the default
        - name: interval
          visitors:
            protocolName: ble
            configData:
              characteristicUUID: 2A21
              type: uint16                # default: what the device's descriptor 0x2904 or the Bluetooth SIG says
        - name: humidity                  # a beacon: nothing is connected
          visitors:
            protocolName: ble
            configData: {bthome: humidity}  # or manufacturerId: 0x0499, or serviceData: <UUID>, with type and start

Every peripheral is a bus of its own, so one that is dead delays nobody. They share their adapter's scanner and its few
connections: see `ble_radio.py`. Values that a peripheral sends by itself go to the framework as they come (`listen`); where it
polls them all the same, a notifying characteristic is read, and of an advertisement the last one heard counts.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

from edgewire import backoff
from edgewire.device import ModelProperty

from .ble_config import ADVERTISEMENT, NOTIFY, Address, BleSettings, Peer, Visitor, VisitorConfig, make_visitor
from .ble_values import Codec
from .driver import BadAnswer, DriverError, NoAnswer, Refused, Value, ValueRefused, VisitorKeys, Wanted

if TYPE_CHECKING:  # bleak and what it needs of the system are loaded with the first driver
    from .ble_adverts import Ear
    from .ble_link import Link, Session
    from .ble_radio import Backends, Radio

log = logging.getLogger(__name__)

STEADY_S = 10.0
"""A connection that lasted so long was a good one: the next is tried soon after it."""
RECONNECT_LIMIT_S = 60.0
"""The longest wait before a peripheral that should notify is connected to again."""


class Ble:
    """Bluetooth Low Energy as the framework's `Drivers`."""

    protocol = "ble"
    aliases = ("bluetooth",)
    """KubeEdge's name."""
    address_type: type[Any] = Address
    visitor_type: type[VisitorKeys] = VisitorConfig
    settings_type = BleSettings
    """`options` in `mapper.yaml`."""

    def __init__(self, settings: BleSettings | None = None, backends: "Backends | None" = None) -> None:
        """`backends` are used instead of bleak's own for the platform."""
        self._settings = settings or BleSettings()
        self._backends = backends
        self._radios: dict[str, Radio] = {}

    def bus(self, address: Address) -> Hashable:
        """The peripheral."""
        return address.peer

    def visitor(self, address: Address, keys: VisitorConfig, model: ModelProperty) -> Visitor:
        """Where a property is. Raises DefinitionError."""
        return make_visitor(address, keys, model)

    def driver(self, bus: Peer) -> "BleDriver":
        """A driver for a peripheral."""
        from .ble_adverts import Ear
        from .ble_link import Link
        from .ble_radio import Backends, Radio

        radio = self._radios.get(bus.adapter)
        if radio is None:
            radio = self._radios[bus.adapter] = Radio(bus.adapter, self._settings, self._backends or Backends())
        return BleDriver(bus, radio, Link(radio, bus), Ear(radio, bus))


class BleDriver:
    """Reads, writes and hears one peripheral."""

    def __init__(self, peer: Peer, radio: "Radio", link: "Link", ear: "Ear") -> None:
        self._peer = peer
        self._radio = radio
        self._link = link
        self._ear = ear
        self._visitors: Sequence[Visitor] = ()
        self._heard: Callable[[Visitor, Value | DriverError], None] = _nobody
        self._keeper: asyncio.Task[None] | None = None
        self._notified: dict[str, bytes] = {}
        self._codecs: dict[str, Codec | None] = {}

    async def open(self) -> None:
        """See that the adapter can be used. Connects nothing: the first read does, or `listen`."""
        await self._radio.check()

    async def close(self) -> None:
        """Hear nothing more and let go of the connection."""
        self._ear.close()
        await self._stop_keeping()
        await self._link.close()
        await self._radio.forget(self._peer)

    def listen(self, visitors: Sequence[Visitor], heard: Callable[[Visitor, Value | DriverError], None]) -> None:
        """Tell `heard` what comes of these visitors, instead of those of the last call."""
        self._visitors, self._heard = visitors, heard
        self._ear.listen([v for v in visitors if v.mode == ADVERTISEMENT], heard)
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None
            self._link.linger(0.0)  # ends a connection that nobody subscribes on again
        notifying = [v for v in visitors if v.mode == NOTIFY]
        if notifying:
            self._keeper = asyncio.create_task(self._keep(notifying), name=f"ble notifications {self._peer}")
            self._keeper.add_done_callback(_report)

    async def read(self, visitors: Sequence[Visitor]) -> Sequence[Value | DriverError]:
        """Read properties of the peripheral. Raises NoAnswer or BusDown."""
        results: dict[Visitor, Value | DriverError] = {}
        connected = [v for v in visitors if v.mode != ADVERTISEMENT]
        for visitor in visitors:
            if visitor.mode == ADVERTISEMENT:
                try:
                    results[visitor] = await self._ear.last(visitor)
                except NoAnswer as error:
                    if not connected:
                        raise
                    results[visitor] = BadAnswer(str(error))  # it may still answer over a connection
        if connected:
            unit = connected[0].unit
            async with self._link.turn(unit, linger_s=self._linger_s(unit)) as session:
                for visitor in connected:
                    results[visitor] = await self._read(session, visitor)
        return [results[visitor] for visitor in visitors]

    async def write(self, visitor: Visitor, value: Wanted) -> None:
        """Write a characteristic; one that notifies is read back. Raises ValueRefused, NoAnswer, BusDown, Refused."""
        if visitor.mode == ADVERTISEMENT:
            raise ValueRefused("an advertisement cannot be written")
        async with self._link.turn(visitor.unit, linger_s=self._linger_s(visitor.unit)) as session:
            await session.write(visitor, value)
            if visitor.mode == NOTIFY and self._keeper is not None:
                # What notifies is not polled, and need not notify what it is told.
                self._heard(visitor, await self._read(session, visitor))

    async def _read(self, session: "Session", visitor: Visitor) -> Value | DriverError:
        try:
            codec = await session.codec(visitor)
            if session.readable(visitor):
                return visitor.decode(await session.read(visitor), codec)
            last = self._notified.get(visitor.place)
            if last is None:
                return BadAnswer(f"{visitor} cannot be read, and has not notified: use `mode: notify`")
            return visitor.decode(last, codec)
        except (Refused, BadAnswer) as error:
            return error

    def _linger_s(self, unit: Address) -> float | None:
        """How long an unused connection is kept: one that notifies is not closed for want of use."""
        return None if self._keeper is not None else unit.linger / 1000

    async def _keep(self, visitors: Sequence[Visitor]) -> None:
        """Stay subscribed. A connection that others needed is asked for again at once, a lost one ever more rarely."""
        delays = backoff.delays(limit_s=RECONNECT_LIMIT_S)
        while True:
            since = time.monotonic()
            try:
                await self._subscribe(visitors)
                while not await self._link.ends(visitors[0].unit.silence_s / 2):
                    await self._subscribe(visitors, again=True)
            except DriverError as error:
                log.info("= not subscribed peer=%s error=%s", self._peer, error)
                self._tell(visitors, error)
            else:
                if time.monotonic() - since > STEADY_S:
                    delays = backoff.delays(limit_s=RECONNECT_LIMIT_S)
                if self._link.gave_way:
                    continue
            await asyncio.sleep(next(delays))

    async def _subscribe(self, visitors: Sequence[Visitor], *, again: bool = False) -> None:
        """Have the peripheral notify; `again` proves that it is still there, however seldom it does."""
        unit = visitors[0].unit
        keep_s = 0.0 if again else unit.dwell / 1000
        async with self._link.turn(unit, keep_s=keep_s, patient=True) as session:
            for place, visitor in {v.place: v for v in visitors}.items():
                try:
                    self._codecs[place] = await session.codec(visitor)
                    heard = self._notification(place)
                    await session.subscribe(visitor, heard)
                    if session.readable(visitor):
                        heard(await session.read(visitor))
                    elif again and place in self._notified:
                        heard(self._notified[place])
                except (Refused, BadAnswer) as error:
                    self._tell([v for v in visitors if v.place == place], error)

    def _notification(self, place: str) -> Callable[[bytes], None]:
        def heard(data: bytes) -> None:
            self._notified[place] = data
            for visitor in self._visitors:
                if visitor.mode == NOTIFY and visitor.place == place:
                    self._heard(visitor, _decoded(visitor, data, self._codecs.get(place)))

        return heard

    def _tell(self, visitors: Sequence[Visitor], error: DriverError) -> None:
        for visitor in visitors:
            self._heard(visitor, error)

    async def _stop_keeping(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)


def _decoded(visitor: Visitor, data: bytes, codec: Codec | None) -> Value | DriverError:
    try:
        return visitor.decode(data, codec)
    except BadAnswer as error:
        return error


def _nobody(_visitor: Visitor, _value: Value | DriverError) -> None:
    """Nobody listens."""


def _report(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("= ble driver failed task=%s", task.get_name(), exc_info=task.exception())
