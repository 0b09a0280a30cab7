"""The serial link of a board: the session of `edgewire.board_link` over USB (standard input and output) or a UART.

The line is also the board's console. While the link is open, Ctrl-C is a byte like others, for a garbled frame may hold it; a
carriage return and Ctrl-C where no frame goes on (as mpremote begins) interrupt all the same, so that a board in use can be
flashed. What the board prints goes between the frames, and into the gateway's log.

Every error is an OSError; after one the link is closed. What nobody takes off the line in time is dropped, and sent again.
"""

import os
import select
import sys

from device_fw.firmware.ticks import Clock
from edgewire import device_topics as topics
from edgewire.board_end import BoardEnd
from edgewire.board_frames import ACK, CODES, LOST, TIME, WELCOME

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from device_fw.contracts import Board

RETRY_LIMIT_MS = 2000  # a board has its line for itself: nobody else returns at the same time
_ROOM = 256
_CHUNK = 256  # bytes taken at a time
_READS_A_POLL = 16  # a flood must not keep the board from its sensors
_PIECE = 64  # bytes written at a time
_CONTROL_MS = 50
_SLICE_MS = 1000  # the longest wait without a sign of life
_STALE_MS = 1000
_CONTROLS = (b"\r\x03", b"\r\x03\x03", b"\x03", b"\x03\x03")
_KINDS = {code: kind for kind, code in CODES.items()}


class LinkError(OSError):
    """The link is of no use any more, or was none."""


