r"""Serial lines: `protocolName: serial`.

    apiVersion: devices.kubeedge.io/v1beta1
    kind: Device
    metadata: {name: scale, namespace: default}
    spec:
      deviceModelRef: {name: scale-model}
      nodeName: edge1
      protocol:
        protocolName: serial
        configData:
          port: /dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0
          baudRate: 9600          # default, with 8 data bits, no parity, 1 stop bit, no flow control
          framing: lines          # default
          timeout: 1000           # ms for an answer, default
          silenceS: 5             # offline when nothing is heard for so long; 30 by default
      properties:
        - name: weight            # sent unasked, several times a second
          visitors:
            protocolName: serial
            configData: {pattern: 'ST,GS,([+-] *[\d.]+)kg'}
        - name: serial-number     # asked for
          collectCycle: 60000
          visitors:
            protocolName: serial
            configData: {ask: 'ID\r\n', pattern: '^ID,(\w+)'}
        - name: tare              # written only: each new number tares
          visitors:
            protocolName: serial
            configData: {write: 'T\r\n', answer: '^OK', error: '^ERR (.*)'}

`serial_visitors.py` has every key, `serial_framing.py` the framings, `serial_parsing.py` the ways of parsing.

A line is read all the time. What comes goes to whom it concerns: to the question under way, and to the properties without `ask`.
A question waits for a frame that is of its properties, however much else comes, until its deadline, and is repeated `retries`
times. A property that is only written has the value that the device took last.

A microcontroller with `framing: board` is another driver's: `serial_board_line.py`.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from edgewire.device import ModelProperty

from .driver import BusDown, DriverError, NoAnswer, Value, VisitorKeys, Wanted
from .serial_board import board_visitor
from .serial_board_line import BoardLine
from .serial_claims import Claims
from .serial_dialogue import Dialogue, Heard, Question, results, unanswered
from .serial_framing import BOARD, make_framer
from .serial_port import Port, open_port
from .serial_visitors import Address, Line, Visitor, VisitorConfig, make_command, make_visitor, show

log = logging.getLogger(__name__)

GARBLED_LOG_S = 60.0
"""A noisy line says so at most this often."""


class SerialLines:
    """Serial lines as the framework's `Drivers`."""

    protocol = "serial"
    address_type: type[Any] = Address
    visitor_type: type[VisitorKeys] = VisitorConfig

    def __init__(self) -> None:
        self._claims = Claims()

    def bus(self, address: Address) -> Hashable:
        """The line: its devices share the port, and take turns in asking."""
        return address.line

    def visitor(self, address: Address, keys: VisitorConfig, model: ModelProperty) -> Any:
        """How a property is asked for, recognised and written. Raises DefinitionError."""
        make = board_visitor if address.by_name else make_visitor
        return make(address, keys, model)

    def driver(self, bus: Line) -> Any:
        """A driver for a line: a BoardLine with `framing: board`, else a SerialLine."""
        return (BoardLine if bus.framing.kind == BOARD else SerialLine)(bus, self._claims)


