"""Quantities."""

from decimal import Decimal

import pytest

from cloud.apiserver import quantities


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", "1"),
        (2, "2"),
        (0.5, "0.5"),
        ("500m", "0.5"),
        ("1.5k", "1500"),
        ("1Ki", "1024"),
        ("1.5Gi", str(3 << 29)),
        ("2e3", "2000"),
        ("2E3", "2000"),
        ("2E", "2000000000000000000"),
        ("1Ei", str(1 << 60)),
        ("100n", "0.0000001"),
        (".5", "0.5"),
        ("5.", "5"),
        ("-1", "-1"),
    ],
)
def test_a_quantity_is_a_number_of_its_base_unit(text: object, number: str) -> None:
    assert quantities.parse(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "one", "1 Gi", "1GiB", "1ki", "m", "1e", "--1", ".", "1e999", True, None, []])
def test_anything_else_is_refused(text: object) -> None:
    with pytest.raises(quantities.QuantityError, match="quantities must match the regular expression"):
        quantities.parse(text)
