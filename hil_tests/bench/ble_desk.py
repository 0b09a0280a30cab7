"""The Bluetooth mapper with instruments that come with it: a thermometer and a BTHome beacon on a virtual radio, to play with.

A radio in the air is shared by whoever is there, a virtual one by whoever is in its process. So these instruments live in the
mapper's: as a driver of one's own it serves the protocols `ble` and `bluetooth` on an adapter that exists nowhere else.
`ble_station.py` has them for other processes, where there is D-Bus.
`ble.yaml` beside this file holds the instruments' manifests.

    mapper.yaml:  mappers: [{driver: "hil_tests.bench.ble_desk:BleDesk"}]
    hedgerow mapper read hil_tests/bench/ble.yaml --driver hil_tests.bench.ble_desk:BleDesk
"""

import asyncio
import math
import struct
import time

from mappers.ble import Ble, BleDriver
from mappers.ble_adverts import Ear
from mappers.ble_config import BleSettings, Peer
from mappers.ble_link import Link
from mappers.ble_radio import Radio

from .ble_instruments import Beacon, Thermometer
from .ble_radio import Adapter, Air

STEP_S = 1.0
"""Between two movements of the values."""


class BleDesk(Ble):
    """`Drivers` of Bluetooth on a virtual radio. The instruments begin with the first device that is opened."""

    def __init__(self, settings: BleSettings | None = None) -> None:
        super().__init__(settings)
        self._radio: Radio | None = None
        self._moving: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    def driver(self, bus: Peer) -> BleDriver:
        """A driver for a peripheral."""
        return _DeskDriver(self, bus)

    async def radio(self) -> Radio:
        """The adapter, with the instruments on the air."""
        async with self._starting:
            if self._radio is None:
                air = Air()
                self._radio = Radio("", self._settings, (await Adapter.on(air)).backends)
                self._moving = asyncio.create_task(move(*await on_air(air)), name="desk instruments")
        return self._radio


class _DeskDriver(BleDriver):
    """A driver whose radio is made when it is opened."""

    def __init__(self, desk: BleDesk, peer: Peer) -> None:
        self._desk = desk
        self._of = peer
        self._made = False

    async def open(self) -> None:
        if not self._made:
            radio = await self._desk.radio()
            super().__init__(self._of, radio, Link(radio, self._of), Ear(radio, self._of))
            self._made = True
        await super().open()

    async def close(self) -> None:
        if self._made:
            await super().close()


async def on_air(air: Air) -> tuple[Thermometer, Beacon]:
    """The instruments."""
    thermometer = await Thermometer.on_air(air, "desk-thermometer")
    beacon = await Beacon.on_air(air, "desk-beacon")
    await beacon.say("02ca09 03bf13", name="desk-beacon")
    return thermometer, beacon


async def move(thermometer: Thermometer, beacon: Beacon) -> None:
    """Let the values swing with the minutes, and the beacon's button be pressed now and then."""
    pressed = 0
    while True:
        await asyncio.sleep(STEP_S)
        swing = math.sin(time.monotonic() / 30)
        await thermometer.notify(round(21.5 + 2 * swing, 2))
        pressed = (pressed + 1) % 20
        objects = b"\x02" + struct.pack("<h", round(1800 + 300 * swing)) + b"\x03" + struct.pack("<H", 5000)
        await beacon.say((objects + (b"\x3a\x01" if not pressed else b"")).hex(), name="desk-beacon")
