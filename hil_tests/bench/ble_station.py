"""The Bluetooth instruments for other processes: a thermometer, a beacon, and the stand-in for BlueZ that leads to them.

Whoever has its system bus at this program's socket finds an adapter there that hears them; bleak needs nothing else:

    python -m hil_tests.bench.ble_station --link /tmp/bluetooth
    DBUS_SYSTEM_BUS_ADDRESS=unix:path=/tmp/bluetooth hedgerow mapper read hil_tests/bench/ble.yaml

It needs the program dbus-daemon.
"""

import argparse
import asyncio
import contextlib
import logging
import os
from pathlib import Path

from msgspec import Struct

from edgewire.service import serve_until_signalled
from hil_tests.bench.faults_file import followed

from .ble_desk import move, on_air
from .ble_instruments import Instrument
from .ble_radio import Adapter, Air
from .bluez import bluez, dbus_daemon

log = logging.getLogger(__name__)


class FaultsNow(Struct, forbid_unknown_fields=True):
    """What a faults file says."""

    off: bool = False
    """Both are without power."""
    deaf: bool = False
    """The thermometer stays connected, and answers nothing."""


class _Service:
    name = "ble-station"

    def __init__(self, link: Path, faults_file: Path | None) -> None:
        self._link = link
        self._faults_file = faults_file

    async def run(self, ready: asyncio.Event) -> None:
        unfinished = self._link.with_name(self._link.name + ".new")
        async with contextlib.AsyncExitStack() as cleanup:
            address = await cleanup.enter_async_context(dbus_daemon(unfinished))
            air = Air()
            await cleanup.enter_async_context(bluez(await Adapter.on(air), address))
            thermometer, beacon = await on_air(air)
            moving = asyncio.create_task(move(thermometer, beacon), name="instruments")
            cleanup.callback(moving.cancel)
            os.replace(unfinished, self._link)  # who finds it finds an adapter behind it
            cleanup.callback(self._link.unlink, missing_ok=True)
            log.info("= bluetooth instruments on the air socket=%s", self._link)
            ready.set()
            if self._faults_file is not None:
                await _misbehave(self._faults_file, thermometer, beacon)
            await moving


async def _misbehave(file: Path, thermometer: Instrument, beacon: Instrument) -> None:
    off = False
    async for faults in followed(file, FaultsNow):
        thermometer.deaf(faults.deaf)
        if faults.off != off:
            off = faults.off
            for one in (thermometer, beacon):
                one.off() if off else one.on()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="An emulated Bluetooth thermometer and beacon, and an adapter in their reach."
    )
    parser.add_argument(
        "--link", type=Path, default=Path("bluetooth"), help="the D-Bus socket behind which the adapter is"
    )
    parser.add_argument(
        "--faults-file", type=Path, help="JSON, read again when it changes: FaultsNow in ble_station.py"
    )
    options = parser.parse_args()
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("bumble").setLevel(logging.CRITICAL)
    asyncio.run(serve_until_signalled(_Service(options.link.absolute(), options.faults_file)))


if __name__ == "__main__":
    main()
