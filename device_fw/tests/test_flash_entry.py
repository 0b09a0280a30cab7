"""The reset by the lines of a port, in the order that the boards' circuits want."""

import os

import serial

from device_fw.tools import flash_entry


class Lines:
    """A port with lines; `seen` are their states, one after the other, as (DTR, RTS)."""

    def __init__(self) -> None:
        self._state = {"dtr": True, "rts": True}
        self.seen: list[tuple[bool, bool]] = []

    def __setattr__(self, name: str, value: object) -> None:
        if name not in ("dtr", "rts"):
            object.__setattr__(self, name, value)
            return
        self._state[name] = bool(value)
        self.seen.append((self._state["dtr"], self._state["rts"]))


def test_reset_is_pressed_without_boot_and_let_go_before_dtr_is_back() -> None:
    lines = Lines()
    flash_entry.press_reset(lines)
    # RTS alone is the reset, DTR alone the BOOT button: that is not down when the reset ends, and no second reset follows.
    assert lines.seen == [(False, True), (False, True), (False, False), (True, False), (True, True)]


def test_a_port_without_lines_is_no_error() -> None:
    near, far = os.openpty()
    with serial.Serial(os.ttyname(far)) as port:
        flash_entry.press_reset(port)
    os.close(near)
    os.close(far)
