"""One bus: a request at a time, each with its deadline, and never an answer taken for another's.

TCP numbers its requests, and an answer to another than the last is dropped. There are servers, pymodbus's among them, that give
a late answer the number of the request that came meanwhile: so after a request without an answer, or bytes that make no
sense, the connection is closed, and the next request makes another.

A serial line has no numbers. So a request is given up only when its time is over, never half way; before each there is the
silence that ends a frame; and a unit that did not answer is not asked again before its timeout has passed once more, or its late
answer has come and gone. Other units need not wait: their answers bear their own number. So a dead unit costs its bus one
timeout each time it is probed. An answer that came garbled, as on a noisy line, is asked for once more.

How long a unit takes to begin its answer is measured, since that is what another request costs (`turnaround_s`).
"""

import asyncio
from collections.abc import Awaitable

from .driver import BadAnswer, BusDown, DriverError, NoAnswer
from .modbus_address import ASCII, TCP, Address, Bus, Server, pace
from .modbus_frames import AsciiFrames, Framing, Garbled, RtuFrames, TcpFrames
from .modbus_pdu import Request, failure
from .modbus_wire import Wire, connect, open_port

BROADCAST_DELAY_S = 0.1
"""The least silence after a broadcast; Modbus over Serial Line V1.02, section 2.4.1."""
_MISSES_OF_A_LINE = 2
"""A line behind a network: what is late comes over the next connection as well; but a server that lost its power says nothing."""
_SMOOTHING = 0.2


class _Ended(Exception):
    """The wire ended while an answer was awaited."""


