"""What emulated serial instruments have in common: a pseudo-terminal that can be unplugged, and faults on its line."""

import asyncio
import contextlib
import fcntl
import logging
import os
import random
import termios
import tty
from pathlib import Path
from typing import Self

from msgspec import Struct

from edgewire.service import serve_until_signalled
from hil_tests.bench.faults_file import followed

log = logging.getLogger(__name__)

_CHUNK = 4096


class Faults(Struct):
    """How the line misbehaves; all at once, if one likes."""

    silent: bool = False
    """Nothing is sent any more."""
    garbage: int = 0
    """So many random bytes before everything that is sent."""
    pieces: bool = False
    """What is sent comes byte by byte, each in a turn of the loop of its own."""
    flipped: bool = False
    """One bit of everything that is sent is flipped."""


class FaultsNow(Faults, forbid_unknown_fields=True):
    """What a faults file says."""

    unplugged: bool = False
    """Its port is gone."""


class SerialInstrument:
    """A device on a pseudo-terminal. `plug` and `unplug` are the USB plug; `port` is its device file, another after each."""

    def __init__(self, *, link: Path | None = None, period_s: float = 0.0) -> None:
        self.faults = Faults()
        self.link = link
        self.sent = 0
        """Bytes that went out."""
        self._period_s = period_s
        self._chance = random.Random(2)
        self._master = self._slave = -1
        self._port = ""
        self._ticking: asyncio.Task[None] | None = None

    @property
    def port(self) -> str:
        """The path to open: the link, if there is one."""
        return str(self.link) if self.link is not None else self._port

    @property
    def plugged(self) -> bool:
        """Whether it has a port."""
        return self._master >= 0

    def tick(self) -> bytes:
        """What it sends unasked, once a period."""
        return b""

    def heard(self, data: bytes) -> None:
        """Take in what was sent to it."""

    def now(self) -> float:
        """Its clock."""
        return asyncio.get_running_loop().time()

    def plug(self) -> None:
        """Be there, on a new port."""
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._port = os.ttyname(self._slave)
        if self.link is not None:
            fresh = self.link.with_name(self.link.name + ".new")
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(self._port)
            os.replace(fresh, self.link)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._master, self._readable)
        if self._period_s:
            self._ticking = loop.create_task(self._tick(), name="instrument")

    def unplug(self) -> None:
        """Be gone, as a USB plug pulled: whoever has the port open is hung up, and its name points nowhere."""
        if not self.plugged:
            return
        if self._ticking is not None:
            self._ticking.cancel()
        asyncio.get_running_loop().remove_reader(self._master)
        if self.link is not None:
            self.link.unlink(missing_ok=True)
        os.close(self._master)
        os.close(self._slave)
        self._master = self._slave = -1

    def send(self, data: bytes) -> None:
        """Send something now, with the line's faults. What nobody reads is lost, as on a real line."""
        if not self.plugged or self.faults.silent or not data:
            return
        if self.faults.flipped:
            bit = self._chance.randrange(8 * len(data))
            data = (int.from_bytes(data) ^ 1 << bit).to_bytes(len(data))
        data = self._chance.randbytes(self.faults.garbage) + data
        if self.faults.pieces:
            for number in range(len(data)):
                asyncio.get_running_loop().call_soon(self._put, data[number : number + 1])
        else:
            self._put(data)

    def input_waits(self) -> int:
        """Bytes on the line that nobody has read yet."""
        count = fcntl.ioctl(self._slave, termios.FIONREAD, b"\0\0\0\0")
        return int.from_bytes(count, "little")

    async def __aenter__(self) -> Self:
        self.plug()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.unplug()

    def _put(self, data: bytes) -> None:
        if self.plugged:
            with contextlib.suppress(BlockingIOError):
                self.sent += os.write(self._master, data)

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.heard(os.read(self._master, _CHUNK))

    async def _tick(self) -> None:
        due = self.now()
        while True:
            due += self._period_s
            await asyncio.sleep(due - self.now())
            self.send(self.tick())


class _Service:
    def __init__(self, instrument: SerialInstrument, name: str, faults_file: Path | None) -> None:
        self._instrument = instrument
        self._faults_file = faults_file
        self.name = name

    async def run(self, ready: asyncio.Event) -> None:
        async with self._instrument:
            log.info("= %s plugged port=%s", self.name, self._instrument.port)
            ready.set()
            if self._faults_file is not None:
                async for faults in followed(self._faults_file, FaultsNow):
                    self._misbehave(faults)
            await asyncio.get_running_loop().create_future()

    def _misbehave(self, faults: FaultsNow) -> None:
        self._instrument.faults = faults
        if faults.unplugged:
            self._instrument.unplug()
        elif not self._instrument.plugged:
            self._instrument.plug()


async def serve(instrument: SerialInstrument, name: str, faults_file: Path | None = None) -> None:
    """Be plugged until SIGINT or SIGTERM, and misbehave as a file says."""
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s %(message)s")
    await serve_until_signalled(_Service(instrument, name, faults_file))
