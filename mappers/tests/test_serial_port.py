"""The shell of a port where it goes wrong; with instruments at the other end it is tested in hil_tests."""

import asyncio
import errno
import os
import socket
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mappers import serial_port
from mappers.driver import BusDown, NoAnswer
from mappers.serial_port import explain, open_port
from mappers.serial_visitors import Address, Line


class Pty:
    """A pseudo-terminal; the test is the device."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        self.line = line(os.ttyname(self.slave))
        self.received = bytearray()
        self.lost: list[BusDown] = []

    def hang_up(self) -> None:
        for fd in (self.master, self.slave):
            if fd >= 0:
                os.close(fd)
        self.master = self.slave = -1


def line(port: str) -> Line:
    """A line with defaults."""
    return Address(port=port).line


@pytest.fixture
def pty() -> Iterator[Pty]:
    pty = Pty()
    try:
        yield pty
    finally:
        pty.hang_up()


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition; TimeoutError after the deadline."""
    async with asyncio.timeout(10):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


def test_what_to_do_about_a_port_is_said(tmp_path: Path) -> None:
    file = tmp_path / "ttyUSB0"
    file.touch()
    denied = explain(str(file), OSError(errno.EACCES, "Permission denied"))
    assert denied.startswith(f"{file}: permission denied; it belongs to group ")
    assert f"usermod -aG {file.group()} USER" in denied
    gone = explain("/dev/none", OSError(errno.EACCES, "Permission denied"))
    assert "group dialout" in gone
    assert explain("/dev/x", OSError(errno.EAGAIN, "busy")) == "/dev/x is in use by another program"
    assert explain("/dev/x", ValueError("Not a valid baudrate")) == "/dev/x: Not a valid baudrate"


async def test_a_file_that_is_no_port_is_said_to_be_none(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a port")
    with pytest.raises(BusDown, match=r"notes.txt: .*Could not configure port"):
        await open_port(line(str(file)), bytearray().extend, print)


async def test_a_port_sets_speed_and_parity(pty: Pty) -> None:
    at = Address(port=pty.line.port, baud_rate=19200, data_bits=7, parity="even", stop_bits=2)
    port = await open_port(at.line, pty.received.extend, pty.lost.append)
    _, _, flags, _, speed, _, _ = termios.tcgetattr(pty.slave)
    assert speed == termios.B19200
    assert flags & termios.CSTOPB
    await port.close()


async def test_what_was_sent_before_the_port_was_opened_is_not_of_today(pty: Pty) -> None:
    os.write(pty.master, b"yesterday")
    port = await open_port(pty.line, pty.received.extend, pty.lost.append)
    os.write(pty.master, b"today")
    await until(lambda: pty.received == b"today")
    await port.close()


async def test_a_hang_up_is_told_once_and_the_loop_is_left_alone(pty: Pty) -> None:
    port = await open_port(pty.line, pty.received.extend, pty.lost.append)
    pty.hang_up()
    await until(lambda: pty.lost)
    busy = time.process_time()
    await asyncio.sleep(0.2)
    assert time.process_time() - busy < 0.1, "the loop spins on a dead port"
    assert len(pty.lost) == 1
    with pytest.raises(BusDown):
        await port.write(b"x")
    await port.close()
    await port.close()


async def test_a_hang_up_ends_a_command_that_is_held_up(pty: Pty) -> None:
    port = await open_port(pty.line, pty.received.extend, pty.lost.append)
    writing = asyncio.create_task(port.write(b"x" * 1_000_000))
    await asyncio.sleep(0.05)
    assert not writing.done()
    before = time.monotonic()
    pty.hang_up()
    with pytest.raises(BusDown):
        await writing
    assert time.monotonic() - before < 1
    await port.close()


async def test_a_device_that_takes_nothing_is_given_up_and_the_port_closes_all_the_same(
    pty: Pty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serial_port, "WRITE_DEADLINE_S", 0.1)
    port = await open_port(pty.line, pty.received.extend, pty.lost.append)
    with pytest.raises(NoAnswer, match="takes nothing: flow control"):
        await port.write(b"x" * 1_000_000)
    before = time.monotonic()
    await port.close()
    assert time.monotonic() - before < 1


async def test_a_long_command_is_sent_whole(pty: Pty) -> None:
    port = await open_port(pty.line, pty.received.extend, pty.lost.append)
    command, taken = os.urandom(100_000), bytearray()

    def take() -> None:
        while len(taken) < len(command):
            taken.extend(os.read(pty.master, 65536))

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    await port.write(command)
    await asyncio.to_thread(thread.join, 10)
    assert taken == command
    await port.close()


async def test_a_flood_is_read_no_faster_than_a_serial_line_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_port, "WINDOW_BYTES", 20_000)
    monkeypatch.setattr(serial_port, "WINDOW_S", 0.1)
    server = socket.create_server(("127.0.0.1", 0))
    received = bytearray()

    def flood() -> None:
        connection, _ = server.accept()
        with connection:
            try:
                while True:
                    connection.sendall(b"garbage " * 1000)
            except OSError:
                return

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    port = await open_port(line(f"socket://127.0.0.1:{server.getsockname()[1]}"), received.extend, print)
    await asyncio.sleep(0.5)
    assert 20_000 < len(received) < 7 * 25_000
    await port.close()
    await asyncio.to_thread(thread.join, 10)
    server.close()


@pytest.mark.filterwarnings("ignore:set(Daemon|Name).. is deprecated:DeprecationWarning")
async def test_a_port_that_does_not_open_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_port, "OPEN_DEADLINE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes the connection, and never says a word of RFC 2217
        with pytest.raises(BusDown, match="cannot be opened within"):
            await open_port(line(f"rfc2217://127.0.0.1:{mute.getsockname()[1]}"), bytearray().extend, print)
        await until(lambda: not any(thread.name.startswith(("open", "close")) for thread in threading.enumerate()))
