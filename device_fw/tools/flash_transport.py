"""mpremote's transport to a board's port, which is ours alone, and with bounds to what a board may say."""

import errno
import os
import time
from typing import Any

import serial
from mpremote.transport import TransportError
from mpremote.transport_serial import SerialTransport

from device_fw.tools.flash_errors import NoBoard, PortBusy
from device_fw.tools.flash_ports import LEAVE_S, busy, forbidden, holders

ANSWER_S = 10.0
"""A board that is silent for so long is lost."""
MOST = 1024 * 1024
"""Bytes of an answer: what 8,000 files need."""
_READ_S = 5.0


class Transport(SerialTransport):  # type: ignore[misc]
    """mpremote's, with one deadline for all that a board answers: within some of its calls it has 10 s of its own.

    A board that never stops talking is not listened to for ever.
    """

    def __init__(self, device: str, answer_s: float) -> None:
        super().__init__(device, timeout=min(_READ_S, answer_s))
        self._answer_s = answer_s

    def read_until(
        self,
        least: int,
        ending: bytes,
        timeout: float | None = None,
        data_consumer: Any = None,
        timeout_overall: Any = None,
    ) -> bytes:
        """As mpremote's, which hears without end who does not pause."""
        silent_s = min(timeout or self._answer_s, self._answer_s)
        begun = heard = time.monotonic()
        data = bytearray()
        while not data.endswith(ending):
            piece = self.serial.read(1) if self.is_pty or self.serial.inWaiting() else b""
            now = time.monotonic()
            if timeout_overall is not None and now - begun >= timeout_overall:
                break
            if piece:
                data += piece
                heard = now
                if len(data) > MOST:
                    raise TransportError(f"it says more than {MOST} bytes")
            elif now - heard >= silent_s:
                break
            else:
                time.sleep(0.01)
        return bytes(data)


def open_port(port: str, deadline_s: float = ANSWER_S, answer_s: float = ANSWER_S) -> SerialTransport:
    """mpremote's transport on a port, which is ours alone. NoBoard, PortBusy, PortForbidden."""
    begun = time.monotonic()
    while True:
        try:
            if not (by := holders(port)):
                return _opened(port, answer_s)
        except serial.SerialException as error:
            if error.errno == errno.EACCES:
                raise forbidden(port) from error
            if error.errno not in (errno.EAGAIN, errno.EBUSY):
                raise NoBoard(f"no board at {port}: {error}") from error
            by = holders(port)
        if time.monotonic() - begun > min(deadline_s, LEAVE_S):
            raise busy(port, by)
        time.sleep(0.05)


def _opened(port: str, answer_s: float) -> SerialTransport:
    try:
        return Transport(os.path.realpath(port), answer_s)  # it knows a pty by its name
    except TransportError as error:
        with serial.Serial(port, exclusive=True):  # it does not say why; this does
            pass
        raise PortBusy(f"{port} is busy: run this again") from error
