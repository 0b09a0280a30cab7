"""A virtual radio: Bluetooth peripherals and an adapter, in one process, with bumble's real HCI, L2CAP, ATT, GATT and SMP.

An `Air` is what they share. `Adapter` is the end that bleak works on: its `backends` are subclasses of bleak's abstract
backends, so that bleak's public API runs unchanged over bumble's host, with `BleakClient(backend=…)` and
`BleakScanner(backend=…)`. `Station` is a peripheral with a controller of its own; a power cut takes it off the air.

bumble's virtual controller falls short of a real one in two ways that matter here, and is helped: it completes a cancelled
connection attempt, and can go off the air in the middle of a connection.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from bleak.args import SizedBuffer
from bleak.assigned_numbers import gatt_char_props_to_strs
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient, NotifyCallback
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import (
    BleakBluetoothNotAvailableError,
    BleakBluetoothNotAvailableReason,
    BleakError,
    BleakGATTProtocolError,
)
from bleak.uuids import normalize_uuid_str
from bumble import core, hci, ll
from bumble.att import ATT_Error
from bumble.controller import Connection as ControllerConnection
from bumble.controller import Controller
from bumble.core import AdvertisingData
from bumble.device import Advertisement, Connection, Device, Peer
from bumble.host import Host
from bumble.link import LocalLink
from bumble.transport.common import AsyncPipeSink

from mappers.ble_radio import Backends

T = TypeVar("T")

ADVERTISING_MS = 20.0
"""Between advertisements: as often as the specification allows."""


class Air:
    """The medium that virtual controllers share. Addresses are given in turn."""

    def __init__(self) -> None:
        self.link = LocalLink()  # type: ignore[no-untyped-call]
        self._stations = 0

    async def device(self, name: str) -> "tuple[Device, StationController]":
        """A bumble device on a controller of its own, switched on."""
        self._stations += 1
        controller = StationController(name, link=self.link)
        address = hci.Address(f"F0:F1:F2:F3:00:{self._stations:02X}")
        device = Device(name=name, address=address, host=Host(controller, AsyncPipeSink(controller)))
        await device.power_on()
        return device, controller


class StationController(Controller):
    """A controller that can be switched off, and that completes cancelled connection attempts."""

    deaf = False
    """Nothing that its peers send reaches it, yet it stays connected."""

    def on_hci_le_create_connection_cancel_command(
        self, _command: hci.HCI_LE_Create_Connection_Cancel_Command
    ) -> hci.HCI_StatusReturnParameters:
        """Core Specification, Vol 4, Part E, 7.8.13: the cancelled attempt ends in an event with status 0x02."""
        pending, self.pending_le_connection = self.pending_le_connection, None
        if pending is None:
            return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.COMMAND_DISALLOWED_ERROR)
        asyncio.get_running_loop().call_soon(self._cancelled, pending.peer_address)
        return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.SUCCESS)

    def send_advertising_pdu(self, packet: ll.AdvertisingPdu) -> None:
        """Advertise, unless off."""
        if self in self.link.controllers:
            super().send_advertising_pdu(packet)

    def on_link_acl_data(self, sender_address: hci.Address, transport: core.PhysicalTransport, data: bytes) -> None:
        """Hear a packet, unless deaf."""
        if not self.deaf:
            super().on_link_acl_data(sender_address, transport, data)

    def off(self) -> None:
        """Off the air at once, as without power: its peers notice by their supervision timeout, which is over at once."""
        self.link.remove_controller(self)
        for connection in list(self.le_connections.values()):
            far = self._far_end(connection)
            self.on_le_disconnected(connection, hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR)
            if far is not None:
                far[0].on_le_disconnected(far[1], hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR)

    def on(self) -> None:
        """On the air again."""
        self.link.add_controller(self)

    def on_ll_control_pdu(self, sender_address: hci.Address, packet: ll.ControlPdu) -> None:
        """A packet of the link layer, unless its connection ended meanwhile."""
        if sender_address in self.le_connections:
            super().on_ll_control_pdu(sender_address, packet)

    def _far_end(self, connection: ControllerConnection) -> tuple[Controller, ControllerConnection] | None:
        for controller in self.link.controllers:
            for far in controller.le_connections.values():
                if far.self_address == connection.peer_address and far.peer_address == connection.self_address:
                    return controller, far
        return None

    def _cancelled(self, peer: hci.Address) -> None:
        self.send_hci_packet(
            hci.HCI_LE_Connection_Complete_Event(
                status=hci.HCI_ErrorCode.UNKNOWN_CONNECTION_IDENTIFIER_ERROR,
                connection_handle=0,
                role=hci.Role.CENTRAL,
                peer_address_type=peer.address_type,
                peer_address=peer,
                connection_interval=0,
                peripheral_latency=0,
                supervision_timeout=0,
                central_clock_accuracy=0,
            )
        )


class Adapter:
    """The central's end: what the operating system's Bluetooth is to bleak."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.powered = True
        self.connections = 0
        """How many are open now."""
        self.most_connections = 0
        """How many were open at once."""
        self.on_power: Callable[[bool], None] | None = None
        """Told when it is switched on or off."""
        self._scanners = 0
        client = type("AirClient", (_Client,), {"adapter": self})
        scanner = type("AirScanner", (_Scanner,), {"adapter": self})
        self.backends = Backends(client=client, scanner=scanner)

    @classmethod
    async def on(cls, air: Air) -> "Adapter":
        """A new one on the air."""
        device, _ = await air.device("adapter")
        return cls(device)

    async def power(self, on: bool) -> None:
        """Switch it on or off, as a user does in the system's settings."""
        self.powered = on
        if self.on_power is not None:
            self.on_power(on)
        if not on:
            await self._scanning(False)
            for connection in list(self.device.connections.values()):
                await connection.disconnect()
        elif self._scanners:
            await self._scanning(True)

    async def scan(self, heard: Callable[[Advertisement], None]) -> Callable[[], Awaitable[None]]:
        """Have advertisements told until what is returned is called."""
        self.check()
        self.device.on("advertisement", heard)
        self._scanners += 1
        if self._scanners == 1:
            await self._scanning(True)

        async def stop() -> None:
            self.device.remove_listener("advertisement", heard)
            self._scanners -= 1
            if not self._scanners and self.powered:
                await self._scanning(False)

        return stop

    def check(self) -> None:
        """Raise what bleak raises when Bluetooth is switched off."""
        if not self.powered:
            raise BleakBluetoothNotAvailableError(
                "No powered Bluetooth adapters found.", BleakBluetoothNotAvailableReason.POWERED_OFF
            )

    def count(self, change: int) -> None:
        """A connection was opened or closed."""
        self.connections += change
        self.most_connections = max(self.most_connections, self.connections)

    async def _scanning(self, on: bool) -> None:
        await (self.device.start_scanning(filter_duplicates=False) if on else self.device.stop_scanning())


