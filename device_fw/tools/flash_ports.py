"""Where boards are plugged in: serial ports by their USB ids, the one that is meant, and who keeps it from us."""

import contextlib
import grp
import os
import pwd
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from serial.tools import list_ports

from device_fw.tools.flash_errors import FlashError, NoBoard, PortBusy, PortForbidden, SeveralBoards

# USB vendor and product ids: MicroPython's own, and of the bridges on boards without USB of their own (product None: any).
_USB: dict[tuple[int, int | None], tuple[str, str]] = {
    (0x2E8A, 0x0005): ("rp2", "MicroPython on an RP2040 or RP2350"),
    (0x2E8A, None): ("rp2", "Raspberry Pi microcontroller"),
    (0x303A, 0x1001): ("esp32", "ESP32 with USB serial/JTAG"),
    (0x303A, None): ("esp32", "ESP32 with USB"),
    (0x10C4, 0xEA60): ("esp32", "CP210x bridge, as on ESP32 boards"),
    (0x1A86, None): ("esp32", "CH340 or CH9102 bridge, as on ESP32 boards"),
    (0x0403, None): ("", "FTDI bridge"),
    (0xF055, None): ("stm32", "MicroPython pyboard"),
    (0x239A, None): ("samd", "Adafruit board"),
    (0x2341, None): ("", "Arduino board"),
    (0x0D28, 0x0204): ("microbit", "BBC micro:bit"),
}

LEAVE_S = 2.0
"""How long whoever looks at every new port may have it, or what a killed call left behind."""
_POLL_S = 0.05


@dataclass(frozen=True)
class Port:
    """A serial port where a board may be."""

    path: str
    family: str = ""
    """`esp32`, `rp2`, … as far as the USB ids tell; empty: they do not."""
    about: str = ""
    serial: str = ""
    """The USB serial number."""

    def __str__(self) -> str:
        return f"{self.path} ({self.about}{f', serial number {self.serial}' if self.serial else ''})"


def find() -> list[Port]:
    """The ports whose USB ids are those of boards, and of bridges that boards have."""
    found = []
    for info in list_ports.comports():
        known = _USB.get((info.vid, info.pid)) or _USB.get((info.vid, None))
        if known is not None:
            found.append(Port(info.device, *known, info.serial_number or ""))
    return sorted(found, key=lambda port: port.path)


def choose(given: str = "", ports: Iterable[Port] | None = None) -> Port:
    """The port that is meant: `given` is a path, or a USB serial number; without it the only one. NoBoard, SeveralBoards."""
    known = find() if ports is None else list(ports)
    listed = "".join(f"\n  {port}" for port in known)
    if given:
        for port in known:
            if given in (port.path, port.serial) or os.path.realpath(given) == port.path:
                return port
        if Path(given).is_char_device():
            return Port(given, about="given")
        raise NoBoard(f"no board at {given!r}: {f'there are{listed}' if known else 'no board is plugged in'}")
    if not known:
        raise NoBoard(
            "no board is plugged in: connect it by a USB cable that carries data, not only power; "
            "`--port` names a port whose USB ids are not known here"
        )
    if len(known) > 1:
        raise SeveralBoards(f"{len(known)} boards are plugged in; say which by --port PATH or --port SERIAL:{listed}")
    return known[0]


def holders(path: str) -> list[str]:
    """The other programs that have the port open, `minicom (pid 4711)`, as far as this user may know. Linux only."""
    try:
        wanted = os.stat(path).st_rdev
    except OSError:
        return []
    found = []
    for folder in sorted(Path("/proc").glob("[0-9]*")):
        if int(folder.name) == os.getpid() or not _has_open(folder, wanted) or _is_device_itself(folder, path):
            continue
        with contextlib.suppress(OSError):
            found.append(f"{(folder / 'comm').read_text().strip()} (pid {folder.name})")
    return found


def wait_until_free(path: str, deadline_s: float = LEAVE_S) -> None:
    """Wait until no other program has the port, as far as can be seen. PortBusy that names it."""
    begun = time.monotonic()
    while by := holders(path):
        if time.monotonic() - begun > deadline_s:
            raise busy(path, by)
        time.sleep(_POLL_S)


def busy(path: str, by: list[str]) -> PortBusy:
    """The error for a port that others have."""
    whom = f"{', '.join(by)} has it" if by else "another program has it"
    return PortBusy(f"{path} is busy: {whom}; close it and run this again")


def forbidden(path: str) -> FlashError:
    """The error for a port that this user may not open: it names the group that may."""
    try:
        status = os.stat(path)
        group = grp.getgrgid(status.st_gid).gr_name
        open_to_group = status.st_mode & 0o060 == 0o060
        user = pwd.getpwuid(os.geteuid()).pw_name
    except (OSError, KeyError):
        return PortForbidden(f"{path} may not be opened by this user")
    if not open_to_group:
        return PortForbidden(
            f"{path} may be opened by its owner only (mode {status.st_mode & 0o777:o}): sudo chmod g+rw {path}"
        )
    return PortForbidden(
        f"{path} may be opened by the group {group!r}, and {user} is not in it: "
        f"`sudo usermod -aG {group} {user}`, then log in again"
    )


def _has_open(folder: Path, device: int) -> bool:
    with contextlib.suppress(OSError):
        for fd in (folder / "fd").iterdir():
            with contextlib.suppress(OSError):
                if fd.stat().st_rdev == device:
                    return True
    return False


def _is_device_itself(folder: Path, path: str) -> bool:
    """Whether a process has the other end of this pty: it is the board, not somebody at it."""
    number = re.fullmatch(r"/dev/pts/(\d+)", os.path.realpath(path))
    if number is None:
        return False
    with contextlib.suppress(OSError):
        for info in (folder / "fdinfo").iterdir():
            with contextlib.suppress(OSError):
                if re.search(rf"^tty-index:\s*{number[1]}$", info.read_text(), re.MULTILINE):
                    return True
    return False