def make(config: "dict[str, Any]", board: "Board") -> "SerialLink":
    """The link that a configuration describes."""
    line = config["serial"]
    reader, writer = uart(line) if "uart" in line else console()
    keepalive_s = max(1, min(255, config["keepalive_s"] // 3))
    return SerialLink(config["name"], reader, writer, keepalive_s, config["timeout_ms"], config["max_packet"])


def console() -> "tuple[Any, Any]":
    """Standard input and output, as bytes: the USB line of most boards."""
    return sys.stdin.buffer, sys.stdout.buffer


def uart(line: "dict[str, int]") -> "tuple[Any, Any]":
    """A UART by its number `uart`, with `baud` and the pins `tx` and `rx` where they are given."""
    import machine

    options = {key: line[key] for key in ("tx", "rx") if key in line}
    made = machine.UART(line["uart"], line.get("baud", 115200), rxbuf=1024, timeout=0, **options)
    return made, made


class SerialLink:
    """One session at a time; `connect` again after any OSError. The callback gets topic and payload as bytes."""

    def __init__(
        self,
        device: str,
        reader: "Any",
        writer: "Any",
        keepalive_s: int = 10,
        timeout_ms: int = 5000,
        limit: int = 16384,
    ) -> None:
        """`device` is `<namespace>/<name>`; a silent gateway is noticed after twice `keepalive_s` and half of `timeout_ms`."""
        self.timeout_ms = timeout_ms
        self.acknowledged = 0  # messages of this session that the gateway has
        self._device = device
        self._reader = reader
        self._writer = writer
        self._readable = select.poll()
        self._readable.register(reader, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(writer, select.POLLOUT)
        self._buffer = bytearray(_CHUNK)
        self._one = bytearray(1)
        self._clock = Clock()
        self._callback: "Callable[[bytes, bytes], None] | None" = None
        self._alive: "Callable[[], None] | None" = None
        self._epoch_ms = 0
        self._came_ms = 0  # when the last byte came
        self._open = False
        nonce = int.from_bytes(os.urandom(2), "big")
        self._end = BoardEnd(device, nonce, room=_ROOM, limit=limit, timeout_ms=timeout_ms, keepalive_s=keepalive_s)

    @property
    def peer(self) -> str:
        """For the log."""
        return "gateway"

    @property
    def connected(self) -> bool:
        """Whether there is a session, as far as is known."""
        return self._open and self._end.connected

    @property
    def idle(self) -> bool:
        """Whether the next message may be sent."""
        return self._end.idle

    def unix_ms(self) -> int:
        """Milliseconds since 1970, now, as the gateway told; 0 before."""
        return self._epoch_ms + self._clock.now() if self._epoch_ms else 0

    def set_callback(self, f: "Callable[[bytes, bytes], None]") -> None:
        """What gets topic and payload of each message."""
        self._callback = f

    def set_alive(self, alive: "Callable[[], None]") -> None:
        """What to call once a second while `connect` waits."""
        self._alive = alive

    def set_last_will(self, topic: str, msg: str, retain: bool = False, qos: int = 0) -> None:
        """Nothing: the gateway knows by the link when the board is lost."""

    def connect(self) -> bool:
        """Ask for a session until the gateway welcomes the board, within `timeout_ms`. False: none is ever kept."""
        self.close()
        self._open = True
        _keyboard(-1)
        self.acknowledged = 0
        deadline = self._clock.now() + self.timeout_ms
        self._end.connect(self._clock.now())
        try:
            while not self._end.connected:
                if self._end.refused_version:
                    raise LinkError("the gateway speaks version {} of the link".format(self._end.refused_version))
                left = deadline - self._clock.now()
                if left <= 0:
                    raise LinkError("no gateway answers")
                self._turn(min(left, _SLICE_MS))
                if self._alive is not None:
                    self._alive()
        except BaseException:
            self.close()
            raise
        return False

    def subscribe(self, *topics: "str | bytes") -> None:
        """Nothing: a board hears all that is for it."""

    def send(self, topic: "str | bytes", msg: "str | bytes", qos: int = 1, retain: bool = False) -> None:
        """Send a message and return at once; only while `idle`, whatever the QoS."""
        if not self.connected:
            raise LinkError("not connected")
        address = topics.device_topic(topic if isinstance(topic, str) else topic.decode())
        if address is None or address[1] not in CODES:
            raise LinkError("nothing for a serial link: {!r}".format(topic))
        try:
            self._end.send(CODES[address[1]], msg.encode() if isinstance(msg, str) else msg, self._clock.now())
        except ValueError as error:
            self.close()
            raise LinkError(str(error))
        self._flush()

    def poll(self, wait_ms: int = 0) -> bool:
        """Handle what has come, keep alive, watch the deadlines; wait up to `wait_ms` for something to come. Whether it did."""
        if not self.connected:
            raise LinkError("not connected")
        try:
            return self._turn(wait_ms)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the session without a farewell: the gateway notices, or hears the next hello. Ctrl-C interrupts again."""
        if self._open:
            self._open = False
            _keyboard(3)
        self._end.connected = False

    def _turn(self, wait_ms: int) -> bool:
        came = self._receive()
        if not came:
            now = self._clock.now()
            wait_ms = min(wait_ms, self._end.wait_ms(now))
            if self._end.pieces.rest:
                wait_ms = min(wait_ms, _CONTROL_MS)
            if wait_ms > 0:
                self._readable.poll(wait_ms)
                came = self._receive()
            self._look_at_pending()
        self._act(self._end.tick(self._clock.now()))
        self._flush()
        return came

    def _receive(self) -> bool:
        """Read and handle what has come, within reason; whether there was anything."""
        for reads in range(_READS_A_POLL):
            count = self._read()
            if count:
                self._came_ms = self._clock.now()
                self._act(self._end.receive(bytes(memoryview(self._buffer)[:count]), self._came_ms))
                self._flush()
            if count < _CHUNK:
                return bool(count or reads)
        return True

    def _read(self) -> int:
        """Bytes into the buffer: one by one, for a read of more waits for all of them on most ports."""
        count = 0
        while count < _CHUNK and self._readable.poll(0):
            if not self._reader.readinto(self._one):
                raise LinkError("the line is gone")
            if self._one[0] == 13 and self._before(count) in _CONTROLS[:2]:
                raise KeyboardInterrupt  # what follows is for the REPL
            self._buffer[count] = self._one[0]
            count += 1
        return count

    def _before(self, count: int) -> bytes:
        """What came since the last frame."""
        return (self._end.pieces.rest + bytes(self._buffer[:count])).split(b"\0")[-1]

    def _look_at_pending(self) -> None:
        pending = self._end.pieces.rest
        if not pending:
            return
        quiet_ms = self._clock.now() - self._came_ms
        if pending in _CONTROLS and quiet_ms >= _CONTROL_MS:
            raise KeyboardInterrupt
        if quiet_ms >= _STALE_MS:
            self._end.pieces.forget(len(pending))  # half a frame that does not go on

    def _act(self, events: "list[tuple[int, bytes]]") -> None:
        for kind, content in events:
            if kind == ACK:
                self.acknowledged += 1
            elif kind == TIME:
                unix_ms = int.from_bytes(content, "big")
                if unix_ms:
                    self._epoch_ms = unix_ms - self._clock.now()
            elif kind == LOST:
                raise LinkError(content.decode())
            elif kind != WELCOME and kind in _KINDS and self._callback is not None:
                self._callback(topics.of_device(self._device, _KINDS[kind]).encode(), content)

    def _flush(self) -> None:
        out = memoryview(self._end.output())
        while out:
            if not self._writable.poll(self.timeout_ms // 4):
                return  # nobody reads at the other side: lost, as on a line
            taken = self._writer.write(out[:_PIECE])
            out = out[taken or 0 :]


def _keyboard(byte: int) -> None:
    """Which byte interrupts; -1: none."""
    try:
        import micropython

        micropython.kbd_intr(byte)
    except (ImportError, AttributeError):  # CPython, or a port without a console
        pass
