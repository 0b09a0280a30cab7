"""The shell of one serial port: pyserial opens and sets it, the event loop reads and writes it.

pyserial's own reading blocks and makes two system calls a byte; a file descriptor in the event loop is a hundred times faster.
Only ports without one (`rfc2217://`, `loop://`) are read in a thread, which waits when the loop does not keep up. Opening and
closing may block for seconds (a network, a driver that drains its buffer), so they have threads of their own, never the loop's.

What floods is read no faster than any serial line is; the kernel holds back or drops the rest.
"""

import asyncio
import contextlib
import errno
import grp
import io
import logging
import os
import termios
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from .driver import BusDown, NoAnswer
from .serial_visitors import Line

log = logging.getLogger(__name__)

T = TypeVar("T")

OPEN_DEADLINE_S = 12.0
"""pyserial gives a connection 5 s, and rfc2217's negotiation 3 s twice."""
WRITE_DEADLINE_S = 5.0
"""A command that flow control holds up longer is given up."""
CLOSE_DEADLINE_S = 3.0
CHUNK = 4096
WINDOW_S = 0.05
WINDOW_BYTES = 65536
"""At most so much is read in a window: 1.3 MB/s, above what any UART does."""
_POLL_S = 0.1
_AHEAD = 8  # chunks a reading thread may be ahead of the loop
_FAILURES = (OSError, ValueError, TypeError, AttributeError, NotImplementedError, termios.error)
"""What pyserial raises: a SerialException is an OSError; of a port closed by another thread, any of them."""
_FLOOD = 1 << 20  # bytes waiting within pyserial, whose queue has no bound

Received = Callable[[bytes], None]
Lost = Callable[[BusDown], None]


class Port(Protocol):
    """An open port. `received` and `lost` of `open_port` are called in the loop, `lost` at most once."""

    async def write(self, data: bytes) -> None:
        """Send all of it. Raises BusDown, or NoAnswer when the other side does not take it."""
        ...

    async def close(self) -> None:
        """Let go of it. Never raises."""
        ...


async def open_port(line: Line, received: Received, lost: Lost) -> Port:
    """Open a line's port. Raises BusDown that says what to do about it."""
    try:
        async with asyncio.timeout(OPEN_DEADLINE_S):
            device = await _in_thread(f"open {line}", lambda: _opened(line), _abandon)
    except TimeoutError as error:
        raise BusDown(f"{line} cannot be opened within {OPEN_DEADLINE_S:.0f} s") from error
    except _FAILURES as error:
        raise BusDown(explain(line.port, error)) from error
    try:
        descriptor = int(device.fileno())
    except io.UnsupportedOperation:
        return ThreadPort(line, device, received, lost)
    return DescriptorPort(line, device, descriptor, received, lost)


def explain(port: str, error: Exception) -> str:
    """Why a port cannot be opened, in words a user can act on."""
    number = getattr(error, "errno", None)
    if number == errno.EACCES:
        group = _group(port)
        return (
            f"{port}: permission denied; it belongs to group {group}: usermod -aG {group} USER, or its service's user"
        )
    if number in (errno.EAGAIN, errno.EBUSY):
        return f"{port} is in use by another program"
    if number == errno.ENOENT:
        return f"{port} is not there: unplugged, or named otherwise?"
    said = str(error)
    return said if port in said else f"{port}: {said}"


class DescriptorPort:
    """A port with a file descriptor: a terminal or a socket."""

    def __init__(self, line: Line, device: Any, descriptor: int, received: Received, lost: Lost) -> None:
        self._line, self._device, self._fd = line, device, descriptor
        self._received, self._lost = received, lost
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._window, self._taken = 0.0, 0
        self._resuming: asyncio.TimerHandle | None = None
        self._blocked: asyncio.Future[None] | None = None
        self._loop.add_reader(descriptor, self._readable)

    async def write(self, data: bytes) -> None:
        """Send all of it. Raises BusDown, or NoAnswer when flow control holds it up."""
        left = memoryview(data)
        try:
            async with asyncio.timeout(WRITE_DEADLINE_S):
                while left:
                    if not self._open:
                        raise BusDown(f"{self._line} is gone")
                    try:
                        left = left[os.write(self._fd, left) :]
                    except BlockingIOError:
                        await self._writable()
        except TimeoutError as error:
            with contextlib.suppress(*_FAILURES):
                self._device.reset_output_buffer()  # half a command is none, and must not begin the next
            raise NoAnswer(f"{self._line} takes nothing: flow control, or a full buffer at the other side") from error
        except OSError as error:
            raise BusDown(f"{self._line} cannot be written: {error}") from error

    async def close(self) -> None:
        """Let go of it. Never raises."""
        if self._deaf():
            await _closed(self._line, self._device)

    def _deaf(self) -> bool:
        """Hear no more; whether it did."""
        was, self._open = self._open, False
        if was:
            self._loop.remove_reader(self._fd)
            self._unblock()
            if self._resuming is not None:
                self._resuming.cancel()
        return was

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(str(error))
            return
        if not data:  # readable, and nothing there: hung up
            self._end("closed at the other side")
            return
        self._hold_back(len(data))
        self._received(data)

    def _end(self, reason: str) -> None:
        if self._deaf():
            _abandon(self._device)
            self._lost(BusDown(f"{self._line} is gone: {reason}"))

    def _hold_back(self, count: int) -> None:
        now = self._loop.time()
        if now - self._window >= WINDOW_S:
            self._window, self._taken = now, 0
        self._taken += count
        if self._taken > WINDOW_BYTES:
            self._loop.remove_reader(self._fd)
            self._resuming = self._loop.call_later(WINDOW_S, self._resume)

    def _resume(self) -> None:
        self._resuming = None
        self._loop.add_reader(self._fd, self._readable)

    async def _writable(self) -> None:
        self._blocked = blocked = self._loop.create_future()
        self._loop.add_writer(self._fd, self._unblock)
        try:
            await blocked
        finally:
            self._unblock()

    def _unblock(self) -> None:
        """Stop watching for room. Never later than the descriptor is closed: its number may be another's then."""
        blocked, self._blocked = self._blocked, None
        if blocked is not None:
            self._loop.remove_writer(self._fd)
            if not blocked.done():
                blocked.set_result(None)


