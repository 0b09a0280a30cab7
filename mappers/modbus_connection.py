"""One Modbus TCP connection, one request at a time, on pymodbus's client.

What pymodbus leaves open is settled here. It waits out its timeout when the server has closed the connection; it takes any
answer for the one it waits for; and garbage from a server ends in a traceback of the event loop. So every answer is checked
against the request before pymodbus reads it. After one that is late or makes no sense the connection is closed and the next
request makes another, because what still comes on it cannot be told from the next answer.
"""

import asyncio
import logging
import struct
from typing import Protocol

from pymodbus import ModbusException
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.pdu import ModbusPDU

from .driver import BadAnswer, BusDown, DriverError, NoAnswer, Refused
from .modbus_registers import Address, Server

EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "server device failure",
    5: "acknowledge",
    6: "server device busy",
    7: "negative acknowledge",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target device failed to respond",
}
"""Exception codes; Modbus Application Protocol V1.1b3, section 7 (7: an older edition)."""

_UNREACHABLE = (10, 11)
_LIBRARY_TIMEOUT_S = 120.0
"""pymodbus's own timeout, out of the way of ours."""
_HEADER = struct.Struct(">HHHB")
"""MBAP: transaction, protocol, length of what follows, unit; Modbus Messaging on TCP/IP V1.0b, section 3.1.3."""
_LAST_READ_FUNCTION = 4


class RefusedCode(Refused):
    """An exception answer, with its `code`."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Request(Protocol):
    """One of pymodbus's methods, bound to its arguments."""

    async def __call__(self, client: AsyncModbusTcpClient) -> ModbusPDU:
        """Send it, and wait for the answer."""
        ...


class ModbusConnection:
    """Connects when first asked, and again after the connection was lost."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._client: AsyncModbusTcpClient | None = None
        self._function = 0
        self._broken = ""
        self._deadline: asyncio.Timeout | None = None

    async def ask(self, unit: Address, doing: str, function: int, request: Request) -> ModbusPDU:
        """One request and its answer; `doing` names it in errors, `function` is its function code.

        Raises NoAnswer, BusDown, BadAnswer, and RefusedCode for an exception answer; a gateway's codes 10 and 11, which
        say that the unit behind it did not answer, are NoAnswer.
        """
        client = self._client if self._client is not None else await self._connect(unit)
        self._function, self._broken = function, ""
        try:
            async with asyncio.timeout(unit.timeout / 1000) as self._deadline:
                answer = await request(client)
        except TimeoutError as error:
            self.close()
            raise self._failure(unit, doing) from error
        except ModbusException as error:
            self.close()
            raise BadAnswer(f"{self._name(unit)} gave no valid answer, {doing}: {error}") from error
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._deadline = None
        if answer.isError():
            raise _refusal(answer.exception_code, self._name(unit), doing)
        return answer

    def close(self) -> None:
        """Close the connection; harmless when there is none."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    async def _connect(self, unit: Address) -> AsyncModbusTcpClient:
        client = AsyncModbusTcpClient(
            self._server.host,
            port=self._server.port,
            timeout=_LIBRARY_TIMEOUT_S,
            retries=0,
            reconnect_delay=0,
            trace_connect=self._connection_changed,
            trace_packet=self._packet,
        )
        try:
            async with asyncio.timeout(unit.timeout / 1000):
                connected = await client.connect()
        except TimeoutError as error:
            client.close()
            raise BusDown(f"{self._server} did not accept a connection within {unit.timeout} ms") from error
        except asyncio.CancelledError:
            client.close()
            raise
        if not connected:
            client.close()
            raise BusDown(f"{self._server} cannot be connected to: refused, unreachable, or not a known name")
        self._client = client
        return client

    def _connection_changed(self, connected: bool) -> None:
        if connected:
            return
        if self._deadline is None:
            self.close()
        else:
            self._give_up("closed the connection")

    def _packet(self, sending: bool, data: bytes) -> bytes:
        """Called by pymodbus with what it is about to send, and with all it received since."""
        if not sending and self._deadline is not None:
            problem = answer_problem(data, self._function)
            if problem:
                self._give_up(f"gave no valid answer ({problem})")
                return b""
        return data

    def _give_up(self, why: str) -> None:
        if self._deadline is not None and not self._broken:
            self._broken = why
            self._deadline.reschedule(asyncio.get_running_loop().time())

    def _failure(self, unit: Address, doing: str) -> DriverError:
        if self._broken.startswith("gave"):
            return BadAnswer(f"{self._name(unit)} {self._broken}, {doing}")
        return NoAnswer(f"{self._name(unit)} {self._broken or f'did not answer within {unit.timeout} ms'}, {doing}")

    def _name(self, unit: Address) -> str:
        return f"{self._server} unit {unit.slave_id}"


def answer_problem(data: bytes, function: int) -> str:
    """What is wrong with the answer to a request of a function code; empty when nothing is, or it is not all there."""
    if len(data) < _HEADER.size:
        return ""
    _, protocol, length, _ = _HEADER.unpack_from(data)
    if protocol or not 3 <= length <= 254:
        return "not a Modbus TCP header"
    if len(data) < 6 + length:
        return ""
    if len(data) > 6 + length:
        return "more than one answer"
    code, body = data[7], data[8:]
    if code & 0x7F != function:
        return f"function {code & 0x7F} instead of {function}"
    if code & 0x80:
        return "" if len(body) == 1 else "exception of wrong length"
    if function <= _LAST_READ_FUNCTION:
        return "" if body[0] == len(body) - 1 else "wrong byte count"
    return "" if len(body) == 4 else "confirmation of wrong length"


def _refusal(code: int, where: str, doing: str) -> DriverError:
    text = f"{where} answered exception {code} ({EXCEPTIONS.get(code, 'unknown')}), {doing}"
    return NoAnswer(text) if code in _UNREACHABLE else RefusedCode(text, code)


def quiet() -> None:
    """Keep pymodbus from logging what is raised here as well."""
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
