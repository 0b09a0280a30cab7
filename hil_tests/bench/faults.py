"""How an emulated instrument misbehaves, and a file that says so while it runs.

    {"boiler": {"delay_s": 0.5}, "meter": {"silent": true, "refuses": {"3": 2}}}

is read again whenever it changes; a unit that it does not name is well.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from hil_tests.bench.faults_file import followed

log = logging.getLogger(__name__)


class Fault(Struct, forbid_unknown_fields=True):
    """How one unit misbehaves."""

    delay_s: float = 0.0
    """Before it answers."""
    silent: bool = False
    """It never answers."""
    refuses: dict[int, int] = {}
    """Function code -> the exception code it answers with; 2 is an illegal address."""
    wrong_unit: bool = False
    """Its answers bear another unit's number."""
    disconnects: bool = False
    """The connection is closed instead of an answer; of a line nothing comes."""
    noise: bool = False
    """Bytes that mean nothing come before each answer."""
    short: bool = False
    """A read's answer holds one register too few."""
    garbled: bool = False
    """The checksum of each answer is wrong; over TCP its header."""


async def follow(file: Path, faults: dict[int, Fault], units: Mapping[str, int]) -> None:
    """Keep the faults of units as a file says, until cancelled; what cannot be read is logged and changes nothing."""
    async for found in followed(file, dict[str, Fault]):
        unknown = found.keys() - units.keys()
        if unknown:
            log.warning(
                "= faults not understood file=%s error=no unit %s: there are %s", file, min(unknown), ", ".join(units)
            )
            continue
        for name, unit in units.items():
            faults[unit] = found.get(name, Fault())
