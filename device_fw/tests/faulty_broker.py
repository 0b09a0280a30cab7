"""An MQTT broker for one board at a time that does what a board needs, records what the board did, and fails on demand.

Written from the specification alone, apart from the firmware's own codec, so that neither hides the other's mistakes.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

WAIT_S = 15.0


@dataclass
class Faults:
    """What goes wrong from now on. A test changes it while the broker runs."""

    listen: bool = True  # False: connections are accepted and dropped at once
    connack: int | None = 0  # return code, and the end when it is a refusal (section 3.2.2.3); None: no answer
    suback: int | None = 1
    puback: bool = True
    withheld: str = ""  # a topic whose PUBACKs are not sent
    pingresp: bool = True
    frozen: bool = False  # neither reads nor answers, but the connection stays: a half-open link
    cut_after: int | None = None  # sends so many bytes of its next answer, then closes
    one_by_one: bool = False  # sends every byte in a segment of its own


@dataclass(frozen=True)
class Published:
    """A PUBLISH of the board."""

    topic: str
    payload: bytes
    qos: int
    packet_id: int
    duplicate: bool


@dataclass
class Visit:
    """One connection of the board, and what it sent on it."""

    connect: bytes = b""
    subscribed: list[tuple[str, int]] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    pings: int = 0
    left: bool = False  # by DISCONNECT
    over: bool = False


class FaultyBroker:
    """`async with FaultyBroker() as broker:` listens on `broker.port`, over TLS when it is given a context."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.faults = Faults()
        self.visits: list[Visit] = []
        self.port = 0
        self._writer: asyncio.StreamWriter | None = None
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "FaultyBroker":
        self._server = await asyncio.start_server(self._visit, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def last(self) -> Visit:
        """The newest connection."""
        return self.visits[-1]

    @property
    def published(self) -> list[Published]:
        """All PUBLISHes over all connections."""
        return [message for visit in self.visits for message in visit.published]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something the broker saw makes the condition true; TimeoutError after 15 s."""
        async with asyncio.timeout(WAIT_S), self._changed:
            await self._changed.wait_for(lambda: bool(condition()))

    async def change(self, **faults: object) -> None:
        """Set faults from now on."""
        for name, value in faults.items():
            assert hasattr(self.faults, name)
            setattr(self.faults, name, value)
        async with self._changed:
            self._changed.notify_all()

    async def publish(self, topic: str, payload: bytes, qos: int = 1, packet_id: int = 1) -> None:
        """Send the board a message."""
        identifier = packet_id.to_bytes(2, "big") if qos else b""
        await self.send(0x30 | qos << 1, _string(topic) + identifier + payload)

    async def send(self, first: int, body: bytes) -> None:
        """Send the board any packet."""
        assert self._writer is not None
        await self._send(self._writer, bytes([first]) + _length(len(body)) + body)

    def drop(self) -> None:
        """Cut the connection."""
        assert self._writer is not None
        self._writer.transport.abort()

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if not self.faults.listen:
            writer.transport.abort()
            return
        visit, self._writer = Visit(), writer
        self.visits.append(visit)
        try:
            async for first, body in self._packets(reader):
                await self._answer(visit, writer, first, body)
                async with self._changed:
                    self._changed.notify_all()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            visit.over = True
            writer.transport.abort()
            with contextlib.suppress(asyncio.CancelledError):
                async with self._changed:
                    self._changed.notify_all()

    async def _packets(self, reader: asyncio.StreamReader) -> AsyncIterator[tuple[int, bytes]]:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                async with self._changed:
                    await self._changed.wait_for(lambda: not self.faults.frozen)
                first = (await reader.readexactly(1))[0]
                length = shift = 0
                while True:
                    byte = (await reader.readexactly(1))[0]
                    length |= (byte & 0x7F) << shift
                    shift += 7
                    if byte < 0x80:
                        break
                yield first, await reader.readexactly(length)

    async def _answer(self, visit: Visit, writer: asyncio.StreamWriter, first: int, body: bytes) -> None:
        faults = self.faults
        match first & 0xF0:
            case 0x10:
                visit.connect = body
                if faults.connack is not None:
                    await self._send(writer, bytes([0x20, 2, 0, faults.connack]))
                    if faults.connack:
                        writer.close()
            case 0x80:
                visit.subscribed += _subscriptions(body)
                if faults.suback is not None:
                    codes = bytes([faults.suback]) * len(visit.subscribed)
                    await self._send(writer, bytes([0x90, 2 + len(codes)]) + body[:2] + codes)
            case 0x30:
                message = _published(first, body)
                visit.published.append(message)
                if message.qos and faults.puback and message.topic != faults.withheld:
                    await self._send(writer, b"\x40\x02" + message.packet_id.to_bytes(2, "big"))
            case 0x40:
                visit.acknowledged.append(int.from_bytes(body, "big"))
            case 0xC0:
                visit.pings += 1
                if faults.pingresp:
                    await self._send(writer, b"\xd0\x00")
            case 0xE0:
                visit.left = True

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        cut = self.faults.cut_after
        if cut is not None:
            self.faults.cut_after = None
            writer.write(data[:cut])
            await writer.drain()
            writer.close()
            return
        for part in _parts(data, 1 if self.faults.one_by_one else len(data)):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)


def _parts(data: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def _string(text: str) -> bytes:
    return len(text.encode()).to_bytes(2, "big") + text.encode()


def _length(length: int) -> bytes:
    encoded = bytearray()
    while True:
        length, low = divmod(length, 128)
        encoded.append(low | (0x80 if length else 0))
        if not length:
            return bytes(encoded)


def _subscriptions(body: bytes) -> Iterator[tuple[str, int]]:
    at = 2
    while at < len(body):
        end = at + 2 + int.from_bytes(body[at : at + 2], "big")
        yield body[at + 2 : end].decode(), body[end]
        at = end + 1


def _published(first: int, body: bytes) -> Published:
    end = 2 + int.from_bytes(body[:2], "big")
    qos = first >> 1 & 3
    start = end + 2 if qos else end
    packet_id = int.from_bytes(body[end:start], "big")
    return Published(body[2:end].decode(), body[start:], qos, packet_id, bool(first & 8))
