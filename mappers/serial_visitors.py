"""The keys of protocol `serial`: which line a device is on, how its properties are asked for, recognised and written. Pure."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from edgewire import topics
from edgewire.config import nearest
from edgewire.device import INTEGER, ModelProperty

from .driver import BadAnswer, DefinitionError, Refused, Value, ValueRefused, VisitorKeys, Wanted
from .serial_checksums import NMEA
from .serial_framing import BOARD, Framing, make_framer
from .serial_parsing import (
    MISSING,
    Frame,
    Missing,
    Parser,
    convert,
    csv_parser,
    json_parser,
    nmea_parser,
    pattern_parser,
    regular,
    struct_parser,
    whole_parser,
)  # fmt: skip
from .serial_templates import Template, raw_bytes

PARITIES = {"none": "N", "even": "E", "odd": "O", "mark": "M", "space": "S"}
FLOW_CONTROLS = ("none", "rtscts", "xonxoff", "dsrdtr")
SCHEMES = ("socket", "rfc2217", "loop", "hwgrep")
"""URLs of pyserial's that make sense here."""
STOP_BITS = (1, 1.5, 2)

_SHOWN = 60  # bytes of a device's words in an error


class Settings(Struct, frozen=True):
    """How a port is opened."""

    baud_rate: int = 9600
    data_bits: int = 8
    parity: str = "N"
    stop_bits: float = 1
    flow_control: str = "none"


class Line(Struct, frozen=True):
    """A serial line: the bus that its devices share. Devices that say different things of one port are on different buses."""

    port: str
    settings: Settings
    framing: Framing
    pause_s: float

    def __str__(self) -> str:
        return self.port


class Command(Struct, frozen=True):
    """A method of a device: what is sent, and what is said to it."""

    send: str
    """A template; `{value}` is the call's argument of that name."""
    answer: str = ""
    """A regular expression that the answer fulfils; its named groups are the results. Without it nothing is waited for."""
    error: str = ""
    """A regular expression of what the device says when it refuses."""

    def __post_init__(self) -> None:
        if self.error and not self.answer:
            raise ValueError("`error` has a meaning only with `answer`: nothing is waited for without it")
        try:
            Template("send", self.send)
            regular("answer", self.answer)
            regular("error", self.error)
        except DefinitionError as error:
            raise ValueError(str(error)) from error


