"""An emulated weighing scale on a pseudo-terminal: text lines sent all the time, commands answered, faults on demand.

Weighing indicators speak a few dialects; this is the most copied: `ST,GS,+  12.34kg` (stable, gross), `US,...` while the weight
moves, `OL` above its capacity. Commands end with CR, LF or both:

    P   the weight now, in the same form        T   tare: `OK`, or `ERR not stable`
    Z   clear the tare: `OK`                    ID  `ID,<serial number>`
    C1  C0   continuous sending on and off: `OK`

Anything else is answered `ERR unknown command`. Run as a program it keeps a symbolic link to its port, whose name changes at
every start, and reads the load to put on it from standard input:

    python -m hil_tests.bench.scale --link /tmp/scale
"""

import argparse
import asyncio
import contextlib
import random
import sys
from decimal import Decimal
from pathlib import Path

from hil_tests.bench.serial_instrument import SerialInstrument, serve

CAPACITY_KG = Decimal("60.00")
SETTLING_S = 0.3
"""How long the weight moves after a change."""


class Scale(SerialInstrument):
    """The scale; start it in the loop that is to serve it."""

    def __init__(self, *, link: Path | None = None, rate: float = 10.0, continuous: bool = True) -> None:
        """It sends `rate` lines a second while `continuous`; `link` is a path that points to its port while it is plugged."""
        super().__init__(link=link, period_s=1 / rate)
        self.continuous = continuous
        self.load = Decimal("0.00")
        self.tare = Decimal("0.00")
        self.commands: list[str] = []
        """Every command that came."""
        self.moved_at = float("-inf")
        """When the weight last moved; in the future for one that goes on moving."""
        self._chance = random.Random(1)
        self._typed = b""

    @property
    def net(self) -> Decimal:
        """What it shows, in kg."""
        return self.load - self.tare

    @property
    def stable(self) -> bool:
        """Whether the weight has come to rest."""
        return self.now() - self.moved_at >= SETTLING_S

    def put(self, kilograms: Decimal | str, *, settled: bool = True) -> None:
        """Put a load on it, in place of what was on it."""
        self.load = Decimal(kilograms).quantize(Decimal("0.01"))
        self.moved_at = float("-inf") if settled else self.now()

    def line(self) -> bytes:
        """What it sends."""
        if self.load > CAPACITY_KG:
            return b"OL,GS,  ------kg\r\n"
        weight = self.net if self.stable else self.net + Decimal(self._chance.randint(-20, 20)) / 100
        kind = "NT" if self.tare else "GS"
        return f"{'ST' if self.stable else 'US'},{kind},{'-' if weight < 0 else '+'}{abs(weight):7.2f}kg\r\n".encode()

    def tick(self) -> bytes:
        """What it sends unasked."""
        return self.line() if self.continuous else b""

    def heard(self, data: bytes) -> None:
        """Take in what was sent to it; commands end with CR, LF or both."""
        self._typed = (self._typed + data)[-256:].replace(b"\r", b"\n")
        *commands, self._typed = self._typed.split(b"\n")
        for command in filter(None, commands):
            self.commands.append(command.decode("latin-1"))
            self.send(self._answer(self.commands[-1]))

    def _answer(self, command: str) -> bytes:
        match command:
            case "P":
                return self.line()
            case "ID":
                return b"ID,WS-4711\r\n"
            case "T" if not self.stable:
                return b"ERR not stable\r\n"
            case "T":
                self.tare = self.load
            case "Z":
                self.tare = Decimal("0.00")
            case "C0" | "C1":
                self.continuous = command == "C1"
            case _:
                return b"ERR unknown command\r\n"
        return b"OK\r\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="An emulated weighing scale on a pseudo-terminal.")
    parser.add_argument("--link", type=Path, default=Path("scale"), help="symbolic link that is kept on the port")
    parser.add_argument("--rate", type=float, default=10.0, help="lines a second")
    parser.add_argument("--load", type=Decimal, default=Decimal("12.34"), help="kg")
    parser.add_argument("--busy", action="store_true", help="somebody weighs: another load every few seconds")
    parser.add_argument(
        "--faults-file", type=Path, help="JSON, read again when it changes: FaultsNow in serial_instrument.py"
    )
    options = parser.parse_args()
    scale = Scale(link=options.link, rate=options.rate)
    scale.put(options.load)

    async def run() -> None:
        with contextlib.suppress(PermissionError):  # /dev/null: nobody will type there
            asyncio.get_running_loop().add_reader(sys.stdin, _typed_load, scale)
        weighing = asyncio.create_task(_weigh(scale)) if options.busy else None
        try:
            await serve(scale, "scale", options.faults_file)
        finally:
            if weighing is not None:
                weighing.cancel()

    asyncio.run(run())


async def _weigh(scale: Scale) -> None:
    chance = random.Random(3)
    while True:
        await asyncio.sleep(chance.uniform(3, 6))
        scale.put(Decimal(chance.randrange(50, 5500)) / 100, settled=False)


def _typed_load(scale: Scale) -> None:
    line = sys.stdin.readline()
    if not line:
        asyncio.get_running_loop().remove_reader(sys.stdin)
    elif line.strip():
        try:
            scale.put(line.strip(), settled=False)
        except ArithmeticError:
            sys.stderr.write(f"{line.strip()!r} is no weight in kg\n")


if __name__ == "__main__":
    main()
