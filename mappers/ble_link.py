"""The connection to one peripheral, on bleak's client: made when first needed, given up when others need it or nobody does.

The peripheral must have been seen before a connection is tried, so one that is not there costs the adapter nothing. A connection
on which something went unanswered is closed: what still comes on it belongs to nothing that is asked later.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import msgspec
from bleak import BleakClient
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.exc import BleakGATTProtocolError

from .ble_config import Address, Peer, Visitor
from .ble_kubeedge import Words
from .ble_radio import FAULTS, SLOT_DEADLINE_S, Radio, is_off
from .ble_values import Codec, Format, assigned, presentation
from .driver import BusDown, DriverError, NoAnswer, Refused, ValueRefused, Wanted

log = logging.getLogger(__name__)

T = TypeVar("T")

DISCONNECT_DEADLINE_S = 5.0
PAIR_DEADLINE_S = 30.0
"""Bonding may need somebody to press a button."""
_PRESENTATION_FORMAT = "00002904-0000-1000-8000-00805f9b34fb"
_NEEDS_BOND = (0x05, 0x0C, 0x0F)
"""Insufficient authentication, key size, encryption; Core Specification, Vol 3, Part F, 3.4.1.1."""

_BOND = ": it must be bonded, set `pair: true`"


class Session:
    """A connection while it lasts: asks one thing at a time, each within the timeout of the unit it is asked for."""

    def __init__(self, peer: Peer, client: BleakClient, formats: dict[str, Codec | None]) -> None:
        self._peer = peer
        self._client = client
        self._formats = formats
        self._subscribed: set[int] = set()

    async def read(self, visitor: Visitor) -> bytes:
        """What a characteristic holds. Raises NoAnswer, BusDown, Refused."""
        at = self.characteristic(visitor)
        return bytes(await self.ask(visitor, "reading", self._client.read_gatt_char(at)))

    async def write(self, visitor: Visitor, value: Wanted) -> None:
        """Write a value. Raises ValueRefused, NoAnswer, BusDown, Refused."""
        at = self.characteristic(visitor)
        possible = {"write": True, "write-without-response": False}
        ways = [possible[name] for name in at.properties if name in possible]
        response = visitor.response if visitor.response is not None else True in ways
        if response not in ways:
            raise ValueRefused(
                f"{visitor} cannot be written" + (f" with `response: {str(response).lower()}`" if ways else "")
            )
        codec = await self.codec(visitor)
        if codec is None:
            raise ValueRefused(f"{visitor}: the device does not say what its bytes are: name their `type`")
        data = codec.encode(value)
        if not response and len(data) > at.max_write_without_response_size:
            raise ValueRefused(f"{len(data)} bytes, too many for a write without response")
        await self.ask(visitor, "writing", self._client.write_gatt_char(at, data, response=response))

    async def subscribe(self, visitor: Visitor, heard: Callable[[bytes], None]) -> None:
        """Have a characteristic's notifications, or indications, told to `heard`; a second call for it changes nothing.

        Raises NoAnswer, BusDown, Refused.
        """
        at = self.characteristic(visitor)
        if at.handle in self._subscribed:
            return
        if not {"notify", "indicate"} & set(at.properties):
            raise Refused(f"{visitor} does not notify: use `mode: read`")

        def callback(_sender: BleakGATTCharacteristic, data: bytearray) -> None:
            heard(bytes(data))

        await self.ask(visitor, "subscribing to", self._client.start_notify(at, callback))
        self._subscribed.add(at.handle)

    def readable(self, visitor: Visitor) -> bool:
        """Whether a characteristic can be read. Raises Refused when there is none."""
        return "read" in self.characteristic(visitor).properties

    async def codec(self, visitor: Visitor) -> Codec | None:
        """The visitor's own codec, or what the device or the Bluetooth SIG says of the characteristic; None: nothing."""
        if visitor.codec is not None:
            return visitor.codec
        found = await self._described(visitor)
        if found is None and visitor.type in ("STRING", "BYTES"):
            found = Format("utf8" if visitor.type == "STRING" else "bytes")
        return Words(visitor.words, found) if visitor.words else found

    def characteristic(self, visitor: Visitor) -> BleakGATTCharacteristic:
        """The one a visitor names. Raises Refused."""
        found = [
            characteristic
            for service in self._client.services
            for characteristic in service.characteristics
            if characteristic.uuid == visitor.characteristic and visitor.service in ("", service.uuid)
        ]
        if not found:
            where = f" in service {visitor.service}" if visitor.service else ""
            raise Refused(f"{self._peer} has no {visitor}{where}")
        if len(found) > 1:
            raise Refused(f"{self._peer} has {visitor} in several services: name its `serviceUUID`")
        return found[0]

    async def ask(self, visitor: Visitor, doing: str, answer: Awaitable[T]) -> T:
        """One request's answer, with bleak's errors as ours."""
        what = f"{doing} {visitor}"
        try:
            async with asyncio.timeout(visitor.unit.timeout_s):
                given = await answer
            _honour_cancellation()
            return given
        except TimeoutError as error:
            raise NoAnswer(f"{self._peer} did not answer within {visitor.unit.timeout} ms, {what}") from error
        except BleakGATTProtocolError as error:
            hint = _BOND if error.code in _NEEDS_BOND else ""
            raise Refused(f"{self._peer} refused {what}: {error.args[1]}{hint}") from error
        except FAULTS as error:
            if is_off(error):
                raise BusDown(f"the Bluetooth adapter was switched off, {what}") from error
            if self._client.is_connected:
                hint = _BOND if "Not paired" in str(error) else ""  # BlueZ's words for the codes above
                raise Refused(f"{self._peer} refused {what}: {error or type(error).__name__}{hint}") from error
            raise NoAnswer(f"the connection to {self._peer} was lost, {what}") from error

    async def _described(self, visitor: Visitor) -> Codec | None:
        key = visitor.place
        if key not in self._formats:
            known = assigned(visitor.characteristic)
            descriptor = self.characteristic(visitor).get_descriptor(_PRESENTATION_FORMAT)
            if descriptor is not None:
                data = await self.ask(
                    visitor, "reading the format of", self._client.read_gatt_descriptor(descriptor.handle)
                )
                told = presentation(bytes(data))
                # What stands for "not known" only the SIG says.
                unknown = known.unknown if known is not None and known.type == told.type else None
                known = msgspec.structs.replace(told, unknown=unknown)
            self._formats[key] = known
        return self._formats[key]