class Address(Struct, frozen=True, kw_only=True):
    """A Device's `protocol.configData`. All before `timeout` is the same for all devices on a line."""

    port: str = ""
    """A device file (`/dev/serial/by-id/...` stays the same when the ports are numbered anew), or a URL of pyserial's."""
    serial_port: str = msgspec.field(default="", name="serialPort")
    """KubeEdge's name for `port`."""
    baud_rate: int | None = msgspec.field(default=None, name="baudRate")
    """None: 9600, and 115200 for a board."""
    data_bits: int = msgspec.field(default=8, name="dataBits")
    parity: str = "none"
    stop_bits: float = msgspec.field(default=1, name="stopBits")
    flow_control: str = msgspec.field(default="none", name="flowControl")
    framing: str = "lines"
    frame_start: str = msgspec.field(default="", name="frameStart")
    frame_end: str | None = msgspec.field(default=None, name="frameEnd")
    length_bytes: int = msgspec.field(default=2, name="lengthBytes")
    length_order: str = msgspec.field(default="big", name="lengthOrder")
    length_counts: str = msgspec.field(default="rest", name="lengthCounts")
    idle_ms: float = msgspec.field(default=0, name="idleMs")
    max_frame: int = msgspec.field(default=4096, name="maxFrame")
    checksum: str = ""
    checksum_order: str = msgspec.field(default="", name="checksumOrder")
    checksum_at: str = msgspec.field(default="end", name="checksumAt")
    checksum_form: str = msgspec.field(default="binary", name="checksumForm")
    checksum_covers: str = msgspec.field(default="payload", name="checksumCovers")
    pause: int = 0
    """Milliseconds the line rests before each command; some instruments need it to turn around."""
    timeout: int = 1000
    """Milliseconds the device may take to answer a command."""
    retries: int = 1
    """How often a command that asks is repeated when nothing answers; one that writes never is."""
    silence_limit_s: float = msgspec.field(default=30.0, name="silenceS")
    """A device that is only listened to is offline after so many seconds of silence; 0: never."""
    commands: dict[str, Command] = {}
    """The device's methods that are more than writing a property, by name."""

    def __post_init__(self) -> None:
        if not (self.port or self.serial_port):
            raise ValueError(
                "`port` is missing: a device file such as /dev/ttyUSB0, or a URL such as socket://host:port"
            )
        scheme, url, _ = (self.port or self.serial_port).partition("://")
        if url and scheme not in SCHEMES:
            near = nearest(scheme, list(SCHEMES))
            raise ValueError(
                f"`port` {scheme}:// is not known: "
                + (f"did you mean {near}?" if near else f"one of {', '.join(SCHEMES)}")
            )
        if self.port and self.serial_port:
            raise ValueError("`serialPort` is another name for `port`: leave one out")
        if self.parity.lower() not in {*PARITIES, *(letter.lower() for letter in PARITIES.values())}:
            raise ValueError(f"`parity` {self.parity!r} is not known: one of {', '.join(PARITIES)}")
        if self.flow_control not in FLOW_CONTROLS:
            near = nearest(self.flow_control, list(FLOW_CONTROLS)) or ", ".join(FLOW_CONTROLS)
            raise ValueError(f"`flowControl` {self.flow_control!r} is not known: did you mean {near}?")
        if self.stop_bits not in STOP_BITS:
            raise ValueError("`stopBits` must be 1, 1.5 or 2")
        _within("baudRate", self.speed, 50, 12_000_000)
        _within("dataBits", self.data_bits, 5, 8)
        _within("pause", self.pause, 0, 60_000)
        _within("timeout", self.timeout, 10, 60_000)
        _within("retries", self.retries, 0, 10)
        _within("silenceS", self.silence_limit_s, 0, 31 * 24 * 3600)
        if self._framing().kind == BOARD and self._framing() != Framing(kind=BOARD):
            raise ValueError("with `framing: board` no other key says how frames look")
        if self.by_name and (self.commands or self.pause):
            raise ValueError("`commands` and `pause` have no meaning with `framing: board`")

    @property
    def by_name(self) -> bool:
        """Whether its properties are known by their names, without keys."""
        return self.framing == BOARD

    @property
    def relays(self) -> tuple[str, ...]:
        """What passes through to it: firmware updates, of a board."""
        return (topics.OTA_OFFER, topics.OTA_CHUNK) if self.by_name else ()

    @property
    def speed(self) -> int:
        """In baud."""
        usual = 115_200 if self.by_name else 9600
        return usual if self.baud_rate is None else self.baud_rate

    @property
    def line(self) -> Line:
        """The line the device is on."""
        parity = PARITIES.get(self.parity.lower(), self.parity.upper())
        settings = Settings(self.speed, self.data_bits, parity, self.stop_bits, self.flow_control)
        return Line(self.port or self.serial_port, settings, self._framing(), self.pause / 1000)

    def _framing(self) -> Framing:
        try:
            start = raw_bytes("frameStart", self.frame_start)
            end = None if self.frame_end is None else raw_bytes("frameEnd", self.frame_end)
        except DefinitionError as error:
            raise ValueError(str(error)) from error
        return Framing(
            kind=self.framing, start=start, end=end,
            length_bytes=self.length_bytes, length_order=self.length_order, length_counts=self.length_counts,
            idle_ms=self.idle_ms, max_frame=self.max_frame,
            checksum=self.checksum, checksum_order=self.checksum_order, checksum_at=self.checksum_at,
            checksum_form=self.checksum_form, checksum_covers=self.checksum_covers,
        )  # fmt: skip


class VisitorConfig(VisitorKeys, frozen=True, kw_only=True):
    """A property's `visitors.configData`, beside the keys that every protocol has."""

    ask: str = ""
    """The command that the device answers with the value; without it, the device says it unasked."""
    match: str = ""
    """A regular expression that frames of this property fulfil."""
    json: str = ""
    where: str = ""
    """With `json`: `path=value` that holds in frames of this property."""
    pattern: str = ""
    struct: str = ""
    fields: str = ""
    column: int | str = ""
    separator: str = ","
    header: str = ""
    sentence: str = ""
    field: int | str = ""
    decimal_mark: str = msgspec.field(default=".", name="decimalMark")
    """`,` for devices that write 12,5."""
    write: str = ""
    """The template of the command that writes a value."""
    answer: str = ""
    """A regular expression that the answer to `write` fulfils; without it nothing is waited for."""
    error: str = ""
    """A regular expression of what the device says instead of an answer; the text is the reason, or that of the first group."""

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [key for key in _PARSED if getattr(self, key) != ""]
        if len(given) > 1:
            raise ValueError(f"`{given[0]}` and `{given[1]}`: a value is parsed in one way")
        for key, of in _ONLY_WITH.items():
            if getattr(self, key) not in ("", ",") and not set(given) & set(of):
                raise ValueError(f"`{key}` has a meaning only with `{'` or `'.join(of)}`")
        if self.answer and not self.write:
            raise ValueError("`answer` has a meaning only with `write`")
        if self.error and not self.ask and not self.answer:
            raise ValueError("`error` has a meaning only with `ask` or `answer`: nothing is waited for without them")
        if len(self.decimal_mark) != 1:
            raise ValueError("`decimalMark` must be one character")


_PARSED = ("json", "pattern", "struct", "column", "sentence")
_ONLY_WITH = {
    "where": ("json",),
    "fields": ("struct",),
    "separator": ("column",),
    "header": ("column",),
    "field": ("pattern", "struct", "sentence"),
}


