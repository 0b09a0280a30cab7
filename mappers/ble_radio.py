"""One Bluetooth adapter as its peripherals share it: one scanner for all, and a few connections that they take turns with.

It scans while somebody looks for a peripheral or listens to advertisements, and else not. A scanner that hears nothing at all
for a while is started anew, for that is how an adapter that was unplugged or switched off shows. What a peripheral advertised
last is kept, because that is what bleak connects to; nothing is kept of those that nobody asked for.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from bleak import BleakAdapter, BleakScanner
from bleak.backends.client import BaseBleakClient
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.exc import BleakBluetoothNotAvailableError, BleakDBusError, BleakError
from msgspec import Struct

from edgewire import backoff

from .ble_config import BleSettings, Peer
from .ble_slots import Slots
from .driver import BusDown, NoAnswer

log = logging.getLogger(__name__)

FAULTS = (BleakError, OSError, EOFError)
"""What bleak and the system beneath it raise."""

SCAN_DEADLINE_S = 10.0
"""For the system to start or end a scan."""
QUIET_S = 60.0
"""A scanner that heard nobody for so long is started anew; in a town there are several advertisements a second."""
CHECKED_S = 30.0
"""How long an adapter that could scan counts as usable."""
SIGHTING_S = 60.0
"""How long a peripheral that was seen counts as there to be connected to."""
SLOT_DEADLINE_S = 120.0
"""The longest wait for one of the adapter's connections."""
RETRY_LIMIT_S = 30.0


class Backends(Struct, frozen=True):
    """Instead of bleak's own for the platform: subclasses of its abstract backends."""

    client: type[BaseBleakClient] | None = None
    scanner: type[BaseBleakScanner] | None = None


class Sighting(Struct, frozen=True):
    """A peripheral as it advertised itself."""

    device: BLEDevice
    advertisement: AdvertisementData
    at: float


class _Watcher(Struct, eq=False):
    peer: Peer
    heard: Callable[[Sighting], None]
    failed: Callable[[BusDown], None]


