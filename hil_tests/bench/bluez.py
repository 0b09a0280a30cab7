"""What BlueZ is to its clients, as far as bleak asks: the service `org.bluez` on a private D-Bus, over the virtual radio.

bleak's own backend for Linux runs against it unmodified. Objects and properties are those of BlueZ's documentation
(doc/org.bluez.*.rst); errors are worded as BlueZ words them. The D-Bus daemon is the system's program, on a socket of its own.
"""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from bleak.backends.bluezdbus import manager
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.exc import BleakError, BleakGATTProtocolError
from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus
from msgspec import Struct

from hedgerow.children import die_with_parent

from .ble_radio import Adapter

DAEMON_S = 10.0
"""For the D-Bus daemon to start."""
HCI = "/org/bluez/hci0"

_DAEMON = "org.freedesktop.DBus"
_NAMES_CHANGED = f"type='signal',sender='{_DAEMON}',member='NameOwnerChanged'"
_OBJECTS = "org.freedesktop.DBus.ObjectManager"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_ADAPTER = "org.bluez.Adapter1"
_DEVICE = "org.bluez.Device1"
_SERVICE = "org.bluez.GattService1"
_CHARACTERISTIC = "org.bluez.GattCharacteristic1"
_DESCRIPTOR = "org.bluez.GattDescriptor1"

Properties = dict[str, Variant]


class _Refusal(Exception):
    """An answer that is a D-Bus error: its name after `org.bluez.Error.`, and its text."""


@contextlib.asynccontextmanager
async def dbus_daemon(socket: Path) -> AsyncIterator[str]:
    """The address of a D-Bus daemon of one's own, which ends with this process. Raises FileNotFoundError where the program is
    missing."""
    program = shutil.which("dbus-daemon")
    if program is None:
        raise FileNotFoundError("dbus-daemon is not installed")
    address = f"unix:path={socket}"
    daemon = await asyncio.create_subprocess_exec(
        program, "--session", "--nofork", "--nopidfile", "--print-address=1", f"--address={address}",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, preexec_fn=die_with_parent(),
    )  # fmt: skip
    try:
        assert daemon.stdout is not None
        async with asyncio.timeout(DAEMON_S):
            await daemon.stdout.readline()  # it serves when it says where
        yield address
    finally:
        daemon.terminate()
        await daemon.wait()


@contextlib.asynccontextmanager
async def bluez(adapter: Adapter, address: str) -> AsyncIterator[None]:
    """Serve `org.bluez` at a D-Bus address, and have this process's system bus be that one."""
    service = _Bluez(adapter)
    before = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS")
    os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = address
    try:
        await service.open(address)
        yield
    finally:
        # bleak keeps one D-Bus connection as long as the event loop, and takes its end for an accident.
        kept = manager._global_instances.pop(asyncio.get_running_loop(), None)
        if kept is not None and kept._bus is not None:
            kept._bus.disconnect()
            await kept._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
        await service.close()
        if before is None:
            del os.environ["DBUS_SYSTEM_BUS_ADDRESS"]
        else:
            os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = before


class _User(Struct):
    """What a client of the service holds; it ends with the client."""

    scans: int = 0
    connected: set[str] = set()