class ThreadPort:
    """A port that pyserial alone can read."""

    def __init__(self, line: Line, device: Any, received: Received, lost: Lost) -> None:
        self._line, self._device = line, device
        self._received, self._lost = received, lost
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._ahead = threading.Semaphore(_AHEAD)
        self._thread = threading.Thread(target=self._read, name=f"serial {line}", daemon=True)
        self._thread.start()

    async def write(self, data: bytes) -> None:
        """Send all of it. Raises BusDown, or NoAnswer when the other side does not take it."""
        try:
            async with asyncio.timeout(WRITE_DEADLINE_S):
                await _in_thread(f"write {self._line}", lambda: self._device.write(data))
        except TimeoutError as error:
            raise NoAnswer(f"{self._line} takes nothing") from error
        except _FAILURES as error:
            raise BusDown(f"{self._line} cannot be written: {error}") from error

    async def close(self) -> None:
        """Let go of it. Never raises."""
        if self._open:
            self._open = False
            await _closed(self._line, self._device)

    def _read(self) -> None:
        while self._open:
            try:
                waiting = int(self._device.in_waiting)
                data = self._device.read(max(1, min(waiting, CHUNK)))
                if waiting > _FLOOD:
                    raise OSError("more comes than can be read")
            except _FAILURES as error:
                self._call(self._end, str(error))
                return
            if data:
                while self._open and not self._ahead.acquire(timeout=_POLL_S):
                    continue
                self._call(self._take, data)

    def _call(self, what: Callable[[Any], None], content: Any) -> None:
        if self._open and not self._loop.is_closed():
            try:
                self._loop.call_soon_threadsafe(what, content)
            except RuntimeError:  # the loop ended between the two
                self._open = False

    def _take(self, data: bytes) -> None:
        self._ahead.release()
        if self._open:
            self._received(data)

    def _end(self, reason: str) -> None:
        if self._open:
            self._open = False
            _abandon(self._device)
            self._lost(BusDown(f"{self._line} is gone: {reason}"))


def _opened(line: Line) -> Any:
    """An open port of pyserial's. Blocks."""
    import serial  # 0.3 MB that only serial mappers need

    settings = line.settings
    device = serial.serial_for_url(
        line.port,
        do_not_open=True,
        baudrate=settings.baud_rate,
        bytesize=settings.data_bits,
        parity=settings.parity,
        stopbits=settings.stop_bits,
        xonxoff=settings.flow_control == "xonxoff",
        rtscts=settings.flow_control == "rtscts",
        dsrdtr=settings.flow_control == "dsrdtr",
        timeout=_POLL_S,
    )
    if "://" not in line.port or line.port.startswith("hwgrep"):
        device.exclusive = True
    device.open()
    return device


async def _closed(line: Line, device: Any) -> None:
    try:
        async with asyncio.timeout(CLOSE_DEADLINE_S):
            await _in_thread(f"close {line}", lambda: _close(device))
    except TimeoutError:
        log.warning("= port does not close bus=%s", line)


def _close(device: Any) -> None:
    """Without waiting for what flow control holds up. Blocks a little."""
    # pyserial forgets a socket that the other side has closed, instead of closing it.
    socket = getattr(device, "_socket", None)
    for step in (device.reset_output_buffer, device.close, *([socket.close] if socket is not None else [])):
        try:
            step()
        except _FAILURES as error:  # gone already
            log.debug("= port was gone port=%s error=%s", device.port, error)


def _abandon(device: Any) -> None:
    threading.Thread(target=_close, args=(device,), name="close", daemon=True).start()


async def _in_thread(name: str, work: Callable[[], T], abandoned: Callable[[T], None] = lambda _: None) -> T:
    """Do what blocks in a thread of its own. `abandoned` gets the result that nobody waits for any more."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = work()
        except Exception as error:  # whatever it is, it is for who waits
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(fail, error)
            return
        try:
            loop.call_soon_threadsafe(succeed, result)
        except RuntimeError:
            abandoned(result)

    def succeed(result: T) -> None:
        if future.done():
            abandoned(result)
        else:
            future.set_result(result)

    def fail(error: Exception) -> None:
        if not future.done():
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await future


def _group(port: str) -> str:
    try:
        return grp.getgrgid(os.stat(port).st_gid).gr_name
    except (OSError, KeyError):
        return "dialout"
