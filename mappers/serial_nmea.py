"""NMEA 0183 sentences: `$GPGGA,...*hh`, checked, and their fields by name. Pure.

The fields are those of the standard's sentences as Eric Raymond's "NMEA Revealed" lists them. Positions come as exact decimal
degrees, south and west negative. An empty field is no value: a receiver without a fix leaves its position empty.
"""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal

from msgspec import Struct

from edgewire.config import nearest

from .serial_checksums import NMEA, make_seal

_SENTENCE = re.compile(r"[$!]([A-Z0-9]{3,10}),([\x20-\x7e]*)")
_POSITION = re.compile(r"(\d{2,3})(\d{2}(?:\.\d{1,12})?)", re.ASCII)
_LONGEST = 1024  # the standard says 82; receivers' own sentences are longer
_DEGREE_DIGITS = Decimal("1e-9")  # a tenth of a millimetre
_seal = make_seal(NMEA)

FIELDS = {
    "GGA": "time latitude NS longitude EW quality satellites hdop altitude",
    "RMC": "time status latitude NS longitude EW speed course date",
    "GLL": "latitude NS longitude EW time status",
    "VTG": "course - courseMagnetic - speed - speedKmh",
    "GSA": "- fix - - - - - - - - - - - - pdop hdop vdop",
    "GSV": "- - inView",
    "ZDA": "time day month year",
    "HDT": "heading",
    "HDG": "heading deviation",
    "ROT": "rate",
    "MWV": "angle reference speed unit status",
    "MTW": "temperature",
    "DBT": "feet - depth",
    "DPT": "depth offset",
    "VHW": "heading - headingMagnetic - speed - speedKmh",
}
"""Sentence type -> names of its fields, in order."""

_SIGNS = {"latitude": ("N", "S", 90), "longitude": ("E", "W", 180)}


class Sentence(Struct, frozen=True):
    """One sentence whose checksum is good."""

    address: str
    """Talker and type: GPGGA."""
    fields: Sequence[str]

    def is_a(self, sentence: str) -> bool:
        """Whether it is of a type (`GGA`, any talker) or of exactly this talker and type (`GPGGA`)."""
        return self.address == sentence or (len(sentence) == 3 and self.address[-3:] == sentence)


def parse(text: str) -> Sentence | None:
    """A sentence with its checksum, or None."""
    if len(text) > _LONGEST or not text.isascii():
        return None
    plain = _seal.open(text.strip().encode())
    return None if plain is None else split(plain.decode())


def split(text: str) -> Sentence | None:
    """A sentence without its checksum, or None."""
    found = _SENTENCE.fullmatch(text) if len(text) <= _LONGEST else None
    return None if found is None else Sentence(found[1], found[2].split(","))


def field(sentence: str, name: str) -> Callable[[Sentence], str | Decimal | None]:
    """What takes a field, by its name or its number from 1; None for one that is empty. Raises ValueError for an unknown one.

    What comes back raises ValueError for a position that is none.
    """
    if not re.fullmatch(r"[A-Z0-9]{3,10}", sentence):
        raise ValueError(f"`sentence` {sentence!r} must be a type, GGA, or a talker and type, GPGGA")
    if name.isascii() and name.isdigit() and 0 < int(name) < 200:
        at = int(name) - 1
        return lambda found: (found.fields[at] or None) if at < len(found.fields) else None
    names = FIELDS.get(sentence[-3:], "").split()
    if name not in names or name == "-":
        known = [known for known in names if known != "-"]
        near = nearest(name, known)
        hint = (
            f"did you mean {near}?" if near else f"one of {', '.join(known)}" if known else "count it: 1 is the first"
        )
        raise ValueError(f"`field` {name!r} of {sentence} is not known: {hint}")
    place = names.index(name)
    if name in _SIGNS:
        return lambda found: _degrees(found.fields, place, *_SIGNS[name])
    return lambda found: (found.fields[place] or None) if place < len(found.fields) else None


def _degrees(fields: Sequence[str], at: int, positive: str, negative: str, limit: int) -> Decimal | None:
    """ddmm.mmmm and a letter as decimal degrees."""
    if at + 1 >= len(fields) or not fields[at]:
        return None
    found, side = _POSITION.fullmatch(fields[at]), fields[at + 1]
    if found is None or side not in (positive, negative):
        raise ValueError(f"{fields[at][:20]!r} {side[:5]!r} is no position")
    degrees, minutes = Decimal(found[1]), Decimal(found[2])
    value = (degrees + minutes / 60).quantize(_DEGREE_DIGITS)
    if minutes >= 60 or value > limit:
        raise ValueError(f"{fields[at][:20]!r} {side!r} is no position")
    return -value if side == negative else value