class _Scanner(BaseBleakScanner):
    """bleak's scanner on an adapter."""

    adapter: Adapter

    def __init__(
        self,
        detection_callback: Callable[[BLEDevice, AdvertisementData], None] | None,
        service_uuids: list[str] | None,
        scanning_mode: str,
        **_platforms: Any,
    ) -> None:
        super().__init__(detection_callback, service_uuids)
        self._stop: Callable[[], Awaitable[None]] | None = None

    async def start(self) -> None:
        """Start scanning."""
        self.seen_devices = {}
        self._stop = await self.adapter.scan(self._advertised)

    async def stop(self) -> None:
        """Stop scanning."""
        stop, self._stop = self._stop, None
        if stop is not None:
            await stop()

    def _advertised(self, found: Advertisement) -> None:
        content = found.data
        services = [
            _uuid(one)
            for kind in (
                AdvertisingData.COMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS,
                AdvertisingData.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS,
            )
            for some in content.get_all(kind)
            for one in some
        ]
        if not self.is_allowed_uuid(services):
            return
        data = AdvertisementData(
            local_name=content.get(AdvertisingData.COMPLETE_LOCAL_NAME),
            manufacturer_data=dict(content.get_all(AdvertisingData.MANUFACTURER_SPECIFIC_DATA)),
            service_data={
                _uuid(uuid): value for uuid, value in content.get_all(AdvertisingData.SERVICE_DATA_16_BIT_UUID)
            },
            service_uuids=services,
            tx_power=None,
            rssi=found.rssi,
            platform_data=(),
        )
        address = found.address.to_string(False)
        device = self.create_or_update_device(address, address, data.local_name, found.address, data)
        self.call_detection_callbacks(device, data)


