"""What carries Modbus frames: a TCP connection or a serial port, in asyncio, bytes in and out.

A wire tells its owner what arrives and that it ended; it knows nothing of frames and of time.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any, Protocol

from .driver import BusDown
from .modbus_address import Line, Server

_READ_SIZE = 4096


class Wire(Protocol):
    """An open way to a bus."""

    def send(self, data: bytes) -> None:
        """Put bytes on their way."""
        ...

    def close(self) -> None:
        """Let go of it; nothing is told of it any more."""
        ...


Heard = Callable[[bytes], None]
Lost = Callable[[str], None]


class TcpWire(asyncio.Protocol):
    """A TCP connection."""

    def __init__(self, heard: Heard, lost: Lost) -> None:
        self._heard: Heard | None = heard
        self._lost = lost
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's word that the connection is open."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        connected = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):  # a server that lost its power is noticed even if nothing is asked
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        """asyncio's word that bytes arrived."""
        if self._heard is not None:
            self._heard(data)

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio's word that the connection ended."""
        if self._heard is not None:
            self._heard = None
            self._lost("closed the connection")

    def send(self, data: bytes) -> None:
        """Put bytes on their way."""
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        """End the connection at once."""
        self._heard = None
        if self._transport is not None:
            self._transport.abort()


class SerialWire:
    """A serial port: opened and set up by pyserial, read and written by the event loop."""

    def __init__(self, port: Any, heard: Heard, lost: Lost) -> None:
        self._port = port
        self._fd = int(port.fileno())
        self._heard = heard
        self._lost = lost
        self._waiting = b""
        self._open = True
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._read)

    def send(self, data: bytes) -> None:
        """Put bytes on their way."""
        if not self._open:
            return
        if not self._waiting:
            data = data[self._write(data) :]
        if data and self._open:
            self._waiting += data
            self._loop.add_writer(self._fd, self._write_on)

    def close(self) -> None:
        """Close the port."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            with contextlib.suppress(OSError):
                self._port.close()

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(f"was lost: {error.strerror}")
            return
        if data:
            self._heard(data)
        else:
            self._fail("was lost: it ended")

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._fail(f"was lost: {error.strerror}")
            return 0

    def _write_on(self) -> None:
        self._waiting = self._waiting[self._write(self._waiting) :]
        if not self._waiting and self._open:
            self._loop.remove_writer(self._fd)

    def _fail(self, why: str) -> None:
        self.close()
        self._lost(why)


async def connect(server: Server, timeout_s: float, heard: Heard, lost: Lost) -> TcpWire:
    """A connection to a server. Raises BusDown."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            _, wire = await loop.create_connection(lambda: TcpWire(heard, lost), server.host, server.port)
    except TimeoutError as error:
        raise BusDown(f"{server} did not accept a connection within {timeout_s * 1000:.0f} ms") from error
    except OSError as error:
        raise BusDown(f"{server} cannot be connected to: {error.strerror or error}") from error
    return wire


def open_port(line: Line, heard: Heard, lost: Lost) -> SerialWire:
    """An open serial port, which nobody else on this machine can open. Raises BusDown."""
    # Imported here: a mapper of TCP servers does not need them.
    import termios

    import serial

    try:
        port = serial.Serial(
            line.device, line.baud_rate, line.data_bits, line.parity, line.stop_bits,
            timeout=0, write_timeout=0, exclusive=True,
        )  # fmt: skip
        port.reset_input_buffer()
    except termios.error as error:
        raise BusDown(f"{line} cannot be opened: it does not do {line.settings}") from error
    except (OSError, ValueError) as error:  # SerialException is an OSError
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        if "exclusive" in str(error).lower():
            why = "it is in use, by another program or by devices with other serial settings"
        raise BusDown(f"{line} cannot be opened: {why}") from error
    return SerialWire(port, heard, lost)