class Visitor(Struct, frozen=True, eq=False):
    """One property, ready for the line."""

    at: Address
    type: str
    ask: bytes
    """The framed command; empty for one that is heard."""
    shown: str
    """The command as errors name it."""
    parser: Parser | None
    """None for a property that is only written: what the device took is its value."""
    match: re.Pattern[str] | None
    decimal_mark: str
    write: Template | None
    answer: re.Pattern[str] | None
    error: re.Pattern[str] | None
    pushed: bool
    silence_s: float
    """For the framework; 0 for a property that is only written, which no device can be expected to speak of."""

    @property
    def only_written(self) -> bool:
        """Whether it has no value but the one that is written."""
        return self.parser is None

    def __str__(self) -> str:
        return self.shown

    def take(self, frame: Frame) -> Value | Missing:
        """The value in a frame, or `MISSING` when it is not of this property. Raises BadAnswer."""
        if self.parser is None or (self.match is not None and self.match.search(frame.text) is None):
            return MISSING
        found: Any = self.parser(frame)
        if found is MISSING:
            return Missing.MISSING
        try:
            return convert(found, self.type, self.decimal_mark)
        except BadAnswer as error:
            raise BadAnswer(f"{error}, in {show(frame.data)}") from error

    def refusal(self, frame: Frame, doing: str = "") -> Refused | None:
        """What the device says when it refuses, in its own words; `doing` is what, where it is not asking."""
        found = self.error.search(frame.text) if self.error is not None else None
        if found is None:
            return None
        said = found[1] if found.re.groups and found[1] else frame.text
        return Refused(f"{self.at.line} answered {said.strip()[:_SHOWN]!r}, {doing or self.shown}")

    def command(self, value: Wanted) -> bytes:
        """The framed command that writes a value. Raises ValueRefused."""
        if self.write is None:
            raise ValueRefused("no `write` says how")
        try:
            return make_framer(self.at.line.framing).encode(self.write.fill(value))
        except ValueError as error:
            raise ValueRefused(f"cannot be framed: {error}") from error


def make_visitor(at: Address, config: VisitorConfig, model: ModelProperty) -> Visitor:
    """The visitor of a property. Raises DefinitionError when its keys contradict each other or the model."""
    template = Template("write", config.write) if config.write else None
    parser = _parser(at, config)
    written_only = template is not None and not config.ask and not config.match and parser is whole_parser
    asked = _asked(at, config.ask)
    return Visitor(
        at=at,
        type="STRING" if config.enum and model.type != INTEGER else model.type,  # what has names of its own is text
        ask=asked,
        shown=f"asking {config.ask.strip()!r}" if asked else f"hearing {model.name}",
        parser=None if written_only else parser,
        match=regular("match", config.match) if config.match else None,
        decimal_mark=config.decimal_mark,
        write=template,
        answer=regular("answer", config.answer) if config.answer else None,
        error=regular("error", config.error) if config.error else None,
        pushed=not asked,
        silence_s=0 if written_only else at.silence_limit_s,
    )


def make_command(at: Address, method: str, arguments: Mapping[str, str]) -> tuple[Visitor, bytes]:
    """A method as something to write, and the framed command. Raises ValueRefused for a method or argument there is not."""
    command = at.commands.get(method)
    if command is None:
        near = nearest(method, list(at.commands))
        raise ValueRefused(f"`commands` has no {method[:40]!r}" + (f": did you mean {near!r}?" if near else ""))
    config = VisitorConfig(write=command.send, answer=command.answer, error=command.error)
    visitor = make_visitor(at, config, ModelProperty(method, type="STRING"))
    wanted = {"value"} if visitor.write is not None and visitor.write.filled else set()
    if arguments.keys() != wanted:
        raise ValueRefused(f"{method} takes " + ("one argument, `value`" if wanted else "no arguments"))
    return visitor, visitor.command(arguments.get("value", ""))


def show(data: bytes) -> str:
    """What a device said, as errors and logs show it."""
    text = repr(data)[1:]
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _parser(at: Address, config: VisitorConfig) -> Parser:
    wanted = str(config.field)
    if config.json:
        return json_parser(config.json, config.where)
    if config.pattern:
        return pattern_parser(config.pattern, wanted)
    if config.struct:
        return struct_parser(config.struct, wanted, config.fields)
    if config.column != "":
        return csv_parser(str(config.column), config.separator, config.header)
    if config.sentence:
        return nmea_parser(config.sentence, wanted, sealed=at.checksum != NMEA)
    return whole_parser


def _asked(at: Address, command: str) -> bytes:
    if not command:
        return b""
    try:
        return make_framer(at.line.framing).encode(raw_bytes("ask", command))
    except ValueError as error:
        raise DefinitionError(f"`ask` {command!r} cannot be framed: {error}") from error


def _within(name: str, value: float, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"`{name}` must lie between {low} and {high}")
