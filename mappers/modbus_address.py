"""Where a Modbus unit is: a Device's `protocol.configData`, the bus it shares with others, and how long things take there. Pure.

A bus is a TCP server or a serial port, with the framing spoken on it. On a serial line time is what counts: a frame ends with a
silence of 3.5 characters, and what a request costs against the registers between two properties follows from the speed of
the line and from how fast the unit answers.
"""

from typing import Any, TypeAlias

from msgspec import Struct, field

from edgewire.config import nearest

from .modbus_pdu import MAX_REGISTERS

TCP, RTU, ASCII = "tcp", "rtu", "ascii"
MODES = (TCP, RTU, ASCII)

_PARITIES = {"none": "N", "n": "N", "even": "E", "e": "E", "odd": "O", "o": "O"}
_STOP_BITS = (1, 2)
_DEFAULT_GAP = 16
_REQUEST_OVERHEAD = 8 + 5
"""Bytes that every RTU read costs beside its registers: the request, and unit, function, byte count and CRC of the answer."""
_FAST_BAUD = 19200
_FAST_SILENCE_S = 0.00175
_SILENT_CHARACTERS = 3.5
_PAUSE_S = 0.05
"""A pause within a serial frame that ends it: USB adapters and the kernel deliver in pieces, up to 16 ms apart."""
_NETWORK_PAUSE_S = 0.25
"""The same for a serial line behind a network."""


class Server(Struct, frozen=True):
    """A Modbus TCP server, or a serial line behind a network port: the bus that its units share."""

    host: str
    port: int
    mode: str = TCP

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Line(Struct, frozen=True):
    """A serial port: the bus that its units share."""

    device: str
    baud_rate: int
    data_bits: int
    parity: str
    """N, E or O."""
    stop_bits: int
    mode: str = RTU

    def __str__(self) -> str:
        return self.device

    @property
    def settings(self) -> str:
        """As people write them: `9600 8N1`."""
        return f"{self.baud_rate} {self.data_bits}{self.parity}{self.stop_bits}"

    @property
    def character_s(self) -> float:
        """How long a character takes on the wire."""
        return (1 + self.data_bits + (self.parity != "N") + self.stop_bits) / self.baud_rate


Bus: TypeAlias = Server | Line


class Pace(Struct, frozen=True):
    """How long things take on a bus."""

    character_s: float = 0.0
    """A character on the wire; 0 where a network carries it."""
    silence_s: float = 0.0
    """Between two frames: 3.5 characters, 1.75 ms above 19200 baud; Modbus over Serial Line V1.02, section 2.5.1.1."""
    pause_s: float = 0.0
    """Within a frame: after a longer one no more of it comes. 0: frames say their length, and nothing else counts."""

    def wire_s(self, characters: int) -> float:
        """How long characters take on the wire."""
        return characters * self.character_s

    def gap(self, turnaround_s: float) -> int:
        """How many registers may be read without need rather than asking once more, for a unit that takes so long to answer."""
        if not self.character_s:
            return _DEFAULT_GAP
        request_s = self.wire_s(_REQUEST_OVERHEAD) + 2 * self.silence_s + turnaround_s
        return min(MAX_REGISTERS, int(request_s / self.wire_s(2)))


def pace(bus: Bus) -> Pace:
    """The pace of a bus."""
    if isinstance(bus, Server):
        return Pace(pause_s=0.0 if bus.mode == TCP else _NETWORK_PAUSE_S)
    character_s = bus.character_s
    silence_s = _FAST_SILENCE_S if bus.baud_rate > _FAST_BAUD else _SILENT_CHARACTERS * character_s
    return Pace(character_s, silence_s, max(_PAUSE_S, 2 * silence_s))


