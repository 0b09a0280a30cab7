"""Flashes a board: its runtime, its firmware, its configuration and credentials, until the gateway hears its first report.

Nothing is remembered between two calls. What is to be done is found out by reading the board, so that a call after an
interruption (of this program, of the line, of the board's power) does what is left; and a call on a board that is complete writes
nothing.
"""

import dataclasses
import time
from pathlib import Path

from device_fw.tools import flash_esp, flash_ports, flash_runtime, flash_uf2
from device_fw.tools.flash_board import BoardConnection
from device_fw.tools.flash_console import Console
from device_fw.tools.flash_errors import BoardLost, NoAnswer, NoBoard, NoReport, RuntimeFailed, WrongBoard
from device_fw.tools.flash_order import Order, Outcome, Show
from device_fw.tools.flash_runtime import Runtime
from device_fw.tools.flash_session import Session

_POLL_S = 0.1
_LOOK_S = 5.0
"""How long a board is asked whether it runs MicroPython already."""


def flash(order: Order, show: Show, ports: list[flash_ports.Port] | None = None) -> Outcome:
    """Carry out an order. Raises a FlashError; calling again goes on where it stopped. `ports`: instead of those of the USB."""
    port = _with_runtime(order, show, ports)
    if port is None:
        return Outcome("", None, str(order.firmware.configuration["name"]), (), (), "", "", "")
    session = Session(order, show, port)
    outcome = session.complete()
    if order.dry_run:
        return outcome
    if order.before_start is not None:
        order.before_start(outcome)
    report = order.listen(outcome.configuration) if order.listen is not None else None
    show.step("Reset")
    session.reset()
    if report is None:
        return outcome
    show.step(f"Wait for the first report of {outcome.device}")
    with Console(port) as console:
        try:
            return dataclasses.replace(outcome, report=report.wait())
        except NoReport as error:
            said = "".join(f"\n  {line}" for line in console.last()) or " nothing"
            raise NoReport(f"{error}. Its console says:{said}") from error


def _with_runtime(order: Order, show: Show, ports: list[flash_ports.Port] | None) -> str | None:
    """The port of the board, with MicroPython on it; None when that is only in the dry run's mind."""
    runtime = order.runtime
    if runtime is None:
        return flash_ports.choose(order.port, ports).path
    if order.firmware.platform in flash_runtime.PLATFORMS and order.firmware.platform != runtime.port:
        raise WrongBoard(
            f"this image of MicroPython is for {runtime.chip}, and the board file says {order.firmware.board}"
        )
    drives = [order.drive] if order.drive is not None else flash_uf2.drives()
    in_loader = runtime.kind == flash_runtime.UF2 and any((drive / flash_uf2.INFO).is_file() for drive in drives)
    before = {port.path for port in (flash_ports.find() if ports is None else ports)}
    if not in_loader:
        port = flash_ports.choose(order.port, ports).path
        if _runs(port, runtime, show):
            show.step(f"{runtime.banner} is there")
            return port
    if order.dry_run:
        show.step(
            f"Would write {runtime.banner or 'MicroPython'} for {runtime.chip}, {len(runtime.content)} bytes, then every file"
        )
        return None
    show.step(f"Write {runtime.banner or 'MicroPython'} for {runtime.chip}, {len(runtime.content)} bytes")
    if runtime.kind == flash_runtime.ESP:
        flash_esp.write(runtime, port, baud=order.baud, stub=order.stub, progress=show.progress)
        return port
    if not in_loader:
        with BoardConnection(port) as board:
            board.bootloader()
        show.step("Wait for the drive of its boot loader")
    drive = _drive(order)
    flash_uf2.write(runtime, drive, show.progress)
    return _appeared(order, before, ports)


def _runs(port: str, runtime: Runtime, show: Show) -> bool:
    """Whether a board runs just this MicroPython. WrongBoard when the image is for a sister of it."""
    board = BoardConnection(port)
    try:
        board.open(_LOOK_S)
        facts = board.facts()
    except (NoAnswer, BoardLost) as error:
        show.step(f"No MicroPython answers yet ({type(error).__name__})")
        return False
    finally:
        board.close()
    if runtime.machine and facts.machine and runtime.machine != facts.machine and facts.platform == runtime.port:
        raise WrongBoard(
            f"this image is for {runtime.machine}, and the board is {facts.machine}: download the one for it"
        )
    return bool(runtime.banner) and facts.banner.startswith(runtime.banner)


def _drive(order: Order) -> Path:
    begun = time.monotonic()
    while True:
        found = flash_uf2.drives([order.drive] if order.drive is not None else None)
        if found or time.monotonic() - begun > order.patience_s:
            return flash_uf2.choose(order.drive, found)
        time.sleep(_POLL_S)


def _appeared(order: Order, before: set[str], ports: list[flash_ports.Port] | None) -> str:
    """The port that a board has after its boot loader: the given one, a new one, or the only one."""
    begun = time.monotonic()
    while True:
        try:
            if ports is not None or order.port:
                return flash_ports.choose(order.port, ports).path
            known = flash_ports.find()
            return flash_ports.choose("", [port for port in known if port.path not in before] or known).path
        except NoBoard as error:
            if time.monotonic() - begun > order.patience_s:
                raise RuntimeFailed(
                    f"the board took the image but does not come back within {order.patience_s:g} s ({error}): unplug it, "
                    "plug it in without BOOTSEL, and run this again"
                ) from error
            time.sleep(_POLL_S)
