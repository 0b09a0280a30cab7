"""Bluetooth instruments in reach of an adapter: on the virtual radio, or on real ones.

With `--ble-adapter hci0` bleak uses that adapter of the system, and the instruments run on a second one, which bumble drives
itself: `--ble-instrument` names it as bumble does (`hci-socket:1`, `usb:0`). What needs several instruments or their faults is
left out there.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from bumble.device import Device
from bumble.hci import Address as HciAddress
from bumble.transport import open_transport

from mappers.ble import Ble
from mappers.ble_config import BleSettings
from mappers.ble_radio import Backends

from .ble_instruments import Beacon, Instrument, Thermometer
from .ble_radio import Adapter, Air
from .bluez import bluez, dbus_daemon


class Bench:
    """An adapter, and instruments that it hears."""

    def __init__(self, adapter: str, backends: Backends, air: Air | None, virtual: Adapter | None) -> None:
        self.adapter = adapter
        """As in a Device's `adapter`."""
        self.backends = backends
        self._air = air
        self._virtual = virtual
        self.real: Device | None = None

    @property
    def virtual(self) -> Adapter:
        """The adapter, for tests that count its connections or switch it off. They are skipped on a real one."""
        if self._virtual is None:
            pytest.skip("needs the virtual radio")
        return self._virtual

    def drivers(self, **settings: Any) -> Ble:
        """The drivers under test on this adapter."""
        return Ble(BleSettings(**settings), self.backends)

    async def thermometer(
        self, name: str = "thermometer", celsius: float = 21.5, *, describes: bool = True
    ) -> Thermometer:
        """A thermometer that advertises."""
        one: Thermometer = await self._on(lambda *on: Thermometer(*on, describes=describes), name)
        one.set(celsius)
        await one.start(name)
        return one

    async def beacon(self) -> Beacon:
        """A beacon, silent at first."""
        one: Beacon = await self._on(Beacon, "beacon")
        return one

    async def _on(self, make: Callable[..., Instrument], name: str) -> Any:
        if self._air is not None:
            return make(*await self._air.device(name))
        device, self.real = self.real, None
        if device is None:
            pytest.skip("needs several instruments")
        return make(device)


@contextlib.asynccontextmanager
async def ble_bench(config: pytest.Config, *, through_bluez: Path | None = None) -> AsyncIterator[Bench]:
    """The bench that the command line asks for.

    On the virtual radio bleak uses a backend of ours, or its own for Linux and a stand-in for BlueZ, whose D-Bus socket is
    made in the folder `through_bluez`.
    """
    adapter = config.getoption("--ble-adapter")
    if adapter is None:
        air = Air()
        virtual = await Adapter.on(air)
        if through_bluez is None:
            yield Bench("", virtual.backends, air, virtual)
            return
        async with dbus_daemon(through_bluez / "bus") as address, bluez(virtual, address):
            yield Bench("hci0", Backends(), air, virtual)
        return
    if through_bluez is not None:
        pytest.skip("the adapter is real, and so is BlueZ")
    async with await open_transport(config.getoption("--ble-instrument")) as (source, sink):
        bench = Bench(adapter, Backends(), None, None)
        bench.real = Device.with_hci("instrument", HciAddress("F0:F1:F2:F3:00:01"), source, sink)
        await bench.real.power_on()
        yield bench
