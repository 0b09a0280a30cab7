"""Emulated Bluetooth instruments: a thermometer to connect to, and a BTHome beacon that only advertises.

Both run on a bumble device, which may be a virtual one (`ble_radio.Air`) or one on a real adapter. The faults, such as a power
cut, need a virtual one.
"""

import struct
from typing import Any

from bumble.att import Attribute, AttributeValue
from bumble.core import UUID, AdvertisingData
from bumble.device import Connection, Device
from bumble.gatt import Characteristic, Descriptor, Service

from .ble_radio import ADVERTISING_MS, Air, StationController

TEMPERATURE = "2A6E"
INTERVAL = "2A21"
BATTERY = "2A19"
LABEL = "7e570001-8d7c-4b5a-9f43-2f1c8a3b5d10"
"""A text, written without response only."""
MODE = "7e570002-8d7c-4b5a-9f43-2f1c8a3b5d10"
"""A byte that stands for a word."""
SECRET = "7e570003-8d7c-4b5a-9f43-2f1c8a3b5d10"
"""Readable over an encrypted connection only."""
SERVICE = "181A"

_READ = Characteristic.Properties.READ
_WRITE = Characteristic.Properties.WRITE
_QUIET_WRITE = Characteristic.Properties.WRITE_WITHOUT_RESPONSE
_NOTIFY = Characteristic.Properties.NOTIFY
_OPEN = Attribute.Permissions.READABLE | Attribute.Permissions.WRITEABLE


class Instrument:
    """A bumble device that advertises itself."""

    def __init__(self, device: Device, controller: StationController | None = None) -> None:
        self.device = device
        self._controller = controller

    @property
    def mac(self) -> str:
        """Its address."""
        return str(self.device.random_address.to_string(False))

    async def advertise(self, *content: tuple[AdvertisingData.Type, bytes]) -> None:
        """Advertise from now on."""
        await self.device.start_advertising(
            advertising_data=bytes(AdvertisingData(list(content))),
            auto_restart=True,
            advertising_interval_min=ADVERTISING_MS,
            advertising_interval_max=ADVERTISING_MS,
        )

    def deaf(self, deaf: bool) -> None:
        """Stay connected, and answer nothing."""
        assert self._controller is not None, "a fault of virtual instruments"
        self._controller.deaf = deaf

    def off(self) -> None:
        """Cut the power."""
        assert self._controller is not None, "a fault of virtual instruments"
        self._controller.off()

    def on(self) -> None:
        """Give it power again; what it held is still there."""
        assert self._controller is not None, "a fault of virtual instruments"
        self._controller.on()


