"""The Bluetooth part of a Device: which peripheral, which of its values, in what form. Pure; `ble.py` shows the YAML."""

import re
from typing import Any

from msgspec import Struct, field

from edgewire.config import nearest
from edgewire.device import FLOATS, INTEGER, ModelProperty

from . import bthome
from .ble_kubeedge import Converter, Words, written_bytes
from .ble_values import NUMERIC, Codec, Format, packed, type_name, uuid_text
from .driver import BadAnswer, DefinitionError, Value, VisitorKeys

READ = "read"
NOTIFY = "notify"
ADVERTISEMENT = "advertisement"
MODES = (READ, NOTIFY, ADVERTISEMENT)
"""How a value comes: asked for over a connection, sent over one, or told everybody without one."""

_MAC = re.compile(r"[0-9A-F]{2}(:[0-9A-F]{2}){5}")


class BleSettings(Struct, frozen=True):
    """What holds for every adapter; `options` in `mapper.yaml`."""

    connections: int = 5
    """Links that an adapter holds at once; cheap ones manage 5 to 7. Further devices take turns."""

    def __post_init__(self) -> None:
        if not 1 <= self.connections <= 100:
            raise ValueError("`connections` must lie between 1 and 100")


class Peer(Struct, frozen=True):
    """A peripheral as one adapter finds it: the bus that its properties share. Text is as advertisements have it."""

    adapter: str
    mac: str
    name: str
    service: str

    def __str__(self) -> str:
        what = self.mac or self.name or self.service
        return f"{self.adapter}/{what}" if self.adapter else what

    def matches(self, address: str, name: str | None, services: list[str]) -> bool:
        """Whether an advertisement is this peripheral's: everything that is asked for must fit."""
        if self.mac and self.mac != address.upper():
            return False
        if self.name and self.name != name:
            return False
        return not self.service or self.service in (service.lower() for service in services)


class Address(Struct, frozen=True, kw_only=True):
    """A Device's `protocol.configData`."""

    mac_address: str = field(default="", name="macAddress")
    """The peripheral's address; on macOS, which hides it, the UUID that the system gives it."""
    name: str = ""
    """The name it advertises, exactly."""
    service_uuid: str = field(default="", name="serviceUUID")
    """A service it advertises."""
    adapter: str = ""
    """`hci0`; empty: the first that is switched on."""
    pair: bool = False
    """Bond before anything is read, where the platform offers it."""
    timeout: int = 10_000
    """Milliseconds the peripheral has to be seen, then to be connected to, then for each answer."""
    linger: int = 10_000
    """Milliseconds that a connection is kept after a read or write; meanwhile another may take its place."""
    dwell: int = 10_000
    """Milliseconds that a peripheral that notifies may keep its connection while others wait for one."""
    silence_s: float = field(default=300.0, name="silenceS")
    """After so many seconds unheard a peripheral that is only listened to is offline; 0: never."""

    def __post_init__(self) -> None:
        if not (self.mac_address or self.name or self.service_uuid):
            raise ValueError("one of `macAddress`, `name` and `serviceUUID` is needed")
        if self.mac_address and not _MAC.fullmatch(_mac(self.mac_address)):
            try:
                uuid_text(self.mac_address, "macAddress")
            except DefinitionError as error:
                raise ValueError(f"`macAddress` {self.mac_address!r} must look like A4:C1:38:00:11:22") from error
        if self.service_uuid:
            _checked_uuid(self.service_uuid, "serviceUUID")
        for key, value, low, high in (
            ("timeout", self.timeout, 100, 120_000),
            ("linger", self.linger, 0, 3_600_000),
            ("dwell", self.dwell, 100, 3_600_000),
            ("silenceS", self.silence_s, 0, 31 * 86400),
        ):
            if not low <= value <= high:
                raise ValueError(f"`{key}` must lie between {low} and {high}")

    @property
    def peer(self) -> Peer:
        """The peripheral."""
        service = uuid_text(self.service_uuid, "serviceUUID") if self.service_uuid else ""
        return Peer(self.adapter, _mac(self.mac_address), self.name, service)

    @property
    def timeout_s(self) -> float:
        """The same as `timeout`."""
        return self.timeout / 1000


