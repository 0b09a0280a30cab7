"""An emulated GNSS receiver on a pseudo-terminal: NMEA 0183 sentences once a period, GGA, RMC, GSA and VTG.

It drifts about a place; without a `fix` its positions are empty, as a real one's are. Faults as of every serial instrument.

    python -m hil_tests.bench.nmea_receiver --link /tmp/gps
"""

import argparse
import asyncio
import time
from decimal import Decimal
from pathlib import Path

from hil_tests.bench.serial_instrument import SerialInstrument, serve


class NmeaReceiver(SerialInstrument):
    """The receiver; start it in the loop that is to serve it."""

    def __init__(self, *, link: Path | None = None, rate: float = 1.0) -> None:
        super().__init__(link=link, period_s=1 / rate)
        self.latitude, self.longitude = Decimal("48.1173"), Decimal("-11.5166667")
        """Decimal degrees, north and east positive."""
        self.altitude = Decimal("545.4")
        self.satellites = 8
        self.fix = True

    def tick(self) -> bytes:
        """One period's sentences."""
        clock, date = time.strftime("%H%M%S.00 %d%m%y", time.gmtime()).split()
        here = f"{_degrees(self.latitude, 'NS', 2)},{_degrees(self.longitude, 'EW', 3)}" if self.fix else ",,,"
        quality, valid, mode = (1, "A", 3) if self.fix else (0, "V", 1)
        altitude = self.altitude if self.fix else ""
        return b"".join(
            sentence(body)
            for body in (
                f"GPGGA,{clock},{here},{quality},{self.satellites:02d},0.9,{altitude},M,46.9,M,,",
                f"GPRMC,{clock},{valid},{here},0.4,84.4,{date},,,A",
                f"GPGSA,A,{mode},04,05,,09,12,,,24,,,,,2.5,1.3,2.1",
                "GPVTG,84.4,T,77.8,M,0.4,N,0.7,K",
            )
        )


def sentence(body: str) -> bytes:
    """A sentence with its `$`, checksum and end."""
    total = 0
    for byte in body.encode():
        total ^= byte
    return f"${body}*{total:02X}\r\n".encode()


def _degrees(value: Decimal, sides: str, digits: int) -> str:
    whole = int(abs(value))
    minutes = (abs(value) - whole) * 60
    return f"{whole:0{digits}d}{minutes:07.4f},{sides[value < 0]}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="An emulated NMEA receiver on a pseudo-terminal.")
    parser.add_argument("--link", type=Path, default=Path("gps"), help="symbolic link that is kept on the port")
    parser.add_argument("--rate", type=float, default=1.0, help="sets of sentences a second")
    parser.add_argument("--no-fix", action="store_true", help="under a roof: no position")
    parser.add_argument(
        "--faults-file", type=Path, help="JSON, read again when it changes: FaultsNow in serial_instrument.py"
    )
    options = parser.parse_args()
    receiver = NmeaReceiver(link=options.link, rate=options.rate)
    receiver.fix = not options.no_fix
    asyncio.run(serve(receiver, "nmea receiver", options.faults_file))


if __name__ == "__main__":
    main()