class Com(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """KubeEdge's older way to name a serial port: `com: {serialPort: …}`."""

    serial_port: str = field(default="", name="serialPort")
    baud_rate: int = field(default=0, name="baudRate")
    data_bits: int = field(default=0, name="dataBits")
    parity: str = ""
    stop_bits: int = field(default=0, name="stopBits")
    comm_type: str = field(default="", name="commType")


class Tcp(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """KubeEdge's older way to name a server: `tcp: {ip: …, port: …}`."""

    ip: str = ""
    port: int = 0


class Address(Struct, frozen=True, kw_only=True):
    """A Device's `protocol.configData`."""

    ip: str = ""
    """The server's address or host name."""
    port: int = 502
    """Modbus's registered port."""
    serial_port: str = field(default="", name="serialPort")
    """The serial port; `/dev/serial/by-id/…` stays the same when another adapter is plugged in."""
    baud_rate: int = field(default=9600, name="baudRate")
    data_bits: int = field(default=8, name="dataBits")
    parity: str = "none"
    """none, even or odd."""
    stop_bits: int = field(default=1, name="stopBits")
    mode: str = ""
    """tcp, rtu or ascii; empty: tcp with `ip`, rtu with `serialPort`."""
    com: Com | None = None
    tcp: Tcp | None = None
    slave_id: int = field(default=1, name="slaveID")
    """The unit behind the server or on the line; 0 on a line is all of them, which can be written only."""
    timeout: int = 1000
    """Milliseconds until the unit begins to answer, and for the server to accept a connection."""
    turnaround: int = 0
    """Milliseconds of silence before each request, beside the 3.5 characters; after a broadcast at least 100."""
    retries: int = 1
    """How often a request is repeated whose answer came garbled over a line."""
    gap: int | None = None
    """Registers that a read may span without need to save a request; 0 reads only what lies side by side.

    None: 16 over a network; on a line by its speed and by how fast the unit answers.
    """
    max_registers: int = field(default=MAX_REGISTERS, name="maxRegisters")
    """The most registers the unit gives in one answer; some have small buffers. Learned when it refuses more."""

    def __post_init__(self) -> None:
        if not self.host and not self.line:
            raise ValueError(
                "`ip` is missing: the address or host name of the Modbus TCP server; or `serialPort` for a serial line"
            )
        if self.host and self.line:
            raise ValueError("`ip` and `serialPort` are two ways to the unit: name one")
        _one_of("mode", self.mode, ("", *MODES))
        if self.line and self.mode == TCP:
            raise ValueError("`mode` tcp needs `ip` instead of `serialPort`")
        self._check_line()
        within("port", self._port, 1, 65535)
        within("slaveID", self.slave_id, 0, 255)
        within("timeout", self.timeout, 10, 60_000)
        within("turnaround", self.turnaround, 0, 60_000)
        within("retries", self.retries, 0, 10)
        within("gap", self.gap or 0, 0, MAX_REGISTERS)
        within("maxRegisters", self.max_registers, 1, MAX_REGISTERS)

    @property
    def host(self) -> str:
        """The server's host; empty for a serial port of this machine."""
        return self.ip or (self.tcp.ip if self.tcp is not None else "")

    @property
    def line(self) -> str:
        """The serial port; empty for a server."""
        return self.serial_port or (self.com.serial_port if self.com is not None else "")

    @property
    def bus(self) -> Bus:
        """What the unit shares with others."""
        if not self.line:
            return Server(self.host, self._port, self.mode or TCP)
        com = self.com or Com()
        parity = _PARITIES[(com.parity or self.parity).lower()]
        speed, data_bits = com.baud_rate or self.baud_rate, com.data_bits or self.data_bits
        return Line(self.line, speed, data_bits, parity, com.stop_bits or self.stop_bits, self.mode or RTU)

    @property
    def broadcast(self) -> bool:
        """Whether all units of a line are meant, which never answer. A TCP server with unit 0 is meant itself."""
        return self.slave_id == 0 and (bool(self.line) or self.mode in (RTU, ASCII))

    @property
    def _port(self) -> int:
        return (self.tcp.port if self.tcp is not None else 0) or self.port

    def _check_line(self) -> None:
        if "://" in self.line:
            raise ValueError("`serialPort` is no URL: a line behind a network has `ip`, `port` and `mode: rtu`")
        com = self.com or Com()
        _one_of("parity", (com.parity or self.parity).lower(), tuple(_PARITIES))
        within("baudRate", com.baud_rate or self.baud_rate, 50, 4_000_000)
        within("dataBits", com.data_bits or self.data_bits, 7, 8)
        if (com.stop_bits or self.stop_bits) not in _STOP_BITS:
            raise ValueError("`stopBits` must be 1 or 2")
        if self.line and (com.data_bits or self.data_bits) == 7 and self.mode != ASCII:
            raise ValueError("`dataBits` 7 fits `mode: ascii` only")


def within(name: str, value: int, low: int, high: int) -> None:
    """Raises ValueError, naming the key, for a value outside its limits."""
    if not low <= value <= high:
        raise ValueError(f"`{name}` must lie between {low} and {high}")


def _one_of(name: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        near = nearest(value, list(known))
        hint = f"did you mean {near}?" if near else f"one of {', '.join(word for word in known if word)}"
        raise ValueError(f"`{name}` {value!r} is not known: {hint}")