class VisitorConfig(VisitorKeys, frozen=True, kw_only=True):
    """A property's `visitors.configData`, beside the keys that every protocol has."""

    characteristic_uuid: str = field(default="", name="characteristicUUID")
    """Which characteristic."""
    service_uuid: str = field(default="", name="serviceUUID")
    """In which service, for a characteristic that occurs in several."""
    mode: str = ""
    """One of `MODES`; empty: `read` with a characteristic, else `advertisement`."""
    manufacturer_id: int | str | None = field(default=None, name="manufacturerId")
    """Whose manufacturer data of an advertisement, a number or 0x0499."""
    service_data: str = field(default="", name="serviceData")
    """Which UUID's service data of an advertisement."""
    bthome: str = ""
    """An object of a BTHome v2 beacon by name."""
    index: int = 1
    """Which of several BTHome objects of that name, counted from 1."""
    type: str = ""
    """What the bytes are; empty: what the device says of itself, or the Bluetooth SIG of the characteristic."""
    exponent: int = 0
    """value = integer * 10 ** exponent; `scale` may say the same."""
    start: int | None = None
    """Where in the bytes the value begins; none: it is all of them, and their number must fit."""
    length: int = 0
    """Bytes of a text within a packet; 0: to its end."""
    byte_order: str = field(default="little", name="byteOrder")
    """little or big."""
    format: str = ""
    """Instead of `type`: all the bytes in the notation of Python's struct, and"""
    number: int = field(default=0, name="field")
    """which of its fields, counted from 0."""
    data_converter: Converter | None = field(default=None, name="dataConverter")
    """KubeEdge's way to make a number of bytes."""
    data_write: dict[str, Any] = field(default_factory=dict, name="dataWrite")
    """KubeEdge's way to write: value -> bytes."""
    response: bool | None = None
    """Whether a write asks for an answer; none: when the characteristic can give one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in ("", *MODES):
            near = nearest(self.mode, list(MODES))
            raise ValueError(
                f"`mode` {self.mode!r} is not known: "
                + (f"did you mean {near}?" if near else f"one of {', '.join(MODES)}")
            )
        if self.byte_order not in ("little", "big"):
            raise ValueError("`byteOrder` must be little or big")
        for key, value, low, high in (
            ("start", self.start or 0, 0, 511),
            ("length", self.length, 0, 512),
            ("exponent", self.exponent, -40, 40),
            ("index", self.index, 1, 50),
        ):
            if not low <= value <= high:
                raise ValueError(f"`{key}` must lie between {low} and {high}")


class Visitor(Struct, frozen=True, eq=False):
    """One value of a peripheral, and how it comes. Compared by identity."""

    unit: Address
    mode: str
    characteristic: str = ""
    service: str = ""
    manufacturer: int | None = None
    service_data: str = ""
    bthome: str = ""
    index: int = 1
    codec: Codec | None = None
    """None: a BTHome object, or bytes whose form the device or the Bluetooth SIG tells."""
    words: dict[str, bytes] = {}
    """`dataWrite`, where `codec` is None."""
    response: bool | None = None
    type: str = "STRING"
    """The model's."""

    @property
    def pushed(self) -> bool:
        """Whether its values come by themselves and need no polling."""
        return self.mode != READ

    @property
    def place(self) -> str:
        """The characteristic, told from others of the same UUID."""
        return f"{self.service}/{self.characteristic}"

    @property
    def event(self) -> bool:
        """Whether its values are what happened, so that a repetition of one must not count."""
        return self.bthome in bthome.EVENTS

    def __str__(self) -> str:
        if self.characteristic:
            return f"characteristic {_short(self.characteristic)}"
        if self.bthome:
            return f"BTHome {self.bthome}"
        if self.service_data:
            return f"service data {_short(self.service_data)}"
        return f"manufacturer data 0x{self.manufacturer or 0:04X}"

    def decode(self, data: bytes, codec: Codec | None = None) -> Value:
        """The value that bytes hold, by the visitor's own codec or the one given. Raises BadAnswer."""
        chosen = self.codec or codec
        if chosen is None:
            raise BadAnswer(f"{self}: the device does not say what its bytes are: name their `type`")
        try:
            value = chosen.decode(data)
        except BadAnswer as error:
            raise BadAnswer(f"{self}: {error}") from error
        if isinstance(value, str | bytes) and (self.type == INTEGER or self.type in FLOATS):
            raise BadAnswer(f"{self}: not a number")
        return value


