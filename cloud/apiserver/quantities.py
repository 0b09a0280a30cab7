"""Quantities of resources: `500m`, `1Gi`, `2e3` (k8s.io/apimachinery/pkg/api/resource)."""

import re
from decimal import Decimal

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: dict[str, int] = {name: 1024**power for power, name in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)}
PATTERN_ERROR = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


class QuantityError(ValueError):
    """Not a quantity."""

    def __init__(self) -> None:
        super().__init__(PATTERN_ERROR)


def parse(value: object) -> Decimal:
    """A quantity, written as text or as a number, in its base unit: cores, bytes, pieces. Raises QuantityError."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise QuantityError
    found = _QUANTITY.fullmatch(str(value))
    if found is None:
        raise QuantityError
    number, suffix = Decimal(found[1]), found[2] or ""
    if suffix in _BINARY:
        return number * _BINARY[suffix]
    exponent = _DECIMAL.get(suffix)
    if exponent is None:
        exponent = int(suffix[1:])
        if abs(exponent) > 100:
            raise QuantityError
    return number * (Decimal(10) ** exponent)