class ModbusConnection:
    """Connects when first asked, and again after the wire was lost."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._pace = pace(bus)
        self._numbered = bus.mode == TCP
        self._frames: Framing = _framing(bus)
        self._wire: Wire | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._asked: Address | None = None
        self._sent_at = 0.0
        self._heard_at = 0.0
        self._first_at = 0.0
        self._misses = 0
        self._owing: dict[int, float] = {}
        self.turnaround_s: dict[int, float] = {}
        """Unit -> how long it takes to begin an answer."""

    async def ask(self, unit: Address, request: Request, verb: str, what: object) -> bytes:
        """The data of the answer to a request, after what every right answer begins with; the last two name it in errors.

        Raises NoAnswer, BusDown, BadAnswer, and RefusedCode for an exception answer; a gateway's codes 10 and 11, which
        say that the unit behind it did not answer, are NoAnswer.
        """
        if self._numbered:
            answer = await self._exchange(unit, request, verb, what)
        else:
            answer = await _finish(self._insist(unit, request, verb, what))
        if answer.startswith(request.head) and len(answer) == request.length:
            return answer[len(request.head) :]
        error = failure(request, answer, self._name(unit), f"{verb} {what}")
        if self._numbered and isinstance(error, BadAnswer):
            self.close()
        raise error

    async def tell(self, unit: Address, request: Request) -> None:
        """Send a request that nobody answers. Raises BusDown."""
        if self._wire is None:
            await self._connect(unit)
        await _finish(self._broadcast(unit, request))

    def close(self) -> None:
        """Close the wire; harmless when there is none."""
        wire, self._wire = self._wire, None
        self._frames = _framing(self._bus)
        self._misses = 0
        if wire is not None:
            wire.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(_Ended("was closed"))

    async def _broadcast(self, unit: Address, request: Request) -> None:
        await self._silence(unit)
        if self._wire is None:
            raise BusDown(f"{self._bus} was lost")
        frame = self._frames.begin(0, request)
        self._wire.send(frame)
        await asyncio.sleep(self._pace.wire_s(len(frame)) + max(BROADCAST_DELAY_S, unit.turnaround / 1000))

    async def _insist(self, unit: Address, request: Request, verb: str, what: object) -> bytes:
        for _ in range(unit.retries):
            try:
                return await self._exchange(unit, request, verb, what)
            except BadAnswer:
                continue
        return await self._exchange(unit, request, verb, what)

    async def _exchange(self, unit: Address, request: Request, verb: str, what: object) -> bytes:
        if self._wire is None:
            await self._connect(unit)
        if not self._numbered:
            await self._settle(unit)
            await self._silence(unit)
        wire = self._wire
        if wire is None:
            raise BusDown(f"{self._bus} was lost")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        self._answer = answer
        frame = self._frames.begin(unit.slave_id, request)
        on_wire_s = self._pace.wire_s(len(frame) + self._frames.answer_length(request))
        timer = loop.call_later(unit.timeout / 1000 + on_wire_s, _expire, answer)
        self._asked, self._first_at = unit, 0.0
        self._sent_at = loop.time() + self._pace.wire_s(len(frame))
        wire.send(frame)
        try:
            found = await answer
        except TimeoutError as error:
            raise self._missed(unit, f"{verb} {what}") from error
        except Garbled as error:
            if self._numbered:
                self.close()
            raise BadAnswer(f"{self._name(unit)} gave no valid answer ({error}), {verb} {what}") from error
        except _Ended as error:
            raise self._cut(unit, str(error), f"{verb} {what}") from error
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            timer.cancel()
            self._answer = None
            if self._pause is not None:
                self._pause.cancel()
        self._misses = 0
        self._measure(unit)
        return found

    async def _connect(self, unit: Address) -> None:
        if isinstance(self._bus, Server):
            self._wire = await connect(self._bus, unit.timeout / 1000, self._heard, self._lost)
        else:
            self._wire = open_port(self._bus, self._heard, self._lost)
        self._heard_at = asyncio.get_running_loop().time()

    async def _settle(self, unit: Address) -> None:
        """Wait until no late answer of this unit can come any more."""
        loop = asyncio.get_running_loop()
        until = self._owing.get(unit.slave_id, 0.0)
        last = self._asked
        if until > loop.time() and last is not None and last.slave_id == unit.slave_id:
            # Nobody was asked since: the late answer is still known for what it is.
            late = self._answer = loop.create_future()
            try:
                async with asyncio.timeout_at(until):
                    await late
            except (TimeoutError, Garbled, _Ended):
                pass
            finally:
                self._answer = None
        await asyncio.sleep(max(0.0, self._owing.pop(unit.slave_id, 0.0) - loop.time()))

    async def _silence(self, unit: Address) -> None:
        """Wait until the line has been silent for as long as ends a frame, and as the unit asks for."""
        loop = asyncio.get_running_loop()
        wanted = self._pace.silence_s + unit.turnaround / 1000
        give_up = loop.time() + wanted + unit.timeout / 1000
        while (left := max(self._heard_at, self._sent_at) + wanted - loop.time()) > 0:
            if loop.time() > give_up:
                raise NoAnswer(f"{self._bus} is never silent, so that unit {unit.slave_id} cannot be asked")
            await asyncio.sleep(left)

    def _heard(self, data: bytes) -> None:
        answer = self._answer
        try:
            found = self._frames.feed(data)
        except Garbled as error:
            if answer is not None and not answer.done():
                answer.set_exception(error)
            else:
                self.close()
            return
        if self._pace.pause_s:
            self._heard_at = asyncio.get_running_loop().time()
            self._first_at = self._first_at or self._heard_at
            if found is not None and self._asked is not None:
                self._owing.pop(self._asked.slave_id, None)
        if answer is None or answer.done():
            return
        if found is not None:
            answer.set_result(found)
        elif self._pace.pause_s:
            self._expect_more(answer)

    def _expect_more(self, answer: asyncio.Future[bytes]) -> None:
        """Part of an answer came: more of it comes without a pause, or never."""
        if self._pause is not None:
            self._pause.cancel()
        if self._frames.begun():
            self._pause = asyncio.get_running_loop().call_later(self._pace.pause_s, _break_off, answer)

    def _lost(self, why: str) -> None:
        self._wire = None
        self._frames = _framing(self._bus)
        self._misses = 0
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(_Ended(why))

    def _missed(self, unit: Address, doing: str) -> DriverError:
        self._misses += 1
        if not self._numbered:
            self._owing[unit.slave_id] = asyncio.get_running_loop().time() + unit.timeout / 1000
        if self._numbered or (isinstance(self._bus, Server) and self._misses >= _MISSES_OF_A_LINE):
            self.close()
        return NoAnswer(f"{self._name(unit)} did not answer within {unit.timeout} ms, {doing}")

    def _cut(self, unit: Address, why: str, doing: str) -> DriverError:
        if isinstance(self._bus, Server):
            return NoAnswer(f"{self._name(unit)} {why}, {doing}")
        return BusDown(f"{self._bus} {why}, {doing} of unit {unit.slave_id}")

    def _measure(self, unit: Address) -> None:
        """Take the time to the first byte; a USB adapter's own time is in it, which another request costs as well."""
        if self._pace.pause_s and self._first_at:
            took = max(0.0, self._first_at - self._sent_at)
            known = self.turnaround_s.get(unit.slave_id, took)
            self.turnaround_s[unit.slave_id] = known + _SMOOTHING * (took - known)

    def _name(self, unit: Address) -> str:
        return f"{self._bus} unit {unit.slave_id}"


async def _finish(exchange: Awaitable[bytes | None]) -> bytes:
    """Let an exchange on a line end by itself, even when it is not wanted any more."""
    task = asyncio.ensure_future(exchange)
    try:
        answer: bytes | None = await asyncio.shield(task)
        return answer or b""
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


def _framing(bus: Bus) -> Framing:
    return TcpFrames() if bus.mode == TCP else AsciiFrames() if bus.mode == ASCII else RtuFrames()


def _expire(answer: "asyncio.Future[bytes]") -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())


def _break_off(answer: "asyncio.Future[bytes]") -> None:
    if not answer.done():
        answer.set_exception(Garbled("part of a frame, or noise"))