class Link:
    """Connects to a peripheral when it is needed."""

    def __init__(self, radio: Radio, peer: Peer) -> None:
        self._ended = asyncio.Event()
        self.gave_way = False
        """Whether the last connection was given up because others waited for one."""
        self._radio = radio
        self._peer = peer
        self._lock = asyncio.Lock()
        self._client: BleakClient | None = None
        self._session: Session | None = None
        self._formats: dict[str, Codec | None] = {}
        self._kept_until = 0.0
        self._lingering: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def turn(
        self, unit: Address, *, keep_s: float = 0.0, linger_s: float | None = None, patient: bool = False
    ) -> AsyncIterator[Session]:
        """A connection to ask on; afterwards nobody takes it for `keep_s`, and it is closed when unused for `linger_s`.

        Who is `patient` waits as long as it takes for one that others have. Raises NoAnswer or BusDown when there is none to be
        had; when one of them ends the turn, so does the connection.
        """
        async with self._alone(patient):
            self.linger(None)
            if self._session is not None and self._radio.leaving(self._peer):
                self.gave_way = True
                await self._drop()
            session = self._session
            if session is None:
                session = await self._connect(unit, patient)
            else:
                self._radio.busy(self._peer)
            try:
                yield session
            except (NoAnswer, BusDown, asyncio.CancelledError):
                await self._drop()
                raise
            finally:
                if self._session is session:
                    self._kept_until = max(self._kept_until, time.monotonic() + keep_s)
                    self._radio.idle(self._peer, self._kept_until)
                    self.linger(linger_s)

    async def ends(self, within_s: float) -> bool:
        """Wait until the connection has ended, and whether it has; 0: as long as it takes."""
        try:
            async with asyncio.timeout(within_s or None):
                await self._ended.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Give up the connection, and whatever waits for one. Never raises."""
        self.linger(None)
        async with self._lock:
            await self._drop()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def linger(self, seconds: float | None) -> None:
        """Close the connection when it is unused for so long; None: never."""
        if self._lingering is not None:
            self._lingering.cancel()
        self._lingering = None
        if seconds is not None:
            self._lingering = asyncio.get_running_loop().call_later(seconds, self._unused)

    @contextlib.asynccontextmanager
    async def _alone(self, patient: bool) -> AsyncIterator[None]:
        """Nobody else uses the link. Raises NoAnswer when others, who may wait for a connection themselves, do not end."""
        try:
            async with asyncio.timeout(None if patient else SLOT_DEADLINE_S):
                await self._lock.acquire()
        except TimeoutError as error:
            raise NoAnswer(f"{self._peer} waits for one of the adapter's connections") from error
        try:
            yield
        finally:
            self._lock.release()

    async def _connect(self, unit: Address, patient: bool) -> Session:
        device = await self._radio.find(self._peer, unit.timeout_s)
        await self._radio.slot(self._peer, self._leave, patient=patient)
        client = BleakClient(
            device,
            self._disconnected,
            timeout=unit.timeout_s,
            pair=unit.pair,
            bluez={"adapter": self._radio.adapter} if self._radio.adapter else {},
            backend=self._radio.backends.client,
        )
        try:
            async with self._radio.connecting, asyncio.timeout(unit.timeout_s + (PAIR_DEADLINE_S if unit.pair else 0)):
                await client.connect()
            _honour_cancellation()
            self._client = client
        except (*FAULTS, TimeoutError) as error:
            raise self._failure(unit, error) from error
        finally:
            if self._client is None:
                self._radio.lost(self._peer)
                if client.is_connected:
                    await self._disconnect(client)
                self._radio.release(self._peer)
        log.debug("= connected peer=%s", self._peer)
        self._ended.clear()
        self.gave_way, self._kept_until = False, 0.0
        self._session = Session(self._peer, client, self._formats)
        return self._session

    def _failure(self, unit: Address, error: BaseException) -> DriverError:
        if is_off(error):
            return BusDown(f"Bluetooth adapter {self._radio.adapter or '(any)'} is switched off")
        if isinstance(error, TimeoutError):
            return NoAnswer(f"{self._peer} was seen, but could not be connected to within {unit.timeout} ms")
        return NoAnswer(f"{self._peer} was seen, but could not be connected to: {error or type(error).__name__}")

    async def _drop(self) -> None:
        client, self._client, self._session = self._client, None, None
        if client is None:
            return
        try:
            await self._disconnect(client)
            self._radio.present(self._peer)
        finally:
            self._radio.release(self._peer)
            self._ended.set()

    async def _disconnect(self, client: BleakClient) -> None:
        try:
            async with asyncio.timeout(DISCONNECT_DEADLINE_S):
                await client.disconnect()
        except (*FAULTS, TimeoutError) as error:
            log.debug("= disconnecting failed peer=%s error=%s", self._peer, error)

    def _disconnected(self, client: BleakClient) -> None:
        if client is self._client:
            log.info("= connection lost peer=%s", self._peer)
            self._client = self._session = None
            self._radio.lost(self._peer)
            self._radio.release(self._peer)
            self._ended.set()

    def _leave(self) -> None:
        """Others wait for the connection."""
        self._spawn(self._leave_now())

    async def _leave_now(self) -> None:
        async with self._lock:
            if self._radio.leaving(self._peer):
                self.gave_way = True
                await self._drop()

    def _unused(self) -> None:
        self._lingering = None
        self._spawn(self._close_unused())

    async def _close_unused(self) -> None:
        if self._lock.locked():
            return  # it is used again
        async with self._lock:
            await self._drop()

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _honour_cancellation() -> None:
    """End a task whose cancellation a library swallowed, as asyncio.wait_for of Python 3.11 does when its future is done."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
