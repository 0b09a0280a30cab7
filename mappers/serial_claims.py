"""Who has which serial port, within a process: a port is opened once, whatever the names it has."""

import asyncio
import contextlib
import os
from typing import Protocol

from .driver import BusDown
from .serial_visitors import Line

HANDOVER_S = 3.0
"""How long a port is waited for that another line has, which may be closing it: a Device whose speed was edited."""


class Claimant(Protocol):
    """A driver of a line."""

    line: Line


class Claims:
    """The ports that this process has open, so that none is opened twice; the system's own lock says no better than "in use"."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[Claimant, asyncio.Event]] = {}

    async def take(self, by: Claimant) -> None:
        """Claim a line's port. Raises BusDown when another line keeps it; one that is just being closed is waited for."""
        key = _place(by.line.port)
        held = self._held.get(key)
        if held is not None and held[0] is not by:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HANDOVER_S):
                    await held[1].wait()
        if self._held.setdefault(key, (by, asyncio.Event()))[0] is not by:
            raise BusDown(
                f"{by.line} is in use by another Device that says other things of the line "
                "(speed, parity, framing, checksum...): they must be the same for all devices on it"
            )

    def release(self, by: Claimant) -> None:
        """Give back what a line claimed."""
        for key, (holder, released) in list(self._held.items()):
            if holder is by:
                del self._held[key]
                released.set()


def _place(port: str) -> str:
    """What a port is behind the names it has."""
    return port if "://" in port else os.path.realpath(port)
