"""Kubernetes' quantities."""

from decimal import Decimal

import pytest

from edge_gateway.edged.quantities import QuantityError, parse


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("100m", "0.1"),
        ("64Mi", "67108864"),
        ("1.5G", "1500000000"),
        ("1e3", "1000"),
        ("2E", "2000000000000000000"),
        (2, "2"),
        ("0.5", "0.5"),
        (".5Gi", "536870912"),
        ("-1", "-1"),
        ("3u", "0.000003"),
    ],
)
def test_a_quantity_is_a_number_in_its_base_unit(written: str | int, amount: str) -> None:
    assert parse(written) == Decimal(amount)


@pytest.mark.parametrize("written", ["", "much", "1 Mi", "1MiB", "1Qi", "--1", "1e9999"])
def test_what_is_no_quantity_is_refused(written: str) -> None:
    with pytest.raises(QuantityError):
        parse(written)
