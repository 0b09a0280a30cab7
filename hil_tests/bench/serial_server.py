"""A serial device server, as ser2net is: a terminal on a loopback port, raw (`socket://`) or by RFC 2217."""

import asyncio
import contextlib
import os
from typing import Any, Self

from serial.rfc2217 import PortManager

_CHUNK = 4096


class _Modem:
    """What RFC 2217 may set of a port, kept and otherwise ignored: a pseudo-terminal has no speed and no modem lines."""

    def __init__(self) -> None:
        self.baudrate, self.bytesize, self.parity, self.stopbits = 9600, 8, "N", 1
        self.xonxoff = self.rtscts = self.dtr = self.rts = self.break_condition = False
        self.cts = self.dsr = self.cd = True
        self.ri = False

    def reset_input_buffer(self) -> None:
        """Nothing is kept."""

    def reset_output_buffer(self) -> None:
        """Nothing is kept."""


class _Wire:
    """Where pyserial's server half writes to."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.write = writer.write


class SerialServer:
    """Serves one terminal to one client at a time; `url` is what to open. `drop` ends the connection."""

    def __init__(self, terminal: str, *, rfc2217: bool) -> None:
        self._terminal = terminal
        self._rfc2217 = rfc2217
        self._server: asyncio.Server | None = None
        self._clients: dict[asyncio.StreamWriter, asyncio.Task[object] | None] = {}
        self.modem = _Modem()
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'rfc2217' if self._rfc2217 else 'socket'}://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.drop()
        await asyncio.gather(*(task for task in self._clients.values() if task is not None))

    def drop(self) -> None:
        """End the connection, as a network does that fails."""
        for writer in self._clients:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients[writer] = asyncio.current_task()
        loop, fd = asyncio.get_running_loop(), os.open(self._terminal, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        manager: Any = PortManager(self.modem, _Wire(writer)) if self._rfc2217 else None

        def upwards() -> None:
            with contextlib.suppress(BlockingIOError):
                data = os.read(fd, _CHUNK)
                writer.write(data if manager is None else b"".join(manager.escape(data)))

        loop.add_reader(fd, upwards)
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(_CHUNK):
                    os.write(fd, data if manager is None else b"".join(manager.filter(data)))
        finally:
            loop.remove_reader(fd)
            os.close(fd)
            writer.close()
            del self._clients[writer]