class Thermometer(Instrument):
    """Environmental Sensing (0x181A) with temperature, read and notified; a battery; and things to write."""

    def __init__(self, device: Device, controller: StationController | None = None, *, describes: bool = True) -> None:
        """`describes`: the temperature has a Characteristic Presentation Format: sint16, 10^-2, degrees Celsius."""
        super().__init__(device, controller)
        self.temperature = b"\0\0"
        self.interval = struct.pack("<H", 60)
        self.battery = 87
        self.label = b"cellar"
        self.mode = b"\x00"
        self.reads = 0
        """How often the temperature was read."""
        self.connects = 0
        form = Descriptor("2904", Attribute.Permissions.READABLE, struct.pack("<BbHBH", 0x0E, -2, 0x272F, 1, 0))
        self._temperature: Characteristic[bytes] = Characteristic(
            TEMPERATURE, _READ | _NOTIFY, Attribute.Permissions.READABLE, AttributeValue(read=self._read),
            [form] if describes else [],
        )  # fmt: skip
        device.add_services(
            [
                Service(SERVICE, [self._temperature, self._held(INTERVAL, "interval", _READ | _WRITE | _NOTIFY)]),
                Service("180F", [self._held(BATTERY, "battery", _READ)]),
                Service(
                    UUID("7e570000-8d7c-4b5a-9f43-2f1c8a3b5d10"),
                    [
                        self._held(LABEL, "label", _READ | _QUIET_WRITE),
                        self._held(MODE, "mode", _READ | _WRITE),
                        Characteristic(
                            SECRET, _READ, Attribute.Permissions.READABLE | Attribute.Permissions.READ_REQUIRES_ENCRYPTION,
                            b"\x2a",
                        ),
                    ],
                ),
            ]
        )  # fmt: skip
        device.on("connection", self._connected)

    @classmethod
    async def on_air(cls, air: Air, name: str = "thermometer", celsius: float = 21.5, **keywords: Any) -> "Thermometer":
        """A virtual one that advertises."""
        one = cls(*await air.device(name), **keywords)
        one.set(celsius)
        await one.start(name)
        return one

    async def start(self, name: str) -> None:
        """Advertise a name and the service."""
        await self.advertise(
            (AdvertisingData.Type.FLAGS, bytes([0x06])),
            (AdvertisingData.Type.COMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS, bytes.fromhex("1a18")),
            (AdvertisingData.Type.COMPLETE_LOCAL_NAME, name.encode()),
        )

    def set(self, celsius: float) -> None:
        """Let the temperature be so much, and tell nobody."""
        self.temperature = struct.pack("<h", round(celsius * 100))

    async def notify(self, celsius: float) -> None:
        """Let the temperature be so much, and tell the subscribers."""
        self.set(celsius)
        await self.notify_bytes(self.temperature)

    async def notify_bytes(self, content: bytes) -> None:
        """Notify whatever bytes as the temperature."""
        await self.device.notify_subscribers(self._temperature, content)

    def _read(self, _connection: Connection) -> bytes:
        self.reads += 1
        return self.temperature

    def _connected(self, _connection: Connection) -> None:
        self.connects += 1

    def _held(self, uuid: str, name: str, properties: Characteristic.Properties) -> Characteristic[bytes]:
        def read(_connection: Connection) -> bytes:
            held = getattr(self, name)
            return bytes([held]) if isinstance(held, int) else bytes(held)

        def write(_connection: Connection, content: bytes) -> None:
            setattr(self, name, bytes(content))

        return Characteristic(uuid, properties, _OPEN, AttributeValue(read=read, write=write))


class Beacon(Instrument):
    """A BTHome v2 beacon."""

    def __init__(self, device: Device, controller: StationController | None = None) -> None:
        super().__init__(device, controller)
        self._packet = 0

    @classmethod
    async def on_air(cls, air: Air, name: str = "beacon") -> "Beacon":
        """A virtual one; it is silent until it is told to say something."""
        return cls(*await air.device(name))

    async def say(self, objects: str, *, flags: int = 0x40, number: bool = True, name: str = "") -> None:
        """Advertise objects (hexadecimal) as a new packet, again and again; with a name, if it has one."""
        self._packet = (self._packet + 1) & 0xFF
        head = bytes([flags]) + (bytes([0x00, self._packet]) if number else b"")
        await self.say_bytes(head + bytes.fromhex(objects), name=name)

    async def say_bytes(self, content: bytes, *, name: str = "") -> None:
        """Advertise whatever bytes as BTHome's service data."""
        await self.advertise(
            (AdvertisingData.Type.FLAGS, bytes([0x06])),
            *([(AdvertisingData.Type.COMPLETE_LOCAL_NAME, name.encode())] if name else []),
            (AdvertisingData.Type.SERVICE_DATA_16_BIT_UUID, b"\xd2\xfc" + content),
        )

    async def say_as_manufacturer(self, company: int, content: bytes) -> None:
        """Advertise manufacturer data instead."""
        await self.advertise(
            (AdvertisingData.Type.FLAGS, bytes([0x06])),
            (AdvertisingData.Type.MANUFACTURER_SPECIFIC_DATA, struct.pack("<H", company) + content),
        )