class _Client(BaseBleakClient):
    """bleak's client on an adapter."""

    adapter: Adapter

    def __init__(self, address_or_ble_device: BLEDevice | str, **keywords: Any) -> None:
        super().__init__(
            address_or_ble_device,
            disconnected_callback=keywords["disconnected_callback"],
            timeout=keywords["timeout"],
        )
        self._connection: Connection | None = None
        self._peer: Peer | None = None

    @property
    def name(self) -> str:
        """The address: nothing else is known."""
        return self.address

    @property
    def mtu_size(self) -> int:
        """What was agreed on."""
        assert self._connection is not None
        return int(self._connection.att_mtu)

    @property
    def is_connected(self) -> bool:
        """Whether the connection stands."""
        return self._connection is not None

    async def connect(self, pair: bool, **_keywords: Any) -> None:
        """Connect, pair if asked to, and discover services."""
        self.adapter.check()
        device = self.adapter.device
        try:
            connection = await device.connect(self.address, timeout=None)
        except asyncio.CancelledError:
            with contextlib.suppress(core.BaseBumbleError):  # it may just have been made
                await device.send_sync_command(hci.HCI_LE_Create_Connection_Cancel_Command())
            raise
        except core.BaseBumbleError as error:
            raise BleakError(str(error)) from error
        self._connection = connection
        self.adapter.count(1)
        connection.on("disconnection", self._disconnected)
        if pair:
            await self.pair()
        self._peer = Peer(connection)
        await self._ask(self._peer.discover_all())  # type: ignore[no-untyped-call]
        self.services = self._collection(self._peer)

    async def disconnect(self) -> None:
        """Close the connection."""
        connection = self._connection
        if connection is not None:
            await self._ask(connection.disconnect())

    async def pair(self, *_args: Any, **_keywords: Any) -> None:
        """Bond, without anybody being asked."""
        assert self._connection is not None
        await self._ask(self._connection.pair())

    async def unpair(self) -> None:
        """Nothing is remembered."""

    async def read_gatt_char(
        self, characteristic: BleakGATTCharacteristic, *, use_cached: bool = False, **_keywords: Any
    ) -> bytearray:
        """Read a characteristic."""
        return bytearray(await self._ask(self._gatt().read_value(characteristic.handle)))

    async def read_gatt_descriptor(
        self, descriptor: BleakGATTDescriptor, *, use_cached: bool = False, **_keywords: Any
    ) -> bytearray:
        """Read a descriptor."""
        return bytearray(await self._ask(self._gatt().read_value(descriptor.handle)))

    async def write_gatt_char(self, characteristic: BleakGATTCharacteristic, data: SizedBuffer, response: bool) -> None:
        """Write a characteristic."""
        await self._ask(self._gatt().write_value(characteristic.handle, bytes(data), with_response=response))

    async def write_gatt_descriptor(self, descriptor: BleakGATTDescriptor, data: SizedBuffer) -> None:
        """Write a descriptor."""
        await self._ask(self._gatt().write_value(descriptor.handle, bytes(data), with_response=True))

    async def start_notify(
        self, characteristic: BleakGATTCharacteristic, callback: NotifyCallback, **_keywords: Any
    ) -> None:
        """Subscribe to notifications."""
        await self._ask(self._gatt().subscribe(characteristic.obj, lambda value: callback(bytearray(value))))

    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        """Unsubscribe."""
        await self._ask(self._gatt().unsubscribe(characteristic.obj))

    def _gatt(self) -> Peer:
        if self._peer is None or self._connection is None:
            raise BleakError("Not connected")
        return self._peer

    async def _ask(self, answer: Awaitable[T]) -> T:
        """An answer of bumble, whose errors become bleak's."""
        try:
            return await answer
        except ATT_Error as error:
            raise BleakGATTProtocolError(error.error_code) from error
        except core.BaseBumbleError as error:
            raise BleakError(str(error)) from error
        except asyncio.CancelledError as error:  # bumble cancels what waits when the connection is lost
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise BleakError("disconnected") from error

    def _disconnected(self, _reason: int) -> None:
        if self._connection is not None:
            self._connection = self._peer = None
            self.adapter.count(-1)
            if self._disconnected_callback is not None:
                self._disconnected_callback()

    def _collection(self, peer: Peer) -> BleakGATTServiceCollection:
        found = BleakGATTServiceCollection()
        for service in peer.services:
            home = BleakGATTService(service, service.handle, _uuid(service.uuid))
            found.add_service(home)
            for one in service.characteristics:
                properties = sorted(gatt_char_props_to_strs(int(one.properties)))
                characteristic = BleakGATTCharacteristic(
                    one, one.handle, _uuid(one.uuid), properties, lambda: self.mtu_size - 3, home
                )
                found.add_characteristic(characteristic)
                for each in one.descriptors:
                    found.add_descriptor(BleakGATTDescriptor(each, each.handle, _uuid(each.type), characteristic))
        return found


def _uuid(uuid: core.UUID) -> str:
    return normalize_uuid_str(uuid.to_hex_str("-"))
