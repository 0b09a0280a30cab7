"""KubeEdge's `dataConverter` and `dataWrite`."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.ble_kubeedge import Converter, Operation, Words, written_bytes
from mappers.ble_values import Format
from mappers.driver import BadAnswer, DefinitionError, ValueRefused

_STEP = st.tuples(
    st.sampled_from(["Add", "Subtract", "Multiply", "Divide"]), st.decimals(-1000, 1000, places=3).filter(bool)
)


def steps(**values: float) -> list[Operation]:
    """Operations in order."""
    return [Operation(name, Decimal(str(value))) for name, value in values.items()]


SENSOR_TAG = Converter(start_index=1, end_index=0, shift_right=2, order_of_operations=steps(Multiply=0.03125))
"""The temperature of a TI SensorTag, in degrees Celsius."""


@pytest.mark.parametrize(
    ("converter", "data", "value"),
    [
        (Converter(start_index=1, end_index=0), "1234", 0x3412),
        (Converter(start_index=0, end_index=1), "1234", 0x1234),
        (Converter(end_index=1, shift_right=4), "1234", 0x123),
        (Converter(shift_left=4), "12", 0x120),
        (SENSOR_TAG, "800c", 25.0),
        (Converter(order_of_operations=steps(Add=1, Multiply=2)), "03", 8),
        (Converter(order_of_operations=steps(Subtract=1, Divide=4)), "03", 0.5),
    ],
)
def test_kubeedges_data_converter_calculates_in_the_order_given(converter: Converter, data: str, value: float) -> None:
    assert converter.decode(bytes.fromhex(data)) == value


@given(
    st.integers(0, 20), st.integers(0, 20), st.integers(0, 64), st.integers(0, 64),
    st.lists(_STEP, max_size=5),
    st.binary(max_size=20),
)  # fmt: skip
def test_no_bytes_make_a_data_converter_fail(
    start: int, end: int, left: int, right: int, order: list[tuple[str, Decimal]], data: bytes
) -> None:
    converter = Converter(start, end, left, right, [Operation(*step) for step in order])
    if max(start, end) >= len(data):
        with pytest.raises(BadAnswer, match="too few"):
            converter.decode(data)
    else:
        value = converter.decode(data)
        assert isinstance(value, int | float)
        assert value == value


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"start_index": -1}, "between 0 and 511"),
        ({"shift_left": 65}, "between 0 and 64"),
        ({"order_of_operations": [Operation("Multipy", Decimal(1))]}, "did you mean Multiply"),
        ({"order_of_operations": [Operation("Divide", Decimal(0))]}, "must not be 0"),
        ({"order_of_operations": [Operation("Add", Decimal("NaN"))]}, "finite"),
    ],
)
def test_a_wrong_data_converter_says_what_is_wrong(keys: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Converter(**keys)


def test_words_stand_for_bytes_and_leave_others_to_the_format() -> None:
    words = Words({"ON": b"\1", "true": b"\2", "7": b"\3"}, Format("uint8"))
    assert words.decode(b"\1") == "ON"
    assert words.decode(b"\x09") == 9
    assert words.encode("ON") == b"\1"
    assert words.encode(True) == b"\2"
    assert words.encode(Decimal(7)) == b"\3"
    with pytest.raises(BadAnswer, match="none of the values"):
        Words({"ON": b"\1"}, None).decode(b"\x09")


@pytest.mark.parametrize(
    ("content", "data"), [([1, 255], "01ff"), (7, "07"), ("0x0A0b", "0a0b"), ("AQ==", "01"), ([], "")]
)
def test_the_bytes_of_a_word_have_three_notations(content: object, data: str) -> None:
    assert written_bytes(content, "ON").hex() == data


@pytest.mark.parametrize("content", [[256], ["1"], -1, True, None, "0xg", "!", {"a": 1}, 1.5])
def test_what_is_no_bytes_is_refused(content: object) -> None:
    with pytest.raises(DefinitionError, match="`dataWrite` 'ON'"):
        written_bytes(content, "ON")


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(ValueRefused, match="name what to write in `dataWrite`"):
        Converter().encode(Decimal(1))
    with pytest.raises(ValueRefused, match="did you mean 'ON'"):
        Words({"ON": b"\1"}, None).encode("on")