class Radio:
    """An adapter. Peripherals `find` themselves, `watch` themselves, and take `slot`s."""

    def __init__(self, adapter: str, settings: BleSettings, backends: Backends) -> None:
        self.adapter = adapter
        self._name = adapter or "(any)"
        self.backends = backends
        self.connecting = asyncio.Lock()
        """Adapters open one connection at a time."""
        self._slots = Slots(settings.connections)
        self._granted: dict[Peer, asyncio.Future[None]] = {}
        self._leave: dict[Peer, Callable[[], None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._seen: dict[Peer, Sighting] = {}
        self._seekers: dict[asyncio.Future[BLEDevice], Peer] = {}
        self._watchers: list[_Watcher] = []
        self._checks: set[asyncio.Future[None]] = set()
        self._usable_at = float("-inf")
        self._scan: asyncio.Task[None] | None = None
        self._scan_lock = asyncio.Lock()
        self._heard_any = asyncio.Event()

    async def check(self) -> None:
        """Raises BusDown when the adapter cannot scan; what was found holds for a while."""
        if time.monotonic() - self._usable_at < CHECKED_S:
            return
        check: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._checks.add(check)
        self._scan_or_not()
        try:
            async with asyncio.timeout(2 * SCAN_DEADLINE_S):
                await check
        except TimeoutError as error:
            raise BusDown(f"Bluetooth adapter {self._name} does not begin to scan") from error
        finally:
            self._checks.discard(check)
            self._scan_or_not()

    def watch(
        self, peer: Peer, heard: Callable[[Sighting], None], failed: Callable[[BusDown], None]
    ) -> Callable[[], None]:
        """Hear a peripheral's advertisements, and when the adapter fails; call what is returned to hear no more."""
        watcher = _Watcher(peer, heard, failed)
        self._watchers.append(watcher)
        self._scan_or_not()

        def end() -> None:
            if watcher in self._watchers:
                self._watchers.remove(watcher)
                self._scan_or_not()

        return end

    async def find(self, peer: Peer, timeout_s: float) -> BLEDevice:
        """A peripheral to connect to, once it is seen. Raises NoAnswer, and BusDown when the adapter cannot scan."""
        seen = self._seen.get(peer)
        if seen is not None and time.monotonic() - seen.at <= SIGHTING_S:
            return seen.device
        connected = await self._connected(peer)
        if connected is not None:
            return connected
        seeker: asyncio.Future[BLEDevice] = asyncio.get_running_loop().create_future()
        self._seekers[seeker] = peer
        self._scan_or_not()
        try:
            async with asyncio.timeout(timeout_s):
                return await seeker
        except TimeoutError as error:
            raise NoAnswer(f"{peer} was not seen within {timeout_s:g} s") from error
        finally:
            del self._seekers[seeker]
            self._scan_or_not()

    def present(self, peer: Peer) -> None:
        """A peripheral was just there, though it advertised nothing: it was connected."""
        seen = self._seen.get(peer)
        if seen is not None:
            self._seen[peer] = Sighting(seen.device, seen.advertisement, time.monotonic())

    def lost(self, peer: Peer) -> None:
        """A peripheral that was seen is not there any more: it must be seen again."""
        self._seen.pop(peer, None)

    async def slot(self, peer: Peer, leave: Callable[[], None], *, patient: bool = False) -> None:
        """Wait for a connection; it is busy until `idle`. `leave` is called when it must be given up.

        Raises NoAnswer when none comes free in time, unless `patient`.
        """
        granted = self._granted[peer] = asyncio.get_running_loop().create_future()
        self._leave[peer] = leave
        self._slots.want(peer)
        self._turn()
        try:
            async with asyncio.timeout(None if patient else SLOT_DEADLINE_S):
                await granted
        except TimeoutError as error:
            self.release(peer)
            raise NoAnswer(f"{peer}: all {self._slots.budget} connections of the adapter are in use") from error
        except asyncio.CancelledError:
            self.release(peer)
            raise
        finally:
            self._granted.pop(peer, None)

    def busy(self, peer: Peer) -> None:
        """The connection is used."""
        self._slots.busy(peer)

    def idle(self, peer: Peer, free_at: float) -> None:
        """The connection is not used now, and may be given to another from `free_at` on, by `time.monotonic`."""
        self._slots.idle(peer, free_at)
        self._turn()

    def leaving(self, peer: Peer) -> bool:
        """Whether the peripheral was told to give up its connection."""
        return self._slots.leaving(peer)

    def release(self, peer: Peer) -> None:
        """The peripheral has no connection, and waits for none."""
        self._slots.withdraw(peer)
        self._slots.release(peer, time.monotonic())
        self._leave.pop(peer, None)
        self._turn()

    async def forget(self, peer: Peer) -> None:
        """The peripheral is served no more; waits until a scan that only it wanted has ended."""
        self._slots.forget(peer)
        self._seen.pop(peer, None)
        self._turn()
        async with self._scan_lock if self._scan is None else contextlib.nullcontext():
            pass

    def _turn(self) -> None:
        """Give free connections to those who wait, and tell others to leave for them, now or when their time is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for who in self._slots.grants():
            assert isinstance(who, Peer)
            granted = self._granted[who]
            if not granted.done():
                granted.set_result(None)
        now = time.monotonic()
        for who in self._slots.victims(now):
            assert isinstance(who, Peer)
            self._leave[who]()
        at = self._slots.next_at(now)
        if at is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, at - now) + 0.001, self._turn)

    async def _connected(self, peer: Peer) -> BLEDevice | None:
        """A peripheral that the system is connected to already, and that therefore does not advertise.

        BlueZ keeps the connections of a process that was killed.
        """
        if self.backends.scanner is not None:
            return None
        services = [peer.service] if peer.service else ["1800", "1801"]
        try:
            async with asyncio.timeout(SCAN_DEADLINE_S):
                system = await BleakAdapter.get(bluez={"adapter": self.adapter} if self.adapter else {})
                found = await system.get_connected_devices(services)
        except (*FAULTS, TimeoutError, NotImplementedError):
            return None  # what is wrong with the adapter, its scan will tell
        wanted = [peer.service] if peer.service else []
        return next((one for one in found if peer.matches(one.address, one.name, wanted)), None)

    def _scan_or_not(self) -> None:
        wanted = bool(self._watchers or self._seekers or self._checks)
        if wanted and self._scan is None:
            self._scan = asyncio.create_task(self._keep_scanning(), name=f"ble scan {self.adapter}")
        elif not wanted and self._scan is not None:
            self._scan.cancel()
            self._scan = None

    async def _keep_scanning(self) -> None:
        delays = backoff.delays(limit_s=RETRY_LIMIT_S)
        while True:
            try:
                async with self._scan_lock, self._scanning():
                    delays = backoff.delays(limit_s=RETRY_LIMIT_S)
                    await self._until_quiet()
            except (*FAULTS, TimeoutError) as error:
                self._scan_failed(BusDown(f"Bluetooth adapter {self._name} cannot scan: {_why(error)}"))
                await asyncio.sleep(next(delays))

    @contextlib.asynccontextmanager
    async def _scanning(self) -> AsyncIterator[None]:
        scanner = BleakScanner(self._heard, bluez=self._bluez(), backend=self.backends.scanner)
        async with asyncio.timeout(SCAN_DEADLINE_S):
            await scanner.start()
        log.debug("= scan started adapter=%s", self._name)
        self._usable_at = time.monotonic()
        for check in self._checks:
            if not check.done():
                check.set_result(None)
        try:
            yield
        finally:
            try:
                async with asyncio.timeout(SCAN_DEADLINE_S):
                    await scanner.stop()
            except (*FAULTS, TimeoutError) as error:
                log.debug("= scan did not end adapter=%s error=%s", self._name, _why(error))

    def _bluez(self) -> Any:
        # Without duplicates BlueZ tells only what changes, and a beacon whose value stays the same would seem silent.
        return {"filters": {"DuplicateData": True}, **({"adapter": self.adapter} if self.adapter else {})}

    async def _until_quiet(self) -> None:
        with contextlib.suppress(TimeoutError):
            while True:
                self._heard_any.clear()
                async with asyncio.timeout(QUIET_S):
                    await self._heard_any.wait()

    def _heard(self, device: BLEDevice, advertisement: AdvertisementData) -> None:
        self._heard_any.set()
        wanted = {*self._seekers.values(), *(watcher.peer for watcher in self._watchers)}
        name = advertisement.local_name or device.name
        sighting = Sighting(device, advertisement, time.monotonic())
        for peer in wanted:
            if not peer.matches(device.address, name, advertisement.service_uuids):
                continue
            self._seen[peer] = sighting
            for seeker, sought in self._seekers.items():
                if sought == peer and not seeker.done():
                    seeker.set_result(device)
            for watcher in [w for w in self._watchers if w.peer == peer]:
                watcher.heard(sighting)

    def _scan_failed(self, error: BusDown) -> None:
        log.warning("= adapter unusable adapter=%s error=%s", self._name, error)
        self._usable_at = float("-inf")
        waiters: list[asyncio.Future[Any]] = [*self._seekers, *self._checks]
        for waiting in waiters:
            if not waiting.done():
                waiting.set_exception(error)
        for watcher in list(self._watchers):
            watcher.failed(error)


def is_off(error: BaseException) -> bool:
    """Whether an error of bleak says that the adapter is switched off, in bleak's words or in BlueZ's."""
    if isinstance(error, BleakBluetoothNotAvailableError):
        return True
    return isinstance(error, BleakDBusError) and error.dbus_error.endswith(".NotReady")


def _why(error: BaseException) -> str:
    """An error of bleak in words."""
    if isinstance(error, BleakBluetoothNotAvailableError):
        return str(error.args[0])
    if is_off(error):
        return "it is switched off"
    if isinstance(error, TimeoutError):
        return f"no answer within {SCAN_DEADLINE_S:g} s"
    return str(error) or type(error).__name__
