"""The module `network` of an emulated radio, which MicroPython's Unix port lacks: so the firmware's Wi-Fi shell can run there.

The tests put it beside the firmware as `network.py`. What is in the air stands in the file `air.json`, which the test may change
at any time: `network` (is it there), `password`, `joins` (how many turns joining takes; -1: for ever) and `broken` (the driver
raises). What the firmware asked of the radio is written to `radio.log`.
"""

import json

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

STA_IF = 0
STAT_IDLE = 1000
STAT_CONNECTING = 1001
STAT_GOT_IP = 1010
STAT_NO_AP_FOUND = 201
STAT_WRONG_PASSWORD = 202


def _air() -> "dict[str, Any]":
    with open("air.json") as file:
        found: "dict[str, Any]" = json.load(file)
        return found


def _note(line: str) -> None:
    with open("radio.log", "a") as file:
        file.write(line + "\n")


def hostname(name: str) -> None:
    """As `network.hostname`."""
    _note("hostname " + name)


class WLAN:
    """As `network.WLAN`, for a station."""

    def __init__(self, interface: int) -> None:
        self._on = False
        self._password: "str | None" = None
        self._turns = 0

    def active(self, on: bool) -> None:
        """Switch the radio."""
        if on != self._on:
            _note("on" if on else "off")
        self._on = on

    def connect(self, ssid: str, password: "str | None") -> None:
        """Begin to join."""
        if _air().get("broken"):
            raise OSError("Wifi Internal Error")
        _note("join " + ssid)
        self._password = password or ""
        self._turns = 0

    def disconnect(self) -> None:
        """Stop joining, or leave."""
        self._password = None

    def status(self) -> int:
        """Where joining stands."""
        air = _air()
        if self._password is None:
            return STAT_IDLE
        if not air["network"]:
            return STAT_NO_AP_FOUND
        if self._password != air["password"]:
            return STAT_WRONG_PASSWORD
        self._turns += 1
        return STAT_GOT_IP if 0 <= air["joins"] <= self._turns else STAT_CONNECTING

    def isconnected(self) -> bool:
        """Whether it has an address."""
        return self._on and self.status() == STAT_GOT_IP

    def ifconfig(self) -> "tuple[str, str, str, str]":
        """Address, mask, gateway, name server."""
        return ("127.0.0.1", "255.0.0.0", "127.0.0.1", "127.0.0.1")
