"""Boards without a network, on a serial line each: `framing: board`.

    apiVersion: devices.kubeedge.io/v1beta1
    kind: Device
    metadata: {name: pico, namespace: default}
    spec:
      deviceModelRef: {name: pico-model}
      nodeName: edge1
      protocol:
        protocolName: serial
        configData:
          port: /dev/serial/by-id/usb-MicroPython_Board_in_FS_mode_e6614c311b7e6f35-if00
          framing: board
      properties:
        - name: temperature       # as the board calls it: no keys
        - name: led

The board speaks by itself; nothing is polled. What it says and hears is `serial_board_session.py`'s, how it is framed
`edgewire/gateway_end.py`'s. Here are the port and the clock.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from edgewire.gateway_end import GatewayEnd

from .driver import BusDown, DriverError, NoAnswer, Value, Wanted
from .serial_board import BoardVisitor, text_of
from .serial_board_session import BoardSession, Heard
from .serial_claims import Claims
from .serial_port import Port, open_port
from .serial_visitors import Line

log = logging.getLogger(__name__)


class BoardLine:
    """Hears and writes one board."""

    def __init__(self, line: Line, claims: Claims) -> None:
        self.line = line
        self._claims = claims
        self._port: Port | None = None
        self._down: BusDown | None = None
        self._session = self._new_session(0)
        self._said: Callable[[str, bytes], None] | None = None
        self._done = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the port, and ask who is there. Raises BusDown."""
        await self._claims.take(self)
        self._down = None
        self._session = self._new_session(_now())
        self._session.said = self._said
        self._port = await open_port(self.line, self._received, self._lost)
        log.info("= port open bus=%s", self.line)
        self._go_on()

    async def close(self) -> None:
        """Let go of the port. The board hears no more, and says hello to whoever opens it next."""
        port, self._port = self._port, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
            self._sending = None
        try:
            if port is not None:
                await port.close()
        finally:
            self._claims.release(self)

    def listen(self, visitors: Sequence[BoardVisitor], heard: Heard) -> None:
        """From now on, call `heard` with what the board says of these. Raises BusDown."""
        if self._down is not None:
            raise self._down
        self._session.listen(visitors, heard)

    def relay(self, said: Callable[[str, bytes], None]) -> None:
        """From now on, call `said` with what the board says that passes through."""
        self._said = self._session.said = said

    def hand_over(self, address: Any, kind: str, payload: bytes) -> None:
        """Pass a message through to the board; dropped when there is none."""
        self._session.hand_over(kind, payload, _now())
        self._go_on()

    async def read(self, visitors: Sequence[BoardVisitor]) -> Sequence[Value | DriverError]:
        """A board is heard, and not asked."""
        return [NoAnswer(f"{self.line}: a board is heard, not asked")] * len(visitors)

    async def write(self, visitor: BoardVisitor, value: Wanted) -> None:
        """Tell the board what is desired, and wait for its report.

        Raises Refused in its words, ValueRefused, NoAnswer, BusDown.
        """
        if self._down is not None or self._port is None:
            raise self._down or BusDown(f"{self.line} is not open")
        writing = self._session.write(visitor, text_of(value), _now())
        try:
            self._go_on()
            while (
                not writing.done
            ):  # ends: the link gives up what is not acknowledged, the session what is not reported
                self._done.clear()
                await self._done.wait()
        finally:
            self._session.end()
        if writing.error is not None:
            raise writing.error

    def _new_session(self, now: int) -> BoardSession:
        return BoardSession(str(self.line), GatewayEnd(random.randrange(65536)), now)

    def _received(self, data: bytes) -> None:
        self._set_clock()
        self._session.received(data, _now())
        self._go_on()

    def _tick(self) -> None:
        self._timer = None
        self._set_clock()
        self._session.tick(_now())
        self._go_on()

    def _set_clock(self) -> None:
        self._session.link.epoch_ms = time.time_ns() // 1_000_000 - _now()

    def _go_on(self) -> None:
        """Whatever changed: tell who waits for a write, send what is to be sent, and set the timer."""
        writing = self._session.writing
        if writing is not None and writing.done:
            self._done.set()
        if self._port is None:
            return
        if self._sending is None or self._sending.done():
            out = self._session.link.output()
            if out:
                self._sending = asyncio.create_task(self._send(self._port, out), name=f"send {self.line}")
        loop = asyncio.get_running_loop()
        due = loop.time() + self._session.wait_ms(_now()) / 1000
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = loop.call_at(due + 0.001, self._tick)  # not a fraction of a millisecond too early

    async def _send(self, port: Port, out: bytes) -> None:
        while out:
            try:
                await port.write(out)
            except NoAnswer as error:  # what was in it is sent again
                log.debug("> not sent error=%s", error)
            except BusDown as error:
                self._lost(error)
                return
            out = self._session.link.output()

    def _lost(self, error: BusDown) -> None:
        if self._down is None:
            log.debug("= port lost bus=%s", self.line)
            self._down = error
            self._session.lost(error)
            self._done.set()


def _now() -> int:
    """Milliseconds of the loop's clock."""
    return int(asyncio.get_running_loop().time() * 1000)
