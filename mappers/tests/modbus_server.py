"""Modbus TCP servers for the driver's tests: pymodbus's own, and one that says what a test tells it to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from pymodbus.constants import ExcCodes
from pymodbus.pdu import ModbusPDU
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

HOLE = range(30, 40)
"""Input and holding registers that do not exist."""
SIZE = 300


class ModbusServer:
    """Units 1 and 2, whose registers hold their address plus 1000 times the unit; bits are set where the address is odd."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[tuple[int, int, int, int]] = []
        """(unit, function code, address, count)."""
        self.connections = 0
        self.silent: set[int] = set()
        """Units that do not answer."""
        self.refuses: dict[int, ExcCodes] = {}
        """Function code -> exception."""
        self._server: ModbusTcpServer | None = None

    async def start(self) -> None:
        self._server = ModbusTcpServer(
            [self._unit(1), self._unit(2)],
            address=("127.0.0.1", self.port),
            trace_pdu=self._count,
            trace_connect=self._count_connection,
        )
        await self._server.serve_forever(background=True)
        listening = self._server.transport
        assert isinstance(listening, asyncio.Server)
        self.port = listening.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.shutdown()  # type: ignore[no-untyped-call]
            self._server = None

    async def held(self, unit: int, function: int, address: int, count: int = 1) -> list[int] | list[bool]:
        """What registers or bits hold, past all faults."""
        assert self._server is not None
        silent, self.silent = self.silent, set()
        try:
            return await self._server.async_getValues(unit, function, address, count)
        finally:
            self.silent = silent

    async def hold(self, unit: int, address: int, words: Sequence[int]) -> None:
        """Put words in holding registers."""
        assert self._server is not None
        await self._server.async_setValues(unit, 16, address, list(words))

    def _unit(self, unit: int) -> SimDevice:
        async def action(
            function: int, _start: int, _address: int, _count: int, _held: list[int], _values: object
        ) -> ExcCodes | None:
            if unit in self.silent:
                await asyncio.get_running_loop().create_future()
            return self.refuses.get(function)

        def registers() -> list[SimData]:
            parts = (range(HOLE.start), range(HOLE.stop, SIZE))
            return [SimData(p.start, values=[1000 * unit + a for a in p], datatype=DataType.REGISTERS) for p in parts]

        def bits() -> list[SimData]:
            return [SimData(0, values=[a % 2 == 1 for a in range(320)], datatype=DataType.BITS)]

        return SimDevice(unit, simdata=(bits(), bits(), registers(), registers()), action=action)

    def _count(self, sending: bool, pdu: ModbusPDU) -> ModbusPDU:
        if not sending:
            self.requests.append((pdu.dev_id, pdu.function_code, pdu.address, pdu.count))
        return pdu

    def _count_connection(self, connected: bool) -> None:
        self.connections += connected


@contextlib.asynccontextmanager
async def answering(answer: Callable[[bytes], Awaitable[bytes | None]]) -> AsyncIterator[int]:
    """A server whose answer to each request is what `answer` gives; None closes the connection. Yields its port."""
    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.read(300):
                reply = await answer(request)
                if reply is None:
                    break
                writer.write(reply)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.create_task(serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        if handlers:
            await asyncio.wait(handlers, timeout=5)


def scripted(*answers: bytes | None) -> contextlib.AbstractAsyncContextManager[int]:
    """A server that answers each request with the next of `answers`, in which a leading `T` stands for the request's
    transaction (two bytes).
    """
    left = list(answers)

    async def answer(request: bytes) -> bytes | None:
        reply = left.pop(0) if left else b""
        return request[:2] + reply[1:] if reply is not None and reply[:1] == b"T" else reply

    return answering(answer)