class _Bluez:
    """The objects, and what their methods do."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self._bus: MessageBus | None = None
        self._scanner: BaseBleakScanner | None = None
        self._scans = 0
        self._clients: dict[str, BaseBleakClient] = {}
        self._devices: dict[str, BLEDevice] = {}
        self._characteristics: dict[str, tuple[BaseBleakClient, BleakGATTCharacteristic]] = {}
        self._descriptors: dict[str, tuple[BaseBleakClient, Any]] = {}
        self._attempts: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._users: dict[str, _User] = {}
        self._objects: dict[str, dict[str, Properties]] = {
            HCI: {
                _ADAPTER: {
                    "Address": Variant("s", "F0:F1:F2:F3:00:01"),
                    "Name": Variant("s", "hci0"),
                    "Alias": Variant("s", "hci0"),
                    "Powered": Variant("b", True),
                    "Discovering": Variant("b", False),
                    "Roles": Variant("as", ["central"]),
                    "UUIDs": Variant("as", []),
                }
            }
        }

    async def open(self, address: str) -> None:
        self._bus = await MessageBus(bus_address=address).connect()
        self._bus.add_message_handler(self._called)
        await self._bus.call(Message(destination=_DAEMON, path="/org/freedesktop/DBus", interface=_DAEMON,
                                     member="AddMatch", signature="s", body=[_NAMES_CHANGED]))  # fmt: skip
        await self._bus.request_name("org.bluez")
        self._adapter.on_power = self._powered

    async def close(self) -> None:
        self._adapter.on_power = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._bus is not None:
            self._bus.disconnect()
            await self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]

    def _powered(self, on: bool) -> None:
        self._change(HCI, _ADAPTER, {"Powered": Variant("b", on)})

    def _called(self, call: Message) -> bool:
        if call.message_type is MessageType.SIGNAL and call.member == "NameOwnerChanged" and not call.body[2]:
            self._start(self._gone(call.body[0]))
        if call.message_type is not MessageType.METHOD_CALL or not str(call.path).startswith(("/org/bluez", "/")):
            return False
        methods: dict[tuple[str, str], Callable[..., Awaitable[tuple[str, list[Any]]]]] = {
            (_OBJECTS, "GetManagedObjects"): self._managed,
            (_ADAPTER, "SetDiscoveryFilter"): self._nothing,
            (_ADAPTER, "StartDiscovery"): self._start_discovery,
            (_ADAPTER, "StopDiscovery"): self._stop_discovery,
            (_PROPERTIES, "Set"): self._nothing,
            (_DEVICE, "Connect"): self._connect,
            (_DEVICE, "Pair"): self._pair,
            (_DEVICE, "Disconnect"): self._disconnect,
            (_CHARACTERISTIC, "ReadValue"): self._read,
            (_CHARACTERISTIC, "WriteValue"): self._write,
            (_CHARACTERISTIC, "StartNotify"): self._start_notify,
            (_CHARACTERISTIC, "StopNotify"): self._stop_notify,
            (_DESCRIPTOR, "ReadValue"): self._read_descriptor,
        }
        method = methods.get((str(call.interface), str(call.member)))
        if method is None:
            return False
        self._start(self._answer(call, method))
        return True

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _used(self, call: Message) -> None:
        """Note what a client holds from now on."""
        user = self._users.setdefault(str(call.sender), _User())
        match call.member:
            case "StartDiscovery":
                user.scans += 1
            case "StopDiscovery":
                user.scans -= 1
            case "Connect" | "Pair":
                user.connected.add(str(call.path))
            case "Disconnect":
                user.connected.discard(str(call.path))

    async def _gone(self, name: str) -> None:
        """As BlueZ does: what a client held that is gone is let go, unless another holds it too."""
        user = self._users.pop(name, _User())
        with contextlib.suppress(_Refusal, BleakError):
            for _ in range(user.scans):
                await self._stop_discovery(HCI)
            for path in user.connected.difference(*(other.connected for other in self._users.values())):
                await self._disconnect(path)

    async def _answer(self, call: Message, method: Callable[..., Awaitable[tuple[str, list[Any]]]]) -> None:
        connects = call.member in ("Connect", "Pair")
        try:
            if connects:  # whose client goes meanwhile is not to go on
                self._used(call)
            signature, body = await method(call.path, *call.body)
            if not connects:
                self._used(call)
            answer = Message.new_method_return(call, signature, body)
        except _Refusal as error:
            answer = Message.new_error(call, f"org.bluez.Error.{error.args[0]}", error.args[1])
        except BleakGATTProtocolError as error:
            answer = Message.new_error(call, *_att(error))
        except BleakError as error:
            answer = Message.new_error(call, "org.bluez.Error.Failed", str(error))
        if self._bus is not None and self._bus.connected:
            await self._bus.send(answer)

    async def _managed(self, _path: str) -> tuple[str, list[Any]]:
        return "a{oa{sa{sv}}}", [self._objects]

    async def _nothing(self, _path: str, *_arguments: Any) -> tuple[str, list[Any]]:
        return "", []

    async def _start_discovery(self, _path: str) -> tuple[str, list[Any]]:
        if not self._adapter.powered:
            raise _Refusal("NotReady", "Resource Not Ready")
        self._scans += 1
        if self._scanner is None:
            assert self._adapter.backends.scanner is not None
            self._scanner = self._adapter.backends.scanner(self._advertised, None, "active")  # type: ignore[call-arg]
            await self._scanner.start()
        return "", []

    async def _stop_discovery(self, _path: str) -> tuple[str, list[Any]]:
        if not self._adapter.powered:
            raise _Refusal("NotReady", "Resource Not Ready")
        self._scans -= 1
        scanner = self._scanner
        if scanner is not None and not self._scans:
            self._scanner = None
            await scanner.stop()
        return "", []

    def _advertised(self, device: BLEDevice, data: AdvertisementData) -> None:
        path = f"{HCI}/dev_{device.address.replace(':', '_')}"
        news = {
            "RSSI": Variant("n", data.rssi),
            "UUIDs": Variant("as", data.service_uuids),
            "ManufacturerData": Variant("a{qv}", {n: Variant("ay", v) for n, v in data.manufacturer_data.items()}),
            "ServiceData": Variant("a{sv}", {n: Variant("ay", v) for n, v in data.service_data.items()}),
        }
        if data.local_name:
            news |= {"Name": Variant("s", data.local_name), "Alias": Variant("s", data.local_name)}
        if path in self._objects:
            self._change(path, _DEVICE, news)
            return
        self._devices[path] = device
        self._add(
            path,
            _DEVICE,
            {
                "Address": Variant("s", device.address),
                "AddressType": Variant("s", "random"),
                "Alias": Variant("s", device.address.replace(":", "-")),
                "Adapter": Variant("o", HCI),
                "Paired": Variant("b", False),
                "Connected": Variant("b", False),
                "ServicesResolved": Variant("b", False),
                **news,
            },
        )

    async def _connect(self, path: str, *, pair: bool = False) -> tuple[str, list[Any]]:
        if path in self._clients:
            return "", []
        if not self._adapter.powered:
            raise _Refusal("NotReady", "Resource Not Ready")
        assert self._adapter.backends.client is not None
        client = self._adapter.backends.client(
            self._devices[path], disconnected_callback=lambda: self._disconnected(path), timeout=30.0
        )
        attempt = self._attempts[path] = asyncio.create_task(client.connect(pair))
        try:
            await attempt
        except asyncio.CancelledError as error:
            if not attempt.cancelled():
                raise
            raise _Refusal("Failed", "le-connection-abort-by-local-host") from error
        finally:
            del self._attempts[path]
        self._clients[path] = client
        self._change(
            path, _DEVICE, {"Connected": Variant("b", True), **({"Paired": Variant("b", True)} if pair else {})}
        )
        self._resolve(path, client)
        self._change(path, _DEVICE, {"ServicesResolved": Variant("b", True)})
        return "", []

    async def _pair(self, path: str) -> tuple[str, list[Any]]:
        return await self._connect(path, pair=True)

    async def _disconnect(self, path: str) -> tuple[str, list[Any]]:
        attempt = self._attempts.get(path)
        if attempt is not None:
            attempt.cancel()  # "Disconnect" ends an attempt to connect, too
            await asyncio.wait([attempt])
        client = self._clients.get(path)
        if client is not None:
            await client.disconnect()
        return "", []

    def _disconnected(self, path: str) -> None:
        self._clients.pop(path, None)
        self._change(path, _DEVICE, {"Connected": Variant("b", False), "ServicesResolved": Variant("b", False)})
        for inner in [one for one in self._objects if one.startswith(path + "/")]:
            (interface,) = self._objects.pop(inner)
            self._characteristics.pop(inner, None)
            self._descriptors.pop(inner, None)
            self._signal("/", _OBJECTS, "InterfacesRemoved", "oas", [inner, [interface]])

    def _resolve(self, path: str, client: BaseBleakClient) -> None:
        """Add the objects of a peripheral's services."""
        assert client.services is not None
        for service in client.services:
            home = f"{path}/service{service.handle:04x}"
            self._add(
                home,
                _SERVICE,
                {"UUID": Variant("s", service.uuid), "Primary": Variant("b", True), "Device": Variant("o", path)},
            )
            for one in service.characteristics:
                at = f"{home}/char{one.handle - 1:04x}"
                self._characteristics[at] = (client, one)
                self._add(
                    at,
                    _CHARACTERISTIC,
                    {
                        "UUID": Variant("s", one.uuid),
                        "Service": Variant("o", home),
                        "Flags": Variant("as", list(one.properties)),
                        "MTU": Variant("q", client.mtu_size),
                        "Value": Variant("ay", b""),
                    },
                )
                for each in one.descriptors:
                    self._descriptors[f"{at}/desc{each.handle:04x}"] = (client, each)
                    self._add(
                        f"{at}/desc{each.handle:04x}",
                        _DESCRIPTOR,
                        {
                            "UUID": Variant("s", each.uuid),
                            "Characteristic": Variant("o", at),
                            "Value": Variant("ay", b""),
                        },
                    )

    async def _read(self, path: str, _options: Any) -> tuple[str, list[Any]]:
        client, one = self._known(self._characteristics, path)
        return "ay", [bytes(await client.read_gatt_char(one))]

    async def _read_descriptor(self, path: str, _options: Any) -> tuple[str, list[Any]]:
        client, one = self._known(self._descriptors, path)
        return "ay", [bytes(await client.read_gatt_descriptor(one))]

    async def _write(self, path: str, value: bytes, options: dict[str, Variant]) -> tuple[str, list[Any]]:
        client, one = self._known(self._characteristics, path)
        await client.write_gatt_char(one, value, options["type"].value == "request")
        return "", []

    async def _start_notify(self, path: str) -> tuple[str, list[Any]]:
        client, one = self._known(self._characteristics, path)
        await client.start_notify(
            one, lambda value: self._change(path, _CHARACTERISTIC, {"Value": Variant("ay", bytes(value))})
        )
        return "", []

    async def _stop_notify(self, path: str) -> tuple[str, list[Any]]:
        client, one = self._known(self._characteristics, path)
        await client.stop_notify(one)
        return "", []

    def _known(self, where: dict[str, tuple[BaseBleakClient, Any]], path: str) -> tuple[BaseBleakClient, Any]:
        if path not in where:
            raise _Refusal("Failed", "Not connected")
        return where[path]

    def _add(self, path: str, interface: str, properties: Properties) -> None:
        self._objects[path] = {interface: properties}
        self._signal("/", _OBJECTS, "InterfacesAdded", "oa{sa{sv}}", [path, {interface: properties}])

    def _change(self, path: str, interface: str, news: Properties) -> None:
        if path in self._objects:
            self._objects[path][interface] |= news
            self._signal(path, _PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, news, []])

    def _signal(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> None:
        if self._bus is not None and self._bus.connected:
            self._bus.send(Message.new_signal(path, interface, member, signature, body))


def _att(error: BleakGATTProtocolError) -> tuple[str, str]:
    """A GATT error as BlueZ tells it: `create_gatt_dbus_error` in its source, src/gatt-client.c."""
    known = {
        0x02: ("NotPermitted", "Read not permitted"),
        0x03: ("NotPermitted", "Write not permitted"),
        0x05: ("NotPermitted", "Not paired"),
        0x0C: ("NotPermitted", "Not paired"),
        0x0F: ("NotPermitted", "Not paired"),
    }
    name, text = known.get(int(error.code), ("Failed", f"Operation failed with ATT error: 0x{int(error.code):02x}"))
    return f"org.bluez.Error.{name}", text