def make_visitor(unit: Address, config: VisitorConfig, model: ModelProperty) -> Visitor:
    """The visitor of a property. Raises DefinitionError when its keys contradict each other or the model."""
    mode = _mode(config)
    codec = _codec(config, model)
    words = {word: written_bytes(content, word) for word, content in config.data_write.items()}
    if words and codec is not None:
        codec = Words(words, codec)
    if mode == ADVERTISEMENT and words:
        raise DefinitionError("`dataWrite` has no meaning for an advertisement")
    visitor = Visitor(
        unit=unit,
        mode=mode,
        characteristic=_uuid(config.characteristic_uuid, "characteristicUUID"),
        service=_uuid(config.service_uuid, "serviceUUID"),
        manufacturer=_manufacturer(config.manufacturer_id),
        service_data=bthome.SERVICE if config.bthome else _uuid(config.service_data, "serviceData"),
        bthome=_bthome(config, model),
        index=config.index,
        codec=codec,
        words=words,
        response=config.response,
        type=model.type,
    )
    if mode == ADVERTISEMENT and codec is None and not visitor.bthome:
        raise DefinitionError("`type` is missing: what the advertisement's bytes are")
    return visitor


def _mode(config: VisitorConfig) -> str:
    sources = [
        key
        for key, given in (
            ("characteristicUUID", bool(config.characteristic_uuid)),
            ("manufacturerId", config.manufacturer_id is not None),
            ("serviceData", bool(config.service_data)),
            ("bthome", bool(config.bthome)),
        )
        if given
    ]
    if len(sources) != 1:
        wanted = "one of `characteristicUUID`, `manufacturerId`, `serviceData` and `bthome` is needed"
        raise DefinitionError(wanted if not sources else f"`{sources[0]}` and `{sources[1]}` exclude each other")
    connected = sources[0] == "characteristicUUID"
    mode = config.mode or (READ if connected else ADVERTISEMENT)
    if connected == (mode == ADVERTISEMENT):
        raise DefinitionError(f"`mode` {mode} does not go with `{sources[0]}`")
    return mode


def _codec(config: VisitorConfig, model: ModelProperty) -> Codec | None:
    given = {
        "type": config.type,
        "format": config.format,
        "dataConverter": config.data_converter,
        "bthome": config.bthome,
    }
    ways = [key for key, value in given.items() if value]
    if len(ways) > 1:
        raise DefinitionError(f"`{ways[0]}` and `{ways[1]}` exclude each other")
    if config.format:
        return packed(config.format, config.number)
    if config.data_converter is not None:
        return config.data_converter
    if not config.type and not (model.type in ("STRING", "BYTES") and config.start is not None):
        if config.start is not None or config.length or config.exponent or config.byte_order != "little":
            raise DefinitionError("`type` is missing, which `start`, `length`, `exponent` and `byteOrder` go with")
        return None
    type = type_name(config.type) if config.type else {"STRING": "utf8", "BYTES": "bytes"}[model.type]
    if config.exponent and "int" not in type:
        raise DefinitionError(f"`exponent` is for integers, not for {type}")
    numeric = model.type == INTEGER or model.type in FLOATS
    if numeric and type not in NUMERIC:
        raise DefinitionError(f"`type` {type} does not fit a property of type {model.type}")
    return Format(
        type, exponent=config.exponent, start=config.start, length=config.length, big=config.byte_order == "big"
    )


def _bthome(config: VisitorConfig, model: ModelProperty) -> str:
    if not config.bthome:
        return ""
    name = re.sub(r"[\s-]+", "_", config.bthome.strip().lower())
    if name not in bthome.NAMES:
        near = nearest(name, list(bthome.NAMES))
        hint = f"did you mean {near}?" if near else f"known are {', '.join(bthome.NAMES)}"
        raise DefinitionError(f"`bthome` {config.bthome!r} is not known: {hint}")
    if name in ("text", "raw", "button") and (model.type == INTEGER or model.type in FLOATS):
        raise DefinitionError(f"`bthome` {name} does not fit a property of type {model.type}")
    return name


def _manufacturer(given: int | str | None) -> int | None:
    if given is None:
        return None
    try:
        number = int(given, 0) if isinstance(given, str) else given
    except ValueError:
        number = -1
    if not 0 <= number <= 0xFFFF:
        raise DefinitionError(f"`manufacturerId` {given!r} is not a number from 0 to 0xFFFF")
    return number


def _uuid(text: str, key: str) -> str:
    return uuid_text(text, key) if text else ""


def _checked_uuid(text: str, key: str) -> None:
    try:
        uuid_text(text, key)
    except DefinitionError as error:
        raise ValueError(str(error)) from error


def _mac(text: str) -> str:
    return text.strip().upper().replace("-", ":") if len(text.strip()) == 17 else text.strip().upper()


def _short(uuid: str) -> str:
    return uuid[4:8].upper() if uuid.startswith("0000") and uuid.endswith("-0000-1000-8000-00805f9b34fb") else uuid