class SerialLine:
    """Reads, hears and writes the devices of one line."""

    def __init__(self, line: Line, claims: Claims | None = None) -> None:
        self.line = line
        self._claims = claims or Claims()
        self._port: Port | None = None
        self._down: BusDown | None = None
        self._dialogue = Dialogue()
        self._framer = make_framer(line.framing)
        self._answered = asyncio.Event()
        self._lately: deque[bytes] = deque(maxlen=3)
        self._silent: dict[bytes, None] = {}  # commands that were not answered last time, the longest ago first
        self._last_byte_at = 0.0
        self._gap: asyncio.TimerHandle | None = None
        self._garbled_told, self._garbled_told_at = 0, float("-inf")

    async def open(self) -> None:
        """Open the port. Raises BusDown."""
        await self._claims.take(self)
        self._framer, self._down = make_framer(self.line.framing), None
        self._garbled_told = 0
        self._dialogue.forget()
        self._port = await open_port(self.line, self._received, self._lost)
        log.info("= port open bus=%s", self.line)

    async def close(self) -> None:
        """Let go of the port."""
        port, self._port = self._port, None
        if self._gap is not None:
            self._gap.cancel()
            self._gap = None
        try:
            if port is not None:
                await port.close()
        finally:
            self._claims.release(self)

    def listen(self, visitors: Sequence[Visitor], heard: Heard) -> None:
        """From now on, call `heard` with each value that comes of these. Raises BusDown."""
        if self._down is not None:
            raise self._down
        self._dialogue.listen(visitors, heard)

    async def read(self, visitors: Sequence[Visitor]) -> Sequence[Value | DriverError]:
        """Ask for each property; those with the same command are of one answer. Raises NoAnswer or BusDown.

        Of a device that answers some commands only, the others cost one timeout a read, not one each.
        """
        found: dict[int, Value | DriverError] = {}
        silence: NoAnswer | None = None
        for command, members in self._commands(visitors):
            if silence is None or command not in self._silent:
                try:
                    answers = await self._ask(Question(command, [visitors[number] for number in members]))
                    found.update(zip(members, answers, strict=True))
                    self._silent.pop(command, None)
                    continue
                except NoAnswer as error:
                    self._silent.pop(command, None)
                    self._silent[command] = None
                    if not found:
                        raise
                    silence = error
            found.update((number, silence) for number in members)
        return [found[number] for number in range(len(visitors))]

    async def write(self, visitor: Visitor, value: Wanted) -> None:
        """Send a command. Raises ValueRefused, Refused with the device's words, NoAnswer, BusDown."""
        command = visitor.command(value)
        await self._carry_out(visitor, command)
        if visitor.parser is None:
            self._dialogue.tell(visitor, value)

    async def call(self, address: Address, method: str, arguments: Mapping[str, str]) -> Mapping[str, Value]:
        """Carry out one of the device's `commands`: the named groups of its answer, or `answer`, all of it.

        Raises ValueRefused, Refused with the device's words, NoAnswer, BusDown.
        """
        visitor, command = make_command(address, method, arguments)
        said = await self._carry_out(visitor, command)
        found = visitor.answer.search(said) if visitor.answer is not None else None
        return {} if found is None else found.groupdict("") or {"answer": said}

    async def _carry_out(self, visitor: Visitor, command: bytes) -> str:
        """Send a command that changes something, and give the text of its answer, if one is waited for."""
        if visitor.answer is None:
            await self._send(command)
            return ""
        question = Question(command, (), visitor)
        await self._ask(question)
        said = question.results[-1]
        if isinstance(said, DriverError):
            raise said
        return str(said)

    def _commands(self, visitors: Sequence[Visitor]) -> list[tuple[bytes, list[int]]]:
        """Each command and the positions of its visitors; those that were silent last time come last."""
        found: dict[bytes, list[int]] = {}
        for number, visitor in enumerate(visitors):
            found.setdefault(visitor.ask, []).append(number)
        silent = {command: number for number, command in enumerate(self._silent, 1)}
        return sorted(found.items(), key=lambda item: silent.get(item[0], 0))

    async def _ask(self, question: Question) -> Sequence[Value | DriverError]:
        """Send, and wait until everything has come. Raises NoAnswer when nothing did."""
        visitor = question.writing or question.visitors[0]
        timeout_s, garbled_before = visitor.at.timeout / 1000, self._framer.refused
        self._lately.clear()
        try:
            for _ in range(1 if question.writing is not None else 1 + visitor.at.retries):
                await self._send(question.command, question)
                if await self._answer_within(timeout_s, question):
                    return results(question, NoAnswer(""))
                self._dialogue.given_up(question, _now() + timeout_s)
        finally:
            self._dialogue.question = None
        what = visitor.shown if question.writing is None else f"writing {show(question.command)}"
        garbled = self._framer.refused - garbled_before
        silence = unanswered(what, self.line, visitor.at.timeout, list(self._lately), garbled)
        if not question.results:
            raise silence
        return results(question, silence)

    async def _answer_within(self, timeout_s: float, question: Question) -> bool:
        """Whether the question is done before its deadline. Raises BusDown."""
        try:
            async with asyncio.timeout(timeout_s):
                while not question.done and self._down is None:
                    await self._answered.wait()
                    self._answered.clear()
        except TimeoutError:
            return question.done
        if self._down is not None:
            raise self._down
        return True

    async def _send(self, command: bytes, question: Question | None = None) -> None:
        """Send a command; what comes from then on may answer its question, and nothing from before."""
        if self.line.pause_s:
            self._dialogue.question = None
            await asyncio.sleep(self.line.pause_s)
        self._dialogue.question = question
        self._answered.clear()
        if self._down is not None or self._port is None:
            raise self._down or BusDown(f"{self.line} is not open")
        await self._port.write(command)

    def _received(self, data: bytes) -> None:
        now = _now()
        self._take(self._framer.feed(data), now)
        if self._framer.gap_s:
            self._last_byte_at = now
            if self._gap is None:
                self._gap = asyncio.get_running_loop().call_later(self._framer.gap_s, self._look_for_gap)

    def _look_for_gap(self) -> None:
        """One timer a gap, not one a chunk."""
        self._gap = None
        now = _now()
        left = self._last_byte_at + self._framer.gap_s - now
        if left > 0.0005:
            self._gap = asyncio.get_running_loop().call_later(left, self._look_for_gap)
        else:
            self._take(self._framer.idle(), now)

    def _take(self, frames: Sequence[bytes], now: float) -> None:
        for frame in frames:
            self._lately.append(frame)
            self._dialogue.received(frame, now)
        question = self._dialogue.question
        if question is not None and question.done:
            self._answered.set()
        if self._framer.refused != self._garbled_told and now - self._garbled_told_at >= GARBLED_LOG_S:
            log.warning("< frames garbled bus=%s frames=%d", self.line, self._framer.refused - self._garbled_told)
            self._garbled_told, self._garbled_told_at = self._framer.refused, now

    def _lost(self, error: BusDown) -> None:
        log.debug("= port lost bus=%s", self.line)
        self._down = error
        self._answered.set()
        self._dialogue.tell_all(error)


def _now() -> float:
    return asyncio.get_running_loop().time()
