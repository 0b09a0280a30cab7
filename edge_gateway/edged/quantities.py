"""Kubernetes' quantities: `100m`, `64Mi`, `1e3`, `1.5G`."""

import re
from decimal import Decimal

from edge_gateway.edged import EdgedError

_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_WRITTEN = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d{1,3})|([A-Za-z]*))")


class QuantityError(EdgedError):
    """What should be a quantity is none."""


def parse(written: str | int | float) -> Decimal:
    """A quantity in its base unit. Raises QuantityError."""
    text = str(written)
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise QuantityError(f"{text!r} is no quantity")
    number, exponent, suffix = found.groups()
    if exponent:
        return Decimal(number + exponent)
    suffix = suffix or ""
    if suffix in _BINARY:
        return Decimal(number) * Decimal(1024 ** _BINARY[suffix])
    if suffix not in _DECIMAL:
        raise QuantityError(f"{text!r} is no quantity: there is no unit {suffix!r}")
    return Decimal(number).scaleb(_DECIMAL[suffix])
