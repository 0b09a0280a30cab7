"""Which port is meant, and why it cannot be opened: real ptys, real processes that have them."""

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import pytest

from device_fw.tools import flash_ports
from device_fw.tools.flash_errors import NoBoard, PortBusy, PortForbidden, SeveralBoards
from device_fw.tools.flash_ports import Port, choose
from device_fw.tools.flash_transport import open_port

PICO = Port("/dev/ttyACM0", "rp2", "MicroPython on an RP2040 or RP2350", "e6614")
ESP = Port("/dev/ttyUSB0", "esp32", "CP210x bridge, as on ESP32 boards", "0001")


@pytest.fixture
def port() -> Iterator[str]:
    """A pty with nobody at the other end."""
    master, slave = pty.openpty()
    yield os.ttyname(slave)
    os.close(master)
    os.close(slave)


def test_the_only_board_is_meant() -> None:
    assert choose("", [PICO]) is PICO


def test_no_board_says_what_to_check() -> None:
    with pytest.raises(NoBoard, match=r"no board is plugged in: connect it by a USB cable that carries data.*--port"):
        choose("", [])


def test_two_boards_are_listed_with_how_to_choose() -> None:
    with pytest.raises(SeveralBoards) as raised:
        choose("", [PICO, ESP])
    text = str(raised.value)
    assert "--port" in text
    assert "/dev/ttyACM0 (MicroPython on an RP2040 or RP2350, serial number e6614)" in text
    assert "/dev/ttyUSB0 (CP210x bridge" in text


def test_a_board_is_chosen_by_path_or_serial_number(port: str) -> None:
    assert choose("/dev/ttyUSB0", [PICO, ESP]) is ESP
    assert choose("e6614", [PICO, ESP]) is PICO
    assert choose(port, [PICO]).path == port
    with pytest.raises(NoBoard, match=r"no board at 'e66': there are\n  /dev/ttyACM0"):
        choose("e66", [PICO])
    with pytest.raises(NoBoard, match="no board at '/dev/null/x': no board is plugged in"):
        choose("/dev/null/x", [])


def test_a_busy_port_names_the_program_that_has_it(port: str) -> None:
    code = f"import os, sys; os.open({port!r}, os.O_RDWR | os.O_NOCTTY); print(1, flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=True
    )
    with other:
        assert other.stdout is not None
        assert other.stdin is not None
        other.stdout.readline()
        with pytest.raises(PortBusy, match=rf"{port} is busy: python\S* \(pid {other.pid}\) has it; close it"):
            open_port(port, 0.1)
        other.stdin.close()
    open_port(port).close()


def test_a_port_that_is_locked_by_nobody_we_may_see_is_busy_all_the_same(port: str) -> None:
    first = open_port(port)
    with pytest.raises(PortBusy, match="another program has it; close it"):
        open_port(port, 0.1)
    first.close()


def test_a_port_of_another_group_names_the_group(port: str) -> None:
    os.chmod(port, 0o660)
    with (
        not_root(port),
        pytest.raises(PortForbidden, match=r"the group '\w+', and \w+ is not in it: `sudo usermod -aG"),
    ):
        open_port(port)


def test_a_port_without_rights_for_its_group_says_so(port: str) -> None:
    os.chmod(port, 0o600)
    with not_root(port), pytest.raises(PortForbidden, match=r"owner only \(mode 600\): sudo chmod g\+rw"):
        open_port(port)


def test_a_port_that_is_gone_is_no_board() -> None:
    with pytest.raises(NoBoard, match="no board at /dev/pts/99999"):
        open_port("/dev/pts/99999", 0.1)


def test_who_emulates_a_board_does_not_keep_it_from_us() -> None:
    code = "import os, pty, sys; m, s = pty.openpty(); print(os.ttyname(s), flush=True); sys.stdin.read()"
    board = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with board:
        assert board.stdout is not None
        assert board.stdin is not None
        assert flash_ports.holders(board.stdout.readline().strip()) == []
        board.stdin.close()


@contextlib.contextmanager
def not_root(port: str) -> Iterator[None]:
    """As a user who may not open this port."""
    if os.geteuid() != 0:
        os.chmod(port, os.stat(port).st_mode & 0o077)  # ours, but not for us
        yield
        return
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
